#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Guests that wait give their processors back: what they use is a small part of the time that
# they wait.  They still hear at once what they wait for.
use strict;
use warnings;
use FindBin;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = no_guest();
plan skip_all => $skip if $skip;

# Processor seconds of all children that have ended.
sub used { my @t = times; return $t[2] + $t[3] }

# Run a guest; its status, and the processor seconds that it used.
sub run {
	my ($words) = @_;
	my $before = used();
	my $status = system "timeout 100 $quire run $words >/dev/null";
	return ($status >> 8, used() - $before);
}

# What a guest uses in three seconds more than in one is what waiting costs it.
for my $guest ("$quill idle ", "-c 2 $quill idle ", "$quill hold 1 100 seconds=",
	       "$quill balloon seconds=") {
	my ($first, $short) = run($guest . 1);
	my ($second, $long) = run($guest . 4);
	is("$first $second", '0 0', "$guest: ends well");
	cmp_ok($long - $short, '<', 0.6,
		'... and uses less than a fifth of the time that it waits');
}

my $before = used();
my $heard = `( sleep 2; echo hello; echo quit ) | timeout 60 $quire run $quill echo`;
is($heard, "echo: ready\nhello\n", 'a guest that waits for input gets it');
cmp_ok(used() - $before, '<', 1, '... and did not poll for it');

# ---- guests that wait and have been merged ----

# How often all threads of a process have gone to sleep so far, by the kernel's count.
sub sleeps {
	my $sum = 0;
	for (map { slurp($_) } glob "/proc/$_[0]/task/*/status") {
		$sum += /^voluntary_ctxt_switches:\s+(\d+)/m ? $1 : 0;
	}
	return $sum;
}

# In a network namespace of our own nobody else's command asks these guests anything.
my %waiting = (hold => 'hold 1 2000 seconds=400',
	tell => 'balloon seconds=400 dirty=2000 zero=500');	# its driver tells how the guest is
my $span = 36;	# seconds; fewer than one in two
SKIP: {
	# unshare(CLONE_NEWNET)
	skip 'cannot have a network namespace', 7 if syscall 272, 0x40000000;
	my $me = $$;
	my (%run, %vm, %least);
	for my $what (sort keys %waiting) {
		$run{$what} = fork // die;
		if (!$run{$what}) {
			open STDOUT, '>', "$dir/$what";
			exec $quire, 'run', '-n', 2, "--name=$what-$me", '--machine=own',
				'--timeout=500', '-m', '64M', $quill, split ' ', $waiting{$what};
		}
		ok(until_true(30, sub { 2 == (() = slurp("$dir/$what") =~ /: ready/g) }),
			"$what: two guests with the same pages");
	}
	for (`$quire ps`) { $vm{$1} = $2 if /^((?:hold|tell)-$me-\d)\s.*\s(\d+)$/ }
	is(keys %vm, 4, '... are seen');
	# Merging has to end first, and what a busy host delays.  Then it is counted, until all
	# counts are low.
	for (1 .. 6) {
		my %before = map { $_ => sleeps($vm{$_}) } keys %vm;
		sleep $span;
		for (keys %vm) {
			my $nr = sleeps($vm{$_}) - $before{$_};
			$least{$_} = $nr if $nr < ($least{$_} // 1e9);
		}
		last if !grep { $_ >= $span / 2 } values %least;
	}
	ok($least{$_} < $span / 2, "$_ waits: it slept and woke $least{$_} times in $span s, " .
		'in all its threads')
		for sort keys %vm;
	for (values %run) { kill TERM => $_; waitpid $_, 0 }
}

# ---- a guest that halts, and that nothing can wake ----

done_testing();
