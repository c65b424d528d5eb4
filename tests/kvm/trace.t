#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire trace, in both modes: the pages that it records are those that the guest says it touched,
# and quire sim replace reads them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use JSON::PP;
use Test::More;

my $why = no_guest();
plan skip_all => $why if $why;

my $PAGES = 2000;	# whole groups of 16

# A guest that visits some of its pages all the time, and others after each line of input.
sub visitor {
	my ($name, @options) = @_;
	my $base = "$dir/$name";
	system 'mkfifo', "$base.in" if !-p "$base.in";
	my $guest = start($base, $quire, 'run', "--name=$name-$$", '-m', '32M', '--merge=off',
		@options, $quill, 'visit', 7, $PAGES, 'of=40', 'seconds=100');
	open $guest->{in}, "+<", "$base.in" or die "$base.in: $!";
	BAIL_OUT('no guest: ' . slurp("$base.err")) if !says($guest, 'visit: set=0', 1, 60);
	return $guest;
}

# The pages of its set number N, as it says.
sub visits {
	my ($guest, $set) = @_;
	my ($text) = slurp("$guest->{base}.out") =~
		/(?:\A|visit: set=@{[ $set - 1 ]} \S+\n)((?:(?!visit: set).*\n)*)visit: set=$set /;
	return map { hex } $text =~ /visit: page=0x([0-9a-f]+)/g;
}

# What shows as touched if these are: on shadow tables entries are made for 16 pages at a time.
sub seen_as {
	my ($mode, @pages) = @_;
	my %seen = map { $_ => 1 } $mode eq 'ept' ? @pages :
		map { my $first = $_ & ~15; $first .. $first + 15 } @pages;
	return join ' ', sort { $a <=> $b } keys %seen;
}

# The intervals of a trace, each as a list; of the blocks that the pages are in, for the guest has
# pages of its own.
sub intervals {
	my ($trace, @pages) = @_;
	my %block = map { ($_ >> 9) => 1 } @pages;
	my (undef, @parts) = split /^# [\d.]+ s: .*\n/m, $trace;
	return map { join ' ', grep { $block{ $_ >> 9 } } map { hex } /^0x([0-9a-f]+)$/mg } @parts;
}

sub union {
	my %page = map { $_ => 1 } map { split } @_;
	return join ' ', sort { $a <=> $b } keys %page;
}

for my $mode (qw(ept shadow)) {
	my $guest = visitor("v$mode", "--paging=$mode", '--hugepages=never');
	my ($said, $status);
	for my $set (0, 1) {
		my @pages = visits($guest, $set);
		($said, $status) = quire('trace', '--interval=0.3', '--seconds=1.2', "v$mode-$$",
			"$dir/trace");
		is($status, 0, "$mode, set $set: a guest can be traced");
		my $trace = slurp("$dir/trace");
		my @touched = intervals($trace, @pages);
		is(scalar @touched, 4, '... for four intervals');
		is(union(@touched), seen_as($mode, @pages),
			'... the pages are those that it touched: ' . @pages);
		cmp_ok(scalar(grep { $_ eq seen_as($mode, @pages) } @touched), '>=', 1,
			'... all of them in one interval');
		cmp_ok(() = $trace =~ /^0x/mg, '<', 4 * (100 + split ' ', union(@touched)),
			'... and few that are not its own');
		like($said, qr/^VM v$mode-$$: 4 intervals, \d+ accesses to \d+ pages, at most \d+ /,
			'... which it sums up');
		syswrite $guest->{in}, "\n";
		says($guest, 'visit: set=' . ($set + 1), 1, 60) or BAIL_OUT('no other set');
	}
	my ($accesses, $pages, $most) =
		$said =~ /(\d+) accesses to (\d+) pages, at most (\d+)/;
	my ($json) = quire(qw(sim replace --json --policy=lru), "--frames=$pages", "$dir/trace");
	my $sim = eval { decode_json($json) } // {};
	is($sim->{accesses}, $accesses, "$mode: quire sim replace reads the trace");
	is($sim->{pages}, $pages, '... with its pages');
	is($sim->{policies}[0]{faults}, $pages,
		'... each of which misses once, if there is room for all');
	kill TERM => $guest->{pid};
	finish($guest);
}

