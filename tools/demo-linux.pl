#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# tools/demo-linux.pl quire PNG
# tools/demo-linux.pl qemu
#
# What `make demo-linux` shows, on a host whose KVM runs Linux guests or in the bed: guests with
# Debian's kernel and one initramfs, what they need before and after merging, and a balloon.  The
# map of one of them goes to PNG.  Then the same guests under QEMU, with KSM; its settings are put
# back.
#
# QUIRE_GUESTS is how many guests, and QUIRE_GUEST_MIB the RAM of each.  For the table, which
# demo-linux.sh prints, lines say "row WHAT: NEEDED FALL", in bytes: what all processes of the
# guests have, and by how much the host's MemAvailable is less than before.
use strict;
use warnings;
use FindBin;
BEGIN { chdir "$FindBin::Bin/.." }
use lib 'tests/kvm';
use Guests;
use JSON::PP;
use Linux;
use Time::HiRes qw(time sleep);

my ($side, $png) = @ARGV;
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
my $initramfs = initramfs(\@modules, $script);

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

sub available { return 1024 * (slurp('/proc/meminfo') =~ /^MemAvailable: +(\d+)/m)[0] }

# When what the guests need has been the same for some seconds.
my $available_before;
sub row {
	my ($what, $needed) = @_;
	my ($last, $still) = (-1, 0);
	until_true($patience, sub {
		my $now = $needed->();
		$still = abs($now - $last) < 2 << 20 ? $still + 1 : 0;
		$last = $now;
		sleep 1;
		return $still >= 4;
	});
	printf "row %s: %d %d\n", $what, $last, $available_before - available();
	return;
}

# ---- quire ----

sub quire_guests {
	my $memory = $nr * ($mib + 8) + 256;
	my $machine = serve("$dir/machine", "--memory=${memory}M", '--overcommit=1')
		or die slurp("$dir/machine.err");
	my $start = time;
	my $run = start("$dir/debian", $quire, 'run', "--machine=$address", '--name=debian', '-n',
		$nr, '-m', "${mib}M", '--merge=off', '--balloon=manual', "--initrd=$initramfs",
		'--append=console=ttyS0 quiet panic=-1', $vmlinuz);

	# RAM files and stores by the kernel's count of their blocks, and private memory.
	my $needed = sub {
		return account()->{resident_bytes} + of_processes('Pss_Anon', $run->{pid},
			$machine->{pid}, vms_of($run->{pid}));
	};

	section("$nr guests with Debian's kernel, of $mib MiB each, from one image");
	says($run, 'guest: ready', $nr, $patience)
		or die slurp("$dir/debian.out"), slurp("$dir/debian.err");
	printf "All of them are up after %.1f s.  What Linux does not use, it reports.\n\n",
		time - $start;
	row('quire', $needed);
	show('ps');
	my @names = $nr == 1 ? 'debian' : map { "debian-$_" } 1 .. $nr;

	section('What is the same in all of them is there once');
	quire('merge', 'on', @names);
	show('merge', 'now', @names);
	show('ps');
	row('quire, merged', $needed);

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

# ---- QEMU and KSM ----

my $ksm = '/sys/kernel/mm/ksm';
my %ksm_before;

sub ksm_value { my ($name) = @_; return slurp("$ksm/$name") =~ s/\s+//gr }

sub set_ksm {
	my (%set) = @_;
	for my $name (sort keys %set) {
		open my $f, '>', "$ksm/$name" or die "$ksm/$name: $!";
		print $f $set{$name};
		close $f or die "$ksm/$name: $!";
	}
	return;
}

END {
	my $status = $?;
	set_ksm(run => 2), set_ksm(%ksm_before) if %ksm_before;
	$? = $status;
}

# Why QEMU is not measured, or nothing.
sub no_peer {
	return no_qemu() if no_qemu();
	return "no $ksm" if !-w "$ksm/run";
	return 'KSM is in use on this host' if ksm_value('run') ne '0';
	return;
}

# At full speed, until three scans in a row have changed next to nothing.
sub merge_by_ksm {
	%ksm_before = map { $_ => ksm_value($_) } qw(pages_to_scan sleep_millisecs run);
	set_ksm(pages_to_scan => 100000, sleep_millisecs => 10, run => 1);
	my ($last, $still, $until) = (0, 0, time + $patience);
	while ($still < 3 && time < $until) {
		my $scans = ksm_value('full_scans');
		until_true($patience, sub { sleep 0.2; return ksm_value('full_scans') > $scans });
		my $now = ksm_value('pages_sharing');
		$still = abs($now - $last) * 200 <= $now ? $still + 1 : 0;
		$last = $now;
	}
	return;
}

sub qemu_guests {
	my @qemu = qemu_linux($vmlinuz, $initramfs, $mib, '-device',
		'virtio-balloon-device,free-page-reporting=on');
	my @guests = map { start("$dir/qemu-$_", @qemu) } 1 .. $nr;
	my @pids = map { $_->{pid} } @guests;

	for (@guests) {
		says($_, 'guest: ready', 1, $patience) or die slurp("$_->{base}.err");
	}
	my $needed = sub { return of_processes('Pss_Anon', @pids) };
	row('QEMU', $needed);
	merge_by_ksm();
	row('QEMU, KSM', $needed);
	kill TERM => @pids;
	finish($_) for @guests;
	return;
}

# ---- one side of it ----

# The programs and images are in the page cache before.
slurp($_) for $vmlinuz, $initramfs, $quire;
system 'qemu-system-x86_64 --version >/dev/null 2>&1';
$available_before = available();
if ($side eq 'quire') {
	quire_guests();
} else {
	section('The same under QEMU, with KSM');
	my $no_peer = no_peer();
	if ($no_peer) {
		print "Not measured: $no_peer.\n";
	} else {
		print "The same kernel and initramfs, in a microvm; ksmd at full speed.\n\n";
		qemu_guests();
	}
}
