#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Guests on shadow tables, beside the same guests without: they print and end the same, good and
# bad ones, while their pages are merged and given back, too.  Others of these tests do the same for
# a subject of theirs if QUIRE_PAGING=shadow is in the environment.
use strict;
use warnings;
no warnings 'portable';	# of addresses
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP;
use List::Util qw(sum);
use Test::More;
use lib dirname(__FILE__);
use Quire;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my ($quire, $quill) = ($Quire::quire, $Quire::quill);
my $build = $ENV{QUIRE_BUILD} // 'build';
my $dir = tempdir(CLEANUP => 1);

my $missing = Quire::missing();
plan skip_all => $missing if $missing;

sub slurp { my $name = shift; open my $f, '<', $name or return ''; local $/; return <$f> // '' }

# Run quire with these arguments.
sub run {
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$dir/out";
		open STDERR, '>', "$dir/err";
		exec 'timeout', 100, $quire, 'run', @_;
	}
	waitpid $pid, 0;
	return { status => $? >> 8, out => slurp("$dir/out"), err => slurp("$dir/err") };
}

# What differs by nature: times, and how much was done in them.
sub plain {
	my ($text) = @_;
	$text =~ s/\b(time|tsc|free|zone).*//g;
	$text =~ s/(_ms|_us|cycles|ns_per_\w+|longest|writes|verified|ops|most)=[0-9.]+/$1=/g;
	return $text;
}

sub same {
	my ($what, @words) = @_;
	my $ept = run('--paging=ept', '--timeout=60', $quill, @words);
	my $shadow = run('--paging=shadow', '--timeout=60', $quill, @words);
	is($shadow->{status}, $ept->{status}, "$what: the status is the same");
	is(plain($shadow->{out}), plain($ept->{out}), '... and what it prints');
	return ($shadow, $ept);
}

# ---- good guests ----

same('hello', 'hello');
same('fill', 'fill', 1, 2000, 'dup=4', 'zero=10');
same('zipf', 'zipf', 1, 1000, 'ops=100000');
same('stress', 'stress', 'rounds=100', 'pages=2000');
same('touch', 'touch', 2000, 'order=random', 'write');
same('exit', 'exit', 7);
same("tables $_", 'tables', $_, 'ops=512') for qw(compute switch edit churn batch fork);

# ---- bad ones ----

for my $crash (qw(triple ud null read write stack scribble int3 hlt)) {
	my ($shadow, $ept) = same("crash $crash", 'crash', $crash);
	my ($headline) = $shadow->{err} =~ /^(.*)/;
	is($headline, ($ept->{err} =~ /^(.*)/)[0], '... and what is said of it');
}
{
	my $crash = run('--paging=shadow', $quill, 'crash', 'ud');
	like($crash->{err}, qr/^  cs   002b .*dpl 3/m, 'a report has the registers of the guest');
	like($crash->{err}, qr/^  cr0  0*80010033 PE MP ET NE WP PG$/m, '... CR0');
	like($crash->{err}, qr/^  efer 0*d00 LME LMA NXE$/m, '... EFER');
	like($crash->{err}, qr/=> .* ud2/, '... and the code');
}

# ---- what cannot be ----

for my $bad (
	[ 'real mode', qr/it is in real mode/, "$build/payload/flat_hello.bin" ],
) {
	my ($what, $like, @args) = @$bad;
	my $r = run('--paging=shadow', @args);
	is($r->{status}, 2, "$what: status 2");
	like($r->{err}, qr/^quire: .*$like.*\n\z/, '... in one line');
}
{
	local $ENV{QUIRE_PAGING} = 'nested';
	is(run($quill, 'exit', 0)->{status}, 2, 'a wrong QUIRE_PAGING is an error');
	$ENV{QUIRE_PAGING} = 'shadow';
	my $r = run('--stats=-', $quill, 'exit', 0);
	is(decode_json($r->{out})->{vms}[0]{paging}, 'shadow', 'QUIRE_PAGING is the default');
}

# ---- code of 32 bits ----

{
	my $r = run('--paging=shadow', "$build/payload/pvh32_hello.elf");
	like($r->{out}, qr/^pvh32: /, 'code of 32 bits runs without paging');
	$r = run('--paging=shadow', "$build/payload/multiboot_hello.elf");
	like($r->{out}, qr/^multiboot: /, '... from multiboot, too');
}

