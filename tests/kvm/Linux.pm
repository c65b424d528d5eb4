# SPDX-License-Identifier: MIT
#
# Linux guests, for tests: the Debian kernel of the bed, and initramfs that are made here, of a
# static busybox, some of its modules, and a script.
#
# A guest's supervisor has to run on a processor: in the bed, or on a host whose KVM has VMX or SVM.
package Linux;
use strict;
use warnings;
use Exporter qw(import);
use Guests;
use IO::Handle;
use JSON::PP;
use POSIX qw(mkfifo);
use Test::More ();

our @EXPORT = qw($vmlinuz no_linux initramfs linux qemu_linux no_qemu is_up ask say_to answer
	stat_of memory_is_exact);

our $bed = $ENV{QUIRE_BED} // 'build-bed';
our $vmlinuz = "$bed/vmlinuz";

# Why there can be no Linux guest, or nothing.
sub no_linux {
	return 'no bzImage: make deps-bed and make check-bed get one'
		if !-e $vmlinuz || !-e "$bed/guest/busybox";
	return "this host's KVM emulates a guest's supervisor: make check-bed runs this"
		if !-d '/sys/module/kvm_intel' && !-d '/sys/module/kvm_amd';
	return missing();
}

# ---- initramfs ----

# An entry of a cpio archive of the format newc.
sub entry {
	my ($name, $mode, $data) = @_;
	our $ino;
	my $head = sprintf '070701' . '%08X' x 13, ++$ino, $mode, 0, 0, 1, 0, length $data, 0, 0, 0,
		0, 1 + length $name, 0;
	my $text = $head . $name . "\0";
	$text .= "\0" x (-length($text) % 4) . $data;
	return $text . "\0" x (-length($data) % 4);
}

# The path of a new one: with these modules, in the order in which they are loaded, this script as
# its first process, and more files by their name.  The script runs with /proc, /sys and /dev.
our @tools = qw(dmesg sh mount insmod poweroff reboot cat echo sleep md5sum grep sed ls dd gzip find
	head tail cut tr wc stty sync free kill seq rm mkdir cp cmp date);
sub initramfs {
	my ($modules, $script, %files) = @_;
	our $made;
	my $path = "$dir/initramfs-" . ++$made;
	my $load = join '', map { "insmod /$_.ko\n" } @$modules;
	my $init = "#!/bin/sh\nexport PATH=/bin\n" .
		"mount -t proc proc /proc\nmount -t sysfs sys /sys\n" .
		"mount -t devtmpfs dev /dev\n$load$script\npoweroff -f\n";
	my $text = join '', map { entry($_, 0040755, '') } qw(bin proc sys dev tmp);
	$text .= entry('bin/busybox', 0100755, slurp("$bed/guest/busybox"));
	$text .= entry("bin/$_", 0120777, 'busybox') for @tools;
	$text .= entry("$_.ko", 0100644, slurp("$bed/guest/$_.ko")) for @$modules;
	$text .= entry('init', 0100755, $init);
	$text .= entry($_, m{^bin/} ? 0100755 : 0100644, $files{$_}) for sort keys %files;
	$text .= entry('TRAILER!!!', 0, '');
	open my $f, '>:raw', $path or die "$path: $!";
	print $f $text;
	close $f or die "$path: $!";
	return $path;
}

# For an initramfs: a shell at the console, for ask().
our $shell = <<'END';
stty -echo
echo 'guest: ready'
while read -r line; do
	eval "$line" 2>&1
	echo "guest: done $?"
done
END

# A Linux guest in the background (Guests::start).
sub linux {
	my ($name, $initramfs, $options, $append) = @_;
	-p "$dir/$name.in" || mkfifo("$dir/$name.in", 0600) or die "mkfifo: $!";
	open my $in, '+<', "$dir/$name.in" or die "$name.in: $!";
	$in->autoflush;
	my $guest = start("$dir/$name", $quire, 'run', "--machine=$address", "--name=$name",
		"--initrd=$initramfs", @$options,
		'--append=console=ttyS0 quiet panic=-1 ' . ($append // ''), $vmlinuz);
	return { %$guest, name => $name, in => $in, asked => 0 };
}

# The command that runs the same under QEMU, to compare with.  Without kvm-pv-eoi, because the bed's
# processor may deliver an interrupt again in the midst of its handler (docs/testing.md).
sub qemu_linux {
	my ($image, $initramfs, $mib, @options) = @_;
	return (qw(qemu-system-x86_64 -M), 'microvm,acpi=on', qw(-accel kvm -cpu),
		'host,kvm-pv-eoi=off', qw(-nodefaults -no-user-config -no-reboot -display none
		-serial stdio -m), $mib, @options, '-initrd', $initramfs, '-append',
		'console=ttyS0 quiet panic=-1', '-kernel', $image);
}

# Why there is none of that, or nothing.
sub no_qemu {
	return system('command -v qemu-system-x86_64 >/dev/null') ? 'no qemu-system-x86_64' : undef;
}

# Is its shell there?
sub is_up { my ($guest, $seconds) = @_; return says($guest, 'guest: ready', 1, $seconds // 120) }

# Give its shell a line.  What it prints and its status come with answer(), in order; undef: nothing
# comes for so many seconds.
sub say_to { my ($guest, $line) = @_; print {$guest->{in}} "$line\n"; return }

sub answer {
	my ($guest, $seconds) = @_;
	my $nr = ++$guest->{asked};
	says($guest, 'guest: done', $nr, $seconds // 60) or return;
	my @answer = split /guest: done (\d+)\r?\n/, slurp("$guest->{base}.out");
	my $text = $answer[2 * $nr - 2] =~ s/\r//gr =~ s/.*guest: ready\n//sr;
	return wantarray ? ($text, $answer[2 * $nr - 1]) : $text;
}

sub ask {
	my ($guest, $line, $seconds) = @_;
	say_to($guest, $line);
	return answer($guest, $seconds);
}

# The counters of a guest, from its own process.
sub stat_of {
	my ($text) = quire('stat', '--json', $_[0]);
	my $doc = eval { decode_json($text) } // {};
	return $doc->{vms}[0] // {};
}

# Do the kernel's blocks, the guests' pages and the machine's references agree?  All guests are
# paused for that, and keepers have nothing more to do.  Returns each one's counters.
sub memory_is_exact {
	my ($what, $mib, @names) = @_;
	quire('pause', @names);
	until_true(60, sub { quire('merge', 'now', @names) !~ /^merged [1-9]|found [1-9]/ });
	my @stats = map { stat_of($_) } @names;
	for (@stats) {
		Test::More::is(blocks_of(ram_file($_->{pid}, $mib)), $_->{state_private_pages},
			"$what: the kernel counts the private pages of $_->{name}");
	}
	my ($shared, $machine) = (0, scalar account());
	$shared += $_->{state_shared_pages} for @stats;
	Test::More::is($machine->{store_references}, $shared, '... the machine, the shared ones');
	quire('resume', @names);
	return @stats;
}

1;
