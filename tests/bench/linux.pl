#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Debian's kernel as a guest under quire and under QEMU's microvm, in turns: milliseconds from exec
# to the first line of /init.  linux.sh runs it, in the bed where it must, and makes the medians.
#
# Each boot is a line "boot IMAGE MONITOR MS".  BENCH_RUNS is how many of each kind, and
# BENCH_GUEST_MIB the RAM of a guest.
use strict;
use warnings;
use FindBin;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib 'tests/kvm';
use Guests;
use Linux;
use POSIX ();
use Time::HiRes qw(time);

my $runs = $ENV{BENCH_RUNS} || 5;
my $mib = $ENV{BENCH_GUEST_MIB} || 128;
my $ready = 'init: here';
my $patience = 120;	# seconds, of the bed's clock where it is the bed
$| = 1;

my $why = no_linux() // no_qemu();
if ($why) {
	print "linux: $why\n";
	exit;
}

sub boot_ms {
	my (@command) = @_;
	pipe my $out, my $in or die "pipe: $!";
	my $start = time;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>&', $in;
		open STDERR, '>', "$dir/boot.err";
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	close $in;
	Guests::adopt($pid);
	local $SIG{ALRM} = sub { die "linux: not up after $patience s: @command\n" };
	alarm $patience;
	my $text = '';
	while ($text !~ /$ready/) {
		sysread $out, $text, 4096, length $text or last;
	}
	my $ms = 1000 * (time - $start);
	alarm 0;
	kill TERM => $pid;
	waitpid $pid, 0;
	Guests::forget($pid);
	return $ms if $text =~ /$ready/;
	die "linux: no init with @command\n$text" . slurp("$dir/boot.err");
}

my $initrd = initramfs([], "echo '$ready'\nsleep 100000\n");
my %images = (bzImage => $vmlinuz, 'bzImage-cloud' => "$Linux::bed/guest/vmlinuz-cloud",
	'vmlinux-cloud' => "$Linux::bed/guest/vmlinux-cloud");
my %monitors = (
	quire => sub { return ($quire, 'run', '-m', "${mib}M", "--initrd=$initrd",
		'--append=console=ttyS0 quiet panic=-1', $_[0]) },
	qemu => sub { return qemu_linux($_[0], $initrd, $mib) });

# The first turn is not counted: it reads programs and images from the disk.
for my $turn (0 .. $runs) {
	for my $image (grep { -e $images{$_} } sort keys %images) {
		for my $monitor (sort keys %monitors) {
			my $ms = boot_ms($monitors{$monitor}->($images{$image}));
			printf "boot %s %s %.0f\n", $image, $monitor, $ms if $turn;
		}
	}
}
