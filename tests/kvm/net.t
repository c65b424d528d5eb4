#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire run --net: frames through a tap and through passt, in a network namespace of the test's own.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Fcntl;
use Test::More;
use Time::HiRes qw(time sleep);
use Quire;

my $tap = 'quire-t0';
my $type = 0x88b5;	# of frames that quill sends back

sub refused {
	my ($like, $name, @options) = @_;
	my $said = `timeout 20 $Quire::quire run @options $Quire::quill exit 0 2>&1`;
	is($? >> 8, 2, "$name: refused");
	like($said, $like, '... with what to do');
	is($said =~ tr/\n//, 1, '... in one line');
}

sub finish { done_testing; exit }

refused(qr/ip tuntap add dev nosuch mode tap/, 'no such tap', '--net=tap:nosuch');
refused(qr/lo is no tap/, 'an interface that is no tap', '--net=tap:lo') if -e '/dev/net/tun';
refused(qr/use tap:NAME or user/, 'no kind of network', '--net=bridge');
refused(qr/for one guest, not -n 2/, 'a tap for two', '-n', 2, '--net=tap:x');
refused(qr/as in mac=02/, 'no MAC address', '--net=user,mac=12:34');
refused(qr/a group's/, "a group's MAC address", '--net=user,mac=33:33:00:00:00:01');
{
	local $ENV{PATH} = "$FindBin::Bin:/nonexistent";
	my $said = qx(/usr/bin/timeout 20 $Quire::quire run --net=user $Quire::quill exit 0 2>&1);
	is($? >> 8, 2, 'without passt --net=user is refused');
	like($said, qr/apt install passt/, '... with what to do');
}

if (!$ENV{QUIRE_NET_INSIDE}) {
	my $missing = Quire::missing();
	my $none = !-e '/dev/net/tun' ? 'no /dev/net/tun' :
		system('unshare -n ip link show lo >/dev/null 2>&1') ?
			'no network namespaces, or no ip' :
		undef;
	SKIP: { skip $missing // $none, 1 if $missing // $none }
	finish() if $missing // $none;
	# The first plan is this process's, so what is inside reports by its status and its lines.
	my $inside = `QUIRE_NET_INSIDE=1 unshare -n $^X $0 2>&1`;
	my $status = $?;
	print map { "    $_\n" } split /\n/, $inside;
	is($status, 0, 'all of that in a network namespace, and guests with networks');
	finish();
}

# ---- a tap ----

my $ip = "ip tuntap add dev $tap mode tap && " .
	"ip link set $tap mtu 1400 address 02:00:00:00:00:01 up";
if (system("($ip) >/dev/null 2>&1")) {
	plan skip_all => 'cannot make a tap';
}

# A socket that has the frames of this type, from here and from the guest.
sub open_socket {
	my ($index) = `ip -o link show $tap` =~ /^(\d+):/;
	socket my $s, 17, 3, unpack 'n', pack 'S', $type or die "socket: $!"; # PF_PACKET, SOCK_RAW
	bind $s, pack 'SnlSCCa8', 17, $type, $index, 0, 0, 6, '' or die "bind: $!";
	return $s;
}

sub receive {
	my ($s, $seconds) = @_;
	vec(my $bits = '', fileno $s, 1) = 1;
	return if !select $bits, undef, undef, $seconds;
	defined recv $s, my $frame, 65536, 0 or die "recv: $!";
	return $frame;
}

# The wire: destination, source, type, length, contents.
sub frame {
	my ($to, $bytes, $text) = @_;
	my $head = pack('H12H12nn', $to, '020000000001', $type, $bytes) . $text;
	return $head . join '', map { chr(($_ * 7 + $bytes) & 255) } length($head) .. $bytes - 1;
}

sub hex_of { my ($mac) = @_; $mac =~ tr/://d; return $mac }

my $vm = Quire->new(["--net=tap:$tap"], 'net');
my $mac = $vm->wait_for(qr/net: mac=(\S+) mtu=1400 link=up/);
ok($mac, 'a guest finds its card, with the MTU of the tap') or diag $vm->{out};
like($mac, qr/^02:/, '... and an address of its own');
like(`timeout 20 $Quire::quire run --net=tap:$tap $Quire::quill exit 0 2>&1`,
	qr/$tap is in use by another program/, 'the tap is not for a second guest');

my $socket = open_socket();
my ($sent, $right) = (0, 0);
for my $bytes (60 .. 99, 500, 1000, map { 1414 - $_ } 0 .. 59) {
	send $socket, frame(hex_of($mac), $bytes, sprintf 'no %04d', $sent++), 0 or die "send: $!";
	my $want = frame('020000000001', $bytes, sprintf 'no %04d', $sent - 1);
	substr $want, 6, 6, pack 'H12', hex_of($mac);
	my $got;
	do { $got = receive($socket, 20) } while defined $got && $got ne $want;
	last if !defined $got;
	$right++;
}
is($right, 102, 'frames of all sizes come back as they were');
my $stat = $vm->account;
is($stat->{nets}, 1, 'quire stat says that there is a card');
cmp_ok($stat->{net_received_frames}, '>=', $right, '... counts what was received');
is($stat->{net_sent_frames}, $right, '... and what was sent');
is($stat->{net_received_drops} + $stat->{net_sent_drops}, 0, '... and nothing was dropped');
$vm->pause;
send $socket, frame(hex_of($mac), 60, 'paused'), 0 or die "send: $!";
ok(!defined receive($socket, 0.3), 'a paused guest gets none');
$vm->resume;
ok(defined receive($socket, 20), '... until it goes on');

# More than the guest can take: some are lost, none is changed, and the guest lives.
my ($flood, $back, $wrong) = (3000, 0, 0);
for my $i (1 .. $flood) {
	send $socket, frame(hex_of($mac), 1000, sprintf 'f %05d', $i), 0;
	while (defined(my $got = receive($socket, 0))) {
		$back++;
		my ($no) = substr($got, 16, 7) =~ /f (\d+)/ or next;
		my $want = frame('0' x 12, 1000, sprintf 'f %05d', $no);
		$wrong++ if substr($got, 14) ne substr $want, 14;
	}
}
while (defined(my $got = receive($socket, 0.5))) { $back++ }
ok($back > 0 && !$wrong, "of a flood of $flood frames $back came back, none of them changed");
send $socket, frame(hex_of($mac), 60, 'quit'), 0 or die "send: $!";
$vm->wait_for(qr/net: echoed=(\d+)/);
is($vm->finish, 0, 'the guest ends when it is told to');

# ---- passt ----

# The pids of programs of this name in our network namespace, but for those that have ended.
sub processes {
	my ($name) = @_;
	my $ours = readlink '/proc/self/ns/net';
	my @pids;
	for my $dir (glob '/proc/[0-9]*') {
		open my $f, '<', "$dir/stat" or next;
		my ($pid, $comm, $state) = (<$f> // '') =~ /^(\d+) \((.*)\) (\S)/ or next;
		next if $comm !~ /^$name/ || $state eq 'Z';
		push @pids, $pid if (readlink("$dir/ns/net") // '') eq $ours;
	}
	return @pids;
}

sub goes {
	my ($name) = @_;
	for (1 .. 400) {
		return 1 if !processes($name);
		sleep 0.05;
	}
	return 0;
}

SKIP: {
	skip 'no passt', 1 if system 'command -v passt >/dev/null';
	system "ip addr add 10.9.0.2/24 dev $tap && ip route add default via 10.9.0.1 2>/dev/null";
	$vm = Quire->new(['--net=user,mac=02:00:00:00:00:77'], 'net', 'arp=0x0a090001');
	$vm->wait_for(qr/net: mac=02:00:00:00:00:77 mtu=1500 link=\w+/);
	if (!$vm->wait_for(qr/the owner is \S+/, 30) && $vm->{out} =~ /is gone/) {
		$vm->stop;
		skip "passt does not run here: $vm->{out}", 1;
	}
	like($vm->{out}, qr/the owner is \S+/, 'passt answers for the address of the gateway');
	is($vm->finish, 0, '... and the guest ends');
	ok(goes('passt'), '... and passt with it');

	$vm = Quire->new(['--net=user'], 'net');
	$vm->wait_for(qr/net: mac=\S+ mtu=1500 link=up/);
	my ($passt) = processes('passt');
	ok($passt, 'passt runs beside a guest');
	kill KILL => $passt;
	ok($vm->wait_for(qr/net 0: the other end of the link is gone/),
		'when it is killed, a line says so');
	ok($vm->wait_for(qr/mtu=1500 link=down/), '... and the guest sees that its link is down');
	$vm->stop;

	$vm = Quire->new(['--net=user'], 'net');
	$vm->wait_for(qr/link=up/);
	kill KILL => $vm->{pid};
	$vm->finish;
	ok(goes('passt'), 'after a kill -9 of quire run no passt is left');
}

done_testing;
