#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire stress: that it passes where all is well, that each thing that can go wrong makes it fail,
# what it writes, and that nothing of it is left, however it ends.  The long form is a storm, in
# which guests are shot.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use List::Util qw(sum max);
use Test::More;

chdir "$FindBin::Bin/../..";
my $why = no_guest();
plan skip_all => $why if $why;

my $storm = $ENV{QUIRE_STORM} // 1;
my $seed = $ENV{QUIRE_SEED} // (time ^ $$) % 1_000_000;
my @small = qw(--memory=96M --guests=3 --factor=0.7);	# about what it takes to have room for all

# ---- all is well, in both modes ----
{
	my ($status, $out, $err) = outcome("$quire stress @small --paging=mixed --seconds=2 " .
		"--pattern=phases --seed=$seed --report=$dir/report");
	is($status, 0, "seed $seed: it passes where all is well") or diag $out . $err;
	is($err, '', '... without a word on standard error, which is no terminal');
	my @row = $out =~ /^([123]|all) +(?=\d)(.*)$/mg;
	is(@row, 8, '... a row for each guest, and one for all');
	is(() = $out =~ /^ok +\S/mg, 6, '... six checks');
	like($out, qr/\A3 guests of 22 MiB on a machine of 96 MiB .*phases, mixed, seed $seed/,
		'... and what was tried');

	my ($head, @csv) = split /\n/, slurp("$dir/report/table.csv");
	my @name = split /,/, $head;
	my %all;
	@all{@name} = split /,/, $csv[-1];
	is(scalar @csv, 4, 'table.csv has the same rows');
	is(scalar(grep { split(/,/) == @name } @csv), 4, '... all complete');
	cmp_ok($all{promised_bytes}, '>=', 3 * 22 << 20, '... what is promised');
	cmp_ok($all{operations_per_second}, '>', 0, '... and that guests do something');

	($head, @csv) = split /\n/, slurp("$dir/report/samples.csv");
	my @sample = map { my %h; @h{split /,/, $head} = split /,/; \%h } @csv;
	my @state = map { "${_}_bytes" }
		qw(absent private shared zero ballooned compressed swapped archived);
	cmp_ok(scalar @sample, '>', 5, 'samples.csv has samples');
	is(scalar(grep { sum(@$_{@state}) != $_->{ram_bytes} } @sample), 0,
		'... in which each page is in one state');
	is(scalar(grep { sum(@$_{qw(free_bytes credit_bytes store_bytes overhead_bytes)}) !=
		$_->{memory_bytes} } @sample), 0, '... and the books add up');
	is(max(map { $_->{guests} } @sample), 3, '... of three guests');
	my $svg = slurp("$dir/report/memory.svg");
	is(() = $svg =~ /<polygon points="[\d., ]+"/g, 8,
		'memory.svg has an area for each state');
	unlike($svg, qr/nan|inf/, '... of numbers');
	SKIP: {
		skip 'no xmllint', 1 if system('which xmllint >/dev/null 2>&1');
		is(system("xmllint --noout --nonet $dir/report/memory.svg"), 0,
			'... and well formed');
	}
	like(slurp("$dir/report/machine.log"), qr/admitted/,
		'machine.log has what the machine did');
}

