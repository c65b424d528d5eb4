#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Every way in which a Linux kernel starts: Debian's bzImage by its 64-bit entry and by its 32-bit
# entry, and its vmlinux by PVH.
use strict;
use warnings;
use FindBin;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib $FindBin::Bin;
use Guests;
use Linux;

my $skip = no_linux();
plan skip_all => $skip if $skip;

my ($init, $more); # two initrds

# Boot this image to its end.
sub boot {
	my ($image) = @_;
	my $r = finish(start("$dir/boot", $quire, 'run', '--machine=own', '-v', '-m', '256M',
		"--initrd=$init", "--initrd=$more", $image, 'quiet'), 600);
	diag "$r->{status}: $r->{out}$r->{err}" if $r->{out} !~ /^init: /m;
	return $r;
}

$init = initramfs([], 'echo "init: $(cat /proc/cmdline)"
cat /more');
$more = spew('more', Linux::entry('more', 0100644, "more: from a second archive\n") .
	Linux::entry('TRAILER!!!', 0, ''));

my $r = boot($vmlinuz);
is($r->{status}, 0, 'a bzImage: power-off is status 0');
like($r->{err}, qr/: Linux boot protocol, 64-bit entry, version \d/, '... by its 64-bit entry');
like($r->{out}, qr/^init: console=ttyS0 quiet\r?$/m, '... its command line');
like($r->{out}, qr/^more: from a second archive/m, '... and two initrds');

my $bytes = slurp($vmlinuz);
substr($bytes, 0x236, 1) = chr(ord(substr $bytes, 0x236, 1) & ~1);
$r = boot(spew('without64', $bytes));
like($r->{err}, qr/: Linux boot protocol, 32-bit entry/, 'without its 64-bit entry');
like($r->{out}, qr/^more: from a second archive/m, '... it starts by the other one');
is($r->{status}, 0, '... and powers off');

SKIP: {
	my ($sectors, $offset, $length) = unpack 'x497Cx86VV', slurp($vmlinuz);
	my $packed = substr slurp($vmlinuz), ($sectors + 1) * 512 + $offset, $length - 4;
	skip 'the kernel is not packed with xz', 3 if $packed !~ /^\xfd7zXZ/;
	spew('vmlinux.xz', $packed);
	system "xz -dc $dir/vmlinux.xz >$dir/vmlinux 2>$dir/xz.err";
	skip 'no xz: ' . slurp("$dir/xz.err"), 3 if !-s "$dir/vmlinux";
	$r = boot("$dir/vmlinux");
	like($r->{err}, qr/: ELF64 with a PVH note/, 'a vmlinux, by PVH');
	like($r->{out}, qr/^more: from a second archive/m, '... has its initrd');
	is($r->{status}, 0, '... and powers off, by ACPI');
}

done_testing();
