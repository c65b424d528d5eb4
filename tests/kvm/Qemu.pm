# SPDX-License-Identifier: MIT
#
# quill under QEMU's microvm, for tests: start one, wait for lines of its console, talk QMP.
package Qemu;
use strict;
use warnings;
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw(time sleep);
use parent qw(Console);

# Why there can be no guest, or nothing.
sub missing {
	return 'no access to /dev/kvm' if !-r '/dev/kvm' || !-w '/dev/kvm';
	return 'no qemu-system-x86_64'
		if !grep { -x "$_/qemu-system-x86_64" } split /:/, $ENV{PATH};
	return;
}

our $first = sub { };	# what QEMU's process does before it is QEMU

# new(image, directory for its files, [option of QEMU...], word of the command line...)
sub new {
	my ($class, $image, $dir, $options, @words) = @_;
	my $socket = "$dir/qmp-" . ++our $count;
	my @command = ('qemu-system-x86_64', '-M', 'microvm,acpi=off', '-accel', 'kvm', '-m', 64,
		qw(-nodefaults -no-user-config -no-reboot -display none -serial stdio),
		'-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-global',
		'virtio-mmio.force-legacy=false',
		'-qmp', "unix:$socket,server=on,wait=off", @$options, '-kernel', $image, '-append',
		"@words");
	my $pid = open my $console, '-|';
	die "fork: $!" if !defined $pid;
	if (!$pid) {
		# Only so that none is left over: on a busy host it may take minutes.
		open STDIN, '<', '/dev/null';
		open STDERR, '>', "$socket.err";
		$first->();
		exec 'timeout', '-k', 1, 300, @command;
	}
	return bless { pid => $pid, console => $console, out => '', socket => $socket }, $class;
}

sub qmp_connect {
	my ($self) = @_;
	for (1 .. 100) {
		last if $self->{qmp} = IO::Socket::UNIX->new(Peer => $self->{socket});
		sleep 0.05;
	}
	my $qmp = $self->{qmp} or die "no QMP at $self->{socket}: $!";
	readline $qmp;	# the greeting
	$self->qmp('qmp_capabilities');
	return;
}

# One command; what it returns.  Events meanwhile are kept in {events}.
sub qmp {
	my ($self, $command, %arguments) = @_;
	$self->qmp_connect if !$self->{qmp};
	my $qmp = $self->{qmp};
	syswrite $qmp, encode_json({ execute => $command, arguments => \%arguments }) . "\n";
	while (defined(my $line = readline $qmp)) {
		my $answer = decode_json($line);
		return $answer->{return} if exists $answer->{return};
		die "QMP $command: $answer->{error}{desc}\n" if $answer->{error};
		push @{ $self->{events} }, $answer;
	}
	die "QMP $command: no answer\n";
}

# Numbers, not strings, for QMP.
sub balloon { my ($self, $bytes) = @_; return $self->qmp('balloon', value => $bytes + 0) }
sub actual { my ($self) = @_; return $self->qmp('query-balloon')->{actual} }

# The guest's own exit status, once it is over; "signal N" if QEMU was killed.
sub finish {
	my ($self) = @_;
	1 while sysread $self->{console}, $self->{out}, 65536, length $self->{out};
	close $self->{console};
	delete $self->{pid};
	return $? & 127 ? 'signal ' . ($? & 127) : $? >> 8 & 1 ? $? >> 9 : 'qemu ' . ($? >> 8);
}

sub stop {
	my ($self) = @_;
	return if !$self->{pid};
	kill TERM => $self->{pid};
	return $self->finish;
}

sub DESTROY { my ($self) = @_; local $?; $self->stop; return }

# Guest memory [start, start + bytes): {gpa of a page => its contents}, pages of zeroes left out.
sub pages {
	my ($self, $start, $bytes) = @_;
	my $file = "$self->{socket}.memory";
	$self->qmp('pmemsave', val => $start + 0, size => $bytes + 0, filename => $file);
	open my $f, '<:raw', $file or die "$file: $!";
	my (%pages, $page);
	for (my $gpa = $start; read $f, $page, 4096; $gpa += 4096) {
		$pages{$gpa} = $page if $page =~ tr/\0//c;
	}
	close $f;
	unlink $file;
	return \%pages;
}

1;
