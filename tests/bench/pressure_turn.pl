#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# pressure_turn.pl quire PAGES [OPTION...] -- SECONDS WORD...
# pressure_turn.pl zram|file PAGES [less=N] -- SECONDS WORD...
#
# A guest of 128 MiB that stresses its memory (quill's stress), and of which PAGES pages may be in
# memory besides what it costs without them; 0: all.  Prints what it did:
#
#   ops_s=N longest_us=N most=N zram=N    most: pages in memory at most; zram: what it took besides
#   loads=N                               quire alone: of 1000 operations
#
# Options are quire run's.  The others are QEMU in a memory cgroup, with swap on a zram device or in
# a file, which are this turn's own.  less=N: zram is known to take N pages, so that the cgroup has
# as many fewer.  QEMU has no transparent huge pages: with them the kernel finds nothing to reclaim.
#
# With cgroups of version 2 the bound is memory.high.  Those of version 1 have only a hard limit, at
# which the kernel kills a guest that touches pages faster than they leave.  There somebody
# (squeeze) sets the limit, which reclaims what is above it, and takes it away again, 2000 times a
# second.
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
	my ($out, $most, $zram) = @_;
	my ($operations, $longest) = $out =~ /operations=(\d+) longest_us=(\d+)/
		or die "$who: $out\n";
	$out =~ /verified=/ or die "$who: $out\n";
	printf "ops_s=%.0f longest_us=%d most=%d zram=%d\n", $operations / $words[0], $longest,
		$most, $zram // 0;
}

# ---- quire ----

# How many loads there were so far.
sub loads {
	my ($vm) = @_;
	my $doc = decode_json(scalar `$Quire::quire stat --json $vm->{name}`);
	my %loads = %{ $doc->{vms}[0]{compressed_loads} };
	delete $loads{longest_ns};
	my $sum = 0;
	$sum += $_ for values %loads;
	return $sum;
}

# What the guest says of itself, with the loads until then: (operations, loads).
sub sample {
	my ($vm) = @_;
	$vm->{out} = '';
	my $operations = $vm->wait_for(qr/filled=\d+ operations=(\d+) /)
		// die "quire: $vm->{out}\n";
	return ($operations, loads($vm));
}

# Its machine has what the guest costs besides: the VM's overhead (605 pages), what must stay free
# (some 270), and what the guest needs for itself (three blocks).
sub quire_turn {
	my $besides = 2400;
	my @machine = $pages ? sprintf('--machine-memory=%dK', 4 * ($pages + $besides)) : ();
	my $vm = Quire->new([qw(-m 128M --overcommit=1), "--stats=$dir/stats", @machine, @options],
		'stress', @words, 'every=1');
	my @first = sample($vm);
	my @last = sample($vm);
	@last = sample($vm) for 3 .. $words[0] - 1;
	$vm->finish;
	my $its = decode_json(slurp("$dir/stats"))->{vms}[0];
	report($vm->{out}, $its->{most_resident_bytes} / 4096);
	printf "loads=%.1f\n", 1000 * ($last[1] - $first[1]) / ($last[0] - $first[0] || 1);
}

# ---- QEMU: its cgroup ----

my ($group, $zram, $file, $squeezer);
my $v1 = -e '/sys/fs/cgroup/memory/cgroup.procs';
my $root = $v1 ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
my ($limit, $most, $none) = $v1 ? qw(memory.limit_in_bytes memory.max_usage_in_bytes -1) :
	qw(memory.high memory.peak max);

sub squeeze {
	my ($bytes) = @_;
	while (1) {
		sleep 0.0005;
		next if slurp("$group/memory.usage_in_bytes") <= $bytes;
		put("$group/$limit", $bytes);
		put("$group/$limit", $none);
	}
}

sub bound {
	my ($bytes) = @_;
	spew("$group/$limit", $v1 ? $none : $bytes);
	return if !$v1 || $bytes == $none;
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

sub zram_pages {
	return defined $zram ? (split ' ', slurp("/sys/block/zram$zram/mm_stat"))[4] / 4096 : 0;
}

# ---- ... and its turn ----

# A guest with that bound in bytes; what it printed.
sub guest {
	my ($bytes, @its) = @_;
	put("$group/$most", 0) if $v1;
	bound($bytes);
	local $Qemu::first = sub {
		syscall 157, 41, 1, 0, 0, 0;	# prctl(PR_SET_THP_DISABLE)
		spew("$group/cgroup.procs", $$);
	};
	my $vm = Qemu->new($Quire::quill, $dir, [qw(-m 128)], 'stress', @its);
	$vm->finish;
	return $vm->{out};
}

sub qemu_turn {
	my $less = "@options" =~ /less=(\d+)/ ? $1 : 0;
	make();
	guest($none, qw(rounds=1 pages=16));
	my $besides = slurp("$group/$most") - 16 * 4096;
	my $out = guest($pages ? $besides + 4096 * ($pages - $less) : $none, @words);
	report($out, (slurp("$group/$most") - $besides) / 4096, zram_pages());
}

$who eq 'quire' ? quire_turn() : qemu_turn();
