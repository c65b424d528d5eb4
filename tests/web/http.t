#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The observer's side of HTTP: what it serves, whom it refuses, and who survives whom.  Needs no
# guest.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time sleep);
use Web;

plan skip_all => $_ for grep { defined } missing();

my $m = machine('--http=127.0.0.1:0');
ok($m->{host} && $m->{token}, 'the machine says where its page is, and the token');
my ($host, $name) = ($m->{host}, $m->{host} =~ s/.*:/localhost:/r);

# ---- what there is ----

my ($status, $body, $head) = get($m, '/');
is($status, 200, 'the page is there');
like($body, qr/<!doctype html>/i, '... and is HTML');
unlike($body, qr/(src|href)=["']?(https?:)?\/\//, '... that asks nobody else');
like($head, qr/^Content-Security-Policy: default-src 'none'; script-src 'self';/m,
	'... and may do nothing but use what comes from here');
like($head, qr/^X-Content-Type-Options: nosniff\r$/m, '... and is nothing but HTML');
is((get($m, "/$_"))[0], 200, "/$_ is there") for qw(page.css page.js);
($status, $body) = get($m, '/stats.json');
is(eval { decode_json($body)->{schema} }, 'quire.stats/1', '/stats.json has the counters');
is(decode_json($body)->{machine}{memory_bytes}, 256 << 20, '... of this machine');
($status, $body, $head) = ask($m, 'HEAD /');
is("$status $body", '200 ', 'HEAD has no body');

# ---- what there is not ----

sub refused {
	my ($want, $what, @answer) = @_;
	is($answer[0], $want, $what);
	like($answer[1], qr/^[ -~]+\n\z/, '... and says why, in one line');
}
refused(404, 'a path that is not there', get($m, '/etc/passwd'));
refused(404, 'a path that climbs', get($m, '/../../etc/passwd'));
refused(405, 'another method', ask($m, 'DELETE /'));
refused(405, 'POST to the page', post($m, '/'));
refused(413, 'a body', ask($m, 'POST /', 'Content-Length: 1000000000000'));
refused(413, 'a body in chunks', ask($m, 'GET /', 'Transfer-Encoding: chunked'));
refused(400, 'too many arguments', get($m, '/stats.json?a&b&c&d&e'));
refused(400, 'a long argument', get($m, '/stats.json?a=' . 'x' x 100));

# ---- events, and actions ----

my $s = dial($m);
say_to($s, "GET /events HTTP/1.1\r\nHost: $host\r\n\r\n");
my $heard = '';
patience(sub { (() = ($heard .= hear($s, 0.2)) =~ /^event: look$/mg) >= 2 });
my %event = $heard =~ /^event: (\w+)\r?\ndata: (.*)$/mg;
my $hello = eval { decode_json($event{hello} // '') };
is(@{$hello->{palette} // []}, 2 * @{$hello->{states} // [0]}, 'events begin with the colours');
is(eval { decode_json($event{look})->{machine}{memory_bytes} }, 256 << 20, '... looks follow');
is((() = $heard =~ /^event: look$/mg), 2, '... and go on');
my @streams = map { my $t = dial($m); say_to($t, "GET /events HTTP/1.1\r\nHost: $host\r\n\r\n");
	$t } 1 .. 15;
is((get($m, '/stats.json'))[0], 200, 'with 16 who listen others are answered');
refused(503, 'one more who listens', get($m, '/events'));
close $_ for $s, @streams;
ok(patience(sub {
	my $t = dial($m);
	say_to($t, "GET /events HTTP/1.1\r\nHost: $host\r\n\r\n");
	return hear($t, 2) =~ /^HTTP\/1\.1 200/;
}), '... may when they are gone');
my $act = '/act?vm=nobody&pid=1&do=pause';
refused(401, 'an action without the token', post($m, $act));
refused(401, '... with another one', post($m, $act, 'Authorization: Bearer ' . 'a' x 32));
refused(401, '... with a part of it', post($m, $act, 'Authorization: Bearer ' .
	substr $m->{token}, 0, 31));
my $right = "Authorization: Bearer $m->{token}";
refused(403, '... from another page', post($m, $act, $right, 'Origin: http://evil.example'));
refused(421, '... to a name', post($m, $act, $right, 'Host: evil.example'));
refused(405, '... by GET', get($m, $act, $right));
refused(404, 'an action with it, on no VM', post($m, $act, $right));
refused(404, 'the owners of no VM\'s page', get($m, '/owners?vm=nobody&gfn=0'));

# ---- names that may be anybody's ----

refused(421, 'a page whose name points at us', get($m, '/', 'Host: evil.example'));
refused(421, 'such a name with our port', get($m, '/', "Host: evil.example:80"));
refused(421, 'a name that begins as ours', get($m, '/', 'Host: 127.0.0.1.evil.example'));
is((get($m, '/', "Host: $_"))[0], 200, "$_ is us") for $name, '[::1]:8080', '127.0.0.1';
refused(403, 'a request from another page', get($m, '/', 'Origin: http://evil.example'));
refused(403, 'one from a page of no origin', get($m, '/', 'Origin: null'));
is((get($m, '/', "Origin: http://$host"))[0], 200, 'one from our own page');

# ---- garbage ----

for my $what (["\0" x 1000, 'bytes'], ["GET\r\n\r\n", 'half a line'],
	      ["GET / HTTP/9.9\r\n\r\n", 'another version'],
	      ["GET / HTTP/1.1\r\n\r\n", 'no host'],
	      ['GET /' . 'x' x 100000 . " HTTP/1.1\r\nHost: $host\r\n\r\n", 'a long path'],
	      ["GET / HTTP/1.1\r\nHost: $host\r\nX-Y: " . 'z' x 100000 . "\r\n\r\n", 'a header'],
	      [join('', map { chr int rand 256 } 1 .. 5000) . "\r\n\r\n", 'noise'],
	      ["GET / HTTP/1.1\r\nHost: $host\r\nContent-Length: -1\r\n\r\n", 'a length']) {
	my $s = dial($m);
	say_to($s, $what->[0]);
	shutdown $s, 1;
	unlike(hear($s), qr/^HTTP\/1\.1 200/, "$what->[1] gets no answer that means anything");
}
is((get($m, '/'))[0], 200, 'after all that the page is there');

# ---- many, and slow ones ----

my @slow = map { dial($m) } 1 .. 100;
is(scalar(grep { defined } @slow), 100, '100 clients connect');
say_to($_, "GET / HTTP/1.1\r\nHost: $host\r\nX-Slow: ") for @slow;
is((get($m, '/stats.json'))[0], 200, '... and while none gets on, others are answered');
my $begin = time;
for (1 .. 60) {
	last if !grep { $_ && $_->connected } @slow;
	for my $s (@slow) {
		next if !$s;
		local $SIG{PIPE} = 'IGNORE';
		vec(my $bits = '', fileno $s, 1) = 1;
		my $over = select($bits, undef, undef, 0) && !sysread $s, my $none, 1;
		$s = undef if $over || !say_to($s, 'x');
	}
	sleep 1;
}
is(scalar(grep { defined } @slow), 0, 'whoever sends a byte a second is hung up on');
my @many = map { my $s = dial($m); say_to($s, "GET /stats.json HTTP/1.1\r\nHost: $host\r\n" .
	"Connection: close\r\n\r\n"); $s } 1 .. 100;
my @answer = map { hear($_) } @many;
is(scalar(grep { /^HTTP\/1\.1 (200|503)/ } @answer), 100, '100 clients at once are answered');
cmp_ok(scalar(grep { /^HTTP\/1\.1 200/ } @answer), '>=', 64, '... most with what they want');
my @status = map { (get($m, '/'))[0] } 1 .. 600;
is(scalar(grep { $_ != 200 && $_ != 429 } @status), 0, 'a flood is answered, or told to wait');

# ---- addresses ----

for my $bad ('8080', ':8080', '127.0.0.1:', '127.0.0.1:65536', '127.0.0.1:-1', '127.0.0.1:80x',
	     'example.org:80', '::1:80', '[127.0.0.1]:80', '[::1]', '1.2.3:80', '') {
	my $out = `$quire machine --machine=\@web-bad-$$ --memory=64M --http='$bad' 2>&1`;
	is($? >> 8, 2, "--http=$bad: wrong usage") or diag $out;
	like($out, qr/\Aquire machine: --http=\Q$bad\E: .*ADDR:PORT.*\n\z/, '... in one line');
}
my $out = `$quire machine --machine=\@web-busy-$$ --memory=64M --http=$host 2>&1`;
is($? >> 8, 121, 'a port that is taken');
like($out, qr/\Aquire machine: --http=\Q$host\E: cannot listen there: .*choose another.*\n\z/,
	'... in one line');
my $open = machine('--http=0.0.0.0:0');
like($open->{log}, qr/warning: other hosts can reach 0\.0\.0\.0:\d+/, 'other hosts are warned of');
unlike($m->{log}, qr/warning/, '... and this host is not');

# ---- who survives whom ----

sub is_there { return kill 0, $_[0] }
sub is_away { my ($pid) = @_; return patience(sub { !is_there($pid) }) }

# Kill the observer, and wait for the next.
sub is_replaced {
	my ($m) = @_;
	my ($was, $now) = observer_of($m);

	kill 'KILL', $was;
	return patience(sub { is_away($was) && ($now = observer_of($m)) && $now != $was });
}

# Events about the observer, as "reason restarts wait_ms".
sub told {
	my @events = map { decode_json($_) } `$quire events --machine=$_[0]{address}`;
	return map { join ' ', map { $_ // '' } @$_{qw(reason restarts wait_ms)} }
		grep { $_->{kind} eq 'observer' } @events;
}
sleep 3; # whoever was told to wait may ask again
ok(is_replaced($m), 'kill -9 ends the observer, and there is another');
is((get($m, '/stats.json'))[0], 200, '... which serves at the same address');
is((post($m, $act, $right))[0], 404, '... with the same token');
is((post($m, $act, 'Authorization: Bearer ' . 'a' x 32))[0], 401, '... and no other');
ok(is_replaced($m), '... and again');
is_deeply([told($m)], ['signal 9 1 100', 'signal 9 2 200'], '... each is an event, with its rest');
is((() = Web::slurp($m->{file}) =~ /the observer has ended \(signal 9\), starting/g), 2,
	'... and a line in the log');
ok(is_there($m->{pid}), '... the machine goes on');
like(`$quire stat --machine=$m->{address} 2>&1`, qr/\bmemory\b/, '... and answers');
my $observer = observer_of($m);
kill 'KILL', $m->{starter};
ok(patience(sub { (told($m))[-1] eq 'starter ended  ' }),
	'when what starts it is killed, that is told');
is((get($m, '/'))[0], 200, '... and this observer goes on');
kill 'TERM', $m->{pid};
waitpid $m->{pid}, 0;
delete $Web::child{$m->{pid}};
ok(is_away($observer), '... until the machine ends');
kill 'KILL', $open->{pid};
waitpid $open->{pid}, 0;
delete $Web::child{$open->{pid}};
ok(is_away($open->{observer}) && is_away($open->{starter}),
	'kill -9 of the machine ends its observer, and what starts it');
my $last = machine('--http=127.0.0.1:0');
kill 'TERM', $last->{pid};
waitpid $last->{pid}, 0;
delete $Web::child{$last->{pid}};
ok(is_away($last->{observer}) && is_away($last->{starter}), 'so does its end');

done_testing();
