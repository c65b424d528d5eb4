#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# What the commands that look at one guest print as JSON: it parses, has the members that
# docs/stats.md names and no others, and says what other forms say.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = missing();
plan skip_all => $skip if $skip;

# ---- documents and their descriptions ----

# A command's document and status; it has to parse.
sub document {
	my @command = @_;
	my ($text, $status) = quire(@command);
	my $doc = eval { decode_json($text) };
	ok($doc, "@command: is JSON") or diag $text;
	return wantarray ? ($doc // {}, $status) : $doc // {};
}

# The members in the n-th table (from 0) of a section of docs/stats.md, with their marks.
sub described {
	my ($section, $table) = @_;
	my ($text) = slurp('docs/stats.md') =~ /^## \Q$section\E\n(.*?)(?=^## |\z)/ms
		or die "no section $section";
	my @tables = $text =~ /^\|---.*\n((?:\|.*\n)+)/mg;
	my %marks;
	for my $row (split /\n/, $tables[$table // 0] // die "no table $table in $section") {
		my ($names, $mark) = $row =~ /^\| (.*?) \| ?([\w, ]*?) ?\|/ or next;
		$marks{$_} = $mark for $names =~ /`(\w+)`/g;
	}
	return \%marks;
}

# Members are described, and those that are described without a mark are there.
sub conforms {
	my ($what, $object, $marks) = @_;
	my @odd = grep { !exists $marks->{$_} } sort keys %$object;
	my @missing = grep { $marks->{$_} eq '' && !exists $object->{$_} } sort keys %$marks;
	ok(!@odd && !@missing, "$what: its members are those of docs/stats.md")
		or diag "odd @odd, missing @missing";
}

sub run_guest {
	my ($name, $options, @words) = @_;
	return start("$dir/$name", 'timeout', '-s', 'KILL', 120, $quire, 'run',
		"--machine=$address", "--name=$name",
		'--timeout=100', @$options, $quill, @words);
}

my $machine = serve("$dir/machine", '--memory=512M', '--overcommit=1')
	or BAIL_OUT(slurp("$dir/machine.err"));
my $twins = run_guest('twin', [qw(-n 2 -m 48M --hugepages=never)],
	qw(hold 1 3000 zero=500 seconds=90));
my $balloon = run_guest('squeezed', [qw(-m 64M --merge=off)],
	qw(balloon seconds=90 touch=500 dirty=12000 features=7));
ok(says($twins, 'hold: ready', 2) && says($balloon, 'balloon: ready'), 'guests are there')
	or diag slurp("$dir/twin.err"), slurp("$dir/squeezed.err");
quire(qw(merge now twin-1 twin-2));
quire('balloon', "--machine=$address", '--wait', 'squeezed', '30M');
quire(qw(pause twin-1 twin-2 squeezed));
until_true(20, sub { scalar quire(qw(merge now twin-1 twin-2)) =~ /^merged 0 pages and found 0 / });

# ---- quire map --json ----

my $map = document(qw(map --json twin-1));
is($map->{schema}, 'quire.map/1', 'map has its schema');
conforms('map', $map, described('quire map --json'));
conforms('a run', $map->{runs}[0], described('quire map --json', 1));
my (%pages, @overlap);
my $end = 0;
for my $run (@{$map->{runs}}) {
	$pages{$run->{state}} += $run->{pages};
	push @overlap, $run->{gfn} if $run->{gfn} < $end;
	$end = $run->{gfn} + $run->{pages};
}
my (undef, $vms) = account();
for my $state (qw(absent private shared zero ballooned)) {
	my @same = ($map->{"state_${state}_pages"}, $pages{$state} // 0,
		$vms->{'twin-1'}{"state_${state}_pages"});
	ok($same[0] == $same[1] && $same[0] == $same[2],
		"$state: counts, runs and quire stat agree") or diag "@same";
}
is($map->{ram_pages}, 48 * 256, 'all of RAM is in it');
is("@overlap", '', 'runs follow each other');
is(document(qw(map --json --range=1M+64K twin-1))->{ram_pages}, 16, 'or the range asked for');
is((quire(qw(map --json --png=- twin-1)))[1], 2, 'two forms on one stream are refused');

# ---- quire walk --json ----

# quill maps all of RAM from 512 GiB on, writable (guest/layout.h).
sub walk_of {
	my ($vm, $state, @access) = @_;
	my ($run) = grep { $_->{state} eq $state } @{decode_json(scalar quire('map', '--json',
		$vm))->{runs}};
	if (!$run) {
		fail("$vm has a page that is $state");
		return;
	}
	return document('walk', '--json', @access, $vm, sprintf '0x%x',
		(1 << 39) + 4096 * $run->{gfn});
}

for (
	['twin-1', 'private', 'ok', undef, undef],
	['twin-1', 'shared', 'ok', undef, qr/^a write copies the frame to one of its own$/],
	['twin-1', 'zero', 'stage-2 violation', qr/^a read maps the page of zeroes$/,
		qr/^a write gives it a frame of its own$/],
	['twin-1', 'absent', 'stage-2 violation', qr/^a read brings in a page of zeroes$/,
		qr/^a write brings in a page of its own/],
	['squeezed', 'ballooned', 'stage-2 violation', qr/^a read takes it out of the balloon/,
		qr/^a write takes it out of the balloon/],
) {
	my ($vm, $state, $outcome, $read, $write) = @$_;
	my ($doc, $status) = walk_of($vm, $state);
	is($doc->{outcome}, $outcome, "a read of a page that is $state");
	like($doc->{answer}, $read, '... and what quire does') if $read;
	ok(!exists $doc->{answer}, '... for which quire does nothing') if !$read;
	ok($status == 0 && $doc->{succeeds}, '... succeeds');
	like($doc->{page}, qr/^$state(, in a 2 MiB leaf)?$/, '... which it names');
	conforms('walk', $doc, { %{described('quire walk --json')}, map { $_ => 'sometimes' }
		qw(error_code qualification answer gpa page) });
	conforms('a reference', $doc->{references}[-1], described('quire walk --json', 1));
	($doc, $status) = walk_of($vm, $state, '--write');
	is($doc->{access}, 'write', 'a write there');
	like($doc->{answer}, $write, '... and what quire does') if $write;
	ok($status == 0 && $doc->{succeeds}, '... succeeds, too');
}
my ($fault, $status) = document(qw(walk --json --user twin-1 0x7ffffffff000));
is_deeply([$status, @$fault{qw(outcome succeeds error_code user)}], [1, 'page fault', 0, 4, 1],
	'a page fault is one');
ok(!exists $fault->{gpa} && !exists $fault->{page}, '... that reaches no page');
like($fault->{gva}, qr/^0x7ffffffff000$/, 'addresses are strings');

# Beside it, what a guest on shadow tables walks: entries for a table and for frames, and none.
{
	my $shady = run_guest('shady', [qw(--paging=shadow -m 64M --merge=off)],
		qw(hold 1 100 seconds=90));
	ok(says($shady, 'hold: ready'), 'a guest is on shadow tables');
	my $marks = { %{described('quire walk --json', 2)}, stage2_entry => 'P' };
	for my $gva (0x100000, 1 << 40, 0) {
		my $look = document(qw(walk --json --user shady), sprintf '0x%x', $gva)->{shadow};
		my %missing = map { $_ => '' } $look->{found} eq 'page' ? ()
			: grep { $marks->{$_} eq 'P' } keys %$marks;
		my %want = map { $_ => '' } grep { !exists $missing{$_} } keys %$marks;
		conforms("shadow of $gva", $look, \%want);
		conforms("... a reference", $_, described('quire walk --json', 3))
		    for @{$look->{references}};
	}
	ok(!exists document(qw(walk --json twin-1 0x100000))->{shadow},
		'others have no such member');
	quire(qw(kill shady));
}

# ---- quire balloon --json ----

# An object of quire.balloon/1: what stats.md says of quire stat's objects, and its own.
sub conforms_as_balloon {
	my ($what, $vm) = @_;
	my %marks = (%{described('quire balloon --json')},
		map { /^(balloon|guest)_/ ? ($_ => 'sometimes') : () } keys %{described('vms')});
	conforms($what, $vm, \%marks);
}

my $balloons = document('balloon', '--json', "--machine=$address");
is($balloons->{schema}, 'quire.balloon/1', 'balloon has its schema');
is(join(' ', sort map { $_->{name} } @{$balloons->{vms}}), 'squeezed twin-1 twin-2',
	'... and all guests');
conforms_as_balloon($_->{name}, $_) for @{$balloons->{vms}};
my $one = document('balloon', '--json', "--machine=$address", 'squeezed');
is(@{$one->{vms}}, 1, 'or one');
my ($squeezed) = @{$one->{vms}};
is($squeezed->{guest_pages}, 30 * 256, 'its size is what was set');
is($squeezed->{balloon_target_pages}, 34 * 256, '... and its target');
is_deeply([@{$squeezed->{policy}}{qw(manual target_pages shares min_pages)}],
	[1, 34 * 256, 1000, 16 * 256], '... which the machine knows');
my ($why) = @{document('balloon', '--json', "--machine=$address", '--why', 'squeezed')->{vms}};
conforms_as_balloon('--why', $why);
conforms('a decision', $why->{decisions}[-1], described('quire balloon --json', 1));
my ($said) = quire('balloon', "--machine=$address", '--why', 'squeezed') =~ /ago  (manual: .*)\n\z/;
is($why->{decisions}[-1]{text}, $said, '... and its text');
is($why->{decisions}[-1]{reason}, 'manual', '... and why');
is((quire('balloon', '--json', 'squeezed', '40M'))[1], 2, '--json only shows');
is((quire('balloon', '--json', 'nobody'))[1], 121, 'no such VM');

# ---- quire machine set --json ----

my $set = document('machine', 'set', '--json', "--machine=$address", '--overcommit-bytes=100M');
is_deeply([@$set{qw(schema address overcommit_bytes commit_limit_bytes)}],
	['quire.machine/1', $address, 100 << 20, 100 << 20], 'what was set is there');
conforms('machine', $set, { %{described('machine')}, schema => '', address => '' });
my $is = account();
is_deeply({ map { $_ => $set->{$_} } keys %$is }, $is, '... as quire stat has it');
is((quire('machine', '--json', '--memory=64M'))[1], 2, 'a machine that serves has no document');

# ---- quire run --stats: VMs at their end, of which nothing is said that nobody knows ----

# run(STATS FILE, option...): the document, the status, and what was said
sub stats_of {
	my ($file, @options) = @_;
	my $r = finish(start("$dir/run", $quire, 'run', '--timeout=60', "--stats=$file", @options));
	my $doc = written($file);
	is($doc->{schema}, 'quire.stats/1', "run @options[0 .. 3]: a document")
		or diag slurp($file), $r->{err};
	return ($doc, $r);
}

my @always = qw(name state vcpus ram_bytes exit_status);
my @account = qw(machine id commit_bytes overhead_bytes credit_bytes ram_file_bytes
	store_references lookup_misses lookup_unproven lookup_late oom_score_adj asked_bytes
	returned_bytes ignores suspensions suspended_ns);

sub written {
	my ($file) = @_;
	my $doc = eval { decode_json(slurp($file)) };
	return $doc // { vms => [] };
}

# These members of a VM, and no others.
sub has_just {
	my ($what, $vm, @names) = @_;
	is(join(' ', sort keys %$vm), join(' ', sort @names),
		"$what: what is known is there, and no more");
}

my ($doc, $r) = stats_of("$dir/refused",
	qw(--machine=own --machine-memory=64M --overcommit=2 -n 2 -m 128M --name=r),
	$quill, 'hello');
is_deeply([$r->{status}, map { $_->{state} } @{$doc->{vms}}], [120, 'refused', 'refused'],
	'both were refused');
for my $vm (@{$doc->{vms}}) {
	my $why = $vm->{refused};
	has_just($vm->{name}, $vm, @always, 'refused');
	my $marks = described('vms at their end', 2);
	delete @$marks{grep { $marks->{$_} eq 'B' } keys %$marks};
	conforms('... why', $why, { map { $_ => '' } keys %$marks });
	is_deeply([@$why{qw(by overcommit_mode committed_bytes commit_limit_bytes)}], ['ledger', 2,
		0, 32 << 20],
		'... the ledger, in mode 2');
	ok($why->{request_bytes} > 128 << 20 && $why->{request_bytes} < 136 << 20,
		'... asked for RAM and overhead');
	is($why->{allowed_bytes},
		$why->{commit_limit_bytes} - $why->{admin_reserve_bytes} -
			$why->{user_reserve_bytes},
		'... where less was allowed');
	like($r->{err}, qr/^quire: $vm->{name}: \Q$why->{text}\E$/m, '... as the line says');
}
($doc, $r) = stats_of("$dir/refused", qw(--machine=own --machine-memory=64M -m 1G), $quill,
	'hello');
is_deeply([$r->{status}, @{$doc->{vms}[0]{refused}}{qw(by overcommit_mode allowed_bytes)}], [120,
	'ledger', 0, 64 << 20],
	'mode 0: a guest larger than memory');
ok(!exists $doc->{vms}[0]{refused}{commit_limit_bytes}, '... for which CommitLimit means nothing');
ok(!exists $doc->{vms}[0]{pid}, '... without a process');

($doc, $r) = stats_of("$dir/ended", "--machine=$address", qw(-m 32M --name=well --merge=off),
	$quill, qw(fill 1 2000));
my ($well) = @{$doc->{vms}};
is_deeply([@$well{qw(state exit_status name merge_mode)}], ['ended', 0, 'well', 'off'],
	'one that ends by itself');
conforms('... all of it', $well, { (map { $_ => 'sometimes' } keys %{described('vms')}),
	map { $_ => '' } @always, @account,
	qw(pid state_private_pages run_ns) });
is($well->{machine}, $address, '... with its machine');
cmp_ok($well->{ram_file_bytes}, '<=', $well->{credit_bytes}, '... and its last account there');
cmp_ok($well->{state_private_pages}, '>=', 2000, '... and its counters');

($doc, $r) = stats_of("$dir/oom",
	qw(--machine=own --machine-memory=128M --overcommit=1 -n 2 -m 96M --merge=off
	--name=big), $quill, qw(hold 1 20000 seconds=2));
my ($big) = grep { $_->{state} ne 'ended' } @{$doc->{vms}};
is_deeply([$r->{status}, @$big{qw(state exit_status)}], [123, 'killed', 123],
	'one that was killed, out of memory');
has_just('it', $big, @always, 'pid', 'killed', @account);
conforms('... why', $big->{killed}, { map { $_ => '' } keys %{described('vms at their end', 1)} });
is_deeply([@{$big->{killed}}{qw(why signal)}], ['out of memory', 'SIGKILL'], '... in words');
ok($big->{ram_file_bytes} >= 32 << 20 && $big->{ram_file_bytes} <= $big->{credit_bytes} &&
	$big->{credit_bytes} + $big->{overhead_bytes} <= 128 << 20 &&
	$big->{commit_bytes} == (96 << 20) + $big->{overhead_bytes},
	'... and its last account: resident, credits, committed')
		or diag map { "$_ $big->{$_} " } @account;

my $victim = start("$dir/victim", $quire, 'run', "--stats=$dir/victim.json", "--machine=$address",
	qw(-m 32M --name=victim),
	$quill, qw(hold 1 2000 seconds=60));
ok(says($victim, 'hold: ready'), 'one that is to be killed by somebody');
kill KILL => (account())[1]{victim}{pid};
is(finish($victim)->{status}, 121, '... is');
($victim) = @{written("$dir/victim.json")->{vms}};
has_just('it', $victim, @always, 'pid', 'killed', @account);
is_deeply($victim->{killed}, { why => 'signal', signal => 'SIGKILL' },
	'... for a reason that nobody knows');
cmp_ok($victim->{ram_file_bytes}, '>=', 2000 * 4096, '... having this much resident');

# There is never room for its overhead.
my $late = start("$dir/late", $quire, 'run', "--stats=$dir/late.json",
	qw(--machine=own --machine-memory=4M -n 2 -m 4G
	--overcommit=1 --name=late), $quill, 'hello');
finish($late);
$doc = written("$dir/late.json");
is_deeply([$late->{status}, map { @$_{qw(state exit_status)} } @{$doc->{vms}}], [120, ('refused',
	120) x 2],
	'refused for want of room') or diag $late->{err};
is_deeply([sort keys %{$doc->{vms}[0]{refused}}],
	[sort qw(by text request_bytes free_bytes min_bytes)], '... by the budget');
is($doc->{vms}[0]{refused}{by}, 'budget', '... which it says');

# A machine that is full just now.  The launcher asks again for two seconds, and is stopped.
my $small = start("$dir/small", $quire, 'machine', "--machine=$dir/small", qw(--memory=64M
	--overcommit=1));
ok(complains($small, qr/ ready at /), 'a small machine');
my $full = start("$dir/full", $quire, 'run', "--machine=$dir/small",
	qw(-m 64M --merge=off --timeout=60),
	$quill, qw(hold 1 14336 seconds=60));
ok(says($full, 'hold: ready'), '... that is full');
my $never = start("$dir/never", $quire, 'run', "--machine=$dir/small", "--stats=$dir/never.json",
	qw(-m 512M --name=never), $quill, 'hello');
ok(complains($small, qr/refused: overhead of /), 'another guest has to wait');
kill TERM => $never->{pid};
is(finish($never)->{status}, 143, '... and is stopped');
is_deeply(written("$dir/never.json")->{vms}, [{ name => 'never', state => 'not started', vcpus => 1,
	ram_bytes => 512 << 20 }], '... of which nothing else is known');
kill TERM => $small->{pid};
finish($_) for $small, $full;

quire(qw(resume twin-1 twin-2 squeezed));
quire(qw(kill twin-1 twin-2 squeezed));
finish($_) for $twins, $balloon;
kill TERM => $machine->{pid};
finish($machine);
done_testing();
