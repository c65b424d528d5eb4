#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Real guests that are swapped out, in both modes: that they find every byte again, what the kernel
# and the machine count, who may hold how much of the swap area, and a disk that fails.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use File::Temp qw(tempdir);
use Guests;
use JSON::PP;
use Test::More;

my $why = missing();
plan skip_all => $why if $why;

$ENV{QUIRE_MACHINE} = $address;

# On a disk, and not in memory.
my $disk = tempdir('quire-swap-XXXXXX', DIR => '/var/tmp', CLEANUP => 1);

# A guest of 64 MiB with 5000 pages.  It says when it has them, and verifies them when there is
# input.
sub hold {
	my ($name, $seed, @options) = @_;
	my $base = "$dir/$name";
	system 'mkfifo', "$base.in" if !-p "$base.in";
	my $guest = start($base, $quire, 'run', "--name=$name", '-m', '64M', "--machine=$address",
		"--swap-dir=$disk", '--reclaim=off', "--stats=$base.stats", @options,
		$quill, 'hold', $seed,
		qw(5000 zero=10 own=4000 packs=80 order=shuffle seconds=100));
	open $guest->{in}, "+<", "$base.in" or die "$base.in: $!";
	BAIL_OUT("no guest: " . slurp("$base.err")) if !says($guest, 'hold: ready', 1, 60);
	return $guest;
}

sub go_on { my ($guest) = @_; syswrite $guest->{in}, "\n" }

sub verifies {
	my ($guest, $what) = @_;
	go_on($guest);
	finish($guest, 100);
	is($guest->{status}, 0, "$what: it ends well");
	like($guest->{out}, qr/^hold: verified=5000$/m, '... and finds every byte');
}

sub fails {
	my ($guest, $what, $why) = @_;
	go_on($guest);
	finish($guest, 100);
	is($guest->{status}, 121, "$what: the guest ends");
	like($guest->{err}, qr/cannot be read back from the swap file: $why/, '... and says why');
	unlike($guest->{out}, qr/^hold: (verified|wrong)/m, '... it saw no wrong byte');
}

