#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire play: all that can be wrong with a file is found before anything starts; every action does
# what it says; what is expected and does not come makes it fail; and nothing is left of it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

chdir "$FindBin::Bin/../..";

# ---- wrong files ----

# A file of this text, checked; its status and the places and texts of what is wrong.
sub check {
	my ($text) = @_;
	my $file = spew('wrong.yaml', $text);
	my ($status, $out, $err) = outcome("$quire play --check $file");
	return ($status, [ map { s/^\Q$file\E://r } split /\n/, $err ], $out);
}

{
	my ($status, $faults) = check(<<'END');
nam: x
machine: { memory: lots, overcommit: 3, swap: [1] }
guests:
  - { name: Web, count: 0, image: none.elf }
  - { name: db, memory: 64M, memory: 32M, args: { a: b }, start: 2h }
  - { name: web, count: 300, merge: yes, swap-dir: /nowhere, exit: 256 }
timeline:
  - { at: 5s, expect: "vm.db.rampages > 0" }
  - { at: 3s, pause: ham }
  - { at: 99min, kill: db }
  - { when: "1 <", merge: now, balloon: 5M }
  - { eventually: 5s, always: "vm.db.ram_pages" }
  - { within: 5s }
  - just a word
  - { at: -1s, set: { speed: 3 } }
END
	is($status, 2, 'a file with mistakes: its status');
	my @want = (
		[ '1:1', qr/no key 'nam'; is it name\?/ ],
		[ '1:1', qr/needs a key 'name'/ ],
		[ '2:20', qr/'lots' is no size/ ],
		[ '2:38', qr/'3' is none of 0, 0:estimate, 1, 2/ ],
		[ '2:47', qr/a single value is needed here, not a list/ ],
		[ '4:13', qr/'Web' is no name/ ],
		[ '4:25', qr/from 1 to 256/ ],
		[ '4:35', qr/there is no image '\S*none.elf'/ ],
		[ '5:30', qr/'memory' is there twice/ ],
		[ '5:49', qr/not a mapping/ ],
		[ '5:66', qr/'2h' is no time/ ],
		[ '6:25', qr/from 1 to 256/ ],
		[ '6:37', qr/'yes' is none of on, zero, off/ ],
		[ '6:52', qr/swap-dir: cannot make a file in \/nowhere: No such file/ ],
		[ '6:68', qr/from 0 to 255/ ],
		[ '8:30', qr/a guest has no 'rampages'/ ],
		[ '9:11', qr/line 8 is later/ ],
		[ '9:22', qr/no guest 'ham'/ ],
		[ '10:11', qr/after the scenario's timeout of 60 s/ ],
		[ '11:5', qr/one thing, not 'merge' and 'balloon'/ ],
		[ '11:17', qr/value is missing at the end/ ],
		[ '12:19', qr/'eventually' needs 'expect'/ ],
		[ '12:32', qr/it is a number, and has to be a comparison/ ],
		[ '13:5', qr/does nothing/ ],
		[ '13:15', qr/'within' needs 'when'/ ],
		[ '14:5', qr/a step has to be a mapping/ ],
		[ '15:11', qr/'-1s' is no time/ ],
		[ '15:23', qr/no key 'speed'/ ],
	);
	for my $i (0 .. $#want) {
		my ($place, $like) = @{$want[$i]};
		like($faults->[$i] // '', qr/^$place: .*$like/, "... $place");
	}
	is(scalar @$faults, scalar @want, '... and no others') or diag join "\n", @$faults;
}
{
	my $long = 'x' x 2000;
	my ($status, $faults) = check("name: x\nmachine: { memory: 3M }\nguests:\n" .
		"  - { name: a, memory: 0, oom-score-adj: 1001, merge-rate: 0, timeout: 5 }\n" .
		"  - { name: b, args: [$long] }\n");
	is(join(' ', map { /^(\d+:\d+)/ } @$faults), '2:20 4:24 4:42 4:60 4:72 5:5',
		'numbers out of range, and words too long') or diag join "\n", @$faults;
}
{
	my ($status, $faults) = check("name: x\nmachine: { memory: 32M }\nguests:\n" .
		"  - { name: a, domain: 'x y', swap-dir: /dev/shm, balloon-min: 129M }\n" .
		"  - { name: b, memory: 32M, balloon-min: 33M }\n" .
		"  - { name: c, domain: " . 'd' x 41 . ", memory: 1G, balloon-min: 1G }\n" .
		"  - { name: d, domain: " . 'd' x 42 . " }\n" .
		"  - { name: e, swap-faults: flood=1, swap-dir: /var/tmp }\n" .
		"  - { name: f, swap-faults: stall=1 }\n");
	is($status, 2, 'what quire run would refuse: the status');
	like($faults->[0], qr/^4:24: 'x y' is no domain: /, '... a domain');
	like($faults->[1], qr/^4:41: --swap-dir: \/dev\/shm is in memory/, '... a swap file');
	like($faults->[2], qr/^4:64: a guest cannot keep more than its memory/,
		'... a balloon that the usual memory is too small for');
	like($faults->[3], qr/^5:42: a guest cannot keep more/, '... or its own');
	like($faults->[4], qr/^7:24: 'd+' is no domain/, '... a longer name');
	like($faults->[5], qr/^8:29: 'flood=1' is no fault of a disk/, '... a fault of a disk');
	like($faults->[6], qr/^9:29: there is no disk to fail/, '... or of none');
	is(scalar @$faults, 7, '... and no others') or diag join "\n", @$faults;
}
{
	my ($status, $faults) = check("name: x\nmachine: { memory: 32M }\ntimeout: 0s\n" .
		"guests: []\ntimeline:\n  - { merge: now, vm: [] }\n  - { set: {} }\n");
	is(join('|', @$faults), '3:10: in no time nothing is done|' .
		'6:23: the list is empty: name guests|7:12: it sets nothing',
		'a step that would do nothing, and a scenario without time');
}
for my $bad (
	[ 'no YAML', '1:9', "name: [a\nb: c\n" ],
	[ 'no YAML', '2:1', "name: a\n\tb: c\n" ],
	[ 'has to be a mapping', '1:1', "- a\n- b\n" ],
	[ 'second document', '2:1', "--- {}\n--- {}\n" ],
	[ 'has to be a mapping', '1:1', '' ],
	[ 'value is empty', '1:7', "name:\n" ],
) {
	my ($like, $place, $text) = @$bad;
	my ($status, $faults) = check($text);
	is($status, 2, "$like: the status");
	ok((grep { /^\d+:\d+: .*\Q$like/ } @$faults), '... a place and a reason')
		or diag join "\n", @$faults;
}
{
	my ($status, $out, $err) = outcome("$quire play $dir/none.yaml");
	is($status, 2, 'no file: the status');
	like($err, qr/\Aquire play: cannot read .*none.yaml: No such file.*\n\z/, '... and a line');
	($status, $out, $err) = outcome("$quire play --check /dev/zero");
	is($status, 2, 'a file without end');
	($status, $out, $err) = outcome("$quire play --tap --json $dir/none.yaml");
	like($err, qr/exclude each other/, '--tap and --json');
}

my $why = no_guest();
if ($why) {
	diag "the rest needs guests: $why";
	done_testing;
	exit;
}

# ---- every action ----
my $file = spew('all.yaml', <<'END');
name: all
seed: 7
machine: { memory: 256M, overcommit: 1 }
guests:
  - { name: a, count: 2, memory: 32M, args: [hold, $seed, "1000", seconds=1000], exit: [0, 143] }
  - { name: c, memory: 32M, args: [stress, "1000", pages=500, balloon=1] }
  - { name: b, memory: 32M, start: later, args: [hold, $n, "500", seconds=1000] }
timeline:
  - { when: "vm.a.*.state_shared_pages >= 900", within: 50s, pause: a }
  - { expect: "vm.a.*.state == 'paused'", eventually: 10s }
  - { resume: a.1 }
  - { expect: "vm.a.1.state == 'running' and vm.a.2.state == 'paused'", eventually: 10s }
  - { resume: a }
  - { start: b }
  - { when: "vm.b.state_private_pages > 400", within: 50s, merge: off, vm: a }
  - { expect: "vm.a.*.merge_mode == 'off' and vm.a.*.state_shared_pages == 0", eventually: 20s }
  - { expect: "vm.b.merge_mode == 'on'" }
  - { balloon: 16M, vm: c }
  - { expect: "vm.c.balloon_target_pages == 4096", eventually: 10s }
  - { set: { memory: 200M } }
  - { expect: "machine.memory_bytes == 200M", eventually: 10s }
  - { map: [a.1, b] }
  - { reclaim: b }
  - { expect: "vm.b.zswpout_pages > 0", eventually: 10s }
  - { stop: a.2 }
  - { expect: "vm.a.2.state == 'ended' and vm.a.2.exit_status == 143" }
  - { kill: b }
  - { expect: "vm.b.exit_status == 121" }
  - { end: a }
END
{
	my ($status, $out, $err) = outcome("$quire play --json --seed=9 $file");
	my $r = eval { decode_json($out) } // {};
	is($status, 0, 'every action: it passes')
		or diag join "\n", $err, map { "$_->{line}: $_->{text}: $_->{value}" }
			grep { !$_->{ok} } @{$r->{checks}};
	is($r->{schema}, 'quire.play/1', '... the result is JSON');
	is($r->{verdict}, 'pass', '... with a verdict');
	is($r->{seed}, 9, '... and the seed of --seed');
	is(join(' ', map { $_->{vm} } @{$r->{maps}}), 'a.1 b', '... and maps');
	is($r->{maps}[1]{map}{ram_pages}, 8192, '... of all RAM');
	my %kind = map { $_->{kind} => 1 } @{$r->{checks}};
	is(join(' ', sort keys %kind), 'end eventually exit expect when', '... checks of kinds');
	cmp_ok(scalar @{$r->{samples}}, '>', 3, '... and samples');
	my ($s) = grep { @{$_->{vms}} == 4 } @{$r->{samples}};
	my $m = $s->{machine};
	is($m->{free_bytes} + $m->{credit_bytes} + $m->{store_bytes} + $m->{overhead_bytes},
		$m->{memory_bytes} + $m->{excess_bytes}, '... of the books');
	is(join(' ', map { $_->{name} } @{$s->{vms}}), 'a.1 a.2 c b', '... and of guests');
	my ($b) = grep { $_->{name} eq 'b' } @{$r->{guests}};
	ok(!exists $b->{exit_status}, '... one was killed by a step');
}

# ---- what fails ----
sub play {
	my ($timeline, $more, @options) = @_;
	my $text = "name: t\nmachine: { memory: 128M }\n$more\nguests:\n" .
		"  - { name: a, memory: 16M, args: [hold, \"1\", \"10\", seconds=1000] }\n" .
		"timeline:\n$timeline";
	my $path = spew('t.yaml', $text);
	return outcome("$quire play @options $path");
}
{
	my ($status, $out) = play("  - { expect: 'machine.vms == 5' }\n" .
		"  - { expect: 'machine.vms <= 1' }\n", '', '--tap');
	is($status, 1, 'what is expected and is not: the status');
	like($out, qr/^not ok 1 - line 7: expect: machine\.vms == 5\n# at [\d.]+ s: \d == 5$/m,
		'... TAP has the values');
	like($out, qr/^ok 2 - /m, '... and it goes on');
	like($out, qr/^1\.\.4$/m, '... to the end');
}
{
	my ($status, $out) = play("  - { when: 'machine.vms == 5', within: 200ms }\n" .
		"  - { expect: 'machine.vms == 1' }\n", '');
	is($status, 1, 'a moment that does not come: the status');
	unlike($out, qr/machine\.vms == 1 *$/m, '... ends the scenario');
	like($out, qr/^t: fail in .*: line 7: machine\.vms == 5: /m, '... the last line says why');
}
{
	my ($status, $out) = play("  - { when: 'machine.vms == 5' }\n",
		'timeout: 1s');
	is($status, 1, 'a scenario that takes too long: the status');
	like($out, qr/timeout +FAILED +the scenario ends within 1 s/, '... says so');
}
{
	my ($status, $out) = play("  - { always: 'vm.a.ram_pages == 3' }\n" .
		"  - { when: 'vm.a.ram_pages > 0', within: 30s }\n", '');
	is($status, 1, 'what is not always so: the status');
	like($out, qr/always +FAILED/, '... says so');
}
{
	my ($status, $out) = play("  - { when: 'vm.a.ram_pages > 0', within: 30s }\n" .
		"  - { balloon: 1K, vm: a }\n  - { start: a }\n", '');
	is($status, 1, 'commands that fail: the status');
	is(() = $out =~ /do +FAILED/g, 2, '... each is a check');
}
{
	my $path = spew('exit.yaml', "name: t\nmachine: { memory: 128M }\nguests:\n" .
		"  - { name: a, memory: 16M, args: [exit, 3], exit: [0, 3] }\n" .
		"  - { name: b, memory: 16M, args: [exit, \"4\"], exit: [0, 3] }\n" .
		"  - { name: c, memory: 1G, exit: 120 }\n");
	my ($status, $out) = outcome("$quire play $path");
	is($status, 1, 'guests that end with the wrong status: the status');
	like($out, qr/exit +ok +a ends with status 0 or 3/, '... which one did not');
	like($out, qr/^line 5: b ends with status 0 or 3: status 4/m, '... which one did');
	like($out, qr/exit +ok +c ends with status 120/, '... and a refusal may be expected');
}

{
	my $path = spew('loud.yaml', "name: t\nmachine: { memory: 128M }\nguests:\n" .
		"  - { name: a, memory: 16M, args: [exit, \"\\e[31m \\x9b\\t;32m\"] }\n");
	my ($status, $out, $err) = outcome("$quire play --verbose $path");
	is($status, 1, 'a guest that prints escape sequences, with --verbose: the status');
	like($err, qr/ a\| quill: cannot run "exit \?\[31m \?\? ;32m"; usage: exit N$/m,
		'... it is heard');
	unlike($out . $err, qr/[^\n -~]/, '... and commands no terminal');
}

{
	my $image = spew('no.elf', 'this is text, and no image');
	my $path = spew('short.yaml', "name: t\nmachine: { memory: 128M }\nguests:\n" .
		"  - { name: a, memory: 16M, image: no.elf }\n" .
		"  - { name: b, memory: 16M, args: [hold, \"1\", \"10\", seconds=1000] }\n");
	my ($status, $out) = outcome("$quire play $path");
	is($status, 1, 'a guest that cannot start, in a scenario that is over at once: the status');
	like($out, qr/^line 4: a ends with status 0: status 2: /m, '... and the reason');
	unlike($out, qr/b ends/, '... the other one was ended');
}

# ---- its end ----

# Processes that have this one's name in their words.
sub left { my ($pid) = @_; return grep { slurp("/proc/$_/cmdline") =~ /play-$pid\b/ }
	map { m{/proc/(\d+)} } glob '/proc/[0-9]*' }

my $long = spew('long.yaml', "name: long\nmachine: { memory: 128M }\nguests:\n" .
	"  - { name: a, count: 2, memory: 16M, args: [hold, \"1\", \"10\", seconds=1000] }\n" .
	"timeline:\n  - { at: 59s }\n");
for my $how (['TERM', 143], ['INT', 130], ['KILL', 'signal 9']) {
	my ($signal, $want) = @$how;
	my $r = start("$dir/end", $quire, 'play', '--json', $long);
	until_true(30, sub { left($r->{pid}) >= 5 });
	kill $signal => $r->{pid};
	finish($r, 60);
	is($r->{status}, $want, "SIG$signal ends it");
	is(eval { decode_json($r->{out})->{verdict} } // '',
		$signal eq 'KILL' ? '' : 'interrupted', '... with a result, if it can');
	until_true(30, sub { !left($r->{pid}) });
	is(join(' ', left($r->{pid})), '', '... and nothing is left of it');
	ok(until_true(30, sub { slurp('/proc/net/unix') !~ /play-$r->{pid}\b/ }),
		'... nor a socket');
}
{
	my $r = start("$dir/end", $quire, 'play', '--json', $long);
	until_true(30, sub { left($r->{pid}) >= 5 });
	my ($machine) = grep { slurp("/proc/$_/cmdline") =~ /\0machine\0/ } children($r->{pid});
	kill KILL => $machine;
	finish($r, 60);
	is($r->{status}, 121, 'a machine that nobody told to end: the status');
	is(eval { decode_json($r->{out})->{verdict} } // '', 'error', '... and the verdict');
	like($r->{err}, qr/\Aquire play: the machine ended with status 137.*\n\z/,
		'... and a line');
	until_true(30, sub { !left($r->{pid}) });
	is(join(' ', left($r->{pid})), '', '... and nothing is left of it');
}
done_testing;
