#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The launcher from the outside: many guests, refusals, memory that runs out, and what becomes of
# guests when one of the processes around them dies.  Guests verify their own memory.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Copy qw(copy);
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(time sleep);
use FindBin;
use lib $FindBin::Bin;
use Guests qw($build $quill $dir selftest_passed slurp flat);

chdir "$1/../.." if __FILE__ =~ m{(.*)/};

# A copy of its own: what runs it was started here, VMs too, which have no environment.
my $quire = "$dir/quire";
copy("$build/quire", $quire) && chmod 0755, $quire or die "$quire: $!";
my $binary = abs_path($quire);
my $serial = 0;
my @own = ('--machine=own', '--machine-memory=1G', '--overcommit=1');

plan skip_all => 'no access to /dev/kvm' if !-r '/dev/kvm' || !-w '/dev/kvm';

# Start quire run; a handle for finish().
sub start {
	my @args = @_;
	my $base = "$dir/" . ++$serial;
	my $pid = Guests::spawn {
		setpgrp 0, 0;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$base.out";
		open STDERR, '>', "$base.err";
		$SIG{$_} = 'DEFAULT' for qw(QUIT PIPE);
		exec $quire, 'run', @args;
	};
	setpgrp $pid, $pid;	# whoever is first
	return { pid => $pid, base => $base };
}

