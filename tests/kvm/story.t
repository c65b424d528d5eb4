#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire why VM GFN on real guests, in both modes: what it says of a page in each state.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use lib $FindBin::Bin;
use Guests;
use JSON::PP;
use Test::More;

my $why = missing();
plan skip_all => $why if $why;

$ENV{QUIRE_MACHINE} = $address;
my $swap_dir = tempdir(DIR => '/var/tmp', CLEANUP => 1);	# on a disk
serve("$dir/machine", '--memory=512M', '--swap=256M') or
	BAIL_OUT('no machine: ' . slurp("$dir/machine.err"));

sub guest {
	my ($name, $ready, $options, @words) = @_;
	my $base = "$dir/$name";
	system 'mkfifo', "$base.in" if !-p "$base.in";
	my $guest = start($base, $quire, 'run', "--name=$name", '-m', '64M', "--machine=$address",
		@$options, $quill, @words);
	open $guest->{in}, "+<", "$base.in" or die "$base.in: $!";
	BAIL_OUT('no guest: ' . slurp("$base.err")) if !says($guest, $ready, 1, 60);
	return $guest;
}

sub end { my ($guest) = @_; kill TERM => $guest->{pid}; finish($guest); return }

# A page of a VM in this state, in a leaf or not; of which `quire why` says that, if told so.
sub page_in {
	my ($vm, $state, $leaf, $says) = @_;
	my $map = eval { decode_json(scalar quire('map', '--json', $vm)) } or return;
	my @run = grep { $_->{state} eq $state && $_->{large_leaf} == $leaf } @{ $map->{runs} };
	my @page = map { $_->{gfn} + int($_->{pages} / 2) } reverse @run;
	return $page[0] if !$says;
	for my $gfn (splice @page, 0, 100) {
		return $gfn if quire('why', $vm, $gfn) =~ $says;
	}
	return;
}

# What `quire why` says.  It gives a VM a second to answer, which on a busy host may be too short.
sub answer {
	my @words = @_;
	my @said;
	until_true(30, sub { @said = quire('why', @words); $said[1] == 0 });
	return @said;
}

# What is said of page GFN: a pattern for each line after the first.
sub tells {
	my ($vm, $gfn, $state, $what, @lines) = @_;
	return fail("$what: no such page") if !defined $gfn;
	my ($text, $status) = answer($vm, $gfn);
	# Whether a page was drawn for the sample of the working set is a matter of chance.
	$text =~ s/^  The guest has (not )?touched it since the sample of the working set .*\n//m;
	my $head = sprintf 'page 0x%x \(gpa 0x%x\) of VM %s: %s', $gfn, $gfn << 12, $vm, $state;
	my $all = join '', map { "  $_\n" } @lines;
	like($text, qr/\A$head\n$all\z/, $what);
	my ($json) = answer('--json', sprintf('--gpa=%#x', $gfn << 12), $vm);
	is(eval { decode_json($json)->{state} }, $state, '... also in JSON, by its address');
	return $status == 0;
}

