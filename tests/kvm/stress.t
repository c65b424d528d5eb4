#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# A crowd on one machine: 200 guests of 16 MiB started in parallel, about half of them killed with
# kill -9 at random moments, from the first instant on, some by the death of their launchers.  The
# machine has less memory than they may touch together, though enough for what they do touch: they
# live on credits that others give back.  Guests verify every byte; in the end the machine has
# everything back, the kernel agrees, and nothing is left of anybody.
#
# The seed decides who runs what, and who is shot when; the rest is up to the scheduler.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use List::Util qw(min sum);
use Test::More;
use Time::HiRes qw(time sleep);
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

$address = "\@quire-test/stress-$$";	# which others do not find
my $slow = $build =~ /san/ || deviates('slow');
my $seed = $ENV{QUIRE_SEED} // (time * 1000 ^ $$) % 1_000_000;

# Launchers, guests of each, shots at single guests, launchers shot, and MiB of the machine.
my ($launchers, $copies, $shots, $sunk, $memory) = $slow ? (4, 12, 16, 1, 512) :
	(10, 20, 90, 2, 2048);
my $rounds = $ENV{QUIRE_STORM} // 1;
my $volley = 5;		# seconds in which they are shot
my $limit = 60;		# ... and in which a launcher must be through

# What guests do: six seconds each, so that all of them run at once.
my @work = (
	['stress', 6, 'pages=500'],
	['stress', 6, 'pages=1000'],
	['hold', 1, 800, 'seconds=6'],
	['hold', 2, 1500, 'order=shuffle', 'seconds=6'],
	['hold', 3, 1200, 'dup=3', 'zero=50', 'seconds=6'],
);

my $skip = no_guest();
plan skip_all => $skip if $skip;

# Write the machine's numbers to a file again and again, from a process of its own: where 200 guests
# compete for the processors an answer takes its time.
sub watch {
	my ($file) = @_;
	return Guests::spawn {
		for (my $until = time + $limit; time < $until; sleep 0.2) {
			my $m = account() or next;
			open my $f, '>>', $file or return;
			print $f encode_json($m) . "\n";
		}
	};
}