# ---- interrupts ----

# kvm_pvm's APIC notes no interrupt as in service, so that a lower one interrupts its handler.
my $interrupts = "$build/payload/linux64_interrupts.bzImage";
my $nested = -d '/sys/module/kvm_pvm' ? 'HLlh' : 'HhLl';
my $expected = <<"END";
hlt waits for the timer: low 0x3 high 0x0
interrupts off: low 0x0 high 0x0
... on: low 0x1 high 0x0
behind sti: 0x0, sti hlt: 0x0, sti jmp: 0x200. low 0x3 high 0x0
sum 0x417bcfdab60 low 0x1 high 0x0
LHhl $nested nested: low 0x2 high 0x2
tpr 0x50 cr8 5: low 0x0 high 0x0
cr8 0x3 cr8 0: low 0x1 high 0x0
user cs 0x23 ss 0x1b rsp 0x0 low 0x1 high 0x0
8259 0x1 rip 0x0
nmi 0x1 in hlt 0x2 rip 0x0 flags 0x0
cr4 0x1
fast strings 0x1 apic base 0xfee00900 deadline: low 0x1 high 0x0
x2apic 0x0 low 0x0 high 0x1
END
my @native = grep { -d "/sys/module/$_" } qw(kvm_intel kvm_amd);
for my $paging ('shadow', @native ? 'ept' : ()) {
	my $r = run("--paging=$paging", '--timeout=60', $interrupts);
	is($r->{out}, $expected, "$paging: interrupts come when they may, and only then");
	is($r->{status}, 10, '... to the end') or diag $r->{err};
	my $said = () = $r->{err} =~ /interrupts as on when they are off/g;
	is($said, -d '/sys/module/kvm_pvm' ? 1 : 0, '... with a word about Linux where it is due');
}
for my $case ([ 'asleep', 'off' ], [ 'waits', 'on' ]) {
	my ($word, $state) = @$case;
	my $r = run('--paging=shadow', '--timeout=60', $interrupts, $word);
	is($r->{status}, 99, "$word: a guest that nothing can wake is found dead");
	like($r->{err}, qr/it halted at 0x\S+ with interrupts $state, and nothing can wake it/,
		'... and where is said');
}
{
	my @before = times;
	my $r = run('--paging=shadow', '--timeout=60', $interrupts, 'idles');
	my @after = times;
	is($r->{out}, "idle: low 0x14 high 0x0\n", 'a guest waits for two seconds');
	cmp_ok($after[2] + $after[3] - $before[2] - $before[3], '<', 0.6,
		'... and uses less than a third of that time');
}
{
	local $Quire::quill = $interrupts;
	my $vm = Quire->new(['--paging=shadow'], 'ticks');
	ok($vm->wait_for(qr/ticks/, 60), 'a guest waits for ever, again and again');
	like($vm->command("why $vm->{name}"), qr/vCPU 0:.* interrupts on/, '... which "why" sees');
	$vm->command("pause $vm->{name}");
	$vm->command("resume $vm->{name}");
	$vm->command("kill $vm->{name}");
	is($vm->finish, 143, '... and "kill" ends');
}

# ---- several processors ----

my $smp = "$build/payload/linux64_smp.bzImage";
my $right = qr/moves 0x0 guards 0x0 bits 0x0 adds 0x0/;
for my $paging (qw(ept shadow)) {
	my $r = run("--paging=$paging", '-c', 2, '--timeout=90', $smp, 2);
	is($r->{out}, "smp: cpus 0x2 moves 0x0 guards 0x0 bits 0x0 adds 0x0\n",
		"$paging: two processors change tables that both use") or diag $r->{err};
}
{
	my $r = run(qw(--paging=shadow -n 2 -c 2 -m 64M --merge-rate=1000000000 --timeout=90),
		'--stats=-', $smp, 2);
	my @right = $r->{err} =~ /$right/g;
	is(@right, 2, '... and while their pages are merged') or diag $r->{err};
	$r = run('--paging=shadow', '-c', 4, '--timeout=60', "$build/payload/multiboot_smp.elf");
	like($r->{out}, qr/^smp: cpus=4 /, 'processors that stay in real mode wait there');
	$r = run('--paging=shadow', '-c', 2, '--timeout=60', $smp, '!spin', 2);
	like($r->{err}, qr/started by SIPI, it stays in code of 16 bits/,
		'... but for a while only');
	like($r->{err}, qr/^  cs   0800 /m, '... which the report shows');
	$r = run('--paging=shadow', '-c', 2, '--timeout=60', $smp, '!wait', 2);
	like($r->{err}, qr/it waits for an interrupt in code of 16 bits/,
		'... and without interrupts');
}