# Wait for it, at most so many seconds, by default 60.
sub finish {
	my ($r, $limit) = @_;
	my $until = time + ($limit // 60);
	my $got;
	sleep 0.01 while !($got = waitpid $r->{pid}, WNOHANG) && time < $until;
	if (!$got) {
		kill KILL => $r->{pid};
		waitpid $r->{pid}, 0;
		$r->{hung} = 1;
	}
	Guests::forget($r->{pid});
	$r->{status} = $r->{hung} ? 'hung' : $? & 127 ? 'signal ' . ($? & 127) : $? >> 8;
	$r->{out} = slurp("$r->{base}.out");
	$r->{err} = slurp("$r->{base}.err");
	return $r;
}

sub run { return finish(start(@_)) }

# Wait until the run has said so.  Returns whether it has.
sub says {
	my ($r, $what, $seconds) = @_;
	for (my $until = time + ($seconds // 20); time < $until; sleep 0.02) {
		return 1 if slurp("$r->{base}.out") =~ $what;
	}
	return 0;
}

sub complains {
	my ($r, $what, $seconds) = @_;
	for (my $until = time + ($seconds // 20); time < $until; sleep 0.02) {
		return 1 if slurp("$r->{base}.err") =~ $what;
	}
	return 0;
}

sub alive { my $s = slurp("/proc/$_[0]/stat"); return $s ne '' && $s !~ /\) [ZX] / }

# Children of a launcher: its machine, and its VMs.
sub children {
	my ($r) = @_;
	my (@vms, $machine);
	for (split ' ', slurp("/proc/$r->{pid}/task/$r->{pid}/children")) {
		next if !alive($_);
		$machine = $_ if slurp("/proc/$_/comm") =~ /^quire-machine/;
		push @vms, $_ if slurp("/proc/$_/cmdline") =~ /^quire-vm\0/;
	}
	return ($machine, @vms);
}

# The same when there are a machine and so many VMs, and have come to run.
sub crowd {
	my ($r, $nr) = @_;
	my ($machine, @vms);
	for (1 .. 1000) {
		($machine, @vms) = children($r);
		last if $machine && @vms == $nr || !alive($r->{pid});
		sleep 0.02;
	}
	sleep 0.3;
	return ($machine, @vms);
}

# Every process that runs our binary.
sub ours {
	return grep { (readlink("/proc/$_/exe") // '') eq $binary }
		map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

sub gone { my @p = @_; for (1 .. 250) { return 1 if !grep { alive($_) } @p; sleep 0.02 } return 0 }

sub lines { my ($r, $name) = @_; return grep { s/^\Q$name\E\| // } split /\n/, $r->{out} }

my @before = ours();

my $r = run(@own, $quill, 'exit', 42);
plan skip_all => $r->{err} if $r->{status} eq 121;

# ---- copies ----

is($r->{status}, 42, 'one guest, a machine of its own');
ok(gone(grep { my $p = $_; !grep { $_ == $p } @before } ours()), 'and nothing of it runs on');

$r = run(@own, '-n', 5, '--name=g', '-m', '32M', $quill, 'selftest', 'pages=500');
ok(selftest_passed(@$r{qw(status out)}), '-n 5: all succeed');
is($r->{err}, '', 'without a word');
my @strange = grep { !/^g-[1-5]\| / } split /\n/, $r->{out};
is("@strange", '', 'every line has a name');
my ($first) = map { s/\d+ us|[0-9.]+//gr } join "\n", lines($r, 'g-1');
like($first, qr/^ok  - /m, 'their output is there');
is(join("\n", lines($r, "g-$_")) =~ s/\d+ us|[0-9.]+//gr, $first, "g-$_ wrote what g-1 wrote")
	for 2 .. 5;

$r = run(@own, '-n', 3, $quill, 'exit', 7);
is($r->{status}, 7, 'the status is theirs');
is(run(@own, '-n', 2, '--name=' . 'x' x 60, $quill, 'exit', 0)->{status}, 2,
	'a name too long for a number');
for my $bad (['-n', 0], ['-n', 4097], ['-n', 'x'], ['--overcommit=3'], ['--overcommit-ratio=x'],
	['--machine-memory=0'], ['--machine-memory=x'], ['--swap=x'], ['--oom-score-adj=1001'],
	['--oom-score-adj=-1001'], ['--oom-score-adj=x'], ['--machine-lost=maybe'], ['--machine='],
	['--overcommit-bytes=x'], ['--machine=@nobody', '--swap=1G']) {
	$r = run(@$bad, $quill, 'exit', 0);
	ok($r->{status} eq 2 && $r->{err} =~ /\Aquire: [^\n]+\n\z/, "usage: @$bad")
		or diag $r->{err};
}
$r = run('--machine=@quire/nobody-here', $quill, 'exit', 0);
ok($r->{status} eq 121 && $r->{err} =~ /\Aquire: [^\n]+\n\z/, 'a machine that is not there');

# Everybody writes a lot, and the reader is slow.
my $own_run = "$quire run @own";
my $slow = `timeout 60 $own_run -n 8 --name=s -m 16M $quill selftest pages=200 | (sleep 0.5; cat)`;
is(scalar(grep { !/^s-[1-8]\| / } split /\n/, $slow), 0, 'a slow reader gets whole lines');
is(scalar(() = $slow =~ /^s-\d\| 1\.\.\d+$/mg), 8, '... all of them');
my $endless = flat('endless', 'baf803 b041 ee ebfd'); # mov dx, 3f8; mov al, 'A'; out dx, al; again
my $t = time;
my $left = `(timeout 20 $own_run -n 3 --timeout=15 $endless 2>$dir/left.err;
	echo \$? >$dir/left) | head -c 1`;
ok(slurp("$dir/left") == 141 && slurp("$dir/left.err") =~ /\Aquire: [^\n]+\n\z/ && time - $t < 10,
	'a reader that leaves ends them: 141') or diag slurp("$dir/left.err");

system("(timeout 20 $own_run -n 3 $endless 2>$dir/late.err; echo \$? >$dir/late) | sleep 6 &");
my $late;
for (1 .. 500) {
	($late) = grep { slurp("/proc/$_/cmdline") =~ /^\Q$quire\E\0run\0.*endless/s &&
		slurp("/proc/$_/stat") !~ /^\d+ \(quire-m/ &&
		(children({ pid => $_ }))[3] } ours();
	last if $late;
	sleep 0.02;
}
$t = time;
kill TERM => $late if $late;
sleep 0.02 while slurp("$dir/late") eq '' && time - $t < 10;
ok(slurp("$dir/late") eq "143\n" && time - $t < 4 &&
	slurp("$dir/late.err") eq "quire: stopped by SIGTERM\n",
	'SIGTERM does not wait for a reader that sleeps') or diag time - $t, ' ',
	slurp("$dir/late.err");

# ---- the ledger ----

$r = run('--machine-memory=256M', '--overcommit=2', '--overcommit-ratio=50', '-n', 3, '--name=c',
	'-m', '48M',
	$quill, 'hold', 1, 1000, 'seconds=1');
is($r->{status}, 120, 'mode 2: what does not fit is refused: 120');
like($r->{err}, qr/^quire: c-3: refused: mode 2: [0-9.]+ MiB committed \+ [0-9.]+ MiB asked/m,
	'... with the sum');
is(scalar(() = $r->{err} =~ /\n/g), 1, '... in one line');
is(scalar(() = $r->{out} =~ /^c-[12]\| hold: .*verified/mg), 2, '... and the others run')
	or diag $r->{out};
for (['0', 120], ['0:estimate', 120], ['1', 0], ['2', 120]) {
	my ($mode, $want) = @$_;
	is(run('--machine-memory=4G', "--overcommit=$mode", '-m', '80G', $quill,
		'exit', 0)->{status}, $want,
		"80 GiB of a machine of 4 GiB in mode $mode: $want");
}
is(run('--machine-memory=4G', '--swap=100G', '-m', '80G', $quill, 'exit', 0)->{status}, 0,
	'... and with 100 GiB of swap in mode 0');
is(run('--machine-memory=64M', '--overcommit=2', '--overcommit-bytes=40M', '-m', '16M', $quill,
	'exit', 3)->{status},
	3, '--overcommit-bytes');

# ---- memory runs out ----

$r = start('--machine-memory=192M', '--overcommit=1', '--merge=off', '-n', 3, '--name=o', '-m',
	'128M', "--stats=$dir/oom",
	$quill, 'hold', 5, 20000, 'seconds=2');
finish($r);
is($r->{status}, 123, 'more pages than the machine has: somebody is killed: 123');
my $sentence = qr/killed, the machine is out of memory: .* held ([0-9.]+) MiB/;
my @killed = $r->{err} =~ /^quire: (o-\d): $sentence/mg;
my %killed = @killed;
my @whole = $r->{out} =~ /^(o-\d)\| hold: .*verified/mg;
ok(%killed && @whole && keys(%killed) + @whole == 3, keys(%killed) . ' killed with the numbers, ' .
	@whole . ' unharmed') or diag $r->{err}, $r->{out};
ok(!grep({ $killed{$_} } @whole), '... not the same');
SKIP: {
	eval { require JSON::PP; 1 } or skip 'no JSON::PP', 5;
	my $doc = eval { JSON::PP::decode_json(slurp("$dir/oom")) };
	ok($doc && $doc->{schema} eq 'quire.stats/1' && @{$doc->{vms}} == 3,
		'--stats: one document for all');
	my $m = $doc->{machine};
	ok($m->{memory_bytes} == 192 << 20 && $m->{overcommit_mode} == 1 && $m->{admissions} == 3 &&
		$m->{oom_kills} == keys %killed, 'the machine counts');
	ok($m->{vms} == 0 && $m->{committed_bytes} == 0 && $m->{credit_bytes} == 0 &&
		$m->{free_bytes} == $m->{memory_bytes}, '... and everything came back');
	for my $vm (@{$doc->{vms}}) {
		$vm->{exit_status} == ($killed{$vm->{name}} ? 123 : 0)
			or fail("$vm->{name}: status");
	}
	my ($one) = grep { !$killed{$_->{name}} } @{$doc->{vms}};
	ok($one->{state_private_pages} >= 20000 && $one->{ram_pages} == 32768, "a VM's own object");
	$r = run(@own, '--stats=-', '--name=one', $quill, 'exit', 9);
	$doc = eval { JSON::PP::decode_json($r->{out}) };
	ok($doc && $doc->{vms}[0]{name} eq 'one' && $doc->{vms}[0]{exit_status} == 9,
		'--stats=- of one');
	$r = run(@own, '--stats=-', $quill, 'hello');
	$doc = eval { JSON::PP::decode_json($r->{out}) };
	ok($doc && $r->{status} eq 0 && $r->{err} =~ /^quill: hello/m,
		'... is all that is on standard output: what the guest prints is on standard error')
		or diag $r->{out};
	$r = run(@own, '--stats=-', '-n', 2, '--name=two', $quill, 'hello');
	$doc = eval { JSON::PP::decode_json($r->{out}) };
	ok($doc && @{$doc->{vms}} == 2 && $r->{err} =~ /^two-1\| quill: hello/m &&
		$r->{err} =~ /^two-2\| quill: hello/m, '... also of several') or diag $r->{out};
}
$r = run('--machine-memory=64M', '--overcommit=1', '--oom-score-adj=-1000', '-m', '128M', $quill,
	'fill', 1, 20000);
ok($r->{status} eq 123 &&
	$r->{err} =~ /\Aquire: [^\n]+ and killing another is not allowed[^\n]+\n\z/,
	'nobody may be killed: the guest that needs memory ends, 123')
	or diag "$r->{status} $r->{err}";

# ---- somebody is killed ----

$r = start(@own, '-n', 3, '--name=k', '-m', '32M', $quill, 'stress', 3);
ok(says($r, qr/(k-\d\| stress: seed.*){3}/s), 'three guests run');
my ($machine, @vms) = children($r);
is(scalar(@vms), 3, '... in processes of their own');
kill KILL => $vms[1];
finish($r);
is($r->{status}, 121, 'kill -9 of one: 121');
like($r->{err}, qr/\Aquire: k-\d: killed by SIGKILL: [^\n]+\n\z/, '... in one line with its name');
is(scalar(() = $r->{out} =~ /^k-\d\| stress: writes=\d+ verified=\d+$/mg), 2,
	'... the others verify all');

$r = start(@own, '-n', 2, '-m', '32M', $quill, 'idle', 30);
($machine, @vms) = crowd($r, 2);
kill USR1 => $vms[0];
complains($r, qr/killed by SIGUSR1/);
kill TERM => $r->{pid};
finish($r);
ok($r->{status} eq 143 && $r->{err} =~ /killed by SIGUSR1/,
	'a signal is named, and the highest status counts')
	or diag "$r->{status} $r->{err}";

$r = start(@own, '-n', 3, '-m', '32M', $quill, 'stress', 20);
says($r, qr/(stress: seed.*){3}/s);
($machine, @vms) = children($r);
kill KILL => $r->{pid};
finish($r);
ok(gone($machine, @vms), 'kill -9 of the launcher: its VMs and its machine go with it');

$r = start(@own, '-m', '64M', '--name=m', $quill, 'stress', 3, 'pages=12000');
says($r, qr/stress: seed/);
($machine, @vms) = children($r);
kill KILL => $machine;
ok(complains($r, qr/the machine is gone/), 'kill -9 of the machine is noticed');
my $again;
for (1 .. 100) { ($again) = children($r); last if $again && $again != $machine; sleep 0.02 }
ok($again && $again != $machine, '... there is a new one');
finish($r);
ok($r->{status} eq 0 && $r->{out} =~ /verified=/,
	'... and the guest neither loses a byte nor stops')
	or diag "$r->{status} $r->{err} $r->{out}";
is(scalar(() = $r->{err} =~ /\n/g), 1, '... in one line') or diag $r->{err};

# Again and again, and the accounts come out right.
$r = start(@own, '-n', 4, '--name=r', '-m', '32M', "--stats=$dir/again", $quill, 'stress', 5);
says($r, qr/(stress: seed.*){4}/s);
for (1 .. 8) {
	($machine) = children($r);
	kill KILL => $machine if $machine;
	sleep 0.1 + rand 0.3;
}
finish($r);
is($r->{status}, 0, 'eight machines die, four guests verify all') or diag $r->{err};
my $last = slurp("$dir/again");
is(scalar(grep { $last =~ /"$_": 0,/ } qw(committed_bytes credit_bytes vms)), 3,
	'... and the last ledger is right')
	or diag $last;

$r = start(@own, '-n', 2, '--machine-lost=stop', '-m', '32M', $quill, 'stress', 20);
says($r, qr/(stress: seed.*){2}/s);
($machine) = children($r);
kill KILL => $machine;
finish($r);
ok($r->{status} eq 121 && $r->{err} =~ /\Aquire: the machine is gone, stopping[^\n]*\n\z/,
	'--machine-lost=stop: they stop, 121') or diag "$r->{status} $r->{err}";

# ---- a machine that others run ----

SKIP: {
	skip 'no quire machine', 6 if `$quire help` !~ /^  machine /m;
	my $address = "\@quire-test/$$";
	my $serve = sub {
		my $pid = Guests::spawn {
			open STDOUT, '>', '/dev/null';
			open STDERR, '>', '/dev/null';
			exec $quire, 'machine', "--machine=$address", '--memory=1G',
				'--overcommit=1';
		};
		for (1 .. 500) {
			last if !system "timeout 10 $quire ps --machine=$address >$dir/ps 2>&1";
			sleep 0.02;
		}
		return $pid;
	};
	my $pid = $serve->();
	$r = run("--machine=$address", '-n', 2, $quill, 'exit', 4);
	is($r->{status}, 4, '--machine: joined') or diag $r->{err};
	$r = start("--machine=$address", '-n', 2, '-m', '32M', $quill, 'stress', 4);
	says($r, qr/(stress: seed.*){2}/s);
	kill KILL => $pid;
	waitpid $pid, 0;
	Guests::forget($pid);
	ok(complains($r, qr/the machine is gone/), 'it dies');
	$pid = $serve->();
	finish($r);
	is($r->{status}, 0, '... and another takes its place') or diag $r->{err};
	$r = start("--machine=$address", '-n', 2, '-m', '32M', $quill, 'stress', 20);
	says($r, qr/(stress: seed.*){2}/s);
	kill TERM => $pid;
	finish($r);
	is($r->{status}, 143, 'SIGTERM to the machine stops the guests in order') or diag $r->{err};
	waitpid $pid, 0;
	Guests::forget($pid);
	is($?, 0, '... and the machine ends');
	unlike($r->{err}, qr/the machine is gone/, '... which is no loss') or diag $r->{err};
}

# ---- signals ----

my @by_machine;

for ([INT => 130], [TERM => 143], [HUP => 129], [QUIT => 131]) {
	my ($sig, $want) = @$_;
	$r = start(@own, '-n', 3, '-m', '16M', $quill, 'idle', 30);
	crowd($r, 3);
	kill $sig => $r->{pid};
	finish($r);
	ok($r->{status} eq $want && $r->{err} eq "quire: stopped by SIG$sig\n",
		"SIG$sig: $want")
		or diag "$r->{status} $r->{err}";
}
$r = start(@own, '-m', '16M', $quill, 'idle', 30);
crowd($r, 1);
kill TERM => $r->{pid};
finish($r);
ok($r->{status} eq 143 && $r->{err} eq "quire: stopped by SIGTERM\n", 'SIGTERM, one guest');
# As timeout(1) and terminals send them: to the process group, which the machine must not be in.
for ([TERM => 143], [INT => 130]) {
	my ($sig, $want) = @$_;
	$r = start(@own, '-m', '16M', $quill, 'idle', 30);
	($machine, @vms) = crowd($r, 1);
	is(getpgrp $vms[0], $r->{pid}, "SIG$sig to the process group: the VM is in it");
	isnt(getpgrp $machine, $r->{pid}, '... and the machine is not');
	kill STOP => $r->{pid}, @vms;
	kill $sig => -$r->{pid};
	sleep 0.2;
	kill CONT => $r->{pid}, @vms;
	finish($r);
	ok($r->{status} eq $want && $r->{err} eq "quire: stopped by SIG$sig\n",
		'... so that the run says what stopped it')
		or diag "$r->{status} $r->{err}";
	ok(gone($machine), '... and the machine ends with it');
}
# A signal that comes while a run starts its machine is not the machine's either.
for my $us (map { 500 * $_ } 1 .. 12) {
	$r = start(@own, '-m', '16M', $quill, 'idle', 30);
	sleep $us / 1e6 + 0.001;
	kill TERM => -$r->{pid};
	finish($r);
	push @by_machine, "$us us: $r->{err}" if $r->{err} =~ /machine/;
}
is("@by_machine", '', 'SIGTERM to the process group while a run starts');
$r = start(@own, '-m', '16M', $quill, 'idle', 30);
($machine) = crowd($r, 1);
kill TERM => $machine;
finish($r);
ok($r->{status} eq 143 && $r->{err} eq "quire: stopped by the machine\n", 'SIGTERM to its machine')
	or diag "$r->{status} $r->{err}";
$r = run(@own, '-n', 3, '--timeout=0.5', '-m', '16M', $quill, 'idle', 30);
ok($r->{status} eq 124 && 3 == (() = $r->{err} =~ /^quire: \d+-\d: timeout/mg),
	'--timeout is for each of them') or diag "$r->{status} $r->{err}";
$r = start(@own, '-m', '16M', '--timeout=0.5', $quill, 'idle', 30);
($machine, @vms) = crowd($r, 1);
kill STOP => @vms;
finish($r);
is($r->{status}, 124, 'a VM process that is stuck hangs nobody') or diag $r->{err};

# ---- many ----

$t = time;
$r = run('-n', 50, '-m', '16M', '--name=many', $quill, 'fill', 3, 500);
is($r->{status}, 0, 'fifty guests at once') or diag $r->{err};
is(scalar(() = $r->{out} =~ /^many-\d+\| fill: .*verified/mg), 50, '... and all of them verify')
	or diag $r->{out};
diag sprintf '50 guests: %.2f s', time - $t;

# ---- nothing is left behind ----

ok(gone(grep { my $p = $_; !grep { $_ == $p } @before } ours()), 'no process is left');
# Others use these directories too.  What is ours would be there each time, and stay.
my @left;
for my $round (0 .. 2) {
	my %had = map { $_ => 1 } map { glob "$_/*" } '/dev/shm', '/run', '/tmp';
	$r = start(@own, '-n', 3, '-m', '16M', $quill, 'idle', 30);
	($machine, @vms) = crowd($r, 3);
	kill KILL => $r->{pid};
	finish($r);
	gone($machine, @vms);
	$left[$round] = [grep { !$had{$_} } map { glob "$_/*" } '/dev/shm', '/run', '/tmp'];
}
sub clean { for (1 .. 500) { return 1 if grep { !grep { -e } @$_ } @left; sleep 0.02 } return 0 }
ok(clean(), 'no file is left, after kill -9') or diag join ' ', map { @$_ } @left;

done_testing();
