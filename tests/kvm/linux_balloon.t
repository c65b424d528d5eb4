#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Linux's own balloon driver: its pages to the page, statistics, free page reporting, and what it
# takes back when it is out of memory.
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

use constant MIB => 256;
my $machine = serve("$dir/machine", '--memory=512M', '--overcommit=1')
	or BAIL_OUT(slurp("$dir/machine.err"));
my $g = linux('g1', initramfs([qw(virtio_ring virtio virtio_mmio virtio_balloon)], $Linux::shell),
	['-m', MIB . 'M', qw(--merge=off --balloon=manual)]);
is_up($g) or diag(slurp("$g->{base}.out"), slurp("$g->{base}.err")), BAIL_OUT('no Linux');
ok(until_true(30, sub { quire('balloon', 'g1') =~ /driver +ready/ }), 'Linux has its driver');

# A line of the guest's /proc/meminfo.
sub meminfo { my ($name) = @_; return (ask($g, 'cat /proc/meminfo') =~ /^$name: +(\d+)/m)[0] }

# ---- down and up ----

my ($out, $status) = quire('balloon', '--wait=50', 'g1', '128M');
is($status, 0, 'the balloon takes half of the memory') or diag $out;
my ($stat) = memory_is_exact('balloon of 128 MiB', MIB, 'g1');
is($stat->{state_ballooned_pages} + $stat->{balloon_touches}, 32768,
	'... which are exactly these pages, but for those that it touched again');
is($stat->{balloon_actual_pages}, 32768, "... by the driver's account too");
($out, $status) = quire('balloon', '--wait=50', 'g1', '256M');
is($status, 0, 'the balloon gives it back') or diag $out;
($stat) = memory_is_exact('no balloon', MIB, 'g1');
is($stat->{state_ballooned_pages}, 0, '... all of it');
is($stat->{guest_total_memory_bytes}, 1024 * meminfo('MemTotal'),
	"Linux's statistics: the total is what it shows its own users");

# ---- free page reporting ----

my $before = $stat->{state_private_pages};
ask($g, 'for i in $(seq 24); do cat /bin/busybox >/tmp/f$i; done');	# of 1.9 MiB each
my $full = stat_of('g1')->{state_private_pages};
cmp_ok($full, '>', $before + 24 * 400, 'files take memory');
# Linux reports free blocks of 2 MiB, a sixteenth of them every two seconds.
ask($g, 'rm /tmp/f*; echo 1 >/proc/sys/vm/compact_memory');
my $now;
until_true(60, sub {
	sleep 1;
	$now = stat_of('g1')->{state_private_pages};
	return $now < $full - 24 * 300;
});
cmp_ok($now, '<', $full - 24 * 300, 'what the guest frees, it reports, and the host has it again');

# ---- deflate on OOM ----

my $free = int(meminfo('MemAvailable') / 1024);
my $squeezed = MIB - $free + 24;	# MiB: 24 are left to the guest
($out, $status) = quire('balloon', '--wait=50', 'g1', "${squeezed}M");
is($status, 0, "a balloon that leaves the guest 24 of $free MiB") or diag $out;
# 28 MiB of files, which nothing can be done about but to have more memory.
my ($sums) = ask($g, 'for i in $(seq 15); do cat /bin/busybox >/tmp/f$i; done; md5sum /tmp/f* | ' .
	q(cut -d ' ' -f 1 | grep -c $(md5sum /bin/busybox | cut -d ' ' -f 1)), 120);
is($sums, "15\n", 'short of memory, it takes pages back, and nothing is lost');
$stat = stat_of('g1');
cmp_ok($stat->{balloon_actual_pages}, '<', (MIB - $squeezed) * 256, '... out of the balloon');
ask($g, 'rm /tmp/f*');
quire('balloon', '--wait=50', 'g1', '256M');

say_to($g, 'poweroff -f');
is(finish($g, 60)->{status}, 0, 'it powers off');
done_testing();
