#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# How guests power off and reset themselves, by every port that kernels try.
use strict;
use warnings;
use FindBin;
use IPC::Open3;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = no_guest();
plan skip_all => $skip if $skip;

sub run { return outcome("timeout 60 $quire run @_") }

# It prints an 'x', and does this; if that does nothing, it ends with 7.
sub image { my ($name, $hex) = @_; return flat($name, "baf803 b078 ee $hex b007 e6f4") }

# ---- power-off ----

# mov dx, 604; mov ax, 2000; out dx, ax
my ($status, $out, $err) = run(image('off', 'ba0406 b80020 ef'));
is("$status|$out|$err", '0|x|', 'S5 is the power-off, with status 0 and without a word');
# mov dx, 605; mov al, 20; out dx, al
is((run(image('byte', 'ba0506 b020 ee')))[0], 0, '... also as a byte');
# mov ax, 3400
is((run(image('other', 'ba0406 b80034 ef')))[0], 7, 'a sleep state that there is not does nothing');

# ---- panic ----

# mov dx, 505; mov al, 1; out dx, al
($status, $out, $err) = run(image('panic', 'ba0505 b001 ee'));
is("$status|$out", '122|x', 'a panic that is told has status 122');
like($err, qr/^quire: [^\n]*kernel panicked/m, '... and a crash report');

# ---- reset ----

my %reset = (
	'port 0xcf9, as ACPI says' => 'baf90c b006 ee',
	'port 0x92' => 'b003 e692',
	'the keyboard controller' => 'b0fe e664',
	'its output port' => 'b0d1 e664 b0de e660',
);
for my $how (sort keys %reset) {
	my $image = image('reset', "$reset{$how} fa f4");
	($status, $out, $err) = run('--max-reboots=2', $image);
	is("$status|$out", '122|xxx', "a reset by $how starts the guest again, as often as it may");
	like($err, qr/^quire: the guest reset itself 3 times; --max-reboots=2 [^\n]+\n\z/,
		'... and then a line says so');
}
my $loop = image('loop', 'b0fe e664 fa f4');
($status, $out, $err) = run('--no-reboot', $loop);
is("$status|$out", '0|x', 'with --no-reboot a reset is an end, with status 0');
like($err, qr/^quire: the guest reset itself, [^\n]+\n\z/, '... and a line says so');
is((run('--max-reboots=0', $loop))[0], 122, 'with --max-reboots=0 a reset is a failure');
like(join('', run('--max-reboots=-1', $loop)), qr/^2quire: --max-reboots: [^\n]+\n\z/,
	'a number below 0 is refused');
($status, $out, $err) = run('--timeout=0.5', '--max-reboots=1000', $loop);
like("$status$err", qr/^124.*quire: timeout: /s,
	'--timeout is for all of it, and not for each start');
is(() = $err =~ /timeout/g, 1, '... and is over once');
($status, $out) = run('-n', 3, '--name=g', '--max-reboots=1', $loop);
is(join('', sort split /^/, $out), join('', map { "g-$_| x\n" x 2 } 1 .. 3),
	'of several copies each starts again by itself, and no output is lost');

# ---- input ----

# It prints the keys that it gets; r resets it, q ends it.
my $echo = image('echo', 'bafd03 ec a801 74fb baf803 ec 3c72 740b 3c71 7403 ee ebe9'
	. 'b000 e6f4 b0fe e664 fa f4');
my ($one, $two) = ('a' x 600, 'b' x 1100);
sub typed {
	my $status = system "timeout 60 $quire run $echo <$dir/keys >$dir/out 2>$dir/err";
	return ($status >> 8) . slurp("$dir/out") . slurp("$dir/err");
}
sub keys_are {
	open my $f, '>', "$dir/keys" or die;
	print $f @_;
	close $f or die;
}
keys_are('1r2rr3q4');
is(typed(), '0x1x2xx3', 'input that a guest had not read at a reset is for its next start');
keys_are("${one}r${two}r", 'c' x 4000, 'q');
is(typed(), "0x${one}x${two}x" . 'c' x 4000, '... however much of it, and in order');

# It prints the byte at 0x9000 as a digit, sets it to 1 and waits for a key: q ends it, any other
# resets it.
my $asks = image('asks', 'a00090 0430 ee c606009001 bafd03 ec a801 74fb baf803 ec 3c71 7504'
	. 'b000 e6f4 b0fe e664 fa f4');
# A machine that can promise this guest and no other.
my $room = '--machine-memory=40M --overcommit=2 --overcommit-ratio=100 -m 30M';
my $pid = open3(my $in, my $from, undef, split ' ', "$quire run --name=asks $room $asks");

# Read so much of what the guest prints.
sub hear {
	my ($bytes, $heard) = (shift, '');
	while (length $heard < $bytes) {
		sysread $from, my $byte, 1 or last;
		$heard .= $byte;
	}
	return $heard;
}

is(hear(2), 'x0', 'a guest starts');
for (1 .. 3) {
	syswrite $in, 'r';
	is(hear(2), 'x0', "reset $_: the guest starts again, and its memory is zero");
}
like(scalar `$quire ps asks`, qr/\basks\b/, 'it has its name');
like(scalar `$quire walk asks 0x7c00 2>&1`, qr/0x7c00/, 'and can be looked at');
syswrite $in, 'q';
waitpid $pid, 0;
is($?, 0, 'and its status is that of its last start');

done_testing();
