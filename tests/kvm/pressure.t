#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Guests that are larger than their machine, in both modes: with a policy they compress what they do
# not use, and find every byte again; without one the machine has to kill them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use Test::More;

my $why = missing();
plan skip_all => $why if $why;

# A guest of 64 MiB with 47 MiB of pages, of which 4 in 5 can be compressed, in a machine of 48.
sub hold {
	my ($name, @options) = @_;
	my $base = "$dir/$name";
	my $guest = start($base, $quire, 'run', "--name=$name", '-m', '64M', '--machine=own',
		'--machine-memory=48M', '--overcommit=1', '--balloon=off', "--stats=$base.json",
		@options, $quill, qw(hold 7 12000 own=11000 packs=80 order=shuffle seconds=0));
	return finish($guest, 100);
}

for my $mode (qw(ept shadow)) {
	my $guest = hold("p$mode", "--paging=$mode");
	is($guest->{status}, 0, "$mode: a guest larger than its machine ends well");
	like($guest->{out}, qr/^hold: verified=12000$/m, '... and finds every byte');
	my %stat = slurp("$dir/p$mode.json") =~ /"(\w+)": (\d+)/g;
	cmp_ok($stat{reclaim_requests} + $stat{reclaim_direct}, '>', 0,
		'... because it was asked, or waited');
	cmp_ok($stat{reclaim_gone_pages}, '>=', 1000, '... so many pages as it had too many');
	cmp_ok($stat{zswpin_pages}, '>', 0, '... of which some came back');
	cmp_ok($stat{most_resident_bytes}, '<=', 48 << 20, '... it never had too many');
	is(hold("o$mode", "--paging=$mode", '--reclaim=off')->{status}, 123,
		"$mode: without a policy it is out of memory");
}

for my $policy (qw(clock lru lfu fifo random)) {
	my $guest = hold($policy, "--reclaim=$policy");
	is($guest->{status}, 0, "$policy: the same");
	like($guest->{out}, qr/^hold: verified=12000$/m, '... with every byte');
	like(slurp("$dir/$policy.json"), qr/"reclaim": "$policy"/, '... by this policy');
}
# ---- of two, the one that does nothing gives ----
{
	my $machine = serve("$dir/machine", '--memory=64M', '--overcommit=1')
		or BAIL_OUT('no machine');
	my @options = ("--machine=$address", '-m', '64M', '--balloon=off', '--merge=off');
	my @hold = qw(9000 own=8500 packs=100);
	system 'mkfifo', "$dir/idle.in";
	my $idle = start("$dir/idle", $quire, 'run', '--name=idle', @options,
		"--stats=$dir/idle.json", $quill, 'hold', 1, @hold, 'seconds=100');
	open my $in, '+<', "$dir/idle.in" or die;
	BAIL_OUT('no guest: ' . slurp("$dir/idle.err")) if !says($idle, 'hold: ready', 1, 60);
	my $grows = finish(start("$dir/grows", $quire, 'run', '--name=grows', @options, $quill,
		'hold', 2, @hold, 'seconds=0'), 100);
	is($grows->{status}, 0, 'a guest grows beyond what is free');
	like($grows->{out}, qr/^hold: verified=9000$/m, '... and finds every byte');
	syswrite $in, "\n";
	finish($idle, 100);
	is($idle->{status}, 0, '... another one, which was idle, lives');
	like($idle->{out}, qr/^hold: verified=9000$/m, '... and finds every byte, too');
	my %stat = slurp("$dir/idle.json") =~ /"(\w+)": (\d+)/g;
	cmp_ok($stat{reclaim_requests}, '>', 0, '... it was asked for memory');
	cmp_ok($stat{reclaim_gone_pages}, '>', 1000, '... and gave some');
	kill 'TERM', $machine->{pid};
	finish($machine, 20);
}
# ---- pages that are equal are given back first, or not; reclaimer_test has exact numbers ----
sub alike {
	my ($name, @options) = @_;
	my $machine = serve("$dir/m$name", '--memory=64M', '--overcommit=1')
		or BAIL_OUT('no machine');
	system 'mkfifo', "$dir/$name.in";
	my $guest = start("$dir/$name", $quire, 'run', "--name=$name", "--machine=$address", '-m',
		'64M', '--balloon=off', '--merge-rate=1', @options, "--stats=$dir/$name.json",
		$quill, qw(hold 1 9000 dup=9 packs=100 seconds=100));
	open my $in, '+<', "$dir/$name.in" or die;
	BAIL_OUT('no guest: ' . slurp("$dir/$name.err")) if !says($guest, 'hold: ready', 1, 60);
	# Memory falls below low, and not to min: then frames can be shared.
	my ($short, $vm) = account();
	my $early = $vm->{$name}{merged_pages};
	my $memory = int(($short->{memory_bytes} - $short->{free_bytes}) / 1024) + 900;
	quire('machine', 'set', "--machine=$address", "--memory=${memory}K");
	ok(until_true(60, sub { my $m = account(); $m && $m->{free_bytes} >= $m->{high_bytes} }),
		"@options: a guest makes room when its machine gets smaller");
	syswrite $in, "\n";
	finish($guest, 100);
	like($guest->{out}, qr/^hold: verified=9000$/m, '... and has every byte');
	kill 'TERM', $machine->{pid};
	finish($machine, 20);
	return (early => $early, slurp("$dir/$name.json") =~ /"(\w+)": (\d+)/g);
}

sub gives_equal {
	my %guest = @_;
	SKIP: {
		skip 'its keeper had merged pages before', 2 if $guest{early};
		cmp_ok($guest{reclaim_give_passes}, '>', 0,
			'... it has equal pages looked for first');
		# Its patience is about a second, in which a keeper may get no processor.  What it
		# finds later is not counted as given, but makes room.
		cmp_ok($guest{zeroed_pages} + $guest{merged_pages} + $guest{reclaim_gone_pages},
			'>', 0, '... and gives those back, or compresses after all');
	}
}

{
	gives_equal(alike('gives', '--swappiness=0'));
	gives_equal(alike('classic', '--swappiness=0', '--reclaim-tendency=classic'));
	my %sends = alike('sends', '--swappiness=200');
	is($sends{reclaim_give_passes}, 0, '... it looks for no equal pages');
	cmp_ok($sends{reclaim_gone_pages}, '>', 0, '... but compresses');
}
like(hold('much', '--swappiness=201')->{err}, qr/^quire: --swappiness: .*200/m,
	'more swappiness than there is is refused');
like(hold('none', '--reclaim-tendency=modern')->{err}, qr/^quire: --reclaim-tendency: .*classic/m,
	'what is no tendency is refused');
like(hold('bad', '--reclaim=best')->{err}, qr/^quire: --reclaim: .*clock, lru/m,
	'what is no policy is refused');
done_testing;
