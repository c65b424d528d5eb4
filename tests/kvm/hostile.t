#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Hostile guests (tests/payload/hostile*) on shadow tables.  What they catch, and how they end, is
# what the manuals say; where this host's KVM says the same, it is the same without shadow tables.
# Whatever they do, the VM ends in order, and its memory stays bounded.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP qw(decode_json);
use Test::More;
use lib dirname(__FILE__);
use Quire;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $image = ($ENV{QUIRE_BUILD} // 'build') . '/payload/hostile.elf';
my $dir = tempdir(CLEANUP => 1);
my $seed = $ENV{QUIRE_SEED} // time % 100000;
my $storm = $ENV{QUIRE_STORM} // 1;
my $in_bed = ($ENV{QUIRE_DEVIATIONS} // '') =~ /\bdetails\b/;
my $odd_bits = ($ENV{QUIRE_DEVIATIONS} // '') =~ /\breserved-bits\b/;

my $missing = Quire::missing();
plan skip_all => $missing if $missing;
plan skip_all => "no $image" if !-e $image;

sub slurp { my $name = shift; open my $f, '<', $name or return ''; local $/; return <$f> // '' }

# The guest with these words: status, what it printed, the first line of what was said of its end.
sub run {
	my ($mode, @words) = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$dir/out";
		open STDERR, '>', "$dir/err";
		exec 'timeout', 280, $Quire::quire, qw(run -m 64M --irqchip=off --timeout=250),
			"--paging=$mode", "--stats=$dir/stats", $image, @words;
	}
	waitpid $pid, 0;
	my ($headline) = slurp("$dir/err") =~ /^(.*)/;
	return { status => $? >> 8, out => slurp("$dir/out"), headline => $headline,
		vm => sub { decode_json(slurp("$dir/stats"))->{vms}[0] } };
}

sub text { my $r = shift; return "status $r->{status}\n$r->{headline}\n$r->{out}" }

# Some processors leave P out of the #PF of a reserved bit: put it in.
sub native_text {
	my $text = text(shift);
	$text =~ s{^(.* vector e error )(\w+)}{$1 . sprintf '%x', hex($2) | hex($2) >> 3 & 1}gme
		if $odd_bits;
	return $text;
}

sub same {
	my ($what, @words) = @_;
	my $shadow = run('shadow', @words);
	is(text($shadow), native_text(run('ept', @words)), "$what: as without shadow tables");
	return $shadow;
}

sub expected {
	my ($group) = @_;
	my ($text) = slurp('tests/kvm/hostile.expected') =~ /^= $group\n(.*?)(?=^=|\z)/ms;
	return "status 10\n\n$text";
}

# ---- what is caught ----

# Each line is an attempt, and the exception that it ends in.
for my $group (qw(instructions far gates tables nowhere narrow)) {
	my $r = run('shadow', $group);
	SKIP: {
		skip 'this processor delivers exceptions otherwise', 1 if $in_bed;
		is(text($r), expected($group), "$group: each attempt ends as the manuals have it");
	}
	is($r->{status}, 10, '... and the guest ends in order');
}
SKIP: {
	skip 'kvm_pvm has no breakpoints at CPL 3', 1 if -e '/sys/module/kvm_pvm';
	skip 'this processor has none in guests', 1
	    if ($ENV{QUIRE_DEVIATIONS} // '') =~ /\bbreakpoints\b/;
	is(text(run('shadow', 'stops')), expected('stops'), 'breakpoints: as the manuals have it');
}
same('page tables that loop, and random ones', 'paging');
same('string instructions up to the end of memory', 'strings');
same('breakpoints where the monitor is', 'breakpoints');
same('the addresses of the machine', 'machine');

# ---- what ends the guest ----

for my $end (qw(cr3-beyond cr3-hole cr3-device cr3-monitor cr3-store cr3-zeroes cr3-code
	idt-nowhere idt-short idt-monitor idt-ones gdt-nowhere gdt-short tss-nowhere tss-ones
	stack-nowhere stack-full end-of-ram code-hole code-device code-monitor scribble)) {
	my $r = $in_bed ? run('shadow', $end) : same($end, $end);
	is($r->{status}, 122, '... with a crash report');
}
is(run('shadow', 'tss-short')->{status}, 122, 'tss-short: a crash report');

# Each ends in #UD, in a crash report, or is done.
for my $n (0 .. 17) {
	for my $who (qw(user odd)) {
		my $r = run('shadow', $who, $n);
		like("$r->{status} $r->{out}", qr/^10 [\w ]+: vector|^122 /,
			"$who instruction $n on what is no memory");
	}
}

# ---- random code ----

note "QUIRE_SEED=$seed";
{
	my @words = ('storm', 3, $seed, 400 * $storm);
	my $r = $in_bed ? run('shadow', @words) : same('random code of a user', @words);
	is($r->{status}, 10, '... to the end');
	# A far return from a stack that goes on beyond what is canonical, where no page is.
	same('an operand that is canonical in part', 'storm', 3, 81970, 117, 116) if !$in_bed;
	@words = ('storm', 0, $seed, 1000 * $storm);
	$r = run('shadow', @words);
	is("$r->{status} $r->{headline}", '10 ', 'random code of a kernel, to the end');
}

# ---- bounds ----

{
	my $r = run('shadow', 'roots');
	my $s = $r->{vm}->()->{shadow};
	is($r->{out}, "roots: right 1770\n", '3000 roots in turn, twice');
	ok($s->{evictions} > 0, '... did not fit the tables');
	cmp_ok($s->{table_pages}, '<=', 1024, '... of which there are no more than there may be');
}

done_testing();
