#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# tools/demo-linux.pl PNG
#
# What `make demo-linux` shows, on a host whose KVM runs Linux guests or in the bed: guests with
# Debian's kernel and one initramfs, what they were promised and what they need, before and after
# merging, and a balloon.  The map of one of them goes to PNG.
#
# QUIRE_GUESTS is how many guests, and QUIRE_GUEST_MIB the RAM of each.
use strict;
use warnings;
use FindBin;
BEGIN { chdir "$FindBin::Bin/.." }
use lib 'tests/kvm';
use Guests;
use JSON::PP;
use Linux;
use Time::HiRes qw(time sleep);

my ($png) = @ARGV;
my $nr = $ENV{QUIRE_GUESTS} // 20;
my $mib = $ENV{QUIRE_GUEST_MIB} // 256;
my $patience = 60 + 60 * $nr;	# seconds: the bed is slow
my $why = no_linux();
if ($why) {
	print "demo-linux: $why\n";
	exit 1;
}
$| = 1;

# What an idle guest has in memory, besides its kernel: programs, and files that were read.
my @modules = qw(virtio_ring virtio virtio_mmio virtio_balloon);
my $script = "cat /bin/busybox /*.ko >/dev/null\necho 'guest: ready'\nsleep 100000\n";
my @rows;	# [what, guests, bytes needed]

sub section { my ($title) = @_; print "\n== $title\n\n"; return }

sub show {
	my (@command) = @_;
	print "\$ quire @command\n";
	my ($text) = quire(@command);
	print $text =~ s/^/    /gmr, "\n";
	return;
}

# Bytes by a line of smaps_rollup, of all these processes.
sub of_processes {
	my ($line, @pids) = @_;
	my $kib = 0;
	$kib += (slurp("/proc/$_/smaps_rollup") =~ /^$line: +(\d+)/m)[0] // 0 for @pids;
	return 1024 * $kib;
}

# What quire's guests need: RAM files and stores as the kernel counts their blocks, and the memory
# of all processes.
sub needed {
	my ($run) = @_;
	my @vms = vms_of($run->{pid});
	my $private = of_processes('Pss_Anon', @vms, @_[1 .. $#_], $run->{pid});
	return account()->{resident_bytes} + $private;
}

sub quire_row {
	my ($what, $run, $machine) = @_;
	push @rows, [$what, $nr, needed($run, $machine->{pid})];
	return;
}

# The sum over all guests does not change any more.
sub settle {
	my ($what) = @_;
	my ($last, $still) = (-1, 0);
	until_true($patience, sub {
		my $now = $what->();
		$still = abs($now - $last) < 4 << 20 ? $still + 1 : 0;
		$last = $now;
		sleep 1;
		return $still >= 3;
	});
	return;
}

# ---- quire ----

sub quire_guests {
	my ($initramfs) = @_;
	my $memory = $nr * ($mib + 8) + 256;
	my $machine = serve("$dir/machine", "--memory=${memory}M", '--overcommit=1')
		or die slurp("$dir/machine.err");
	my $start = time;
	my $run = start("$dir/debian", $quire, 'run', "--machine=$address", '--name=debian', '-n',
		$nr, '-m', "${mib}M", '--merge=off', '--balloon=manual', "--initrd=$initramfs",
		'--append=console=ttyS0 quiet panic=-1', $vmlinuz);

	section("$nr guests with Debian's kernel, of $mib MiB each, from one image");
	says($run, 'guest: ready', $nr, $patience)
		or die slurp("$dir/debian.out"), slurp("$dir/debian.err");
	printf "All of them are up after %.1f s.  What Linux does not use, it reports.\n\n",
		time - $start;
	settle(sub { account()->{resident_bytes} });
	show('ps');
	quire_row('quire', $run, $machine);
	my @names = $nr == 1 ? 'debian' : map { "debian-$_" } 1 .. $nr;

	section('What is the same in all of them is there once');
	quire('merge', 'on', @names);
	show('merge', 'now', @names);
	show('ps');
	quire_row('quire, merged', $run, $machine);

	section('A balloon: one guest lends a quarter of its memory, and has it back');
	show('balloon', $names[0], '--wait=50', int($mib * 3 / 4) . 'M');
	show('balloon', $names[0], '--wait=50', "${mib}M");

	section('Its memory, a square a page');
	show('map', "--png=$png", $names[0]);
	kill TERM => $run->{pid};
	finish($run);
	kill TERM => $machine->{pid};
	finish($machine);
	return;
}

# ---- the picture ----

my $initramfs = initramfs(\@modules, $script);
quire_guests($initramfs);
section('Memory: what was promised, and what is needed');
printf "%-15s %6s %12s %12s %12s\n", '', 'GUESTS', 'PROMISED', 'NEEDED', 'PER GUEST';
for (@rows) {
	my ($what, $guests, $bytes) = @$_;
	printf "%-15s %6d %8d MiB %8.1f MiB %8.1f MiB\n", $what, $guests, $guests * $mib,
		$bytes / 2**20, $bytes / 2**20 / $guests;
}
print "\nNeeded: blocks of RAM files and stores, and the processes' own memory.\n";
