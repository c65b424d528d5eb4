#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Everything at once, for as long as SOAK_SECONDS says: some twenty guests that come and go, write,
# lock and remap their memory, and verify every byte of it.  All are merged without a pause and may
# have few mappings only; balloons go up and down; VMs are paused and go on; the machine is made
# smaller and larger; VMs, launchers and machines are killed with kill -9.
#
# All the while
#
#	every guest that ends has verified its memory, or was killed by us, or by the machine for
#	want of memory
#	memory + excess = free + credits + overheads + store, resident <= credits + store
#	a VM has no more mappings than it may, by the kernel's count and ours
#
# and now and then all guests are held still: then what the VMs and the machine say is exactly what
# the kernel counts, pages and mappings.  A build with sanitizers (SAN=1) audits a VM's memory at
# each pause, its shadow tables too: half of the guests are on such tables, and share their pages
# with the others.  In the end nothing is left over.
#
# The seed decides who does what, and what is done to whom; when is up to the scheduler.
use strict;
use warnings;
use FindBin;
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(time sleep);
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;
use Storm;

my $skip = missing();
plan skip_all => $skip if $skip;
my $seconds = $ENV{SOAK_SECONDS} // 12;
my $seed = $ENV{QUIRE_SEED} // (time * 1000 ^ $$) % 1_000_000;
my $population = 20;	# guests
my $memory = 900;	# MiB of the machine
my $mappings = 2000;	# of each VM
my $limit = 240;	# seconds in which a launcher must be through
diag "seed $seed, $seconds s (repeat with QUIRE_SEED=$seed SOAK_SECONDS=$seconds)";
srand $seed;

my %nr = map { $_ => 0 } qw(guests verified shot starved stopped launchers machines looks rests
	pauses merged breaks reliefs mappings efaults inflated);
my $odd = '';		# what should not have been
sub odd { my ($what) = @_; $odd .= $what; diag $what }

sub one_of { return $_[rand @_] }

# ---- guests ----

# Weight, RAM in MiB, and the words after the seconds that it is to last.
my @work = (
	[4, 24, sub { ('stress', $_[0], 'pages=3000', 'seed=' . one_of(1, 2)) }],
	[4, 24, sub { ('churn', one_of(3, 4), 3000, 'rate=' . one_of(0, 500, 2000),
		"seconds=$_[0]", 'read=2', 'own=' . one_of(0, 1)) }],
	[3, 24, sub { ('locked', $_[0], 'pages=' . one_of(300, 3000)) }],
	[3, 24, sub { ('remap', $_[0], 'pages=2000') }],
	[2, 32, sub { ('hold', 5, 5000, 'dup=4', 'zero=500', 'own=400', 'order=' .
		one_of('seq', 'shuffle', 'scatter'), "seconds=$_[0]") }],
	[2, 32, sub { ('peek', 5000, 'write=50', 'seconds=' . int($_[0] / 2)) }],
	[5, 48, sub { ('balloon', "seconds=$_[0]", 'touch=1000', 'dirty=6144', 'zero=1500',
		'reuse=1', 'delay=500') }],
);

my ($machine, @runs, @left);	# @left: runs whose launchers were shot

# What it takes to be verified, in words that every workload has.
my $verified = qr/^(?:(\S+)\| )?\w+: (?:.* )?verified=\d+.*$/m;
my $ready = qr/(?:stress: seed|(?:churn|hold|peek|locked|remap|balloon): ready)/;

sub launch {
	my @bag = map { ($_) x $_->[0] } @work;
	my (undef, $mib, $words) = @{one_of(@bag)};
	my $copies = one_of(1, 1, 2, 4);
	my @words = $words->(3 + int rand($seconds < 60 ? 6 : 25));
	my $name = 's' . ++$nr{launchers};
	my @options = ('-n', $copies, '-m', "${mib}M", "--timeout=" . ($limit - 10),
		'--merge-rate=1000000000', "--max-mappings=$mappings", '--balloon-min=4M',
		'--domain=' . one_of('a', 'a', 'b'), '--hugepages=' . one_of('auto', 'never'),
		'--irqchip=' . one_of('auto', 'on'),
		one_of(['-c', 1], ['-c', 2], ['--paging=shadow'], ['--paging=shadow'])->@*);
	my $r = start("$dir/$name", 'timeout', '-s', 'KILL', $limit, $quire, 'run',
		"--machine=$address", "--name=$name", @options, $quill, @words);
	@$r{qw(name copies words)} = ($name, $copies, "@options @words");
	push @runs, $r;
	$nr{guests} += $copies;
}