# ---- counters ----

{
	my $r = run('--paging=shadow', '--stats=-', $quill, 'selftest');
	my $s = decode_json($r->{out})->{vms}[0]{shadow};
	ok($s->{hidden_faults} > 100 && $s->{true_faults} > 50, 'both kinds of faults are counted');
	ok($s->{emulated_by_name}{iret} && $s->{emulated_by_name}{invlpg},
		'... and instructions by their names');
	ok($s->{fills} > 0 && $s->{table_pages} > 3, '... and tables');
	my %by = %{$s->{exceptions_by_name}};
	is(sum(values %by), $s->{exceptions}, '... and exceptions by their names');
	ok($by{'#PF'} > $s->{hidden_faults} && $by{'#GP'} && $by{'#UD'},
		'... of which some are hidden');
	$r = run('--stats=-', '--paging=ept', $quill, 'exit', 0);
	ok(!exists decode_json($r->{out})->{vms}[0]{shadow}, 'others have no such counters');
}

# ---- merging and the balloon, while the guest looks at its memory ----

{
	my ($r, @vm);
	for my $seconds (4, 16, 64) {	# a busy host takes its time to merge
		$r = run(qw(--paging=shadow -n 2 -m 64M --merge-rate=1000000000 --stats=-), $quill,
			qw(churn 1 2000 rate=500 read=4), "seconds=$seconds");
		@vm = @{ decode_json($r->{out})->{vms} };
		last if $r->{status} || grep { $_->{merged_pages} && $_->{cow_breaks} } @vm;
	}
	is($r->{status}, 0, 'what two guests wrote is there, while their pages were merged')
	    or diag $r->{err};
	ok(scalar(grep { $_->{merged_pages} } @vm), '... as some were');
	ok(scalar(grep { $_->{cow_breaks} } @vm), '... and written again');
	ok(scalar(grep { $_->{shadow}{flushes} } @vm), '... so that entries were flushed');
}
{
	my $vm = Quire->new(['--paging=shadow', '--balloon=manual'], qw(hold 1 4000 seconds=60));
	ok($vm->wait_for(qr/ready/, 60), 'a guest holds pages');
	like($vm->command("walk $vm->{name} 0x100000"), qr/4-level.*page: private/s,
		'its tables can be walked');
	my @walks = $vm->command("map $vm->{name}") =~ /private/g;
	ok(@walks > 0, '... its pages be shown');
	$vm->command("pause $vm->{name}");
	like($vm->command("ps"), qr/$vm->{name}.*paused/, '... and it be paused');
	$vm->command("resume $vm->{name}");
	$vm->command("kill $vm->{name}");
	is($vm->finish, 143, 'quire kill ends it');
}

# ---- what quire walk shows, beside the tables in the memory of the process ----

use constant { MONITOR => 1 << 38, ADDRESS => 0x000ffffffffff000 };	# mmu/shadow/shadow.h

sub word_of {
	my ($file, $at) = @_;
	my $word;
	sysseek $file, $at, 0 or return;
	return sysread($file, $word, 8) ? unpack 'Q', $word : undef;
}

