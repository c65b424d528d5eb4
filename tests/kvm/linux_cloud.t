#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Debian's kernel for clouds as a guest, and the ELF file in it, which starts by its PVH note.  For
# the bed.
use strict;
use warnings;
use FindBin;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;
use Linux;

my $skip = no_linux();
plan skip_all => $skip if $skip;
my $cloud = "$Linux::bed/guest/vmlinuz-cloud";
plan skip_all => 'no package linux-image-cloud-amd64: make deps-bed gets it' if !-s $cloud;

my $initramfs = initramfs([], <<'END');
echo "processors: $(grep -c ^processor /proc/cpuinfo)"
echo "model: $(grep -c hypervisor /proc/cpuinfo)"
END

# Run an image with these options; status, output, errors.
sub run {
	my ($image, @options) = @_;
	my $append = '--append=console=ttyS0 quiet panic=-1';
	return outcome("$quire run --machine=own --no-reboot --initrd=$initramfs '$append' " .
		"@options $image");
}

my ($status, $out, $err) = run($cloud);
is("$status$err", '0', 'the kernel comes to its first process and powers off: status 0');
like($out, qr/^processors: 1\r?$/m, '... with one processor');

($status, $out, $err) = run("$Linux::bed/guest/vmlinux-cloud", '-c', 2);
is("$status$err", '0', 'the ELF file in it starts by its PVH note, and powers off');
like($out, qr/^processors: 2\r?$/m, '... with two processors');
done_testing();
