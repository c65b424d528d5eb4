#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Who dies when a machine runs out of memory, among real guests.  One guest has its memory merged:
# almost none of it is in its own RAM file, and its frames in the store are the most that anybody
# has.  A smaller one has all of its memory for itself.  A third one asks for more than there is.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = missing();
plan skip_all => $skip if $skip;

my $memory = 96 << 20;

sub run_guest {
	my ($name, $options, @words) = @_;
	return start("$dir/$name", 'timeout', '-s', 'KILL', 120, $quire, 'run',
		"--machine=$address", "--name=$name", '-m', '96M', '--balloon=off',
		'--hugepages=never', '--reclaim=off',
		"--stats=$dir/$name.json", @$options, $quill, @words);
}

my $machine = serve("$dir/machine", "--memory=$memory", '--overcommit=1')
	or BAIL_OUT(slurp("$dir/machine.err"));

# 48 MiB in 24 MiB of frames, and 16 MiB.  No more than 54 MiB are left, and 60 are asked for.
my $merged = run_guest('merged', [], qw(hold 1 12288 dup=2 seconds=100));
ok(says($merged, 'hold: ready'), 'a guest that is to be merged') or diag slurp("$dir/merged.err");
until_true(30, sub { scalar quire(qw(merge now merged)) =~ /^merged 0 pages and found 0 / });
my $before = (account())[1]{merged};
cmp_ok($before->{store_references}, '>=', 12288, '... is: its pages are in the store');
cmp_ok($before->{ram_file_bytes}, '<', 4 << 20, '... and few in its RAM file');
my $innocent = run_guest('innocent', ['--merge=off'], qw(hold 2 4096 seconds=100));
ok(says($innocent, 'hold: ready'), 'a smaller guest that is not');
cmp_ok((account())[1]{innocent}{ram_file_bytes}, '>=', 16 << 20, '... has its RAM for itself');
my $needy = run_guest('needy', ['--merge=off', '--oom-score-adj=-1000'],
	qw(hold 3 15360 seconds=0));

finish($merged, 60);
is($merged->{status}, 123, 'when a third needs more than is free, the merged guest dies');
finish($needy, 60);
is($needy->{status}, 0, '... the third has what it needs');
ok(!defined ended($innocent), '... and the smaller one lives');
kill TERM => $innocent->{pid};
finish($innocent, 60);
my ($third) = @{decode_json(slurp("$dir/needy.json"))->{vms}};
cmp_ok(scalar(grep { /^below/ } keys %{$third->{credit_waits}}), '>', 0,
	'... the third had to wait, which is counted');
cmp_ok($third->{credit_wait_ns}, '>=', $third->{credit_waits}{longest_ns}, '... with its time');
is($third->{waiting_pages}, 0, '... and at its end nothing waits');

# The same sum, three times.
my $number = qr/<?([\d.]+)/;
my $parts = qr/$number MiB, $number MiB of the store and $number MiB of overhead/;
my ($held, $store, $overhead, $points) = slurp("$dir/merged.err") =~
	/^quire: killed, .*; it held $parts, with oom_score_adj 0: badness (\d+)$/m;
ok($points, 'quire run says why') or diag slurp("$dir/merged.err");
my ($vm) = @{decode_json(slurp("$dir/merged.json"))->{vms}};
my $killed = $vm->{killed};
is($killed->{badness}, $points, '... with the badness of --stats');
my $sum = 0;
$sum += $_ for @$killed{qw(held_bytes store_alone_bytes store_share_bytes)}, $vm->{overhead_bytes};
is($killed->{badness} * 4096, $sum, '... which is the sum of its parts');
cmp_ok($killed->{store_alone_bytes}, '>=', 24 << 20, '... most of it frames that it alone held');
is($killed->{store_share_bytes}, 0, '... as nobody shared any');
sub mib { return sprintf '%.1f', $_[0] / (1 << 20) }
is("$held $store $overhead",
	join(' ', mib($killed->{held_bytes}), mib($killed->{store_alone_bytes}),
	mib($vm->{overhead_bytes})), '... in the sentence too');
my $choice = qr/out of memory: .*'needy' .*: killing vm \d+ 'merged', pid \d+: /;
my $why = qr/ignored .*, resident .*, credits .*, store alone $store MiB, store share 0\.0 MiB, /;
like(slurp("$dir/machine.err"),
	qr/$choice${why}overhead $overhead MiB, oom_score_adj 0, badness $points$/m,
	'... and in the log');
done_testing();