sub vm { my ($machine, $vms) = account(); return $vms->{ $_[0] } // {} }
sub mib { my ($n, $unit) = @_; return $n * { KiB => 1 / 1024, MiB => 1, GiB => 1024 }->{$unit} }

sub swap_out {
	my (@words) = @_;
	my ($text, $status) = quire(qw(reclaim --to=swap --idle=0), @words);
	my ($n, $unit) = $text =~ /: (\S+) (\S+) swapped out/;
	return ($text, $status, $n ? mib($n, $unit) : 0);
}

serve("$dir/machine", '--memory=512M', '--swap=256M')
	or BAIL_OUT('no machine: ' . slurp("$dir/machine.err"));

for my $mode (qw(ept shadow)) {
	my $name = "s$mode";
	my $guest = hold($name, 7, "--paging=$mode", '--merge=off');
	my $free = account()->{free_bytes};
	my ($text, $status) = quire(qw(reclaim --idle=0), $name);
	my $mib;
	is($status, 0, "$mode: a part is compressed first");
	($text, $status, $mib) = swap_out($name);
	is($status, 0, '... and all is swapped out');
	cmp_ok($mib, '>', 18, "... which is said ($text)");
	my $vm = vm($name);
	is($vm->{zswap_bytes}, 0, '... the pool is empty');
	is($vm->{swapped_out_pages} * 4096, $vm->{state_swapped_pages} * 4096, '... and counted');
	cmp_ok(account()->{free_bytes} - $free, '>', 18 << 20, '... the machine has that memory');
	my ($process) = vms_of($guest->{pid});
	my $file = ram_file($process, 64);
	is(blocks_of($file), $vm->{resident_bytes} / 4096, '... and the kernel counts the same');
	like(quire('map', $name), qr/^  w  swapped +\d{4} pages/m, '... map shows them');
	verifies($guest, $mode);
	$vm = decode_json(slurp("$dir/$name.stats"))->{vms}[0];
	cmp_ok($vm->{swapped_in_pages}, '>', 4000, '... what it verified came home');
	cmp_ok($vm->{swap_ahead_pages}, '>', 0, '... some of it ahead');
	is($vm->{swap_read_errors} + $vm->{swap_write_errors}, 0, '... without an error');
}

# ---- who looks at memory that is swapped out ----
{
	my $guest = hold('again', 8, '--merge=off', '--swap-faults=read-short=5,stall=100');
	quire('pause', 'again');
	quire('dump', 'again', "$dir/before");
	my ($text, $status, $mib) = swap_out('again');
	cmp_ok($mib, '>', 15, 'a guest that stands still is swapped out');
	($text, $status) = quire('dump', 'again', "$dir/core");
	is($status, 0, '... and can be dumped, though its disk stalls');
	is(system('cmp', '-s', "$dir/before", "$dir/core"), 0, '... with every byte');
	is(vm('again')->{swapped_in_pages}, 0, '... and stays swapped out');
	quire('resume', 'again');
	verifies($guest, 'again');
}
for my $mode (qw(ept shadow)) {
	my $name = "d$mode";
	my $guest = hold($name, 9, '--merge=off', "--paging=$mode", '--swap-faults=dead=1');
	my ($text, $status) = quire('pause', $name);
	is($status, 0, "$mode: a guest stands still") or diag $text;
	($text, $status) = swap_out($name);
	is($status, 0, '... and is swapped out') or diag $text;
	($text, $status) = quire('dump', $name, "$dir/core");
	is($status, 121, '... but if its disk does not answer it cannot be dumped');
	like($text, qr/does not answer, or the disk of its swap file/, '... which is said');
	is(vm($name)->{state}, 'paused', '... the VM answers all the same');
	is((quire('resume', $name))[1], 0, '... and obeys');
	kill TERM => $guest->{pid};
	is(finish($guest, 60)->{status}, 143, '... and can be ended');
}
{
	my $guest = hold('lost', 10, '--merge=off', '--swap-faults=corrupt=1');
	quire('pause', 'lost');
	swap_out('lost');
	my ($text, $status) = quire('dump', 'lost', "$dir/core");
	like($text, qr/a page in the VM's swap file is not what was written/,
		'a look at a page that is lost says so');
	is(vm('lost')->{state}, 'paused', '... and is not the end of its guest');
	kill TERM => $guest->{pid};
	finish($guest, 60);
}

# ---- quota ----
{
	my ($one, $other) = map { hold("q$_", $_ + 20, '--merge=off') } 1, 2;
	quire('machine', 'set', "--machine=$address", '--swap=8M');
	is(account()->{swap_bytes}, 8 << 20, 'a machine with little swap');
	my ($text, $status) = swap_out(qw(--size=60M q1 q2));
	is($status, 1, '... does not take all');
	like($text, qr/have to stay: the swap area is full$/m, '... and this is said');
	cmp_ok(account()->{swap_held_bytes}, '<=', 8 << 20, '... nobody holds more than it has');
	verifies($_->[0], $_->[1]) for [ $one, 'one' ], [ $other, 'the other' ];
}
until_true(10, sub { account()->{swap_held_bytes} == 0 });
is(account()->{swap_held_bytes}, 0, 'in the end nobody holds any of it');
quire('machine', 'set', "--machine=$address", '--swap=256M');

# ---- a disk that is full ----
{
	my $guest = hold('full', 30, '--merge=off', '--swap-faults=full=1');
	my ($text, $status);
	for (1 .. 4) {
		($text, $status) = swap_out('full');
		like($text, qr/have to stay: the swap area is full$/m, 'where the disk is full');
	}
	until_true(10, sub { account()->{swap_held_bytes} == 0 });
	is(account()->{swap_held_bytes}, 0, '... the guest leaves the swap area to others');
	verifies($guest, '... which is no harm');
}

# ---- a disk that fails ----
{
	my $guest = hold('slow', 31, '--merge=off',
		'--swap-faults=read-short=3,write-short=4,stall=700');
	my ($text, $status) = swap_out('slow');
	is($status, 0, 'a disk that does things in parts, and stalls');
	verifies($guest, '... is no harm');
}
{
	my $guest = hold('writes', 32, '--merge=off', '--swap-faults=write-error=2');
	my ($text, $status) = swap_out('writes');
	like($text, qr/have to stay: Input\/output error$/m, 'what cannot be written stays');
	verifies($guest, '... and is no harm');
}
{
	my $bad = hold('eio', 33, '--merge=off', '--swap-faults=read-error=1');
	my $worse = hold('corrupt', 34, '--merge=off', '--paging=shadow',
		'--swap-faults=corrupt=1');
	my $good = hold('good', 35, '--merge=off');
	swap_out(qw(eio corrupt good));
	fails($bad, 'a disk that cannot read', 'Input/output error');
	fails($worse, 'a disk with wrong bytes', 'it is not what was written');
	verifies($good, 'another guest');
}

# ---- bytes that somebody else changed ----
{
	my $guest = hold('changed', 36, '--merge=off');
	swap_out('changed');
	my ($process) = vms_of($guest->{pid});
	my ($file) = grep { (readlink // '') =~ /^\Q$disk\E.*deleted/ } glob "/proc/$process/fd/*";
	ok($file, 'the swap file is open, and has no name');
	open my $f, '+<:raw', $file or die "$file: $!";
	sysseek $f, $_ << 12, 0 and syswrite $f, "\0" x 64 for 0 .. 2000;
	close $f;
	fails($guest, 'a swap file that was changed', 'it is not what was written');
}

# ---- one is shot, several merge ----
{
	my @guest = map { hold("m$_", 9) } 1 .. 3;
	my ($text, $status);
	for (1 .. 3) {
		($text, $status) = swap_out(qw(m1 m2 m3));
		quire(qw(merge now m1 m2 m3));
	}
	is($status, 0, 'guests that merge can be swapped out');
	kill KILL => vms_of($guest[2]{pid});
	is(finish($guest[2], 30)->{status}, 121, '... one is shot');
	verifies($guest[$_], 'm' . ($_ + 1)) for 0, 1;
}

# ---- wrong words ----
{
	my ($text, $status) = quire('run', '--swap-dir=/dev/shm', $quill, 'exit', 0);
	is($status, 2, 'a directory in memory is refused');
	like($text, qr/^quire: --swap-dir: \/dev\/shm is in memory/m, '... with a line');
	($text, $status) = quire('run', '--swap-dir=/nowhere', $quill, 'exit', 0);
	isnt($status, 0, 'so is one that is not there');
	like($text, qr/^quire: --swap-dir: cannot make a file in \/nowhere: No such/m,
		'... with a line');
	($text, $status) = quire('run', "--swap-dir=$disk", '--swap-faults=full=2,stall=x', $quill,
		'exit', 0);
	is($status, 2, 'a fault that there is not');
	like($text, qr/^quire: --swap-faults: 'stall=x' is no fault of a disk.* read-short, /m,
		'... with a line');
	($text, $status) = quire('run', '--swap-faults=full=2', $quill, 'exit', 0);
	is($status, 2, 'faults of no disk');
	like($text, qr/^quire: --swap-faults: .* name one by --swap-dir/m, '... with a line');
	($text, $status) = quire(qw(reclaim --to=tape a));
	like($text, qr/\Aquire reclaim: --to: it is pool or swap, not 'tape'/,
		'nor is there a tape');
	my $base = "$dir/none";
	my $guest = start($base, $quire, 'run', '--name=none', '-m', '16M', "--machine=$address",
		$quill, qw(churn 1 100 rate=100 seconds=30));
	says($guest, 'churn: ready', 1, 60);
	($text, $status) = swap_out('none');
	is($status, 121, 'a guest without a swap file');
	like($text, qr/none: it has no swap file: start it with --swap-dir/, '... is told apart');
	kill KILL => vms_of($guest->{pid});
	finish($guest, 30);
}

my $left;
until_true(10, sub { $left = account(); !$left->{vms} && $left->{credit_bytes} == 0 });
is($left->{credit_bytes}, 0, 'in the end the machine has all memory back');
is($left->{swap_held_bytes}, 0, '... and all of its swap');
done_testing;
