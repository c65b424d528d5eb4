#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Linux's own virtio-blk on a disk with ext4 that the host has made: what the guest writes is there
# when it has unmounted it; what it had synchronized is there after kill -9, and the journal mends
# the rest; and two guests with overlays have each its own.
use strict;
use warnings;
use FindBin;
use Test::More;
use lib $FindBin::Bin;
use Guests;
use Linux;

my ($mke2fs, $e2fsck, $debugfs) = map {
	my $name = $_;
	(grep { -x } map { "$_/$name" } qw(/usr/sbin /sbin))[0]
} qw(mke2fs e2fsck debugfs);
my $why = no_linux() // (grep({ !defined } $mke2fs, $e2fsck, $debugfs) ? 'no e2fsprogs' : undef);
plan skip_all => $why if $why;

my @modules = grep { -e "$Linux::bed/guest/$_.ko" }
	qw(virtio_ring virtio virtio_mmio rng-core virtio-rng virtio_blk crc16 crc32c_generic
	mbcache jbd2 ext4);
my $image = "$dir/image";
my $patience = 400;

sub make_image {
	mkdir "$dir/tree";
	open my $f, '>', "$dir/tree/from-host" or die "$!";
	print $f "line $_ of the host\n" for 1 .. 20000;
	close $f;
	unlink $image;
	system "$mke2fs -q -t ext4 -d $dir/tree $image 24M >&2";
}

# A file of the image, as the host's tools read it.
sub file { my $text = `$debugfs -R 'cat $_[0]' $image 2>/dev/null`; return $text }
sub is_clean { system "$e2fsck -fn $image >$dir/fsck 2>&1"; return $? == 0 }

# Runs this script in a guest with these options, to its end.
my $nr = 0;
sub guest {
	my ($script, @options) = @_;
	return linux('disk-' . ++$nr, initramfs(\@modules, $script),
		['--machine=own', '-m', '96M', @options]);
}

make_image();
my $sum = `md5sum <$dir/tree/from-host`;
my $r = finish(guest(<<'END', "--disk=$image", "--stats=$dir/stats"), $patience);
mount -t ext4 /dev/vda /tmp && md5sum </tmp/from-host
seq 100000 >/tmp/numbers
dd if=/dev/zero of=/tmp/zeroes bs=4k count=300 2>/dev/null
cp /tmp/from-host /tmp/copy && rm /tmp/from-host
sync
umount /tmp || mount -o remount,ro /tmp
echo "random $(dd if=/dev/hwrng bs=32 count=1 2>/dev/null | wc -c)"
grep . /sys/block/vda/size /sys/block/vda/queue/logical_block_size
END
is($r->{status}, 0, 'a Linux guest with a disk of ext4 powers off') or diag $r->{out}, $r->{err};
like($r->{out}, qr/\Q${\ substr($sum, 0, 32)}\E/, 'it reads what the host has put there');
like($r->{out}, qr{size:49152\b}, '... on a disk of the right size');
like($r->{out}, qr{logical_block_size:512\b}, '... of sectors of 512 bytes');
like($r->{out}, qr/random 32\b/, 'Linux gets random numbers from the host');
ok(is_clean(), 'the host finds nothing wrong with the file system') or diag slurp("$dir/fsck");
is(file('/numbers'), join('', map { "$_\n" } 1 .. 100000), '... and what the guest wrote');
is(file('/copy'), slurp("$dir/tree/from-host"), '... and what it copied');
is(file('/zeroes'), "\0" x (4096 * 300), '... and its zeroes');
my %count = slurp("$dir/stats") =~ /"(disk_\w+)": (\d+)/g;
ok($count{disk_writes} && $count{disk_flushes}, '... by writes and flushes');
is($count{disk_errors} . $count{disk_refusals}, '00', '... of which none was wrong');

# kill -9, somewhere between two files.
make_image();
$r = guest(<<'END', "--disk=$image");
mount -t ext4 /dev/vda /tmp
for i in $(seq 500); do
	seq $((i * 100)) $((i * 100 + 99)) >/tmp/file-$i
	sync
	echo "safe $i."
done
END
ok(says($r, 'safe \d+\.', 8, $patience), 'another one writes files, and synchronizes each');
kill KILL => vms_of($r->{pid});
finish($r);
my ($safe) = slurp("$r->{base}.out") =~ /.*safe (\d+)\./s;
my $status = system("$e2fsck -p $image >$dir/fsck 2>&1") >> 8;
ok($status <= 1, "after kill -9 the host can mend it (status $status)")
	or diag slurp("$dir/fsck");
like(slurp("$dir/fsck"), qr/recovering journal/, '... by its journal');
ok(is_clean(), '... and then nothing is wrong') or diag slurp("$dir/fsck");
sub content { my ($i) = @_; return join '', map { $i * 100 + $_ . "\n" } 0 .. 99 }
is(join(' ', grep { file("/file-$_") ne content($_) } 1 .. $safe // 0), '',
	'... and all ' . ($safe // 0) . ' files that were safe are there');

# Two guests, one image.
make_image();
my $before = slurp($image);
$r = finish(guest(<<'END', '-n', 2, "--disk=$image,overlay=$dir"), 2 * $patience);
mount -t ext4 /dev/vda /tmp
dmesg | grep -c . >/tmp/mine
seq 30000 | gzip >/tmp/numbers
cat /proc/sys/kernel/random/uuid >/tmp/uuid
sync
echo 3 >/proc/sys/vm/drop_caches
gzip -dc /tmp/numbers | md5sum
md5sum </tmp/from-host
cat /tmp/uuid
END
is($r->{status}, 0, 'two guests change one image') or diag $r->{out}, $r->{err};
my $numbers = `seq 30000 | md5sum`;
is(() = $r->{out} =~ /\Q${\ substr($numbers, 0, 32)}\E/g, 2, '... and each reads what it wrote');
is(() = $r->{out} =~ /\Q${\ substr($sum, 0, 32)}\E/g, 2, '... and what the host wrote');
my %uuid = map { $_ => 1 } $r->{out} =~ /\b([0-9a-f]{8}-[0-9a-f-]{27})\b/g;
is(keys %uuid, 2, '... its own');
ok(slurp($image) eq $before, 'the image is as it was');
done_testing;
