#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire run --paging=both: one image in both modes, the table of both, what it says of output that
# differs, and how it ends if a run does.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(sleep);
use lib dirname(__FILE__);
use Quire;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my ($quire, $quill) = ($Quire::quire, $Quire::quill);
my $build = $ENV{QUIRE_BUILD} // 'build';
my $dir = tempdir(CLEANUP => 1);

my $missing = Quire::missing();
plan skip_all => $missing if $missing;

sub slurp { my $name = shift; open my $f, '<', $name or return ''; local $/; return <$f> // '' }

sub start {
	my ($input, @args) = @_;
	unlink "$dir/out", "$dir/err";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', $input;
		open STDOUT, '>', "$dir/out";
		open STDERR, '>', "$dir/err";
		exec $quire, 'run', '--paging=both', '--timeout=60', @args;
	}
	return $pid;
}

sub finish {
	my ($pid) = @_;
	waitpid $pid, 0;
	return { status => $? & 127 ? "signal $?" : $? >> 8, out => slurp("$dir/out"),
		err => slurp("$dir/err") };
}

sub both { return finish(start('/dev/null', @_)) }

# The two numbers of a row.
sub row { my ($r, $name) = @_; return $r->{err} =~ /^ +\Q$name\E +(\S+) +(\S+)$/m }

# ---- equal runs ----

{
	my $r = both($quill, 'selftest');
	is($r->{status}, 0, 'selftest in both modes: the status is its own');
	is(() = $r->{out} =~ /^1\.\.\d+$/mg, 1, '... it prints once');
	like($r->{err}, qr/^  output: equal; exit status: equal\n\z/m, '... and is the same');
	my ($violations, $too) = row($r, 'violations of stage 2');
	ok($violations > 10 && $too > 10, '... violations are counted in both modes');
	like((row($r, 'hidden faults'))[1], qr/^\d{2,}$/, '... hidden faults in one');
	is((row($r, 'hidden faults'))[0], '-', '... and the other has none');
	my ($few, $many) = row($r, 'io');
	my ($none, $trapped) = row($r, 'of which exceptions');
	ok($few < $many && $trapped > $few, '... exits by reason say why');
	ok((row($r, 'iret'))[1] > 50, '... so do instructions');
	my ($bytes, $same) = row($r, 'bytes of output');
	ok($bytes == $same && $bytes == length $r->{out}, '... and its bytes are counted');
	unlike($r->{err}, qr/^.{81}/m, 'the table is 80 columns wide');
}
is(both($quill, 'exit', 2)->{status}, 2, 'a status of 2 may be the guest\'s');
is(both("--name=both-$$", $quill, 'exit', 7)->{status}, 7, '... any may; and it may have a name');
{
	my $r = both($quill, 'crash', 'ud');
	is($r->{status}, 122, 'a guest that crashes in both modes has crashed');
	is(() = $r->{err} =~ /guest crashed: vCPU 0: triple fault/g, 2, '... with both reports');
	like($r->{err}, qr/output: equal; exit status: equal/, '... and the table');
}

# ---- runs that differ ----

{
	my $r = both('--stats=-', $quill, 'hello');
	is($r->{status}, 119, 'times differ, and so the runs do');
	like($r->{err},
		qr/differs in numbers only, first in line 7:\n +ept +time: .*\n +shadow time: /,
		'... which is said, with the line');
	my $doc = decode_json($r->{out});
	is($doc->{schema}, 'quire.stats/1', '--stats has one document');
	is_deeply([map { $_->{paging} } @{$doc->{vms}}], [qw(ept shadow)], '... of both runs');
	my ($ept, $shadow) = @{$doc->{vms}};
	ok(!$ept->{shadow} && $shadow->{shadow}{exceptions}, '... each with what it has');
	my $c = $doc->{comparison};
	is_deeply([@$c{qw(status_equal output_equal only_numbers_differ first_line)}], [1, 0, 1, 7],
		'... and what differs');
	like($c->{$_ . '_line'}, qr/^time: setup/, "... in $_") for qw(ept shadow);
	is($c->{$_ . '_output_bytes'} > 100, 1, '... and how much it was') for qw(ept shadow);
}

# ---- input ----

{
	open my $f, '>', "$dir/in";
	print {$f} "abc\nquit\n";
	close $f;
	my $r = finish(start("$dir/in", $quill, 'echo'));
	like($r->{out}, qr/abc/, 'both get the input');
	like($r->{err}, qr/output: equal/, '... all of it');
	truncate "$dir/in", 65 << 20;
	$r = finish(start("$dir/in", $quill, 'echo'));
	is($r->{status}, 2, 'input without an end is refused');
	like($r->{err}, qr/\Aquire: --paging=both: .*at most 64 MiB.*\n\z/, '... in one line');
}

# ---- what cannot be compared ----

open my $image, '>', "$dir/disk";
truncate $image, 1 << 20;
for my $bad (
	[ 'copies', qr/is for one guest, not -n 2/, '-n', 2 ],
	[ 'a background', qr/leave out --wait-for/, '--wait-for=x' ],
	[ 'a disk that is written', qr/give it ,ro or ,overlay/, "--disk=$dir/disk" ],
) {
	my ($what, $like, @options) = @$bad;
	my $r = both(@options, $quill, 'exit', 0);
	is($r->{status}, 2, "$what: status 2");
	like($r->{err}, qr/\Aquire: --paging=both.*$like.*\n\z/, '... in one line');
}
is(both("--disk=$dir/disk,overlay", $quill, 'exit', 3)->{status}, 3, 'an overlay is made for each');
for my $case (
	[ 'a timeout', 124, qr/timeout/, '--timeout=1', $quill, 'crash', 'loop' ],
	[ 'no room', 120, qr/refused/, qw(--machine-memory=1G --overcommit=0 -m 2G), $quill,
		'exit', 0 ],
	[ 'real mode', 2, qr/it is in real mode/, "$build/payload/flat_hello.bin" ],
	[ 'no image', 2, qr/text: name a guest image/, '/etc/passwd' ],
) {
	my ($what, $status, $like, @args) = @$case;
	my $r = both(@args);
	is($r->{status}, $status, "$what: the first run's status");
	like($r->{err}, $like, '... and its line');
	like($r->{err},
		qr/nothing to compare: with --paging=shadow the run ended with status $status\n\z/,
		'... and that there is nothing to compare');
	unlike($r->{err}, qr/run 2 of 2/, '... so the second run is left out');
}

# ---- signals ----

sub loop {
	my $pid = start('/dev/null', "--name=both-$$", $quill, 'crash', 'loop');
	for (1 .. 600) {
		last if slurp("$dir/out") =~ /loop/;
		sleep 0.1;
	}
	return $pid;
}
for my $signal ([INT => 130], [TERM => 143]) {
	my $pid = loop();
	kill $signal->[0], $pid;
	is(finish($pid)->{status}, $signal->[1], "SIG$signal->[0] ends both");
}
{
	my $pid = loop();
	my $vm = decode_json(scalar `$quire ps --json both-$$`)->{vms}[0]{pid};
	kill 'KILL', $vm;
	my $r = finish($pid);
	is($r->{status}, 121, 'a VM that is killed has no end of its own');
	like($r->{err}, qr/killed by SIGKILL.*\n.*nothing to compare/, '... as is said');
	$pid = loop();
	kill 'KILL', $pid;
	finish($pid);
	my $gone;
	for (1 .. 600) {
		last if $gone = system("$quire ps both-$$ >$dir/ps 2>&1") != 0;
		sleep 0.1;
	}
	ok($gone, 'who is killed leaves no guest behind');
}

done_testing();
