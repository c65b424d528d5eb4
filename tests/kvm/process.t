#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# A VM process is executed, not only forked, and so is a launcher's own machine: two copies, their
# machine and their launcher have nothing in common that one of them could learn from itself.
use strict;
use warnings;
no warnings 'portable'; # addresses have 64 bits
use File::Temp qw(tempdir);
use POSIX ();
use Test::More;
use Time::HiRes qw(time sleep);
use FindBin;
use lib $FindBin::Bin;
use Guests qw(slurp children vms_of);
use List::Util qw(first);

my $build = $ENV{QUIRE_BUILD} // 'build';
my ($quire, $guest) = ("$build/quire", "$build/guest/quill.elf");
my $secret = 'SECRET_TOKEN=of-the-caller-' . join '', map { chr(97 + rand 26) } 1 .. 20;
my $dir = tempdir(CLEANUP => 1);
plan skip_all => 'needs /dev/kvm and root' unless -w '/dev/kvm' && !$>;
plan skip_all => 'the options of a sanitizer are in the environment' if $build =~ /san/;

# Starts quire run, with a secret in its environment and a stray descriptor.  Returns its pid.
sub start {
	my $pid = fork // die;
	return $pid if $pid;
	my ($name, $value) = split /=/, $secret;
	$ENV{$name} = $value;
	$^F = 1000;
	open STDOUT, '>', "$dir/out" or die;
	open my $stray, '<', '/etc/passwd' or die;
	exec $quire, 'run', @_;
}

# What a process has at these addresses: [from, to).
sub memory {
	my ($pid, $from, $to) = @_;
	open my $f, '<:raw', "/proc/$pid/mem" or return '';
	sysseek $f, $from, 0 or return '';
	sysread $f, my $bytes, $to - $from;
	return $bytes // '';
}

# In all that it can write to and shares with nobody?
sub holds_secret {
	my ($pid) = @_;
	for (split /\n/, slurp("/proc/$pid/maps")) {
		my ($from, $to, $mode, $rest) = /^([0-9a-f]+)-([0-9a-f]+) (\S+) (.*)/ or next;
		next if $mode !~ /^rw-p/;
		my ($low, $high) = (hex $from, hex $to);
		next if $high - $low > 64 << 20; # address space that is only reserved
		return 1 if index(memory($pid, $low, $high), $secret) >= 0;
	}
	return 0;
}

# The 16 random bytes of which the C library makes the canary and more.
sub canary {
	my ($pid) = @_;
	my %aux = unpack 'Q*', slurp("/proc/$pid/auxv");
	return memory($pid, $aux{25}, $aux{25} + 16);
}

# Where things are: the program, the C library, heap, stack.
sub layout {
	my ($pid) = @_;
	my %at;
	for (split /\n/, slurp("/proc/$pid/maps")) {
		my ($from, $name) =
			/^([0-9a-f]+)-.* (\S*(?:quire|libc\.so\S*|\[heap\]|\[stack\]))$/ or next;
		$name =~ s{.*/}{};
		$at{$name} //= $from;
	}
	return \%at;
}

sub descriptors { return map { readlink // () } glob "/proc/$_[0]/fd/*" }

sub look {
	my ($how) = @_;
	my $launcher = start("--sandbox=$how", '--machine=own', '--name=process', '-n', 2,
		'-m', '16M', '--timeout=60', $guest, 'idle', 50);
	my @vms;
	for (1 .. 400) {
		@vms = vms_of($launcher);
		last if 2 == grep { (() = glob "/proc/$_/task/*") >= 5 } @vms;
		sleep 0.05;
	}
	is(scalar @vms, 2, "$how: two VMs run");
	my $machine = first { slurp("/proc/$_/cmdline") eq "quire-machine\0" } children($launcher);
	my @born = (@vms, $machine);
	like(slurp("/proc/$_/cmdline"), qr/^quire-vm\0process-[12]\0$/,
		"$how: its command line has its name, and nothing else") for @vms;
	for (@born) {
		unlike(slurp("/proc/$_/environ"), qr/SECRET/, "$how: no secret in its environment");
		ok(!holds_secret($_), "$how: ... nor in its memory");
		is(join(' ', grep { m{^/etc/passwd|quire-vm|quire-info} } descriptors($_)), '',
		   "$how: no stray descriptor");
	}
	my @who = (@born, $launcher);
	ok(holds_secret($launcher), "$how: the launcher has it");
	my %canary = map { unpack('H*', canary($_)) => 1 } @who;
	is(scalar keys %canary, 4, "$how: four canaries") or diag explain \%canary;
	my @layout = map { layout($_) } @who;
	for my $part (sort keys %{$layout[0]}) {
		my %at = map { ($_->{$part} // 'nowhere') => 1 } @layout;
		is(scalar keys %at, 4, "$how: four places of $part") or diag explain \%at;
	}
	cmp_ok(scalar keys %{$layout[0]}, '>=', 3, "$how: ... of the program, its stack, and more");
	kill TERM => $launcher;
	waitpid $launcher, 0;
	is($? >> 8, 143, "$how: they end");
}

# --sandbox=off: the new process itself sees to it, and not the sandbox.
look('off');
look('on');

# ---- executed by anybody ----

# Executes quire with these arguments and with these files as descriptors 3, 4 ...
sub as_part {
	my ($args, @files) = @_;
	my $pid = fork // die;
	if (!$pid) {
		open STDIN, '<', '/dev/null' or die;
		open STDERR, '>', "$dir/err" or die;
		POSIX::close($_) for 3 .. 20;
		POSIX::open($_, POSIX::O_RDONLY()) for @files;
		exec { $quire } @$args or POSIX::_exit(99);
	}
	waitpid $pid, 0;
	return ($? >> 8, slurp("$dir/err"));
}

for (['a VM', 'use quire run', 'quire-vm', 'somebody'],
     ['a machine', 'use quire machine', 'quire-machine']) {
	my ($what, $hint, @args) = @$_;
	for (['no descriptors'], ['other files', ('/dev/null') x 4]) {
		my ($with, @files) = @$_;
		my ($status, $err) = as_part(\@args, @files);
		is($status, 2, "$what with $with: refused");
		like($err, qr/^quire: this is not how $what .*: $hint$/, '... in a line');
	}
}

done_testing();
