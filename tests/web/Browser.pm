# SPDX-License-Identifier: MIT
#
# A headless Chromium, for tests: it is told what to do over a pair of pipes, by the DevTools
# protocol, a JSON object and a NUL each way.
package Browser;
use strict;
use warnings;
use File::Temp qw(tempdir);
use IO::Handle;
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(decode_base64);
use POSIX qw(dup2);
use Time::HiRes qw(time sleep);

our %child;

END {
	my $status = $?;
	kill 'KILL', map { -$_ } keys %child;
	waitpid $_, 0 for keys %child;
	$? = $status;
}

sub program {
	for my $name (qw(chromium chromium-browser google-chrome)) {
		for my $dir (split /:/, $ENV{PATH}) { return "$dir/$name" if -x "$dir/$name" }
	}
	return undef;
}

sub new {
	my ($class, $width, $height) = @_;
	my $home = tempdir(CLEANUP => 1);
	pipe my $in, my $tell or die "pipe: $!";
	pipe my $hear, my $out or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setpgrp;
		my ($from, $to) = map { POSIX::dup(fileno $_) } $in, $out;
		$^F = 4;
		dup2($from, 3), dup2($to, 4);
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$home/log";
		open STDERR, '>&', \*STDOUT;
		$ENV{HOME} = $home;
		exec program(), '--headless=new', '--no-sandbox', '--disable-gpu',
			'--disable-dev-shm-usage', '--no-first-run',
			"--user-data-dir=$home/profile",
			'--disable-background-networking', '--disable-component-update',
			"--window-size=$width,$height", '--remote-debugging-pipe', 'about:blank';
	}
	$child{$pid} = 1;
	close $in, close $out;
	$tell->autoflush(1);
	my $self = bless { pid => $pid, tell => $tell, hear => $hear, text => '', nr => 0,
		event => [], home => $home }, $class;
	my $tab = $self->tab;
	$self->{session} = $self->call('Target.attachToTarget', targetId => $tab->{targetId},
		flatten => JSON::PP::true)->{sessionId};
	$self->call("$_.enable") for qw(Page Runtime Network Log);
	return $self;
}

sub tab {
	my ($self) = @_;
	my $until = time + 60;

	while (time < $until) {
		my ($tab) = grep { $_->{type} eq 'page' }
			@{$self->call('Target.getTargets')->{targetInfos}};
		return $tab if $tab;
		sleep 0.1;
	}
	die "the browser has no page\n";
}

sub next_message {
	my ($self) = @_;
	my $until = time + 60;

	my $end;
	while (($end = index $self->{text}, "\0") < 0) {
		vec(my $bits = '', fileno $self->{hear}, 1) = 1;
		die "the browser does not answer\n" if time > $until ||
			!select($bits, undef, undef, 60) ||
			!sysread $self->{hear}, $self->{text}, 1 << 20, length $self->{text};
	}
	my $message = substr $self->{text}, 0, $end + 1, '';
	chop $message;
	return decode_json($message);
}

# Call a method, and return its result.  Events that come meanwhile are kept.
sub call {
	my ($self, $method, %params) = @_;
	my $id = ++$self->{nr};
	my $session = $self->{session};

	print { $self->{tell} } encode_json({ id => $id, method => $method, params => \%params,
		$session ? (sessionId => $session) : () }), "\0";
	while (my $m = $self->next_message) {
		push @{$self->{event}}, $m if $m->{method};
		next if ($m->{id} // 0) != $id;
		die "$method: $m->{error}{message}\n" if $m->{error};
		return $m->{result};
	}
}

# The value of an expression of JavaScript.
sub value {
	my ($self, $expression) = @_;
	my $r = $self->call('Runtime.evaluate', expression => $expression,
		returnByValue => JSON::PP::true, awaitPromise => JSON::PP::true);
	my $wrong = $r->{exceptionDetails};
	die "$expression: $wrong->{exception}{description}\n" if $wrong;
	return $r->{result}{value};
}

# Wait until an expression is true, for a minute at most.  Whatever it throws is false.
sub await {
	my ($self, $expression) = @_;
	my ($until, $value) = time + 60;

	sleep 0.1 while !($value = eval { $self->value($expression) }) && time < $until;
	return $value;
}

sub go { my ($self, $url) = @_; return $self->call('Page.navigate', url => $url) }

# Move the mouse to, or click at, the middle of an element or a part of it (0 to 1 each way).
sub mouse {
	my ($self, $type, $selector, $across, $down) = @_;
	my $at = $self->value(sprintf <<'E', $selector, $across // 0.5, $down // 0.5);
(() => {
	const e = document.querySelector(%s);
	e.scrollIntoView({ block: 'center' });
	const b = e.getBoundingClientRect();
	return { x: b.left + b.width * %f, y: b.top + b.height * %f };
})()
E
	my @types = $type eq 'click' ? qw(mousePressed mouseReleased) : 'mouseMoved';
	$self->call('Input.dispatchMouseEvent', type => $_, x => $at->{x}, y => $at->{y},
		$type eq 'click' ? (button => 'left', clickCount => 1) : ()) for @types;
}

sub screenshot {
	my ($self, $file) = @_;
	my $data = $self->call('Page.captureScreenshot', format => 'png')->{data};

	open my $f, '>', $file or die "$file: $!";
	print $f decode_base64($data);
	close $f;
}

# What went wrong in the page, by its own word.
sub complaints {
	my ($self) = @_;
	return map { $_->{params}{entry}{text} // $_->{params}{exceptionDetails}{text} // '?' }
		grep { ($_->{method} eq 'Log.entryAdded' &&
			$_->{params}{entry}{level} eq 'error') ||
			$_->{method} eq 'Runtime.exceptionThrown' } @{$self->{event}};
}

# The addresses that were asked for.
sub requests {
	my ($self) = @_;
	return map { $_->{params}{request}{url} }
		grep { $_->{method} eq 'Network.requestWillBeSent' } @{$self->{event}};
}

1;