# ---- leaves of 2 MiB are touched as a whole ----
{
	my $guest = visitor('large', '--paging=ept');
	my @pages = visits($guest, 0);
	my ($json) = quire('map', '--json', "large-$$");
	my %large = map { my $r = $_; $r->{large_leaf} ?
		map { ($r->{gfn} / 512 + $_) => 1 } 0 .. $r->{pages} / 512 - 1 : () }
		@{ decode_json($json)->{runs} };
	quire('trace', '--interval=0.3', '--seconds=0.9', "large-$$", "$dir/trace");
	my %in;
	$in{ $_ >> 9 }++ for split ' ', union(intervals(slurp("$dir/trace"), @pages));
	my @whole = grep { $large{$_} } keys %in;
	SKIP: {
		skip 'the host gives no huge pages', 1 if !@whole;
		is_deeply([ map { $in{$_} } @whole ], [ (512) x @whole ],
			'a leaf of 2 MiB is recorded as a whole');
	}
	kill TERM => $guest->{pid};
	finish($guest);
}

# ---- how it ends ----
{
	my $guest = visitor('end');
	my $trace = start("$dir/t", $quire, 'trace', '--seconds=100', "end-$$");
	says($trace, '\n# 0', 1, 30);
	my ($text, $status) = quire('trace', '--seconds=0.1', "end-$$", "$dir/second");
	is($text, "quire trace: another quire trace records this VM\n",
		'who traces a guest that is traced hears so');
	is($status, 121, '... and its status');
	ok(!-e "$dir/second", '... and no file is touched for that');
	kill INT => $trace->{pid};
	finish($trace);
	is($trace->{status}, 0, 'SIGINT ends a trace');
	like($trace->{out}, qr/\A# quire trace of VM end-$$: 32 MiB of RAM, pages of 4 KiB, /,
		'... that says of whom it is');
	like($trace->{out}, qr/\n# \d+ intervals?, \d+ accesses .*\n\z/, '... and is whole');
	$trace = start("$dir/u", $quire, 'trace', '--seconds=100', "end-$$");
	says($trace, '\n# 0', 1, 30);
	kill TERM => $guest->{pid};
	finish($guest);
	finish($trace);
	is($trace->{status}, 0, 'a trace ends with its guest');
	like($trace->{out}, qr/^# the VM has ended\n# \d+ intervals?, .*\n\z/m, '... and says so');
}

# ---- where it goes ----
{
	my $guest = visitor('where');
	my ($text, $status) = quire('trace', '--seconds=0.1', "where-$$", '-');
	is($status, 0, 'a trace to -');
	like($text, qr/\A# quire trace of VM .*\n# \d+ intervals?, .*\n\z/s,
		'... is one to standard output, and nothing else');
	ok(!-e '-', '... and no file');
	kill TERM => $guest->{pid};
	finish($guest);
}

# ---- wrong words ----
for my $bad (
	[ 2, qr/say which VM/ ],
	[ 2, qr/say which VM/, 'a', 'b', 'c' ],
	[ 2, qr/--interval: /, '--interval=0', 'a' ],
	[ 2, qr/--seconds: /, '--seconds=x', 'a' ],
	[ 121, qr/no VM named nobody/, 'nobody' ],
) {
	my ($want, $like, @words) = @$bad;
	my ($text, $status) = quire('trace', @words);
	like($text, qr/\Aquire trace: .*$like.*\n\z/, "trace @words: one line");
	is($status, $want, '... and its status');
}
{
	my $guest = visitor('full');
	my ($text, $status) = quire('trace', '--seconds=0.1', "full-$$", '/nonexistent/trace');
	like($text, qr{\Aquire trace: cannot write /nonexistent/trace: .*\n\z},
		'no file: one line');
	is($status, 121, '... and its status');
	($text, $status) =
		quire('trace', '--seconds=60', '--interval=0.01', "full-$$", '/dev/full');
	like($text, qr{\Aquire trace: cannot write /dev/full: .*\n\z}, 'a full disk: one line');
	is($status, 121, '... at once');
	kill TERM => $guest->{pid};
	finish($guest);
}
done_testing;