# ---- what goes wrong is found ----
{
	my ($status, $out) = outcome("$quire stress @small --seconds=60 --spoil --tap");
	is($status, 1, 'a wrong byte makes it fail');
	like($out, qr/^not ok 1 - .*\n# stress-\d+-1\.1: .*wrong: gva=.*page=\d+ version=\d+/m,
		'... TAP says in which guest, and where');
	is(() = $out =~ /^ok \d+ - /mg, 5, '... and that nothing else was');
	like($out, qr/^1\.\.6$/m, '... there is a plan');
	my @odd = grep { !/^(?:# .*|#|(?:not )?ok \d+ - .*|1\.\.\d+)$/ } split /\n/, $out;
	is("@odd", '', '... all of it is TAP');
}
{
	my ($status, $out) = outcome("$quire stress --memory=24M --guests=3 --factor=5 --swap=0 " .
		"--reclaim=off --seconds=60");
	is($status, 1, 'a guest that is killed for want of memory makes it fail');
	like($out, qr/^FAILED +nobody was killed .*\n +.*out of memory/m, '... with the numbers');
	unlike($out, qr/^FAILED +every guest/m, '... no byte is wrong');
}
{
	# Shot from outside, by nobody's order.
	my $r = start("$dir/shot", $quire, 'stress', @small, '--seconds=60');
	my $vm = "stress-$r->{pid}-1.1";
	until_true(60, sub { quire('why', $vm) =~ /stress: seed=/ });
	my ($pid) = quire('ps', $vm) =~ /(\d+)$/;
	kill KILL => $pid;
	finish($r, 100);
	is($r->{status}, 1, 'a guest that somebody else kills makes it fail');
	like($r->{out}, qr/^FAILED +every guest .*\n +.* status 121: .*SIGKILL/m, '... it says so');
}

{
	my $r = start("$dir/lost", $quire, 'stress', @small, '--seconds=60');
	until_true(60, sub { quire('why', "stress-$r->{pid}-1.1") =~ /stress: seed=/ });
	my ($machine) = grep { slurp("/proc/$_/cmdline") =~ /\0machine\0/ } children($r->{pid});
	kill KILL => $machine;
	finish($r, 60);
	is($r->{status}, 121, 'a machine that is killed is an error');
	like($r->{err}, qr/\Aquire stress: the machine .*\n\z/, '... of one line');
}

# ---- more than there is, while guests are killed ----
{
	my $how = "--paging=mixed --kill --seed=$seed --report=$dir/over";
	my ($status, $out) = outcome("$quire stress --memory=64M --guests=3 --factor=3 " .
		"--seconds=4 $how");
	is($status, 0, "seed $seed: more than there is, and guests are killed: all is well")
		or diag $out . slurp("$dir/over/machine.log");
	my ($lives) = $out =~ /^all +(\d+)/m;
	cmp_ok($lives, '>', 3, '... some lived more than once');
	my ($head, @csv) = split /\n/, slurp("$dir/over/samples.csv");
	my @sample = map { my %h; @h{split /,/, $head} = split /,/; \%h } @csv;
	cmp_ok(max(map { $_->{compressed_bytes} + $_->{swapped_bytes} } @sample), '>', 1 << 20,
		'... and pages left to keep the promise');
}
SKIP: {
	skip 'the long form is for make soak', 1 if $storm == 1;
	my ($status, $out) = outcome("$quire stress --paging=mixed --kill " .
		"--pattern=phases --seconds=" . 6 * $storm . " --seed=$seed --report=$dir/long");
	is($status, 0, "seed $seed: for long") or diag $out . slurp("$dir/long/machine.log");
}

# ---- its end ----

# Processes that have this one's name in their words.
sub left { my ($pid) = @_; return grep { slurp("/proc/$_/cmdline") =~ /stress-$pid\b/ }
	map { m{/proc/(\d+)} } glob '/proc/[0-9]*' }

for my $how (['TERM', 143], ['INT', 130], ['KILL', 'signal 9']) {
	my ($signal, $want) = @$how;
	my $r = start("$dir/end", $quire, 'stress', @small, '--seconds=60');
	until_true(30, sub { left($r->{pid}) >= 7 });
	kill $signal => $r->{pid};
	finish($r, 60);
	is($r->{status}, $want, "SIG$signal ends it");
	until_true(30, sub { !left($r->{pid}) });
	is(join(' ', left($r->{pid})), '', '... and nothing is left of it');
	# Who dies has no words any more, but may have sockets for another moment.
	ok(until_true(30, sub { slurp('/proc/net/unix') !~ /stress-$r->{pid}\b/ }),
		'... nor a socket');
}

# ---- on a terminal ----
SKIP: {
	skip 'no script(1)', 2 if system('which script >/dev/null 2>&1');
	my $shown = `script -qec '$quire stress @small --seconds=1' /dev/null </dev/null`;
	like($shown, qr/\r +\d+ s, running: 3 guests, \d+ of 96 MiB in use/,
		'a terminal sees how it goes');
	like($shown, qr/\r\e\[K3 guests of 22 MiB/, '... on a line that is gone in the end');
}

# ---- wrong words ----
for my $bad (
	[ '--factor', 'is no factor', '--factor=x' ],
	[ '--factor', 'is no factor', '--factor=65' ],
	[ 'MiB for each guest', 'use fewer --guests', '--guests=200' ],
	[ '--pattern', 'zipf, scan, random or phases', '--pattern=none' ],
	[ '--paging', 'ept, shadow or mixed', '--paging=both' ],
	[ '--reclaim', 'gen or off', '--reclaim=best' ],
	[ 'foo', 'unexpected', 'foo' ],
) {
	my ($begin, $like, @words) = @$bad;
	my ($text, $status) = quire('stress', @words);
	like($text, qr/\Aquire stress: .*\Q$begin\E.*\Q$like\E.*\n\z/, "stress @words: one line");
	is($status, 2, '... and its status');
}
{
	local $ENV{TMPDIR} = '/dev/shm';
	my ($text, $status) = quire('stress', '--swap=100M');
	is($status, 2, 'swap without a place for it is wrong usage');
	like($text, qr/\Aquire stress: --swap: \/dev\/shm is in memory.*--swap-dir\n\z/,
		'... of one line');
}
{
	my ($status, $out, $err) = outcome("$quire stress @small --seconds=1 --report=/proc/x");
	is($status, 121, 'a folder that cannot be made is an error');
	like($err, qr{\Aquire stress: cannot make /proc/x: .*\n\z}, '... of one line');
}
done_testing;
