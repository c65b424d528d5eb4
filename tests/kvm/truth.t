#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The account against the kernel's truth, under churn: guests of many sizes, with and without huge
# pages, fill and touch their memory and end or are killed, while what the kernel says of their
# RAM files (st_blocks) and of their processes (smaps_rollup, page tables) is compared with what the
# machine says, again and again.
#
# Exact, at any moment:
#
#   memory_bytes == free_bytes + credit_bytes + overhead_bytes, and each is the sum over the VMs
#   (merging is off: RAM files only grow)
#   ram_file_bytes <= credit_bytes, for each VM; resident_bytes is their sum
#
# Nothing can be read at one moment from outside, so a RAM file is read between two answers of the
# machine.  Files only grow here, so its blocks are not less than ram_file_bytes before and not
# more than after.  The kernel's sum may be below the account, by the margin:
#
#   credits at hand     less than two batches of 32 MiB a VM, and never more than its RAM has left
#   overhead not used   what a process has of its own, page tables included, is less than it was
#                       charged: the rest is for stage 2 tables at their largest
#
# but never above: RAM files + processes <= memory - free at every sample.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time sleep);
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $san = $build =~ /san/;	# whose processes are larger than a promise of 1 MiB
my $seed = $ENV{QUIRE_SEED} // (time * 1000 ^ $$) % 1_000_000;
my $seconds = 8 * ($ENV{QUIRE_STORM} // 1);
my $at_once = 6;		# quire runs at a time
my $batch = 32 << 20;
my $memory = 400;		# MiB: less than they touch if all are large at once

my @work = (
	['-m', '64M', 'fill', 1, 9000],
	['-m', '64M', 'fill', 2, 9000, 'order=shuffle'],
	['-m', '128M', 'hold', 3, 12000, 'seconds=1'],
	['-m', '96M', 'touch', 'all', 'order=seq'],
	['-m', '96M', 'touch', 16000, 'order=shuffle'],
	['-m', '48M', 'stress', 2],
	['-m', '64M', 'stress', 3, 'pages=6000'],
	['-m', '16M', '-n', 4, 'stress', 2, 'pages=1500'],
	['-m', '32M', '-n', 2, '-c', 2, 'hold', 4, 3000, 'seconds=2'],
);

my $skip = missing();
plan skip_all => $skip if $skip;

# The machine's numbers and each VM's, by pid.
sub by_pid {
	my ($m, $vms) = account() or return;
	return ($m, { map { $_->{pid} => $_ } grep { defined $_->{credit_bytes} } values %$vms });
}

# Bytes of the RAM file of a process: the unlinked regular file of twice that size.  undef: it is
# gone.
sub file_bytes {
	my ($pid, $size) = @_;
	for (glob "/proc/$pid/fd/*") {
		my @st = stat or next;
		return $st[12] * 512 if $st[3] == 0 && -f _ && $st[7] == 2 * $size;
	}
	return undef;
}

# What a VM process has besides the pages of its RAM: its share of anonymous and file pages, and its
# page tables.  undef: it is gone.
sub process_bytes {
	my ($pid) = @_;
	my $rollup = slurp("/proc/$pid/smaps_rollup");
	my ($anon, $file) = map { $rollup =~ /^$_: *(\d+) kB/m ? $1 : undef } qw(Pss_Anon Pss_File);
	my ($tables) = slurp("/proc/$pid/status") =~ /^VmPTE:\s*(\d+) kB/m;
	return undef if !defined $anon || !defined $file || !defined $tables;
	return ($anon + $file + $tables) << 10;
}

sub sum { my $s = 0; $s += $_ // 0 for @_; return $s }

my (%bad, %seen);
sub bad { my ($what, $why) = @_; $bad{$what} .= "$why\n" if ++$seen{$what} <= 5 }

# One sample.  Returns what the kernel counts and what the machine does, or nothing.
sub sample {
	my ($m1, $before) = by_pid() or return;
	my (%file, %process);
	for my $pid (keys %$before) {
		$file{$pid} = file_bytes($pid, $before->{$pid}{ram_bytes} // next);
		$process{$pid} = process_bytes($pid);
	}
	my ($m2, $after) = by_pid() or return;

	for ([$m1, $before], [$m2, $after]) {
		my ($m, $vms) = @$_;
		bad('sum', encode_json($m)) if $m->{memory_bytes} !=
			$m->{free_bytes} + $m->{credit_bytes} + $m->{overhead_bytes};
		bad('resident', encode_json($m)) if $m->{resident_bytes} > $m->{credit_bytes};
		for (values %$vms) {
			my $line = "$_->{name}: file $_->{ram_file_bytes} " .
				"credits $_->{credit_bytes} RAM $_->{ram_bytes}";
			bad('credit', $line) if $_->{ram_file_bytes} > $_->{credit_bytes};
			bad('ram', $line) if $_->{credit_bytes} > $_->{ram_bytes};
		}
	}
	my ($files, $processes, $credits, $overheads, $vms) = (0) x 5;
	for my $pid (keys %$before) {
		my ($a, $b, $file, $process) = ($before->{$pid}, $after->{$pid}, $file{$pid},
			$process{$pid});
		next if !$b || !defined $file || !defined $process;
		bad('file', "$a->{name}: $a->{ram_file_bytes} before, $file, " .
			"$b->{ram_file_bytes} after")
			if $file < $a->{ram_file_bytes} || $file > $b->{ram_file_bytes};
		bad('state', "$a->{name}: $a->{resident_bytes} before, " .
			"credits $b->{credit_bytes} after")
			if ($a->{resident_bytes} // 0) > $b->{credit_bytes};
		bad('process', "$a->{name}: $process, charged $a->{overhead_bytes}")
			if !$san && $process > $a->{overhead_bytes};
		bad('margin', "$a->{name}: file $file, credits $a->{credit_bytes} before")
			if $a->{credit_bytes} > $file + 2 * $batch;
		$vms++;
		$files += $file;
		$processes += $process;
		$credits += $b->{credit_bytes};
		$overheads += $b->{overhead_bytes};
	}
	bad('total', "files $files + processes $processes, memory $m2->{memory_bytes}")
		if $files + ($san ? 0 : $processes) > $m2->{memory_bytes};
	bad('used', "files $files + processes $processes, credits $credits + overheads $overheads")
		if $files + ($san ? 0 : $processes) > $credits + $overheads;
	return { vms => $vms, files => $files, processes => $processes, credits => $credits,
		overheads => $overheads, free => $m2->{free_bytes} };
}

diag "seed $seed (repeat with QUIRE_SEED=$seed)";
srand $seed;
my $machine = serve("$dir/machine", "--memory=${memory}M", '--overcommit=1')
	or BAIL_OUT('no machine');

my (@runs, @samples, $nr, $shot);
my ($odd, $most_vms, $killed) = ('', 0, 0);
sub reap {
	for my $r (@runs) {
		next if !defined ended($r);
		my $err = $r->{err};
		my $ok = $r->{status} eq 0 ||
			($r->{status} eq 121 && $r->{shot} && $err =~ /killed by SIGKILL/) ||
			($r->{status} eq 123 && $err =~ /out of memory/);
		$odd .= "@{$r->{what}}: status $r->{status}: $err" if !$ok;
		$killed++ if $r->{status} eq 123;
	}
	@runs = grep { !defined $_->{status} } @runs;
}
for (my $until = time + $seconds; time < $until || @samples < 10;) {
	reap();
	while (@runs < $at_once) {
		my @what = @{$work[rand @work]};
		my @options;
		push @options, shift @what, shift @what while $what[0] =~ /^-/;
		push @options, '--merge=off', '--hugepages=' . (rand() < 0.5 ? 'auto' : 'never');
		my $base = "$dir/" . ++$nr;
		my $r = start($base, 'timeout', '-s', 'KILL', 60, $quire, 'run',
			"--machine=$address", '--timeout=50',
			@options, $quill, @what);
		$r->{what} = [@options, @what];
		push @runs, $r;
	}
	my $s = sample();
	push @samples, $s if $s;
	if (rand() < 0.1) {
		my $r = $runs[rand @runs];
		my ($launcher) = children($r->{pid});
		my @vms = $launcher ? vms_of($launcher) : ();
		$shot += $r->{shot} = kill KILL => $vms[rand @vms] if @vms;
	}
}
for (my $until = time + 60; @runs && time < $until; sleep 0.02) { reap() }

sub mib { return sprintf '%.1f', $_[0] / (1 << 20) }
my $full = (sort { $b->{files} <=> $a->{files} } @samples)[0] // {};
my $per = (sort { $b <=> $a } map { $_->{vms} ? $_->{processes} / $_->{vms} : 0 } @samples)[0] // 0;
diag sprintf '%d quire runs, %d shot, %d out of memory; %d samples', $nr, $shot // 0, $killed,
	scalar @samples;
diag 'at the fullest: ' . join ', ',
	map { "$_ " . mib($full->{$_} // 0) } qw(files credits processes overheads free);
diag 'MiB that a process has of its own, mean of the worst sample: ' . mib($per);
cmp_ok(scalar(@samples), '>=', 10, 'samples were taken');
cmp_ok($full->{files} // 0, '>=', $memory / 4 << 20, '... of a machine that was well used');
my @claims = (
	[sum => 'memory = free + credits + overheads'],
	[resident => 'resident pages of the machine are within credits'],
	[credit => "each VM's RAM file is within its credits"],
	[ram => '... and these within its RAM'],
	[state => '... as are the pages it says it has'],
	[file => "the kernel's count of each RAM file agrees with the machine's"],
	[margin => '... credits are ahead of it by two batches at most'],
	[process => 'each process has no more than the overhead it was charged'],
	[used => 'RAM files + processes are within credits + overheads'],
	[total => '... and within the memory of the machine'],
);
for (@claims) {
	my ($claim, $text) = @$_;
	SKIP: {
		skip 'the sanitizer has memory of its own', 1 if $san && $claim eq 'process';
		ok(!$bad{$claim}, $text) or diag "$seen{$claim} times, first:\n$bad{$claim}";
	}
}
is($odd, '', 'every guest verified its memory, or was killed by us or for want of memory');
is(scalar(@runs), 0, '... and has ended');
my $m;
until_true(10, sub { $m = account(); $m && !$m->{vms} });
is($m->{$_}, 0, "in the end: $_ is 0")
	for qw(vms committed_bytes credit_bytes overhead_bytes resident_bytes);
kill TERM => $machine->{pid};
is(finish($machine, 10)->{status}, 0, 'the machine ends');
done_testing();
