#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Another user of the host listens where quire looks for its machine.  No guest may be given to that
# user, who would get a descriptor of its memory, and nothing may be said.
use strict;
use warnings;
use POSIX qw(setuid);
use Socket;
use Test::More;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $build = $ENV{QUIRE_BUILD} // 'build';
my ($quire, $quill) = ("$build/quire", "$build/guest/quill.elf");
my $stranger = 65534;

plan skip_all => 'no access to /dev/kvm' if !-r '/dev/kvm' || !-w '/dev/kvm';
plan skip_all => 'only root can become another user' if $> != 0;

# A process of the stranger's that listens at @NAME.  It prints how many bytes its first client
# said, and ends.
sub listen_at {
	my ($name) = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";

	if (!$pid) {
		setuid($stranger) or die "setuid: $!";
		socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die "socket: $!";
		bind($s, pack('S a*', AF_UNIX, "\0$name")) && listen($s, 5) or die "bind: $!";
		$| = 1;
		print "listening\n";
		alarm 60;
		accept(my $c, $s) or die "accept: $!";
		recv($c, my $said, 4096, 0);
		print length($said // ''), "\n";
		exit 0;
	}
	<$out>;
	return $out;
}

sub run {
	my ($args) = @_;
	my $text = `timeout 60 $quire $args 2>&1 </dev/null`;
	return ($? >> 8, $text);
}

my $name = "quire/machine/stranger-$$";
for my $args ("run --machine=\@$name $quill hello") {
	my $heard = listen_at($name);
	my ($status, $text) = run($args);
	is($status, 121, "quire $args: refuses");
	like($text, qr/^quire.*\@$name belongs to user $stranger,.*--machine$/,
		'... says why, and what to do');
	unlike($text, qr/\n./, '... in one line');
	is(<$heard>, "0\n", '... and has told the stranger nothing');
}

# A memfd could be opened again by everybody, whatever the mode of the descriptor.  RAM is one where
# quire may not mount a file system.
my $vm = open(my $out, '-|',
	"exec setpriv --bounding-set=-sys_admin $quire run $quill hold 1 10 seconds=30") // die;
<$out> for 1 .. 2;
my %mode;
for my $pid ($vm, split ' ', `ps -o pid= --ppid $vm`) {
	for my $fd (glob "/proc/$pid/fd/*") {
		my $target = readlink($fd) // next;
		$mode{$1}{ sprintf '%o', (stat $fd)[2] & 07777 } = 1
			if $target =~ /memfd:(quire-\w+)/;
	}
}
is(join(' ', sort keys %{ $mode{'quire-ram'} }), '600', "guest RAM is the owner's alone");
is(join(' ', sort keys %{ $mode{'quire-store'} // { 400 => 1 } }), '400',
	"... and the store's files can be read only");
kill TERM => $vm;
close $out;
done_testing();
