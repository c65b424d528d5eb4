#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# What quill's workloads put into memory, counted from outside: QEMU stops the guest and saves its
# memory, and the pages that are alike, within a guest and across guests, are as many and where
# docs/guest.md says.  Then the same workloads under quire, for their status.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use List::Util qw(sum0);
use Test::More;
use lib dirname(__FILE__);
use Qemu;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $build = $ENV{QUIRE_BUILD} // 'build';
my ($quire, $quill) = ("$build/quire", "$build/guest/quill.elf");
my $dir = tempdir(CLEANUP => 1);
my $start = 2 << 20;	# workloads' memory begins above the image

plan skip_all => 'no access to /dev/kvm' if !-r '/dev/kvm' || !-w '/dev/kvm';

# The pages of a guest that has said so, in order of their addresses.
sub contents {
	my ($like, @words) = @_;
	my $vm = Qemu->new($quill, $dir, [], @words);
	$vm->wait_for($like) or die "@words: $vm->{out}";
	my $pages = $vm->pages($start, (64 << 20) - $start);
	return map { $pages->{$_} } sort { $a <=> $b } keys %$pages;
}

sub counted { my %n; $n{$_}++ for @_; return \%n }

# How many contents of the one are in the other, too.
sub alike { my ($x, $y) = @_; return scalar grep { $y->{$_} } keys %$x }

sub under_qemu {
	my @words = ('hold', 1, 1000, 'dup=4', 'zero=10', 'own=100', 'seconds=100');
	my $one = counted(contents(qr/ready/, @words));
	my $two = counted(contents(qr/ready/, @words));
	my $salt = counted(contents(qr/ready/, @words, 'salt=1'));
	my $seed = counted(contents(qr/ready/, 'hold', 2, @words[2 .. 6]));
	is(sum0(values %$one), 990, 'hold: 1000 pages but for 10 zero ones are not zero');
	is(scalar keys %$one, 100 + 223,
		'... with 100 contents of its own and a fourth of the other 890');
	is(scalar(grep { $one->{$_} == 4 } keys %$one), 221,
		'... of which all but two come four times');
	is(alike($one, $two), 223, 'what is common is so to a guest with the same arguments');
	is(alike($one, $salt), 0, '... with another salt nothing is');
	is(alike($one, $seed), 0, '... nor with another seed');
	is(scalar(grep { grep { !$_ } unpack 'Q*', $_ } keys %$one), 0, 'no word is zero');

	@words = ('fill', 3, 1000, 'own=750', 'order=scatter', 'seconds=100');
	my @one = contents(qr/ready/, @words);
	$two = counted(contents(qr/ready/, @words));
	is(join(' ', map { $two->{ $one[$_] } ? $_ : () } 0 .. $#one),
		join(' ', map { 4 * $_ } 0 .. 249),
		'scatter: every fourth page is common and stands alone');

	@words = ('churn', 5, 600, 'rate=1200', 'seconds=1', 'settle=20');
	my $before = counted(contents(qr/ready/, 'hold', 5, 600, 'seconds=100'));
	$one = counted(contents(qr/writes=1200 /, @words));
	$two = counted(contents(qr/writes=1200 /, @words));
	my $own = counted(contents(qr/writes=1200 /, @words, 'own=1'));
	# The record of generations is 600 numbers: a page.
	is(scalar keys %$one, 601, 'churn: 600 pages and the record');
	is(alike($one, $before), 0, '... all of them rewritten');
	is(alike($one, $two), 601, '... and alike after the same number of steps');
	is(alike($one, $own), 1, 'own=1: not so');
	return;
}

sub status {
	my @words = @_;
	my $out = `timeout 30 $quire run -m 64M $quill @words 2>&1`;
	return ($? >> 8, $out);
}

sub under_quire {
	my @cases = (
		[qr/^hold: writes=500 ns_per_write=\d+\nhold: verified=100$/m,
			'hold', 1, 100, 'seconds=1', 'writes=500'],
		[qr/ distinct=1000 zero=9000 duplicates=0 .*common=0 own=1000 /, 'fill', 1, 10000,
			'zero=9000',
			'own=1000', 'order=scatter'],
		[qr/ distinct=248 zero=10 duplicates=742 .*order=shuffle.*common=248 own=0 /,
			'fill', 1, 1000,
			'dup=4', 'zero=10', 'order=shuffle'],
		[qr/^churn: writes=500 reads=1500 .*^churn: verified=1000$/ms, 'churn', 1, 1000,
			'rate=500', 'seconds=1',
			'read=3'],
		[qr/^churn: verified=2000$/m, 'churn', 1, 2000, 'rate=0', 'seconds=1', 'own=1'],
		[qr/^peek: pages=9000 zero=9000 .*^peek: written=2970\npeek: verified=9000$/ms,
			'peek', 9000, 'write=33'],
		[qr/^locked: operations=[1-9]\d*\nlocked: verified=500$/m, 'locked', 1,
			'pages=500'],
		[qr/^remap: maps=[1-9]\d* writes=\d+ drops=\d+\nremap: verified=500$/m, 'remap', 1,
			'pages=500'],
	);
	for my $case (@cases) {
		my ($like, @words) = @$case;
		my ($status, $out) = status(@words);
		ok($status == 0 && $out =~ $like, "quire: @words") or diag "status $status: $out";
	}
	for my $words (['fill', 1, 10, 'own=6', 'zero=5'], ['fill', 1, 10, 'order=none'],
		['churn', 1],
		['churn', 1, 10, 'own=2'], ['peek', 10, 'write=101'],
		['locked'], ['remap', 1, 'pages=0'], ['stress'], ['stress', 1, 'pattern=none'],
		['stress', 1, 'writes=101']) {
		is((status(@$words))[0], 2, "usage: @$words");
	}
	return;
}

# What stress does is decided by its arguments alone, and each way to draw pages is another.
sub stress_is_exact {
	my %digest;
	for my $pattern (qw(random zipf scan phases)) {
		my @words = ('stress', 'rounds=3', 'pages=1000', "pattern=$pattern", 'writes=50',
			'packs=60', 'fill=1');
		my ($status, $out) = status(@words);
		my ($digest) = $out =~ /^stress: operations=3000 longest_us=\d+ digest=(\w+)$/m;
		my ($verified) = $out =~ /^stress: writes=\d+ verified=(\d+)$/m;
		is($status, 0, "stress: pattern=$pattern") or diag $out;
		is($verified, 4000, '... verifies the page of each operation, and all at the end');
		$digest{$digest // ''} = $pattern;
		like((status(@words, 'balloon=1'))[1], qr/ digest=$digest$/m,
			'... and does the same again, with a balloon too');
	}
	is(keys %digest, 4, 'each pattern is another');
	my ($status, $out) = status(qw(stress rounds=3 pages=1000 fill=1 spoil=777));
	is($status, 1, 'stress finds a wrong byte');
	like($out, qr/^stress: wrong: gva=\w+ .*\nstress: wrong page=\d+ .* operation=776$/m,
		'... and says where and when');
	return;
}

SKIP: {
	my $missing = Qemu::missing();
	skip $missing, 12 if $missing;
	under_qemu();
}
under_quire();
stress_is_exact();
done_testing;