# timeout(1) has one child, the launcher.
sub launcher_of { my ($r) = @_; my ($pid) = children($r->{pid}); return $pid }
sub pids_of { my ($r) = @_; my $l = launcher_of($r) or return; return vms_of($l) }
sub names_of {
	my ($r) = @_;
	return $r->{copies} > 1 ? map { "$r->{name}-$_" } 1 .. $r->{copies} : $r->{name};
}

# Have all guests of the run begun?
sub is_up {
	my ($r) = @_;
	return $r->{up} ||= $r->{copies} <= (() = slurp("$r->{base}.out") =~ /$ready/g);
}

sub judge {
	my ($r) = @_;
	my ($out, $err) = ($r->{out}, $r->{err});
	unlink "$r->{base}.out", "$r->{base}.err";
	odd("$r->{name} ($r->{words}): $1\n") if $out =~ /^(.*(?:wrong|panic|exception).*)$/m;
	if ($r->{sunk}) {
		push @left, $r;
		return;
	}
	my (%well, %shot, %starved);
	$well{$1 // ''} = 1 while $out =~ /$verified/g;
	$shot{$1 // ''} = 1 while $err =~ s/^quire: (?:(\S+-\d+): )?killed by SIGKILL: [^\n]+\n//m;
	$starved{$1 // ''} = 1
		while $err =~ s/^quire: (?:(\S+-\d+): )?[^\n]*out of memory[^\n]*\n//m;
	$err =~ s/^quire: [^\n]*the machine is gone[^\n]*\n//mg if $r->{bereft};
	# One that was just asking to be admitted has nobody to go on with.
	return if $r->{young} && !%well && $r->{status} =~ /^12[01]$/;
	$nr{$_->[0]} += keys %{$_->[1]} for [verified => \%well], [shot => \%shot],
		[starved => \%starved];
	if ($r->{stopped}) {
		$nr{stopped}++;
		odd("$r->{name} ($r->{words}): status $r->{status} after quire kill; $err\n")
			if $r->{status} !~ /^(?:0|121|123|143)$/;
		return;
	}
	my @lost = grep { !$well{$_} && !$shot{$_} && !$starved{$_} }
		$r->{copies} > 1 ? names_of($r) : '';
	my $want = %starved ? 123 : %shot ? 121 : 0;
	odd("$r->{name} ($r->{words}): status $r->{status}, want $want; lost: @lost; $err\n")
		if $err ne '' || @lost || $r->{status} ne $want;
}

sub reap { for my $r (@runs) { judge($r) if defined ended($r) }
	@runs = grep { !defined $_->{status} } @runs }

# ---- what is looked at all the time ----

# What each VM has counted so far; those of the dead are kept.
my %of;
sub look {
	my ($m, $vms) = account() or return;
	$nr{looks}++;
	my $sum = sum(@$m{qw(free_bytes credit_bytes overhead_bytes store_bytes)});
	odd("the books: " . join(' ', map { "$_=$m->{$_}" } sort keys %$m) . "\n")
		if $sum != $m->{memory_bytes} + $m->{excess_bytes} ||
		$m->{resident_bytes} > $m->{credit_bytes} + $m->{store_bytes};
	for my $vm (grep { defined $_->{mappings} } values %$vms) {
		my $maps = window_mappings($vm->{pid}, $vm->{ram_bytes}) // 0;
		odd("$vm->{name}: $maps mappings, $vm->{mappings} by our count\n")
			if $maps > $mappings || $vm->{mappings} > $mappings;
		$nr{mappings} = $maps if $maps > $nr{mappings};
		$of{$vm->{pid}} = { merged => $vm->{merged_pages}, breaks => $vm->{cow_breaks},
			reliefs => $vm->{mapping_reliefs}, efaults => $vm->{efaults},
			inflated => $vm->{balloon_inflated_pages} };
	}
	return $vms;
}

# All VMs, merged as fast as can be; now and then one changes its mind.
sub hammer {
	my $n = 0;
	beside(sub {
		my (undef, $vms) = account();
		my @names = sort keys %{$vms // {}} or return sleep 0.1;
		quire('merge', 'now', @names);
		return if ++$n % 4;
		my $one = one_of(@names);
		quire('merge', $_, $one) for one_of(['off'], ['zero'], ['off', 'zero'])->@*, 'on';
	});
}

# Balloons go up and down.
sub inflate {
	beside(sub {
		my (undef, $vms) = account();
		my @names = map { $_->{name} } grep { ($_->{balloon_driver} // '') eq 'ready' }
			values %{$vms // {}};
		quire('balloon', $_, one_of('auto', map { $_ . 'M' } 0, 5, 10, 20, 30, 40))
			for @names;
		sleep 0.1;
	});
}

# ---- what is done to them ----

sub new_machine {
	my $address = "$dir/machine-" . ++$nr{machines};

	$machine = serve($address, "--memory=${memory}M", '--overcommit=1');
	BAIL_OUT('no machine') if !$machine;
}

sub shoot_vm {
	my @pids = map { pids_of($_) } grep { is_up($_) } @runs or return;
	kill KILL => one_of(@pids);
}
sub shoot_launcher {
	my $r = one_of(grep { is_up($_) } @runs) or return;
	my $pid = launcher_of($r) or return;
	$r->{vms} = [pids_of($r)];
	$r->{sunk} = kill KILL => $pid;
}
sub shoot_machine {
	$_->{young} ||= !is_up($_) for @runs;
	kill KILL => $machine->{pid};
	finish($machine);
	$_->{bereft} = 1 for @runs;
	sleep rand 1;
	new_machine();
}
sub stop {
	my $r = one_of(grep { is_up($_) } @runs) or return;
	$r->{stopped} = 1;
	quire('kill', names_of($r));
}
sub hold {
	my @names = map { names_of($_) } grep { is_up($_) && rand() < 0.3 } @runs or return;
	quire('pause', @names);
	quire($_, one_of(@names)) for 'stat', 'map';
	quire('resume', @names);
	$nr{pauses} += @names;
}
sub resize {
	quire('machine', 'set', "--machine=$address", '--memory=' . one_of($memory, $memory / 2,
		$memory / 4) . 'M');
}

# Hold everything still and count, unless all guests end before that succeeds.
sub rest {
	end_beside();
	quire('machine', 'set', "--machine=$address", "--memory=${memory}M");
	my $differs;
	until_true(90, sub {
		reap();
		launch() if !@runs;
		return ($differs = at_rest($machine)) eq '';
	});
	odd("at rest: $differs\n") if $differs;
	$nr{rests}++ if !$differs;
	hammer();
	inflate();
}

my @deed = ([3, \&hold], [2, \&resize], [3, \&shoot_vm], [1, \&shoot_launcher],
	[1, \&stop], [1, \&shoot_machine]);
my @deeds;	# what is left of this turn, in which each is done so often
sub do_something {
	@deeds = shuffle(map { ($_->[1]) x $_->[0] } @deed) if !@deeds;
	(pop @deeds)->();
}

# ---- all of it ----

my ($begin, $told) = (time) x 2;
sub report {
	for my $count (qw(merged breaks reliefs efaults inflated)) {
		$nr{$count} = sum(map { $_->{$count} } values %of);
	}
	diag sprintf '%d s: %s', time - $begin, join ', ', map { "$_ $nr{$_}" } sort keys %nr;
}
new_machine();
hammer();
inflate();
my $rest_at = $begin + ($seconds < 60 ? $seconds / 2 : 45);
while (time < $begin + $seconds) {
	reap();
	launch() while $population > sum(map { $_->{copies} } @runs);
	look();
	do_something();
	if (time > $rest_at) {
		rest();
		$rest_at = time + 45;
	}
	if (time > $told + 300) {
		report();
		$told = time;
	}
	last if length $odd > 20_000;
}
quire('machine', 'set', "--machine=$address", "--memory=${memory}M");
until_true($limit, sub { look(); reap(); !@runs });
end_beside();
for my $r (@runs) {
	odd("$r->{name} ($r->{words}) does not end: " . slurp("$r->{base}.out") .
		slurp("$r->{base}.err"));
	finish($r, 0);
}
report();
is($odd, '', "$nr{guests} guests: $nr{verified} verified every byte, $nr{shot} were shot, " .
	"$nr{starved} died for want of memory; all numbers add up");
cmp_ok($nr{verified}, '>=', $nr{guests} / 4, '... many lived');
cmp_ok($nr{rests}, '>', 0, "... $nr{rests} times all were held still");
if (!deviates('slow')) {
	cmp_ok($nr{merged}, '>', 0, "... $nr{merged} pages were merged");
	cmp_ok($nr{breaks}, '>', 1000, "... and $nr{breaks} written again");
}
is(join(' ', grep { alive($_) } map { @{$_->{vms}} } @left), '',
	'no VM outlives its launcher');
all_back($machine, 'soak');
kill TERM => $machine->{pid};
is(finish($machine, 30)->{status}, 0, 'the machine ends');
is(join(' ', grep { slurp("/proc/$_/cmdline") =~ /=\Q$address\E\0/ } map { m{/proc/(\d+)} }
	glob '/proc/[0-9]*'), '', '... no process is left');
unlike(slurp('/proc/net/unix'), qr/quire/, '... nor a socket');
done_testing();