# Every process that names our machine, except `quire machine` itself and this one; and our VMs.
sub ours {
	my ($machine) = @_;
	my $words = qr/=\Q$address\E\0|^quire-vm\0s\d+-\d+\0/;
	return grep { $_ != $machine && $_ != $$ && slurp("/proc/$_/cmdline") =~ $words }
		map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

# The machine closes a connection a moment after its client has ended: the fewest of a second.
sub descriptors {
	my ($pid) = @_;
	my @nr;
	for (1 .. 20) {
		my @fd = glob "/proc/$pid/fd/*";
		push @nr, scalar @fd;
		sleep 0.05;
	}
	return min(@nr);
}

# Other tests may run meanwhile; theirs are the directories that mkdtemp(3) named.
sub left { return grep { !m{/quire-\w+[-.]\w{6}$} } map { glob "$_/*quire*" } '/dev/shm', '/run',
	'/tmp' }

sub round {
	my ($machine, $seed) = @_;
	my $before = descriptors($machine);
	my (@runs, %status);

	diag "seed $seed (repeat with QUIRE_SEED=$seed)";
	srand $seed;
	my $begin = time;
	for my $i (1 .. $launchers) {
		my $huge = rand() < 0.5 ? 'auto' : 'never';
		my @what = @{$work[rand @work]};
		push @what, 'seed=' . int rand 1e6 if $what[0] eq 'stress';
		my $base = "$dir/$seed-$i";
		my $r = start($base, 'timeout', '-s', 'KILL', $limit, $quire, 'run',
			"--machine=$address", "--name=s$i",
			'-n', $copies, '-m', '16M', "--hugepages=$huge", "--timeout=" .
			($limit - 10), $quill, @what);
		@$r{qw(i huge what)} = ($i, $huge, \@what);
		push @runs, $r;
	}

	# Who is shot when: launchers in the middle, guests all the time.
	my @plan = sort { $a->[0] <=> $b->[0] } (map { [$volley * (0.1 + 0.8 * rand), $_, 1] } 0 ..
		$sunk - 1),
		map { [$volley * rand() ** 1.5, int rand $launchers, 0, rand] } 1 .. $shots;
	my ($hit, $samples, $wrong, $low) = (0, 0, '', 1 << 50);
	my $watch = watch("$dir/$seed.samples");
	for my $shot (@plan) {
		my ($at, $whose, $whole, $which) = @$shot;
		while ((my $wait = $begin + $at - time) > 0) { sleep $wait }
		# timeout(1) has one child, the launcher.
		my $r = $runs[$whose];
		my ($launcher) = children($r->{pid}) or next;
		if ($whole) {
			$r->{sunk} = 1;
			kill KILL => $launcher;
		} else {
			my @vms = vms_of($launcher) or next;
			$hit += kill KILL => $vms[$which * @vms];
		}
	}
	for my $r (@runs) {
		finish($r, $begin + $limit + 5 - time);
	}
	my $took = time - $begin;
	kill KILL => $watch;
	waitpid $watch, 0;
	Guests::forget($watch);
	for (split /\n/, slurp("$dir/$seed.samples")) {
		my $m = decode_json($_);
		$samples++;
		$low = $m->{free_bytes} if $m->{free_bytes} < $low;
		my $sum = sum(@$m{qw(free_bytes credit_bytes overhead_bytes store_bytes)});
		$wrong = $_ if $sum != $m->{memory_bytes} ||
			$m->{resident_bytes} > $m->{credit_bytes} + $m->{store_bytes};
	}

	# Each guest is accounted for: it verified its memory, or was killed by us.
	my ($verified, $killed, $odd, $asked) = (0, 0, '', 0);
	for my $r (@runs) {
		next if $r->{sunk};
		my ($out, $err) = @$r{qw(out err)};
		my (%well, %shot);
		$well{$1} = 1 while $out =~ /^(s\d+-\d+)\| \w+: (?:writes=\d+ )?verified=\d+$/mg;
		$shot{$1} = 1 while $err =~ s/^quire: (s\d+-\d+): killed by SIGKILL: [^\n]+\n//m;
		my @lost = grep { !$well{$_} && !$shot{$_} } map { "s$r->{i}-$_" } 1 .. $copies;
		my $want = %shot ? 121 : 0;
		$odd .= "launcher $r->{i} (@{$r->{what}}, $r->{huge}): status $r->{status}, " .
			"want $want; lost: @lost; $err\n"
			if $err ne '' || @lost || $r->{status} ne $want || $out =~ /wrong/;
		$verified += keys %well;
		$killed += keys %shot;
		$asked += $copies;
	}
	diag sprintf '%d guests: %d shots hit, %d launchers shot; ' .
		'of the others\' %d, %d verified and %d were killed; ' .
		'%d samples, least free %d MiB; %.1f s', $launchers * $copies, $hit, $sunk, $asked,
		$verified,
		$killed, $samples, $low >> 20, $took;
	is($odd, '',
		"seed $seed: every guest verified its memory or was shot, and no other was hurt");
	cmp_ok($hit + $sunk * $copies, '>=', $launchers * $copies / 4, '... many were shot');
	cmp_ok($verified, '>=', $launchers * $copies / 5, '... and many lived');
	ok(($samples > 0 || deviates('slow')) && $wrong eq '',
		'... all the while memory = free + credits + overheads + store, ' .
		'and resident <= credits + store')
		or diag $wrong;

	# The machine hears of the last end from the kernel: give it a moment.
	my $m;
	for (1 .. 250) {
		$m = account();
		last if $m && !$m->{vms} && !ours($machine);
		sleep 0.02;
	}
	$m //= {};
	is($m->{$_}, 0, "... in the end: $_ is 0")
		for qw(vms committed_bytes credit_bytes overhead_bytes resident_bytes);
	is($m->{free_bytes}, $m->{memory_bytes}, '... everything is free');
	is($m->{oom_kills}, 0, '... nobody had to die for memory');
	is(join(' ', ours($machine)), '', '... no process is left');
	is(descriptors($machine), $before, '... the machine holds no descriptor of a guest');
}

my %had = map { $_ => 1 } left();
my $machine = serve("$dir/machine", "--memory=${memory}M", '--overcommit=1');
if (!$machine) {
	ok(0, 'a machine') or diag slurp("$dir/machine.err");
	done_testing();
	exit;
}
round($machine->{pid}, $seed + $_) for 0 .. $rounds - 1;

kill TERM => $machine->{pid};
is(finish($machine, 10)->{status}, 0, 'the machine ends');
is(scalar(() = slurp("$dir/machine.err") =~ /: admitted: /g),
	scalar(() = slurp("$dir/machine.err") =~ /: gone, /g),
	'... it said goodbye to everyone it admitted');
is(join("\n", grep { !$had{$_} } left()), '', 'nothing of ours is left in /dev/shm, /run, /tmp');
unlike(slurp('/proc/net/unix'), qr/\Q$address\E$/m, '... nor a socket');

done_testing();
