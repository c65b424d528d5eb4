#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Debian's kernel with its own drivers of the virtio console and of the virtio network card, the
# latter on a tap.  For the bed.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use FindBin;
use IO::Socket::INET;
use IPC::Open2;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;
use Linux;

my ($tap, $host, $guest) = ('quire-t0', '10.9.0.1', '10.9.0.2');
my $bytes = 300_000;
my $skip = no_linux();
plan skip_all => $skip if $skip;
# missing() has brought us into a network namespace of our own.
system("ip tuntap add dev $tap mode tap && ip addr add $host/24 dev $tap && ip link set $tap up");
plan skip_all => 'cannot make a tap' if $?;

my $image = initramfs([qw(virtio_ring virtio virtio_mmio virtio_console failover net_failover
	virtio_net)], <<"END");
[ -c /dev/hvc0 ] || echo "there is no hvc0"
exec >/dev/hvc0 2>&1 </dev/hvc0
echo "console: \$(cat /proc/consoles | grep -c hvc0)"
busybox ip link set eth0 up
busybox ip addr add $guest/24 dev eth0
echo "mac: \$(cat /sys/class/net/eth0/address)"
echo "mtu: \$(cat /sys/class/net/eth0/mtu) carrier: \$(cat /sys/class/net/eth0/carrier)"
busybox ping -c 3 -i 0.2 $host | grep transmitted
busybox ping -c 2 -i 0.2 -s 1400 $host | grep transmitted
echo "got: \$(busybox nc $host 7777 </dev/null | md5sum | cut -c 1-32)"
echo listens
busybox nc -l -p 7778 | md5sum | sed 's/^/sent: /'
busybox stty -echo
echo "what?"
while read line; do
	[ "\$line" = done ] && break
	echo "you said: \$line"
done
END

my $server = IO::Socket::INET->new(LocalAddr => $host, LocalPort => 7777, Listen => 1,
	Timeout => 300, ReuseAddr => 1) or die "listen: $@";
my $data = join '', map { pack 'N', $_ * 2654435761 % 4294967296 } 1 .. $bytes / 4;

my $err = "$dir/err";
my ($from, $in);
{
	open my $saved, '>&', \*STDERR or die;
	open STDERR, '>', $err or die "$err: $!";
	$Guests::child{open2($from, $in, $quire, 'run', '--machine=own', '-m', '256M',
		'--no-reboot', '--console=virtio',
		"--net=tap:$tap,mac=02:00:00:00:00:42", "--initrd=$image",
		'--append=quiet panic=-1', $vmlinuz)} = 1;
	open STDERR, '>&', $saved or die;
}
my ($pid) = keys %Guests::child;
my $log = '';

# Read until a line is like this; what it captures.
sub hear {
	my ($like) = @_;
	while (defined(my $line = <$from>)) {
		$line =~ s/\r//g;
		$log .= $line;
		return $1 // $& if $line =~ $like;
	}
	return;
}

is(hear(qr/^console: (\d+)/), 1, 'the virtio console is a console of the kernel');
is(hear(qr/^mac: (\S+)/), '02:00:00:00:00:42', 'the card has its address');
is(hear(qr/^mtu: (.*)/), '1500 carrier: 1', '... and its link is up');
like(hear(qr/(\d+ packets transmitted, .*)/), qr/^3 .* 3 .* 0% /, 'ping');
like(hear(qr/(\d+ packets transmitted, .*)/), qr/^2 .* 2 .* 0% /, '... with long packets');
my $client = $server->accept or BAIL_OUT "the guest does not connect: $log";
print $client $data;
close $client;
is(hear(qr/^got: (\S+)/), md5_hex($data), "$bytes bytes over TCP, to the guest");
hear(qr/^listens/);
for (1 .. 50) {
	last if $client = IO::Socket::INET->new(PeerAddr => $guest, PeerPort => 7778);
	select undef, undef, undef, 0.2;
}
print $client $data;
close $client;
is(hear(qr/^sent: (\S+)/), md5_hex($data), '... and from it');
hear(qr/^what\?/);
syswrite $in, join '', map { "hello $_\n" } 1 .. 50;
my $right = grep { (hear(qr/^you said: (.*)/) // '') eq "hello $_" } 1 .. 50;
is($right, 50, 'lines of input, and what the guest makes of them');
syswrite $in, "done\n";
1 while hear(qr/^/);
waitpid $pid, 0;
is($? >> 8, 0, 'it powers itself off');
delete $Guests::child{$pid};
is(slurp($err), '', 'and quire has nothing to say') or diag $log;
done_testing;
