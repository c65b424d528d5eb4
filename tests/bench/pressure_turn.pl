#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# pressure_turn.pl quire PAGES [OPTION...] -- SECONDS WORD...
# pressure_turn.pl zram|file PAGES -- SECONDS WORD...
#
# A guest of 128 MiB that stresses its memory (quill's stress), and of which PAGES pages may be in
# memory besides what it costs without them; 0: all.  Prints what it did:
#
#   ops_s=N longest_us=N held=N away=N    held: what it held besides, in the mean of all looks once
#                                         it was ready; away: pages that were elsewhere then
#   loads=N vcpu_us=N cpu_us=N            quire alone: in 1000 operations; the processor time of an
#                                         operation, of its vCPU and of the whole VM
#
# What compressed pages take counts as held, on both sides.
#
# Options are quire run's.  The others are QEMU in a memory cgroup, with swap on a zram device or in
# a file, which are this turn's own.  QEMU has no transparent huge pages: with them the kernel finds
# nothing to reclaim.
#
# The bound of QEMU is on its anonymous memory.  A guest with next to no pages says what it takes
# besides; the page cache of its files does not count, because it goes first.  Somebody (squeeze)
# looks 2000 times a second.  If there is too much, he sets the limit of the cgroup, which makes the
# kernel reclaim what is above it, and takes it away again: at a hard limit that stays the kernel
# kills a guest that touches pages faster than they leave.
#
# What was made is taken away at the end, also when the turn is killed by a signal.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use lib dirname(__FILE__) . '/../kvm';
use JSON::PP;
use Qemu;
use Quire;
use Time::HiRes qw(sleep);

$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);

