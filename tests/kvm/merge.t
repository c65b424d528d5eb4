#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Merging, exactly.  Guests fill their memory with known duplicates and are paused, with merging
# off.
# Then each page of their RAM files is read here, which says what a perfect merger would make
# of them, the guests' own code and stacks included; and what their command lines say of
# the workload's pages has to agree.  Then merging is switched on, and every number that quire and
# the kernel have is to be the one that was worked out:
#
#   a domain	VMs that may share; one for each VM with --domain=none
#   a content	the bytes of a page.  In a domain it has one frame if two pages of it have it
#   zero	no frame at all
#   a table	of the guest's own paging: it stays where it is
#   a leaf	2 MiB in one: it stays whole, and its pages private, if less than 64 pages of it
#		would leave, zeroes included
#
# A paused guest writes nothing, so nothing is volatile.  In the end the guests go on and verify
# every byte.
#
# Then guests that run and merge from the start: what they have shared is looked at page by page.
use strict;
use warnings;
use FindBin;
use IO::Handle;
use POSIX qw(mkfifo);
use Test::More;
use Time::HiRes qw(time sleep);
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = missing();
plan skip_all => $skip if $skip;
my $begin = time;
my $leaf_worth = 64;
# Seconds that guests wait for us.
my $hold = deviates('slow') || $build =~ /san/ ? 30 : 10;
my $limit = 300;	# ... and may take

my $machine = serve("$dir/machine", '--memory=2G', '--overcommit=1');
if (!$machine) {
	ok(0, 'a machine') or diag slurp("$dir/machine.err");
	done_testing();
	exit;
}

# ---- guests ----

my (@vms, @runs);

# A FIFO, and what to write to it.
sub input {
	my ($name) = @_;
	mkfifo($name, 0600) && open my $fifo, '+<', $name or die "$name: $!";
	$fifo->autoflush;
	return $fifo;
}

# Tell a guest that waits to go on.  Copies have no input: they wait their time.
sub go_on { my ($r) = @_; print { $r->{input} } "\n" if $r->{input} }

