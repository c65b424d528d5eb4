#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire events: what happens to real guests, and to a follower, is told with its reason and its
# numbers, and the numbers are those of quire stat --json.
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

my $machine = serve("$dir/machine", '--memory=96M', '--overcommit=2', '--overcommit-ratio=200')
	or BAIL_OUT(slurp("$dir/machine.err"));
my $follower = start("$dir/follower", $quire, 'events', '--follow', "--machine=$address");

sub events {
	my ($text, $status) = quire('events', "--machine=$address", @_);
	is($status, 0, "quire events @_");
	return map { decode_json($_) } split /\n/, $text;
}

# The events of a kind, and of a VM if that is given.
sub of { my ($kind, $vm, @events) = @_;
	return grep { $_->{kind} eq $kind && (!$vm || ($_->{vm} // '') eq $vm) } @events }

sub run_guest {
	my ($name, $options, @words) = @_;
	return start("$dir/$name", 'timeout', '-s', 'KILL', 120, $quire, 'run',
		"--machine=$address", "--name=$name", '--timeout=100', @$options, $quill, @words);
}

# ---- a life, a refusal, settings, merging ----

my $twins = run_guest('twin', ['-n', 2, '-m', '24M'], qw(hold 1 3000 seconds=60 zero=100));
ok(until_true(60, sub { (() = slurp("$dir/twin.out") =~ /hold: ready/g) == 2 }), 'two guests');
quire('merge', 'now', 'twin');
quire('run', "--machine=$address", '--name=large', '-m', '900M', $quill, 'exit', 0);
quire('machine', 'set', "--machine=$address", '--overcommit=1');

my $stat = decode_json(scalar quire('stat', '--json', "--machine=$address"));
my @all = events();
is_deeply([map { $_->{seq} } @all], [1 .. @all], 'events are numbered from 1 on');
ok(!(grep { $_->{schema} ne 'quire.event/1' || !$_->{kind} || !$_->{text}
			|| $_->{time} !~ /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/ } @all),
	'each has its schema, kind, time and text');
for my $vm (@{ $stat->{vms} }) {
	my ($admitted) = of('admission', $vm->{name}, @all);
	my ($started) = of('start', $vm->{name}, @all);
	ok($admitted->{commit_bytes} > $vm->{ram_bytes}
			&& $admitted->{commit_bytes} <= $vm->{commit_bytes},
		"$vm->{name}: what was promised, to which merging adds");
	is($admitted->{id}, $vm->{id}, '... to the VM of this id');
	is($started->{pid}, $vm->{pid}, '... and of this process');
	my ($pass) = reverse of('merge_pass', $vm->{name}, @all);
	ok($pass && $pass->{merged_pages} + $pass->{zeroed_pages} > 0, '... it has merged pages')
		or next;
	ok($pass->{merged_pages} <= $vm->{merged_pages}, '... no more than it counts');
}
my ($refusal) = of('refusal', 'large', @all);
is($refusal->{reason}, 'ledger', 'a refusal says by what');
ok($refusal->{committed_bytes} <= $refusal->{allowed_bytes}
			&& $refusal->{committed_bytes} + $refusal->{request_bytes} >
				$refusal->{allowed_bytes},
	'... in numbers that make sense');
is(scalar(of('refusal', '', @all)), $stat->{machine}{refusals}, '... as many as quire stat counts');
my ($set) = of('settings', '', @all);
is($set->{overcommit_mode}, 1, 'settings');
is(scalar(grep { ($_->{vm} // '') eq 'twin-2' } @all), scalar(events('twin-2')), 'events of a VM');
is(scalar(grep { ($_->{vm} // '') =~ /^twin-/ } @all), scalar(events('twin')),
	'... of both copies');

# ---- pressure ----

my $hog = run_guest('hog', ['-m', '92M', '--balloon=off', '--merge=off'],
	qw(hold 2 21000 seconds=60));
finish($hog);
my @later = events();
my ($level) = of('reclaim_level', '', @later);
is($level->{reason}, 'begins', 'reclaim begins');
ok($level->{free_bytes} < $level->{low_bytes} || $level->{waited_bytes} > 0,
	'... because little is free, or somebody waits');
ok(scalar(of('recall', '', @later)), 'credits are recalled');
my ($oom) = of('oom', '', @later);
my ($stop) = of('stop', $oom->{vm}, @later);
ok($oom->{badness} > 0 && $oom->{needed_bytes} > 0, "out of memory: $oom->{text}");
is($stop->{reason}, 'out of memory', '... and so that VM ends');
ok($stop->{seq} > $oom->{seq}, '... after it was chosen');
$stat = decode_json(scalar quire('stat', '--json', "--machine=$address"));
is(scalar(of('oom', '', @later)), $stat->{machine}{oom_kills}, 'quire stat counts the same');

# ---- what the document says ----

# The kinds in docs/metrics.md, and the numbers that each has.
my ($section) = slurp('docs/metrics.md') =~ /^## Events\n(.*)\z/ms;
my %numbers = map { /^\| `(\w+)` \| .*? \|(.*)\|$/ ? ($1 => $2) : () } split /\n/, $section;
$numbers{reclaim} .= $numbers{reclaim_level};
my %common = map { $_ => 1 } qw(schema seq time monotonic_ns kind vm id pid reason text);
my @strange = map {
	my $e = $_;
	map { "$e->{kind}: $_" }
		grep { !$common{$_} && ($numbers{$e->{kind}} // '') !~ /`$_`/ } sort keys %$e;
} @later;
is_deeply(\@strange, [], 'docs/metrics.md names each number of each kind');
is_deeply([grep { !exists $numbers{$_->{kind}} } @later], [], '... and each kind');

# ---- the end ----

quire('kill', 'twin');
finish($twins);
ok(until_true(60, sub { grep { $_->{kind} eq 'stop' && $_->{vm} eq 'twin-1' } events() }), 'an end')
	or diag explain [events()];
my @end = events();
kill TERM => $machine->{pid};
finish($machine);
is(finish($follower)->{status}, 0, 'a follower ends with the machine');
my @followed = map { decode_json($_) } split /\n/, slurp("$dir/follower.out");
is_deeply([@followed[0 .. $#end]], \@end, '... and was told everything, in order');
my (undef, $status) = quire('events', "--machine=$address");
is($status, 121, 'no machine, no events');
(undef, $status) = quire('events', 'one', 'two');
is($status, 2, 'one VM at a time');
done_testing();