my ($who, $pages, @rest) = @ARGV;
my ($end) = grep { $rest[$_] eq '--' } 0 .. $#rest;
my @options = splice @rest, 0, $end;
my @words = @rest[1 .. $#rest];
my $dir = tempdir(CLEANUP => 1);

sub slurp { open my $f, '<', $_[0] or return ''; local $/; return scalar readline $f }
sub put { open my $f, '>', $_[0] or return; print $f $_[1]; return close $f }
sub spew { put(@_) or die "$_[0]: $!\n" }

sub report {
	my ($out, $held, $away) = @_;
	my ($operations, $longest) = $out =~ /operations=(\d+) longest_us=(\d+)/
		or die "$who: $out\n";
	$out =~ /verified=/ or die "$who: $out\n";
	printf "ops_s=%.0f longest_us=%d held=%d away=%d\n", $operations / $words[0], $longest,
		$held, $away;
}

sub mean { my $sum = 0; $sum += $_ for @_; return @_ ? $sum / @_ : 0 }

# ---- quire ----

my (@held, @away);	# at each look, in pages

# The loads so far; the processor time in us, of the vCPU and in all.  What it holds is noted.
sub look {
	my ($vm) = @_;
	my $its = decode_json(scalar `$Quire::quire stat --json $vm->{name}`)->{vms}[0];
	my %loads = %{ $its->{compressed_loads} };
	delete $loads{longest_ns};
	my $sum = 0;
	$sum += $_ for values %loads;
	push @held, $its->{resident_bytes} / 4096;
	push @away, $its->{state_compressed_pages} + ($its->{state_swapped_pages} // 0);
	return ($sum, $its->{vcpu_cpu_ns} / 1000, $its->{cpu_ns} / 1000);
}

# What the guest says of itself, with what look() says: (operations, loads, ...).
sub sample {
	my ($vm) = @_;
	$vm->{out} = '';
	my $operations = $vm->wait_for(qr/filled=\d+ operations=(\d+) /)
		// die "quire: $vm->{out}\n";
	return ($operations, look($vm));
}

# Its machine has what the guest costs besides: the VM's overhead (605 pages), what must stay free
# (some 270), and what the guest needs for itself (three blocks).
sub quire_turn {
	my ($its, $besides) = (3 * 512, 2400);
	my @machine = $pages ? sprintf('--machine-memory=%dK', 4 * ($pages + $besides)) : ();
	my $vm = Quire->new([qw(-m 128M --overcommit=1), @machine, @options], 'stress', @words,
		'every=1');
	my @first = sample($vm);
	my @last = sample($vm);
	@last = sample($vm) for 3 .. $words[0] - 1;
	$vm->finish;
	report($vm->{out}, mean(@held) - $its, mean(@away));
	my $operations = $last[0] - $first[0] || 1;
	my ($loads, $vcpu, $cpu) = map { ($last[$_] - $first[$_]) / $operations } 1 .. 3;
	printf "loads=%.1f vcpu_us=%.1f cpu_us=%.1f\n", 1000 * $loads, $vcpu, $cpu;
}

# ---- QEMU: its cgroup ----

my ($group, $zram, $file, $squeezer);
my $v1 = -e '/sys/fs/cgroup/memory/cgroup.procs';
my $root = $v1 ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
my ($limit, $none) = $v1 ? qw(memory.limit_in_bytes -1) : qw(memory.high max);
my $usage = $v1 ? 'memory.usage_in_bytes' : 'memory.current';

# A number of its memory.stat.
sub counter {
	my ($name) = @_;
	return slurp("$group/memory.stat") =~ /^$name (\d+)$/m ? $1 : 0;
}

# What the kernel has for it: tables.
sub kernel_bytes {
	return $v1 ? slurp("$group/memory.kmem.usage_in_bytes") : counter('kernel');
}

sub zram_bytes {
	return defined $zram ? (split ' ', slurp("/sys/block/zram$zram/mm_stat"))[2] : 0;
}

# What it holds: its anonymous memory, and what zram has of it.
sub held_bytes { return counter($v1 ? 'rss' : 'anon') + zram_bytes() }
sub away_bytes { return $v1 ? counter('swap') : slurp("$group/memory.swap.current") }

sub squeeze {
	my ($bytes) = @_;
	while (1) {
		sleep 0.0005;
		my $most = $bytes - zram_bytes() + kernel_bytes();
		next if slurp("$group/$usage") <= $most;
		put("$group/$limit", $most);
		put("$group/$limit", $none);
	}
}

sub bound {
	my ($bytes) = @_;
	$squeezer = fork // die "fork: $!\n";
	return if $squeezer;
	$SIG{TERM} = 'DEFAULT';
	squeeze($bytes);
}

# ---- ... and its swap ----

sub make {
	mkdir "$root/quire-bench-$$" or die "$root: $!\n";
	$group = "$root/quire-bench-$$";
	my $swap;
	if ($who eq 'zram') {
		chomp($zram = slurp('/sys/class/zram-control/hot_add'));
		spew("/sys/block/zram$zram/comp_algorithm", 'lz4');
		spew("/sys/block/zram$zram/disksize", '256M');
		$swap = "/dev/zram$zram";
	} else {
		$swap = $file = ($ENV{TMPDIR} // '/var/tmp') . "/quire-bench-$$.swap";
		system("umask 077; dd if=/dev/zero of=$file bs=1M count=256 status=none") == 0
			or die "$file\n";
	}
	system("mkswap $swap >/dev/null && swapon $swap") == 0 or die "swapon $swap\n";
}

sub unmake {
	local $?;
	if ($squeezer) { kill TERM => $squeezer; waitpid $squeezer, 0 }
	spew("$group/$limit", $none) if $group;
	my ($swap) = grep { defined } $file, defined $zram ? "/dev/zram$zram" : undef;
	system 'swapoff', $swap if $swap && slurp('/proc/swaps') =~ m{^\Q$swap\E\s}m;
	rmdir $group if $group;
	unlink $file if $file;
	return if !defined $zram;
	spew("/sys/block/zram$zram/reset", 1);
	spew('/sys/class/zram-control/hot_remove', $zram);
}
my $parent = $$;
END { unmake() if $$ == $parent }

# ---- ... and its turn ----

sub qemu {
	local $Qemu::first = sub {
		syscall 157, 41, 1, 0, 0, 0;	# prctl(PR_SET_THP_DISABLE)
		spew("$group/cgroup.procs", $$);
	};
	return Qemu->new($Quire::quill, $dir, [qw(-m 128)], 'stress', @_);
}

# What a guest holds without pages.
sub besides {
	my $vm = qemu(qw(1 pages=16 fill=1));
	$vm->wait_for(qr/ready/) or die "QEMU: $vm->{out}\n";
	sleep 0.5;
	my $bytes = held_bytes();
	$vm->finish;
	return $bytes;
}

sub qemu_turn {
	make();
	my $besides = besides();
	bound($besides + 4096 * $pages) if $pages;
	my $vm = qemu(@words);
	$vm->wait_for(qr/ready/) or die "QEMU: $vm->{out}\n";
	for (2 .. $words[0]) {
		sleep 1;
		push @held, (held_bytes() - $besides) / 4096;
		push @away, away_bytes() / 4096;
	}
	$vm->finish;
	report($vm->{out}, mean(@held), mean(@away));
}

$who eq 'quire' ? quire_turn() : qemu_turn();