# run(name, copies, MiB, [option...], word...): they are in @vms, at first without a process
sub run_guests {
	my ($name, $copies, $mib, $options, @words) = @_;
	my $input = $copies == 1 ? input("$dir/$name.in") : undef;
	my $r = start("$dir/$name", 'timeout', '-s', 'KILL', $limit + 30, $quire, 'run',
		"--machine=$address", "--name=$name",
		'-n', $copies, '-m', "${mib}M", "--timeout=$limit", @$options, $quill, @words);
	@$r{qw(name words copies input)} = ($name, "@words", $copies, $input);
	push @runs, $r;
	my ($own) = map { /^--domain=none$/ ? 1 : () } @$options;
	my ($domain) = map { /^--domain=(.*)/ } @$options;
	for (1 .. $copies) {
		my $vm = $copies > 1 ? "$name-$_" : $name;
		push @vms, { name => $vm, run => $r, mib => $mib, domain => $own ? "none $vm" :
			$domain // "run $name" };
	}
	return $r;
}

# What each is to be told and is told of all VMs at once.
sub names { return map { $_->{name} } @_ }

sub find_processes {
	my ($m, $by_name) = account();
	for (@vms) {
		$_->{pid} = $by_name->{$_->{name}}{pid} or next;
		$_->{file} = ram_file($_->{pid}, $_->{mib});
	}
}

sub sum { my $s = 0; $s += $_ for @_; return $s }

# ---- what ought to be ----

# Of VMs with {glyphs} and {digest} before merging: for each its pages by what they become, and the
# frames, references and owners in all domains.
sub predict {
	my @in = @_;
	my (%count, %frames, %leaves);

	for my $vm (@in) {
		$count{$vm->{domain}}{$vm->{digest}{$_}}++
			for grep { !$vm->{table}{$_} } keys %{$vm->{digest}};
	}
	for my $vm (@in) {
		my ($digest, $count) = ($vm->{digest}, $count{$vm->{domain}});
		my (%go, %gone, %block);
		for my $gfn (grep { !$vm->{table}{$_} } keys %$digest) {
			my $zero = $ZERO{$digest->{$gfn}};
			$go{$gfn} = $zero ? 'z' : $count->{$digest->{$gfn}} > 1 &&
				$vm->{mode} eq 'on' ? 's' : next;
			$block{$gfn >> 9}++;
		}
		for my $gfn (keys %go) {
			next if substr($vm->{glyphs}, $gfn, 1) eq 'P' &&
				$block{$gfn >> 9} < $leaf_worth;
			$gone{$gfn} = $go{$gfn};
		}
		%gone = () if $vm->{mode} eq 'off';
		$vm->{want} = $vm->{glyphs} =~ tr/P/p/r;
		$vm->{whole} = {};	# blocks that stay leaves
		for (0 .. (length($vm->{want}) >> 9) - 1) {
			$vm->{whole}{$_} = 1 if substr($vm->{glyphs}, $_ << 9, 1) eq 'P' &&
				($vm->{mode} eq 'off' || ($block{$_} // 0) < $leaf_worth);
		}
		substr($vm->{want}, $_, 1) = $gone{$_} for keys %gone;
		$vm->{kept} = keys(%go) - keys %gone;
		for my $gfn (grep { $gone{$_} eq 's' } keys %gone) {
			push @{$frames{"$vm->{domain} $digest->{$gfn}"}{$vm->{name}}}, $gfn;
		}
	}
	return \%frames;
}

sub as_owners { my ($who) = @_; return join '', map { "$_ " . join(' ', map { sprintf '%#x', $_ }
	sort { $a <=> $b } @{$who->{$_}}) . "\n" } sort keys %$who }

# What is there, as kept in {glyphs} form, to be compared: a leaf or not does not matter.
sub states_of { my ($vm) = @_; return glyphs($vm->{name}, $vm->{mib}) =~ tr/PZSB/pzsb/r }

# The first difference of two pictures, or ''.
sub differ {
	my ($got, $want) = @_;
	return '' if $got eq $want;
	return 'length ' . length $got if length $got != length $want;
	my $both = $got ^ $want;
	$both =~ /[^\0]/;
	return sprintf '%d pages, first %#x: %s, want %s', $both =~ tr/\0//c, $-[0],
		substr($got, $-[0], 1), substr $want, $-[0], 1;
}

# All of it against what was predicted; @in are all VMs of the machine that have pages away.
sub check {
	my ($what, $frames, @in) = @_;
	my ($m, $by_name) = account();
	my $total = totals();
	my ($picture, $files, $counts, $reasons) = ('') x 4;
	my ($nr_frames, $refs) = (scalar keys %$frames, 0);
	$refs += @$_ for map { values %$_ } values %$frames;

	for my $vm (@in) {
		my $s = $by_name->{$vm->{name}};
		my $has = sub { my ($g) = @_; scalar(() = $vm->{want} =~ /\Q$g\E/g) };
		my %want = map { $_ => $has->($_) } qw(p s z .);
		my $diff = differ(states_of($vm), $vm->{want});
		my $blocks = blocks_of($vm->{file});
		$picture .= "$vm->{name}: $diff; " if $diff;
		$files .= "$vm->{name}: $blocks, want $want{p}; " if $blocks != $want{p};
		for (['private', 'p'], ['shared', 's'], ['zero', 'z'], ['absent', '.']) {
			my $is = $s->{"state_$_->[0]_pages"};
			$counts .= "$vm->{name}: $is $_->[0], want $want{$_->[1]}; "
				if $is != $want{$_->[1]};
		}
		my $reasons_sum = sum(map { $s->{$_} } grep { /^reason_/ } keys %$s);
		$reasons .= "$vm->{name}: $reasons_sum of $want{p}; " if $reasons_sum != $want{p};
		next if $vm->{mode} ne 'on';
		# What is left in a whole leaf may have been looked at before it had partners.
		my ($unique, $kept, $table) =
			@$s{qw(reason_unique_pages reason_kept_huge_pages reason_page_table_pages)};
		$reasons .= "$vm->{name}: unique $unique + kept huge $kept + " .
			"tables $table of $want{p}; "
			if $unique + $kept + $table != $want{p} || $kept > $vm->{kept} ||
				$table != keys %{$vm->{table}};
	}
	is($picture, '', "$what: each page is what it should be, by quire map");
	is($counts, '', '... and in number, by quire stat');
	is($files, '', "... the kernel's blocks of each RAM file are its private pages");
	is($reasons, '', '... each private page has a reason, and the right one');
	is($m->{store_bytes}, $nr_frames * 4096, "... the store has $nr_frames frames");
	is($m->{store_references}, $refs, "... with $refs references");
	is(sum(map { blocks_of($_) } store_files($machine->{pid})), $nr_frames,
		"... and the kernel's blocks");
	is($m->{resident_bytes} / 4096, $nr_frames + sum(map { blocks_of($_->{file}) } @in),
		'... the machine knows of all blocks');
	is($m->{free_bytes} + $m->{credit_bytes} + $m->{overhead_bytes} + $m->{store_bytes},
		$m->{memory_bytes},
		'... and all of its memory is somewhere');
	is("@$total{qw(pages_shared pages_sharing)}", $nr_frames . ' ' . ($refs - $nr_frames),
		'... pages_shared and pages_sharing');
	is($total->{zero_pages}, sum(map { scalar(() = $_->{want} =~ /z/g) } @in),
		'... zero_pages');
	is($total->{private_pages}, sum(map { scalar(() = $_->{want} =~ /p/g) } @in),
		'... private_pages');
	is(sum(map { $total->{$_} } grep { /^reason_/ } keys %$total), $total->{private_pages},
		'... whose reasons add up');
	return ($m, $by_name);
}

# Everything is where it was, but what was zero is absent.
sub check_back {
	my ($what, @in) = @_;
	my ($m) = account();
	my $odd = '';
	for my $vm (@in) {
		my $want = $vm->{glyphs} =~ tr/P/p/r;
		for (0 .. length($want) - 1) { substr($want, $_, 1) = '.'
			if substr($vm->{want}, $_, 1) eq 'z' }
		my $diff = differ(states_of($vm), $want);
		my $digest = pages_of($vm->{file}, $want);
		my @wrong = grep { $digest->{$_} ne $vm->{digest}{$_} } keys %$digest;
		$odd .= "$vm->{name}: $diff; " if $diff;
		$odd .= sprintf '%s: %d pages changed; ', $vm->{name}, scalar @wrong if @wrong;
		$odd .= "$vm->{name}: blocks; " if blocks_of($vm->{file}) != ($want =~ tr/p//);
	}
	is($odd, '', "$what: all pages are private again, with their bytes");
	is("@$m{qw(store_bytes store_references)}", '0 0', '... the store is empty');
	is(sum(map { blocks_of($_) } store_files($machine->{pid})), 0, "... and so are its files");
}

# `quire merge now` until it has nothing more to do.
sub merge_now {
	my @names = @_;
	for (1 .. 10) {
		my ($text, $status) = quire('merge', 'now', @names);
		return 1 if !$status && $text =~ /^merged 0 pages and found 0 of zeroes/;
	}
	return 0;
}

sub end_all {
	my ($what) = @_;
	my $odd = '';
	go_on($_) for @runs;
	for my $r (@runs) {
		finish($r, $limit);
		my $well = () = $r->{out} =~ /^(?:\S+\| )?\w+: verified=\d+$/mg;
		$odd .= "$r->{name} ($r->{words}): status $r->{status}, $well verified: " .
			"$r->{err} $r->{out}\n"
			if $r->{status} ne '0' || $well != $r->{copies} || $r->{err} ne '' ||
				$r->{out} =~ /wrong/;
	}
	is($odd, '', "$what: all guests verified every byte");
	my $m = until_true(10, sub { my $m = account(); $m && !$m->{vms} ? $m : 0 }) || account();
	is(join(' ', map { "$_=$m->{$_}" } grep { $m->{$_} }
		qw(vms committed_bytes credit_bytes overhead_bytes resident_bytes
		store_bytes store_references domains)), '', '... and gave everything back');
	is($m->{free_bytes}, $m->{memory_bytes}, '... all memory is free');
	@runs = @vms = ();
}

# ---- paused ----

# What the workload's own pages come to, as its command line has it: [pages, dup, zero, own].
my %fill = (
	one => [1500, 5, 100, 200], same => [1000, 2, 60, 140], twin => [1000, 2, 60, 140],
	lone => [600, 3, 60, 240],
	lab => [800, 1, 50, 0], lab2 => [1200, 2, 0, 0], salt => [500, 1, 0, 0],
	zero => [700, 2, 77, 3],
	off => [600, 2, 50, 0], huge => [1900, 4, 600, 300], pair => [2100, 1, 700, 100],
	scat => [1800, 1, 400, 1000],
);
sub fill {
	my ($name, $seed, @more) = @_;
	my ($pages, $dup, $zero, $own) = @{$fill{$name}};
	return ('hold', $seed, $pages, "dup=$dup", "zero=$zero", "own=$own", @more,
		"seconds=$hold");
}
my @off = ('--merge=off', '--hugepages=never');
run_guests('one', 1, 16, [@off], fill('one', 1, 'order=shuffle'));		# within one guest
run_guests('same', 2, 16, [@off], fill('same', 2));				# within copies
# the same, from another command
run_guests('twin', 1, 16, [@off], fill('twin', 2, 'order=scatter'));
# copies that must not
run_guests('lone', 2, 12, [@off, '--domain=none'], fill('lone', 3));
# two commands that may
run_guests('lab', 1, 12, [@off, '--domain=lab'], fill('lab', 4));
# ... in 2 MiB leaves
run_guests('lab2', 1, 16, [$off[0], '--domain=lab'], fill('lab2', 4));
# ... and have nothing alike
run_guests('salt', 1, 12, [@off, '--domain=lab'], fill('salt', 4, 'salt=9'));
run_guests('zero', 2, 12, [@off], fill('zero', 5, 'order=shuffle'));
run_guests('off', 1, 12, [@off], fill('off', 6));
run_guests('huge', 2, 24, ['--merge=off'], fill('huge', 7));
run_guests('pair', 2, 24, ['--merge=off'], fill('pair', 8, 'order=shuffle'));
run_guests('scat', 2, 24, ['--merge=off'], fill('scat', 9, 'order=scatter'));

my $ready = grep { says($_, qr/hold: ready/, $_->{copies}, 60) } @runs;
is($ready, scalar @runs, 'all guests are ready');
# A vCPU that is just then waiting for memory cannot be stopped at once.
my ($text, $status);
sub pause_all
{
	my @names = @_;

	return until_true(20, sub { ($text, $status) = quire('pause', @names); !$status });
}

ok(pause_all(names(@vms)), '... and paused') or diag $text;
diag sprintf '%.1f s: paused', time - $begin;
find_processes();
my $odd = '';
for my $vm (@vms) {
	$vm->{mode} = $vm->{name} =~ /^zero/ ? 'zero' : $vm->{name} =~ /^off/ ? 'off' : 'on';
	$vm->{glyphs} = glyphs($vm->{name}, $vm->{mib});
	$vm->{digest} = pages_of($vm->{file}, $vm->{glyphs});
	$vm->{table} = tables_of($vm->{name}, $vm->{file});
	my $blocks = blocks_of($vm->{file});
	$odd .= "$vm->{name}: $vm->{glyphs}\n" if $vm->{glyphs} !~ /^[.pP]+$/ ||
		$blocks != ($vm->{glyphs} =~ tr/pP//);
	# The workload's pages, by their number: each common content dup times, but for the last
	# ones.
	my ($pages, $dup, $zero, $own) = @{$fill{$vm->{run}{name}}};
	my $common = int(($pages - $zero - $own + $dup - 1) / $dup);
	my %times;
	$times{$_}++ for values %{$vm->{digest}};
	my $often = grep { !$ZERO{$_} && $times{$_} >= ($dup > 1 ? $dup - 1 : 1) } keys %times;
	$odd .= "$vm->{name}: $often contents $dup times, want $common\n" if $often < $common;
	my $zeroes = $times{(keys %ZERO)[0]} // 0;
	$odd .= "$vm->{name}: $zeroes pages of zeroes, want $zero at least\n" if $zeroes < $zero;
	$vm->{others} = keys(%{$vm->{digest}}) - $pages - ($zeroes - $zero);
}
is($odd, '', 'with merging off all that is there is private, and contains what was asked for')
	or diag $odd;
my %before = map { ($_->{name} => blocks_of($_->{file})) } @vms;

my $frames = predict(@vms);
# What the command lines alone say; the guests' own pages, code and such, come on top.
for (['one', 240], ['same', 400], ['twin', 400], ['lone', 100]) {
	my ($name, $common) = @$_;
	my @domains = grep { /^(?:run|none) \Q$name\E(?:-\d)?$/ } map { $_->{domain} } @vms;
	for my $d (do { my %u; grep { !$u{$_}++ } @domains }) {
		my $n = grep { index($_, "$d ") == 0 } keys %$frames;
		my ($vm) = grep { $_->{domain} eq $d } @vms;
		cmp_ok($n - $common, '>=', 0, "$d: $common frames for the workload");
		cmp_ok($n - $common, '<=', $vm->{others}, '... and some of the other pages');
	}
}

my @on = names(grep { $_->{mode} eq 'on' } @vms);
my @zero = names(grep { $_->{mode} eq 'zero' } @vms);
quire('merge', 'on', @on);
quire('merge', 'zero', @zero);
ok(merge_now(@on, @zero), 'merge now, until there is nothing more to merge');
diag sprintf '%.1f s: merged', time - $begin;
my ($m, $by_name) = check('merged', $frames, @vms);
my $saved = sum(map { $before{$_->{name}} - blocks_of($_->{file}) } @vms) -
	sum(map { blocks_of($_) } store_files($machine->{pid}));
my $total = totals();
is($saved, $total->{pages_sharing} + $total->{zero_pages},
	"... the kernel has $saved pages more, as pages_sharing and zero_pages say");
is($total->{merge_mismatches}, 0, '... no frame had other bytes than its hash promised');
cmp_ok($total->{reason_other_domain_pages}, '>', 0,
	'... some pages would be equal to those of another domain');

# ---- who ----

my (%asked, $wrong);
for my $content (sort keys %$frames) {
	my $who = $frames->{$content};
	my $kind = join ' ', map { "$_ " . scalar @{$who->{$_}} } sort keys %$who;
	next if $asked{$kind}++ || keys %asked > 40;
	my $vm = (sort keys %$who)[-1];
	my $gfn = $who->{$vm}[-1];
	my ($got, $status) = quire('merge', '--who', $vm, sprintf '%#x', $gfn);
	my $want = as_owners($who);
	$got = join '', map { "$_\n" } sort split /\n/, $got;
	$wrong .= "$vm $gfn: $got, want $want\n" if $got ne $want || $status;
}
is($wrong, undef, 'merge --who names exactly the owners: ' . keys(%asked) . ' kinds of frames');
for my $vm (grep { $_->{name} =~ /^(?:same-1|zero-2|off)$/ } @vms) {
	my $odd = '';
	for (['p', 'private'], ['z', 'zero'], ['.', 'absent']) {
		my $gfn = index $vm->{want}, $_->[0];
		next if $gfn < 0;
		my ($got, $status) = quire('merge', '--who', $vm->{name}, $gfn);
		$odd .= $got if $status != 1 || $got !~ / is $_->[1], nobody shares it$/m;
	}
	is($odd, '', "... and of $vm->{name} says what the others are");
}

# ---- only zero, and on again ----

my @down = grep { $_->{name} =~ /^(?:one|same-\d)$/ } @vms;
my $shared = sum(map { scalar(() = $_->{want} =~ /s/g) } @down);
($text, $status) = quire('merge', 'zero', names(@down));
like($text, qr/\Amade $shared pages private again, with [0-9.]+ \w+ of frames of their own\n\z/,
	"merge zero: $shared pages come home");
is(join('', map { differ(states_of($_), $_->{want} =~ tr/s/p/r) } @down), '',
	'... and no others, by quire map');
quire('merge', 'on', names(@down));
ok(merge_now(@on), '... on, and now, again');
check('after merging only zero', $frames, @vms);

# ---- off, and on again ----

($text, $status) = quire('merge', 'off', names(@vms));
my $away = sum(map { scalar(() = $_->{want} =~ /[sz]/g) } @vms);
like($text, qr/\Amade $away pages private again, with [0-9.]+ \w+ of frames of their own\n\z/,
	"merge off: $away pages come home");
check_back('off', @vms);

# What was zero is absent now: nothing to merge.
for my $vm (@vms) {
	for (0 .. length($vm->{want}) - 1) {
		next if substr($vm->{want}, $_, 1) ne 'z';
		substr($vm->{glyphs}, $_, 1) = '.';
		delete $vm->{digest}{$_};
	}
	# Leaves that were split are so still.
	for (my $b = 0; $b < length $vm->{glyphs}; $b += 512) {
		substr($vm->{glyphs}, $b, 512) =~ tr/P/p/ if !$vm->{whole}{$b >> 9};
	}
}
$frames = predict(@vms);
quire('merge', 'on', @on);
quire('merge', 'zero', @zero);
ok(merge_now(@on, @zero), 'on, and now, again');
check('again', $frames, @vms);

($text, $status) = quire('resume', names(@vms));
is($status, 0, 'all go on') or diag $text;
end_all('merged');
diag sprintf '%.1f s: verified', time - $begin;

# ---- running ----

# No pause: some pages are written, some are page tables.  Whoever knows what the workload's pages
# are knows what is shared of them; nothing else is private but for a reason.
my %run = (
	on => run_guests('on', 2, 16, ['--hugepages=never', '--merge-rate=1000000000'],
		qw(hold 1 1500 dup=3 zero=150 own=150 order=shuffle), "seconds=$hold"),
	leaf => run_guests('leaf', 2, 24, ['--merge-rate=1000000000'],
		qw(hold 2 2600 dup=2 zero=200 own=200 order=shuffle), "seconds=$hold"),
	opt0 => run_guests('opt0', 1, 16,
	['--hugepages=never', '--merge=zero', '--merge-rate=1000000000'],
		qw(hold 3 1500 dup=3 zero=150 own=150), "seconds=$hold"),
	opt1 => run_guests('opt1', 1, 16, ['--hugepages=never', '--merge=off'],
		qw(hold 3 1500 dup=3 zero=150 own=150), "seconds=$hold"),
	peek => run_guests('peek', 1, 16, ['--hugepages=never', '--merge-rate=1000000000'],
		qw(peek 2000 write=40 seconds=100)),
	peek1 => run_guests('peek1', 1, 16, ['--hugepages=never', '--merge=off'],
		qw(peek 2000 write=40 seconds=100)),
);
$ready = grep { says($_, qr/(?:hold|peek): ready/, $_->{copies}, 60) } @runs;
is($ready, scalar @runs, 'guests that run are ready');
find_processes();
my ($peek, $peek1) = map { my $n = $_; grep { $_->{name} eq $n } @vms } qw(peek peek1);
# The counts of a guest that runs, and the kernel's.  They are taken one after the other, and its
# keeper works between the two: they are to be equal soon, not each time.
sub peeked {
	my ($vm) = @_;
	my ($s, $blocks);
	until_true(10, sub {
		my ($m, $by_name) = account();
		($s, $blocks) = ($by_name->{$vm->{name}}, blocks_of($vm->{file}));
		return $blocks == $s->{state_private_pages};
	});
	return ($s, $blocks);
}
my ($s, $blocks) = peeked($peek);
# A few pages for code and such.
cmp_ok($s->{state_zero_pages}, '>=', 2000, 'first reads make pages zero');
cmp_ok($s->{zero_read_pages}, '>=', 2000, '... which is counted');
cmp_ok($blocks, '<', 300, '... and they cost nothing');
is($blocks, $s->{state_private_pages}, '... by the kernel as by quire');
# The image is below 2 MiB, and what is read above.
my $was = substr states_of($peek), 512;
is($was =~ tr/p//, 0, '... not a page of what was read is there');
($s, $blocks) = peeked($peek1);
cmp_ok($blocks, '>=', 2000, '... but with merging off they are');

my @merging = names(grep { $_->{name} =~ /^(?:on|leaf|opt0)/ } @vms);
my $all_seen = until_true(20, sub {
	merge_now(@merging);
	my ($m, $by_name) = account();
	return !grep { $_->{reason_new_pages} } @$by_name{qw(on-1 on-2 leaf-1 leaf-2)};
});
ok($all_seen, 'the keepers have looked at all pages');
ok(pause_all(@merging, 'opt1'), '... paused') or diag $text;
diag sprintf '%.1f s: paused again', time - $begin;
merge_now(@merging);
($m, $by_name) = account();
for my $vm (grep { $_->{name} =~ /^(?:on|leaf|opt)/ } @vms) {
	$s = $by_name->{$vm->{name}};
	$vm->{mode} = $s->{merge_mode};
	$vm->{away} = states_of($vm);
	$vm->{reasons} = { map { /^reason_(.*)_pages/ ? ($1 => $s->{$_}) : () } keys %$s };
	is(blocks_of($vm->{file}), $s->{state_private_pages},
		"$vm->{name}: the kernel's blocks are its private pages");
	is(sum(values %{$vm->{reasons}}), $s->{state_private_pages}, '... each with a reason');
}
my ($opt0, $opt1) = @$by_name{qw(opt0 opt1)};
is("$opt0->{state_shared_pages} $opt0->{merge_mode} $opt0->{merged_pages}", '0 zero 0',
	'--merge=zero shares nothing');
cmp_ok($opt0->{state_zero_pages}, '>=', 150, '... but zeroes');
is("@$opt1{qw(state_shared_pages state_zero_pages merge_mode full_scans)}", '0 0 off 0',
	'--merge=off does nothing at all');

# Un-merged, so that their bytes can be read, they tell what should have been shared.  The zero
# pages are absent then, but known.
my @looked = grep { $_->{name} =~ /^(?:on|leaf)/ } @vms;
my ($had, $store) = ($m->{store_references}, $m->{store_bytes} / 4096);
quire('merge', 'off', names(@looked));
my %contents;
for my $vm (@looked) {
	$vm->{digest} = pages_of($vm->{file}, $vm->{away} =~ tr/sz/p./r);
	$contents{$vm->{domain}}{$_}++ for values %{$vm->{digest}};
}
my (%owned, %stayed, $strange);
for my $vm (@looked) {
	for my $gfn (keys %{$vm->{digest}}) {
		my ($d, $state) = ($vm->{digest}{$gfn}, substr $vm->{away}, $gfn, 1);
		$state eq 's' ? $owned{"$vm->{domain} $d"}++ : $stayed{$vm->{domain}}{$d}++;
		$strange .= sprintf "%s %#x is shared with nobody; ", $vm->{name}, $gfn
			if $state eq 's' && $contents{$vm->{domain}}{$d} < 2;
	}
	is("@{$vm->{reasons}}{qw(new budget)}", '0 0', "$vm->{name}: no page was forgotten");
}
# A private page that others have too needs an excuse; but one of equal pages may be unique if all
# others have one.
for my $d (sort keys %stayed) {
	my $excused = sum(map { @{$_->{reasons}}{qw(page_table volatile backing_off kept_huge)} }
		grep { $_->{domain} eq $d } @looked);
	my $missed = sum(map { $stayed{$d}{$_} - ($owned{"$d $_"} || $ZERO{$_} ? 0 : 1) }
		keys %{$stayed{$d}});
	cmp_ok($missed, '<=', $excused,
		"$d: private pages that others have too are page tables, or were written " .
			"($missed of $excused)");
	cmp_ok($excused, '<=', 120, '... which are few');
}
is($strange, undef, 'what is shared has partners');
is($store, scalar keys %owned, '... in one frame for each content');
is($had, sum(values %owned), '... all of whose references are pages');
# on: common = 400, of 1200 pages each; leaf: 1100 of 2200.  Nothing of the workload was written.
for (['run on', 6, 400], ['run leaf', 4, 1100]) {
	my ($d, $each, $common) = @$_;
	my $n = grep { $contents{$d}{$_} == $each &&
		($owned{"$d $_"} // 0) == $each } keys %{$contents{$d}};
	is($n, $common, "$d: each of the $common common contents has one frame, for $each pages");
}
quire('resume', @merging, 'opt1');

go_on($_) for @run{qw(peek peek1)};
ok(says($run{peek}, qr/peek: written=800/, 1, 60) &&
	says($run{peek1}, qr/peek: written=800/, 1, 60), 'peek writes 800 pages');
my $is = substr states_of($peek), 512;
is($is =~ tr/p//, 800, '... which cost 800 pages of memory');
is(scalar(grep { substr($is, $_, 1) eq 'p' && substr($was, $_, 1) ne 'z' } 0 .. length($is) - 1), 0,
	'... and were zero before');
($s, $blocks) = peeked($peek);
is($blocks, $s->{state_private_pages}, '... by the kernel as by quire');
end_all('running');
diag sprintf '%.1f s', time - $begin;

kill TERM => $machine->{pid};
is(finish($machine, 20)->{status}, 0, 'the machine ends');
done_testing();