my $home = sub { sprintf 'It has a frame of its own, at machine address 0x%x',
	($_[0] // 0) << 12 };
my $nothing = 'To use it takes nothing\.';

for my $mode (qw(ept shadow)) {
	# ---- merging ----
	my @twin = map { guest("$mode$_", 'hold: ready', ["--paging=$mode", '--domain=d'],
		qw(hold 1 6000 own=1500 zero=500 dup=3 seconds=100)) } 1, 2;
	my $vm = "${mode}1";
	quire(qw(merge now), "${mode}1", "${mode}2");
	tells($vm, page_in($vm, 'absent', 0), 'absent', "$mode: an absent page",
		'Nothing is there: it was never used, or given back\.',
		'A touch brings zeroes: that takes a credit, and some microseconds\.');
	tells($vm, page_in($vm, 'zero', 0), 'zero', "$mode: a page of zeroes",
		'It is all zeroes and has no frame; the guest has (not read it yet|read it)\.',
		'To read it takes no credit\.  To write it takes one, and some microseconds\.');
	tells($vm, page_in($vm, 'shared', 0), 'shared', "$mode: a shared page",
		'It shares frame \d+ of segment 0x[0-9a-f]+ of the store, at machine address ' .
			'0x1[0-9a-f]{12}\.',
		'quire merge --who lists the others\.',
		'To read it takes nothing\.  To write it takes a copy: a credit, and some ' .
			'microseconds\.');
	my $gfn = page_in($vm, 'private', 0);
	tells($vm, $gfn, 'private', "$mode: a private page", $home->($gfn) . '\.',
		'It is not merged: .*\.', $nothing);
	syswrite $_->{in}, "\n" for @twin;
	finish($_) for @twin;

	# ---- compressing ----
	my $packer = guest("$mode-p", 'hold: ready', ["--paging=$mode", '--merge=off'],
		qw(hold 1 4000 own=100 packs=80 zero=20 seconds=100));
	$gfn = page_in("$mode-p", 'private', 1);
	SKIP: {
		skip 'the host gives no huge pages', 2 if !defined $gfn;
		tells("$mode-p", $gfn, 'private', "$mode: a page of a leaf",
			$home->($gfn) . ', in a leaf of 2 MiB\.',
			'It is not merged: merging is off\.', $nothing);
	}
	quire('reclaim', '--idle=0', "$mode-p");
	my @left = ('It left memory \d+ seconds? ago\.',
		'A touch brings it home: that takes a credit, and tens of microseconds\.');
	$gfn = page_in("$mode-p", 'compressed', 0, qr/was compressed/);
	tells("$mode-p", $gfn, 'compressed', "$mode: a compressed page",
		'It was compressed to \d+ bytes\.  They are in the pool, in a place of \d+: one ' .
			'of \d+ in use',
		'in a span of [1-4] pages? at 0x[0-9a-f]+, which has \d+\.', @left);
	$gfn = page_in("$mode-p", 'compressed', 0, qr/repeats the word/);
	tells("$mode-p", $gfn, 'compressed', "$mode: a page of zeroes in the pool",
		'It repeats the word 0x00000000, so it takes nothing in the pool\.', @left);
	my $refused = page_in("$mode-p", 'private', 0, qr/did not compress/);
	tells("$mode-p", $refused, 'private', "$mode: a page that does not compress",
		$home->($refused) . '\.', 'It is not merged: merging is off\.',
		'It did not compress when that was tried\.', $nothing);
	syswrite $packer->{in}, "\n";
	finish($packer);

	# ---- swapping ----
	my $swapper = guest("$mode-s", 'hold: ready', [ "--paging=$mode", '--merge=off',
		"--swap-dir=$swap_dir" ], qw(hold 1 4000 own=100 packs=80 seconds=100));
	quire('reclaim', '--to=swap', '--idle=0', "$mode-s");
	$gfn = page_in("$mode-s", 'swapped', 0);
	tells("$mode-s", $gfn, 'swapped', "$mode: a swapped page",
		'It is in the swap file: \d+ bytes at offset 0x[0-9a-f]+\.', $left[0],
		'A touch brings it home: that takes a credit, and a read of the disk\.');
	syswrite $swapper->{in}, "\n";
	finish($swapper);

	# ---- what comes back, and what is touched ----
	# Without a reclaimer, whose sample of the working set may have any page.
	my $back = guest("$mode-b", 'visit: set=0', [ "--paging=$mode", '--merge=off',
		'--reclaim=off', '--hugepages=never' ], qw(visit 5 2000 of=40 seconds=100));
	my @pages = map { hex } slurp("$back->{base}.out") =~ /visit: page=0x([0-9a-f]+)/g;
	quire('reclaim', '--idle=0', "$mode-b");
	quire('reclaim', '--idle=0.3', "$mode-b");
	my ($came) = grep { quire('why', "$mode-b", $_) =~ /came back/ } @pages;
	tells("$mode-b", $came, 'private', "$mode: a page that the guest uses",
		$home->($came) . '\.',
		'It came back to memory 1 time before(, last \d+ seconds? ago)?\.',
		'The guest has touched it since quire reclaim last looked\.',
		'It is not merged: merging is off\.', $nothing);
	end($back);

	# ---- the balloon ----
	my $balloon = guest("$mode-o", 'balloon: ready', ["--paging=$mode"],
		qw(balloon seconds=100));
	quire('balloon', '--wait', "$mode-o", '48M');
	$gfn = page_in("$mode-o", 'ballooned', 0);
	tells("$mode-o", $gfn, 'ballooned', "$mode: a page in the balloon",
		'The guest gave it to its balloon\.',
		'The guest is to take it back before it uses it\.  If it does not, it finds ' .
			'zeroes, for a credit\.');
	end($balloon);
}

done_testing;
