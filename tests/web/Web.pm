# SPDX-License-Identifier: MIT
#
# A machine with its observer, for tests: start it, ask it over HTTP, and end it whatever happens.
package Web;
use strict;
use warnings;
use Exporter qw(import);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use JSON::PP qw(decode_json);
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time sleep);

our @EXPORT = qw($build $quire $quill $dir missing machine observer_of guests dial say_to hear
	ask get post patience);

our $build = $ENV{QUIRE_BUILD} // 'build';
our $quire = "$build/quire";
our $quill = "$build/guest/quill.elf";
our $dir = tempdir(CLEANUP => 1);
our %child;
delete $ENV{QUIRE_MACHINE};

END {
	my $status = $?;
	kill 'KILL', $_ for keys %child;
	waitpid $_, 0 for keys %child;
	$? = $status;
}

# Why there can be no observer.  In a network namespace of our own the loopback has to be set up.
sub missing {
	system('ip link set lo up 2>/dev/null') if !$>;
	my $probe = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1');
	return $probe ? undef : "no loopback: $!";
}

# Until it is true, for a minute at most.
sub patience {
	my ($true) = @_;
	my $until = time + 60;
	sleep 0.02 while !(my $value = $true->()) && time < $until;
	return $true->();
}

sub slurp { open my $f, '<', $_[0] or return ''; local $/; return <$f> // '' }

sub child_of { return (split ' ', slurp("/proc/$_[0]/task/$_[0]/children"))[0] }

# The observer that there is now.
sub observer_of { return child_of($_[0]{starter}) }

# Start a machine with these options, and wait until it is ready.  Its record has `pid`, `starter`,
# `observer`, `address`, the `host` (ADDR:PORT) and the `token` of its page, and what it said in
# `log`.
sub machine {
	my (@options) = @_;
	our $nr++;
	my %m = (address => "\@quire/machine/web-$$-$nr", file => "$dir/machine-$nr");

	$m{pid} = fork // die "fork: $!";
	if (!$m{pid}) {
		open STDERR, '>', $m{file};
		exec $quire, 'machine', "--machine=$m{address}", '--memory=256M', @options;
	}
	$child{$m{pid}} = 1;
	patience(sub { slurp($m{file}) =~ /ready at|quire machine:/ });
	$m{log} = slurp($m{file});
	($m{host}, $m{token}) = $m{log} =~ m{page at http://(\S+)/#token=(\w+)};
	$m{starter} = child_of($m{pid});
	$m{observer} = observer_of(\%m);
	return \%m;
}

# Start so many copies of a guest, and wait until all of them are ready.
sub guests {
	my ($m, $name, $nr, @words) = @_;
	my $pid = fork // die "fork: $!";

	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$dir/guests-$name";
		open STDERR, '>&', \*STDOUT;
		exec $quire, 'run', "--name=$name", '-n', $nr, @words;
	}
	$child{$pid} = 1;
	return patience(sub { (() = slurp("$dir/guests-$name") =~ /\bready$/mg) >= $nr });
}

sub dial {
	my ($m) = @_;
	return IO::Socket::INET->new(PeerAddr => $m->{host}, Timeout => 20);
}

sub say_to { my ($s, $text) = @_; return syswrite $s, $text }

# What comes until the end, or for so many seconds.
sub hear {
	my ($s, $seconds) = @_;
	my ($text, $until) = ('', time + ($seconds // 60));

	while ((my $left = $until - time) > 0) {
		vec(my $bits = '', fileno $s, 1) = 1;
		next if !select $bits, undef, undef, $left;
		last if !sysread $s, $text, 65536, length $text;
	}
	return $text;
}

# A request with these lines of header.  Returns status, body and headers.
sub ask {
	my ($m, $line, @header) = @_;
	my $s = dial($m) or return 0;

	unshift @header, "Host: $m->{host}" if !grep { /^Host:/i } @header;
	say_to($s, join("\r\n", "$line HTTP/1.1", @header, 'Connection: close', '', ''));
	my ($head, $body) = split /\r\n\r\n/, hear($s), 2;
	return (($head // '') =~ /^HTTP\/1\.1 (\d+)/ ? $1 : 0, $body // '', $head // '');
}

sub get { my ($m, $path, @header) = @_; return ask($m, "GET $path", @header) }
sub post {
	my ($m, $path, @header) = @_;
	return ask($m, "POST $path", 'Content-Length: 0', @header);
}

1;