# Where in the process the monitor may be: where all entries of this walk are found.
sub monitor_of {
	my ($pid, $mem, $refs) = @_;
	my @ref = map { [hex($_->{address}) - MONITOR, hex $_->{entry}] } @$refs;
	my @bases;
	for my $line (split /\n/, slurp("/proc/$pid/maps")) {
		my ($from, $to) = map { hex } $line =~ /^(\w+)-(\w+) rw.* 0 *$/ or next;
		next if $to - $from > 1 << 28;
		for (my $base = $from; $base + $ref[-1][0] < $to; $base += 4096) {
			push @bases, $base
			    if !grep { (word_of($mem, $base + $_->[0]) // 0) != $_->[1] } @ref;
		}
	}
	return @bases;
}

# The walk that a processor does: [address, entry] of each level.
sub walk_tables {
	my ($mem, $base, $root, $gva) = @_;
	my @path;
	for my $shift (39, 30, 21, 12) {
		my $at = $root + 8 * ($gva >> $shift & 511);
		my $entry = word_of($mem, $base + $at - MONITOR);
		push @path, [$at, $entry];
		last if !($entry & 1) || $entry & 0x80;
		$root = $entry & ADDRESS;
	}
	return @path;
}

# No reclaimer: to estimate the working set it takes entries away, from two seconds on.
{
	my $vm = Quire->new(['--paging=shadow', '--merge=off', '--reclaim=off'],
		qw(hold 1 4000 seconds=60));
	$vm->wait_for(qr/ready/, 60);
	unlike($vm->command("pause $vm->{name}") // '', qr/quire/, 'a guest stands still');
	my $pid = $vm->account->{pid};
	my ($ram) = grep { my @st = stat; $st[3] == 0 && -f _ } glob "/proc/$pid/fd/*";
	open my $mem, '<:raw', "/proc/$pid/mem" or die "memory of $pid: $!";
	open my $guest, '<:raw', $ram or die "RAM of $pid: $!";
	my $look = sub { decode_json($vm->command("walk --json $vm->{name} @_")) };
	my $data = 1 << 40;	# guest/layout.h: where quill's user has its pages
	# What a pager still had to do may change entries while they are searched for.
	my $entries = sub { $look->('--user', $data)->{shadow}{references} };
	my $canonical = JSON::PP->new->canonical;
	my ($before, @base);
	do {
		$before = $entries->();
		@base = monitor_of($pid, $mem, $before);
	} until $canonical->encode($before) eq $canonical->encode($entries->());
	is(scalar @base, 2, 'the entries that quire walk shows are at two places in the process:' .
		' the arena, and where quire keeps them beside it');
	my (%found, $leaf);
	for my $gva ($data, $data + 0x3000, $data + (4 << 20), $data + (100 << 20), 0x100000, 0,
		0x110000) {
		for my $access ('--user', '--user --write', '') {
			my $doc = $look->($access, $gva);
			my $s = $doc->{shadow};
			my @refs = @{$s->{references}};
			$found{$s->{found}}++;
			next if $s->{found} eq 'no root';
			my $what = sprintf '%s %#x', $access, $gva;
			is_deeply([map { [hex $_->{address}, hex $_->{entry}] } @refs],
				[walk_tables($mem, $base[0], hex $s->{root}, $gva)],
				"$what: all entries");
			my @guest = grep { $_->{stands_for} eq 'guest table' } @refs;
			is_deeply([map { hex $_->{guest_entry} } @guest],
				[map { word_of($guest, hex $_->{guest_address}) } @guest],
				'... and those of the guest behind them');
			next if $s->{found} ne 'page';
			my $at = hex($doc->{machine_address} // 0);
			is(hex($s->{machine_address}) + $gva % $s->{page_bytes},
				$at < 2 << 20 ? $at + (272 << 30) : $at,
				'... and the page that the walk finds')
			    if $doc->{outcome} eq 'ok';
			is($s->{view}, $access ? 'user' : 'supervisor', '... for whom');
			$leaf = $doc;
		}
	}
	ok($found{page} && $found{'no entry'}, 'some pages are mapped, some are not');
	my $text = $vm->command("walk --user $vm->{name} $leaf->{gva}");
	like($text, qr/^on shadow tables: the user's view with NX, \d references from CR3 0x40/m,
		'the text has them below the walk');
	like($text, qr/^ +4 +shadow PTE +at .*\n +guest .*\n +EPT +P[DT]E +of /m,
		'... each with what it stands for');
	like($vm->command("walk --user $vm->{name} " . ($data + (100 << 20))),
		qr/^  no shadow entry(:| yet \(a hidden fault)/m, '... and what is not there yet');
}

# ---- ending it ----

{
	my $busy = run('--paging=shadow', '--timeout=1', $quill, 'crash', 'loop');
	is($busy->{status}, 124, 'a busy guest runs into --timeout');
	like($busy->{err}, qr/vCPU 0: (stays|loops|runs).*CPL 3, 64-bit/, '... and where is said');
}

done_testing();
