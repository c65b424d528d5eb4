#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Debian's kernel on shadow tables: its kernel at CPL 3, its interrupts, its own tables and its
# processes' in all their changes.  For the bed, as PUSHF shows a guest the right IF only with VMX
# or SVM.
use strict;
use warnings;
use FindBin;
use JSON::PP qw(decode_json);
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;
use Linux;

my $skip = no_linux();
plan skip_all => $skip if $skip;
my $cloud = "$Linux::bed/guest/vmlinuz-cloud";
my $kernel = -s $cloud ? $cloud : $vmlinuz;	# it is the quicker one

# 20 processes, of which each maps and copies pages, and what they say; sleep needs the timer.
my $initramfs = initramfs([], <<'END');
echo "processors: $(grep -c ^processor /proc/cpuinfo)"
for n in 1 2 3 4 5 6 7 8 9 10; do md5sum /bin/busybox & done >/tmp/sums
wait
echo "sums: $(grep -c . /tmp/sums) $(head -n 1 /tmp/sums)"
sleep 1
echo "complaints: $(dmesg | grep -c -e 'Call Trace' -e BUG)"
END

my ($sum) = `md5sum $Linux::bed/guest/busybox` =~ /^(\w+)/;
for my $cpus (1, 2) {
	my ($status, $out, $err) = outcome("$quire run --machine=own --no-reboot --paging=shadow " .
		"-c $cpus --stats=$dir/stats --initrd=$initramfs " .
		"'--append=console=ttyS0 quiet panic=-1' $kernel");
	is("$status$err", '0', "$cpus vCPUs: Linux comes to its first process and powers off: " .
		'status 0');
	like($out, qr/^processors: $cpus\r?$/m, '... which has them all');
	like($out, qr/^sums: 10 $sum /m, '... its processes read what is there');
	like($out, qr/^complaints: 0\r?$/m, '... and it finds nothing wrong') or diag $out;
	my $shadow = decode_json(slurp("$dir/stats"))->{vms}[0]{shadow};
	ok($shadow->{interrupts} > 100, "... with $shadow->{interrupts} interrupts");
	ok($shadow->{emulated_by_name}{syscall}, '... and system calls');
	ok($shadow->{most_table_pages} > 100, '... and tables for its processes');
}
done_testing();
