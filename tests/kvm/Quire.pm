# SPDX-License-Identifier: MIT
#
# quill under quire, for tests: start one, wait for lines of its console, ask its control socket,
# look at its RAM file.
package Quire;
use strict;
use warnings;
use JSON::PP qw(decode_json);
use Socket;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time sleep);
use parent qw(Console);

# vmm/vm/ctl_protocol.h
use constant { MAGIC => 0x52495551, INFO => 1, MAP => 2, PAUSE => 4, RESUME => 5, LAST => 1 };

my @states = qw(absent private shared zero ballooned);
my $build = $ENV{QUIRE_BUILD} // 'build';
our $quire = "$build/quire";
our $quill = "$build/guest/quill.elf";
$ENV{QUIRE_MACHINE} = 'own';	# a machine of the user's may run

# Why there can be no guest, or nothing.
sub missing {
	return 'no access to /dev/kvm' if !-r '/dev/kvm' || !-w '/dev/kvm';
	return 'not root: cannot look into VM processes' if $>;
	my $probe = `timeout 20 $quire run -m 16M $quill exit 0 2>&1`;
	return $? >> 8 == 121 ? $probe : undef;
}

# new([option of quire run...], word of the command line...)
sub new {
	my ($class, $options, @words) = @_;
	my $name = "t$$-" . ++our $count;
	my $pid = open my $console, '-|';
	die "fork: $!" if !defined $pid;
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDERR, '>&', \*STDOUT;
		exec $quire, 'run', '--timeout=' . 100 * ($ENV{QUIRE_STORM} // 1),
			"--name=$name", @$options, $quill, @words;
	}
	my ($machine) = grep { /^--machine=/ } @$options;
	return bless { pid => $pid, console => $console, out => '', name => $name,
		machine => $machine // '' }, $class;
}

# The last number that the guest printed by that name.
sub value { my ($self, $name) = @_; return ($self->{out} =~ /\b$name=(\d+)/g)[-1] }

sub dial {
	my ($self) = @_;
	socket my $ctl, AF_UNIX, SOCK_SEQPACKET, 0 or die "socket: $!";
	connect $ctl, sockaddr_un("\0quire/vm/$self->{name}") or die "$self->{name}: $!";
	return $ctl;
}

# A connection to the VM.  It tells its own user from others, but no other from root.
sub connect_as_its_user {
	my ($self) = @_;
	my $ctl = $self->dial;
	my (undef, $uid) = unpack 'l3', getsockopt $ctl, SOL_SOCKET, 17; # SO_PEERCRED
	return $ctl if $> || !$uid;
	local $> = $uid;
	return $self->dial;
}

# One request: the payloads of its answer, or nothing with $! set.
sub ask {
	my ($self, $op, @arg) = @_;
	my ($reply, @payload, $last);
	$self->{ctl} //= $self->connect_as_its_user;
	send $self->{ctl}, pack('LSSLLQ4', MAGIC, 1, $op, 0, 0, map { $arg[$_] // 0 } 0 .. 3), 0;
	until ($last) {
		defined recv $self->{ctl}, $reply, 65536, 0 or die "$self->{name}: $!";
		my (undef, undef, undef, undef, $status, $flags) = unpack 'LSSLlLL', $reply;
		die "$self->{name} went away\n" if !defined $status;
		$! = -$status;
		return if $status;
		push @payload, substr $reply, 24;
		$last = $flags & LAST;
	}
	return @payload;
}

sub pause { my ($self) = @_; return $self->ask(PAUSE) }
sub resume { my ($self) = @_; return $self->ask(RESUME) }

# What a command prints.  It is patient for a second or so only, and a VM of a sanitizer build that
# has much to do may need longer.
sub command {
	my ($self, $command) = @_;
	my $said;
	for (1 .. 20) {
		$said = `timeout 20 $quire $command 2>&1`;
		last if $said !~ /does not answer/;
	}
	return $said;
}

# What quire stat says of it.
sub account {
	my ($self) = @_;
	my $json = $self->command("stat --json $self->{name}");
	my $doc = eval { decode_json($json) } or die "$self->{name}: $json";
	return $doc->{vms}[0];
}

# Set the balloon's target in pages, unless it is undef; its numbers, in pages too.
sub balloon {
	my ($self, $pages) = @_;
	if (defined $pages) {
		$self->{ram_bytes} //= $self->account->{ram_bytes};
		my $size = $self->{ram_bytes} - 4096 * $pages;
		my $said = $self->command("balloon $self->{machine} $self->{name} $size");
		die "$self->{name}: $said" if $? >> 8 > 1;
	}
	return if !defined wantarray;	# the guest may be gone already
	my $stat = $self->account;
	my %info = map { /^balloon_(\w+?)_pages$/ ? ($1 => $stat->{$_}) : () } keys %$stat;
	@info{qw(driver silent operations)} = ($stat->{balloon_driver} eq 'ready' ? 1 : 0,
		$stat->{balloon_silent_ns} ? 1 : 0, $stat->{balloon_operations});
	$info{duplicates} = $info{duplicate};
	return \%info;
}

# How many pages are in each state, of all or of [gfn, gfn + nr); those of 2 MiB leaves also as
# `large`.
sub states {
	my ($self, $gfn, $nr) = @_;
	my %pages = (large => 0, map { $_ => 0 } @states);
	for my $run (map { unpack 'L*', $_ } $self->ask(MAP, $gfn // 0, $nr // 0)) {
		my $state = $states[$run & 0x7f] // next;
		$pages{$state} += $run >> 8;
		$pages{large} += $run >> 8 if $run & 0x80;
	}
	return \%pages;
}

# The state of each page, as a list.
sub each_page {
	my ($self) = @_;
	my @pages;
	for my $run (map { unpack 'L*', $_ } $self->ask(MAP, 0, 0)) {
		my $state = $states[$run & 0x7f] // 'hole';
		push @pages, ($run & 0x80 ? "$state large" : $state) x ($run >> 8);
	}
	return @pages;
}

# The VM's process.
sub vm_pid {
	my ($self) = @_;
	open my $f, '<', "/proc/$self->{pid}/task/$self->{pid}/children" or return;
	return $self->{vm} = (split ' ', <$f> // '')[0] // $self->{pid};
}

# Pages of the RAM file, which is unlinked and as large as RAM.
sub file_pages {
	my ($self, $mib) = @_;
	for (glob '/proc/' . $self->vm_pid . '/fd/*') {
		my @st = stat or next;
		# Its second half is for the pool.
		return $st[12] / 8 if $st[3] == 0 && -f _ && $st[7] == $mib << 21;
	}
	return -1;
}

sub merge_now { my ($self) = @_; return `timeout 60 $quire merge now $self->{name} 2>&1` }

# The exit status, once it is over; "signal N" if it was killed.
sub finish {
	my ($self) = @_;
	1 while sysread $self->{console}, $self->{out}, 65536, length $self->{out};
	close $self->{console};
	delete $self->{pid};
	return $? & 127 ? 'signal ' . ($? & 127) : $? >> 8;
}

sub stop {
	my ($self, $signal) = @_;
	return if !$self->{pid};
	kill $signal // 'TERM', $self->{pid};
	return $self->finish;
}

sub DESTROY { my ($self) = @_; local ($?, $!); $self->stop; return }

1;
