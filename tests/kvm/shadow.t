#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Guests on shadow tables, beside the same guests without: they print and end the same, good and
# bad ones, while their pages are merged and given back, too.  Others of these tests do the same for
# a subject of theirs if QUIRE_PAGING=shadow is in the environment.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP qw(decode_json);
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
	$text =~ s/(_ms|_us|cycles|ns_per_page|longest|writes|verified|ops|most)=[0-9.]+/$1=/g;
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
same('stress', 'stress', 1, 'pages=2000');
same('touch', 'touch', 2000, 'order=random', 'write');
same('exit', 'exit', 7);

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
	[ 'an interrupt controller', qr/--paging=shadow: there are no interrupts/, '--irqchip=on',
		$quill ],
	[ 'two processors', qr/--paging=shadow: there are no interrupts/, '-c', 2, $quill ],
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

# ---- counters ----

{
	my $r = run('--paging=shadow', '--stats=-', $quill, 'selftest');
	my $s = decode_json($r->{out})->{vms}[0]{shadow};
	ok($s->{hidden_faults} > 100 && $s->{true_faults} > 50, 'both kinds of faults are counted');
	ok($s->{emulated_by_name}{iret} && $s->{emulated_by_name}{invlpg},
		'... and instructions by their names');
	ok($s->{fills} > 0 && $s->{table_pages} > 3, '... and tables');
	$r = run('--stats=-', '--paging=ept', $quill, 'exit', 0);
	ok(!exists decode_json($r->{out})->{vms}[0]{shadow}, 'others have no such counters');
}

# ---- merging and the balloon, while the guest looks at its memory ----

{
	my $r = run(qw(--paging=shadow -n 2 -m 64M --merge-rate=1000000000 --stats=-), $quill,
		qw(churn 1 2000 rate=500 seconds=4 read=4));
	my @vm = @{ decode_json($r->{out})->{vms} };
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

# ---- ending it ----

{
	my $busy = run('--paging=shadow', '--timeout=1', $quill, 'crash', 'loop');
	is($busy->{status}, 124, 'a busy guest runs into --timeout');
	like($busy->{err}, qr/vCPU 0: (stays|loops|runs).*CPL 3, 64-bit/, '... and where is said');
}

done_testing();
