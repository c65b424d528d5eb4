#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire reclaim on real guests, in both modes: what becomes free, that the kernel and the machine
# count the same, and that each guest finds every byte again.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use JSON::PP;
use Test::More;

my $why = missing();
plan skip_all => $why if $why;

$ENV{QUIRE_MACHINE} = $address;

# A guest of 64 MiB with 5000 pages, of which 4 in 5 can be compressed.  It says when it has them,
# and verifies them when there is input.
sub hold {
	my ($name, $seed, @options) = @_;
	my $base = "$dir/$name";
	system 'mkfifo', "$base.in" if !-p "$base.in";
	my $guest = start($base, $quire, 'run', "--name=$name", '-m', '64M', "--machine=$address",
		@options, $quill, 'hold', $seed,
		qw(5000 zero=10 own=4000 packs=80 order=shuffle seconds=100));
	open $guest->{in}, "+<", "$base.in" or die "$base.in: $!";
	BAIL_OUT("no guest: " . slurp("$base.err")) if !says($guest, 'hold: ready', 1, 60);
	return $guest;
}

# It is told to go on, and finds all bytes.
sub verifies {
	my ($guest, $what) = @_;
	syswrite $guest->{in}, "\n";
	finish($guest, 100);
	is($guest->{status}, 0, "$what: it ends well");
	like($guest->{out}, qr/^hold: verified=5000$/m, '... and finds every byte');
}

# Its counters.
sub vm { my ($machine, $vms) = account(); return $vms->{ $_[0] } // {} }

# What the kernel counts of a guest's RAM file is what quire says it has.
sub agrees {
	my ($guest, $name) = @_;
	my ($vm) = vms_of($guest->{pid});
	my $file = ram_file($vm, 64);
	my ($is, $says);
	until_true(10, sub { ($is, $says) = (blocks_of($file), vm($name)->{resident_bytes} / 4096);
		$is == $says });
	is($says, $is, '... what it has is what the kernel counts');
}

# At its end: it was stalled whenever it touched a page that was compressed, and only then.
sub stalled {
	my ($vm) = @_;
	my %loads = %{ $vm->{compressed_loads} };
	my $longest = delete $loads{longest_ns};
	my $loads = 0;
	$loads += $_ for values %loads;
	cmp_ok($loads, '>', 200, '... which it had to load');
	cmp_ok($loads, '<=', $vm->{zswpin_pages}, '... and these came home');
	cmp_ok($vm->{stall_some_ns}, '>=', $longest, '... it was stalled as long as that took');
	cmp_ok($vm->{stall_some_ns}, '<', $vm->{run_ns}, '... and not always');
	cmp_ok($vm->{stall_full_ns}, '<=', $vm->{stall_some_ns}, '... no more was full');
	cmp_ok($vm->{stall_full_ns}, '>', 0, '... but some was: it has one vCPU');
}

sub mib { my ($n, $unit) = @_; return $n * { KiB => 1 / 1024, MiB => 1, GiB => 1024 }->{$unit} }

serve("$dir/machine", '--memory=512M') or BAIL_OUT('no machine: ' . slurp("$dir/machine.err"));

for my $mode (qw(ept shadow)) {
	my $guest = hold("r$mode", 7, "--paging=$mode", '--merge=off', "--stats=$dir/r$mode.stats");
	my $free = account()->{free_bytes};
	my ($text, $status) = quire('reclaim', "r$mode");
	is($status, 0, "$mode: reclaim succeeds");
	like($text, qr/^r$mode: \S+ \S+ free: \S+ \S+ compressed/, '... and says what became free');
	my ($n, $unit) = $text =~ / free: (\S+) (\S+) compressed/;
	ok(mib($n, $unit) > 14, "... most pages that can be compressed were ($n $unit)");
	my $vm = vm("r$mode");
	cmp_ok($vm->{zswap_bytes}, '<', $vm->{zswapped_bytes} / 2, '... to less than a half');
	cmp_ok(account()->{free_bytes} - $free, '>', 7 << 20, "... and the machine has that");
	agrees($guest, "r$mode");
	like(quire('map', "r$mode"), qr/^  c  compressed +\d{4} pages/m, '... map shows them');
	like(quire('stat', "r$mode"), qr/^ +compressed to +[\d.]+ MiB/m, '... stat what they take');
	($text, $status) = quire('reclaim', '--idle=0', "r$mode");
	like($text, qr/ do not compress/, '... what does not compress is said');
	verifies($guest, $mode);
	stalled(decode_json(slurp("$dir/r$mode.stats"))->{vms}[0]);
}

# ---- not more than asked for, and not what is used ----
{
	my $guest = hold('little', 8, '--merge=off');
	my ($text, $status) = quire(qw(reclaim --idle=0 --size=2M little));
	is($status, 0, '--size: as much as was asked for became free');
	my ($n, $unit) = $text =~ /^little: (\S+) (\S+) free/;
	ok($n && mib($n, $unit) >= 2 && mib($n, $unit) < 4, "... and little more ($n $unit)");
	($text, $status) = quire(qw(reclaim --idle=0 --size=60M little));
	is($status, 1, '... what cannot be had is a status of its own');
	verifies($guest, 'little');
}
{
	my $base = "$dir/busy";
	my $guest = start($base, $quire, 'run', '--name=busy', '-m', '64M', "--machine=$address",
		'--merge=off', $quill, qw(churn 1 1000 rate=100000 seconds=6));
	BAIL_OUT('no guest: ' . slurp("$base.err")) if !says($guest, 'churn: ready', 1, 60);
	my ($text, $status) = quire('reclaim', 'busy');
	like($text, qr/, \S+ MiB in use/, 'pages that a guest uses stay');
	finish($guest, 60);
	is($guest->{status}, 0, '... and it ends well');
}

# ---- several, while they merge, and one is shot ----
{
	my @guest = map { hold("m$_", 9) } 1 .. 3;
	my ($text, $status);
	for (1 .. 4) {
		($text, $status) = quire(qw(reclaim --idle=0 m1 m2 m3));
		quire(qw(merge now m1 m2 m3));
	}
	is($status, 0, 'guests that merge can be compressed');
	is(() = $text =~ /^m\d: /mg, 3, '... each has its line');
	agrees($guest[0], 'm1');
	kill KILL => vms_of($guest[2]{pid});
	is(finish($guest[2], 30)->{status}, 121, '... one is shot');
	($text, $status) = quire(qw(reclaim --idle=0 m1 m3));
	is($status, 121, '... and named all the same');
	like($text, qr/^m1: /m, '... the others are served');
	verifies($guest[$_], 'm' . ($_ + 1)) for 0, 1;
}

# ---- wrong words ----
for my $bad (
	[ qr/say which VM/ ],
	[ qr/no VM named nobody/, 'nobody' ],
	[ qr/--idle: /, '--idle=x', 'a' ],
	[ qr/--size: /, '--size=x', 'a' ],
	[ qr/--all goes without VMs/, '--all', 'a' ],
	[ qr/unknown option|unrecognized|see quire help reclaim/, '--often', 'a' ],
) {
	my ($like, @words) = @$bad;
	my ($text, $status) = quire('reclaim', @words);
	like($text, qr/\Aquire reclaim: .*$like.*\n\z/, "reclaim @words: one line");
	is($status, "@words" eq 'nobody' ? 121 : 2, '... and its status');
}

my $left;
until_true(10, sub { $left = account(); !$left->{vms} && $left->{credit_bytes} == 0 });
is($left->{credit_bytes}, 0, 'in the end the machine has all memory back');
done_testing;
