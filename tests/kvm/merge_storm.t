#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Merging at full speed under guests that write all the time and verify every byte: while nothing
# happens, while VMs, launchers and machines are killed with kill -9, with too little memory, and
# with too few mappings.  All the while the machine's numbers add up, and when the guests are held
# still, they are exactly the kernel's:
#
#   at any moment	memory = free + credits + overheads + store, and
#			resident <= credits + store
#   at rest		references to the store = shared pages of all VMs; its blocks = its frames;
#			and no VM has a frame of a machine that is gone
#
# The seed decides who runs what, and who is shot when; the rest is up to the scheduler.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time sleep);
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;
use Storm;

my $skip = missing();
plan skip_all => $skip if $skip;
my $slow = $build =~ /san/ || deviates('slow');
my $seed = $ENV{QUIRE_SEED} // (time * 1000 ^ $$) % 1_000_000;
diag "seed $seed (repeat with QUIRE_SEED=$seed)";
srand $seed;
my $begin = time;
my $rounds = $ENV{QUIRE_STORM} // 1;
my $limit = 120;	# seconds in which a launcher must be through
my @fast = ('--merge-rate=1000000000');

my ($machine, %log);
sub new_machine {
	$machine = serve("$dir/machine-" . ++$log{machines}, @_);
	BAIL_OUT('no machine') if !$machine;
	return $machine;
}

# ---- guests ----

my @runs;
sub launch {
	my ($name, $copies, $mib, $options, @words) = @_;
	my $r = start("$dir/$name", 'timeout', '-s', 'KILL', $limit, $quire, 'run',
		"--machine=$address",
		"--name=$name", '-n', $copies, '-m', "${mib}M", '--timeout=' . ($limit - 10),
		@$options, $quill, @words);
	@$r{qw(name copies mib words)} = ($name, $copies, $mib, "@words");
	push @runs, $r;
	return $r;
}

# timeout(1) has one child, the launcher.
sub launcher_of { my ($r) = @_; my ($pid) = children($r->{pid}); return $pid }
sub vms { my ($r) = @_; my $l = launcher_of($r) or return; return vms_of($l) }

# Who verified all, who was shot, who died for want of memory; and what should not have been.
sub judge {
	my ($may_starve) = @_;
	my ($verified, $shot, $starved, $odd) = (0, 0, 0, '');
	for my $r (@runs) {
		finish($r, $limit);
		my ($out, $err) = ($r->{out}, $r->{err});
		$odd .= "$r->{name}: $1\n" if $out =~ /^(.*wrong.*)$/m;
		next if $r->{sunk};
		my (%well, %shot, %starved);
		$well{$1 // ''} = 1
			while $out =~ /^(?:(\S+)\| )?\w+: (?:writes=\d+ )?verified=\d+$/mg;
		# The last line of one that is just then killed may be lost, or not.
		$shot{$1 // ''} = 1
			while $err =~ s/^quire: (?:(\S+-\d+): )?killed by SIGKILL: [^\n]+\n//m;
		$starved{$1 // ''} = 1 while $may_starve &&
			$err =~ s/^quire: (?:(\S+-\d+): )?[^\n]*out of memory[^\n]*\n//m;
		$err =~ s/^quire: [^\n]*the machine is gone[^\n]*\n//mg if $log{machines_shot};
		my @lost = grep { !$well{$_} && !$shot{$_} && !$starved{$_} }
			$r->{copies} > 1 ? map { "$r->{name}-$_" } 1 .. $r->{copies} : '';
		my $want = %starved ? 123 : %shot ? 121 : 0;
		$odd .= "$r->{name} ($r->{words}): status $r->{status}, want $want; " .
			"lost: @lost; $err\n"
			if $err ne '' || @lost || $r->{status} ne $want;
		$verified += keys %well;
		$shot += keys %shot;
		$starved += keys %starved;
	}
	@runs = ();
	return ($odd, $verified, $shot, $starved);
}

# ---- beside them ----

# All VMs, as fast as can be; and now and then one of them changes its mind.
sub hammer {
	my $n = 0;
	beside(sub {
		my (undef, $vms) = account();
		my @names = sort keys %{$vms // {}} or return;
		quire('merge', 'now', @names);
		return if ++$n % 4;
		my $one = $names[rand @names];
		quire('merge', $_, $one) for (['off'], ['zero'], ['off', 'zero'])[rand 3]->@*, 'on';
	});
}

# The machine's numbers, written down.
sub watch {
	my ($file) = @_;
	beside(sub {
		my ($m, $vms) = account();
		if ($m) {
			open my $f, '>>', $file or POSIX::_exit(1);
			print $f encode_json({ m => $m,
				merged => sum(map { $_->{merged_pages} // 0 } values %$vms),
				cow => sum(map { $_->{cow_breaks} // 0 } values %$vms),
				wait => scalar grep { $_->{credit_waits}{longest_ns} } values %$vms,
				}) . "\n";
		}
		sleep 0.1;
	});
}

sub look_at {
	my ($what, $file) = @_;
	my ($wrong, $nr, %most) = ('', 0);
	my @lines = split /\n/, slurp($file);
	unlink $file;		# which the next round begins anew
	for (@lines) {
		my $s = eval { decode_json($_) } or next;	# the last may be cut
		my $m = $s->{m};
		$nr++;
		my $sum = sum(@$m{qw(free_bytes credit_bytes overhead_bytes store_bytes)});
		$wrong = $_ if $sum != $m->{memory_bytes} ||
			$m->{resident_bytes} > $m->{credit_bytes} + $m->{store_bytes};
		$most{$_} = $s->{$_} > ($most{$_} // 0) ? $s->{$_} : $most{$_}
			for qw(merged cow wait);
	}
	ok($nr > 3 && $wrong eq '',
		"$what: memory = free + credits + overheads + store, " .
		"resident <= credits + store, in $nr samples")
		or diag $wrong;
	return \%most;
}

# A VM's numbers, when it answers: under this load that may take more than quire's patience.
sub numbers_of {
	my ($vm) = @_;
	return until_true(30, sub {
		my ($m, $vms) = account();
		my $s = $vms->{$vm};
		$s && defined $s->{mappings} ? $s : 0;
	}) || {};
}
sub text_of {
	my ($vm) = @_;
	return until_true(30, sub {
		my ($text, $status) = quire('stat', $vm);
		$status ? 0 : $text;
	}) || '';
}

sub started {
	my $ready = qr/(?:stress: seed|(?:churn|hold|peek): ready)/;

	return @runs == grep { says($_, $ready, $_->{copies}, 60) } @runs;
}

# ---- nobody is killed; beside, one that has few mappings ----

sub part_storm {
	# The kernel's limit is the system's, and guests that reach it are large (below).
	my $told = 350;
	my @few = ('--domain=few', "--max-mappings=$told");

	new_machine('--memory=1G', '--overcommit=1');
	launch('st', 2, 24, [@fast, '--domain=a', '--hugepages=never'], 'stress', 8, 'pages=4000',
		'seed=' . int rand 1e6);
	launch('sh', 2, 32, [@fast, '--domain=a'], 'stress', 8, 'pages=5000', 'seed=' .
		int rand 1e6);
	launch('ch', 3, 32, [@fast], 'churn', 3, 4500, 'rate=4000', 'seconds=7', 'read=2');
	launch('co', 2, 24, [@fast, '--hugepages=never'], 'churn', 3, 3000, 'rate=1000',
		'seconds=7', 'read=8', 'own=1');
	launch('cc', 1, 32, [@fast, '-c', 2, '--domain=a'], 'stress', 8, 'pages=3000', 'seed=3');
	launch('few', 2, 32, [@few, @fast, '--hugepages=never'], 'churn', 5, 5000,
		'rate=1500', 'seconds=10', 'read=1');
	launch('fewer', 1, 32, [@few, @fast], 'peek', 5000, 'write=50', 'seconds=4');
	hammer();
	watch("$dir/storm");
	ok(started(), 'storm: guests run');
	my ($few, $over, $most_mappings) = ({}, 0, 0);
	for (my $until = time + 7; time < $until; sleep 0.3) {
		my (undef, $vms) = account();
		for my $vm (grep { /^few/ } keys %{$vms // {}}) {
			my $s = $vms->{$vm};
			next if !defined $s->{mappings};
			my $maps = () = slurp("/proc/$s->{pid}/maps") =~ /\n/g;
			$most_mappings = $maps if $maps > $most_mappings;
			$over++ if $maps > $told + 250 || $s->{mappings} > $told;
			$few->{$_} = $s->{$_} > ($few->{$_} // 0) ? $s->{$_} : $few->{$_}
				for qw(mapping_refusals mapping_reliefs cow_breaks
					reason_budget_pages);
			next if !$s->{mapping_refusals};
			my ($text, $status) = quire('stat', $vm);
			$few->{text} = $text if !$status;
		}
	}
	my ($odd, $verified) = judge(0);
	end_beside();
	is($odd, '', "storm: $verified guests verified every byte");
	my $most = look_at('storm', "$dir/storm");
	cmp_ok($most->{merged}, '>', 10000, '... pages were merged');
	cmp_ok($most->{cow}, '>', 10000, '... and written again');
	diag "$most->{merged} pages were merged, $most->{cow} of them written again";
	all_back($machine, 'storm');
	is($over, 0, "few mappings: $told at most, and 250 for the rest of the process");
	return if deviates('slow');	# the limit is hardly met
	cmp_ok($few->{mapping_refusals} // 0, '>', 0, '... merging meets the limit');
	cmp_ok($few->{reason_budget_pages} // 0, '>', 0, '... which is the reason of some pages');
	cmp_ok($few->{cow_breaks} // 0, '>', 200, '... writing goes on');
	cmp_ok($most_mappings, '>', $told / 2, '... which was used well');
	like($few->{text} // '', qr/vm\.max_map_count/, '... quire stat names the sysctl');
	diag sprintf 'few mappings: %d of %d, %d refused, %d won by un-sharing', $most_mappings,
		$told,
		$few->{mapping_refusals} // 0, $few->{mapping_reliefs} // 0;
}

# ---- VMs, launchers and machines are killed ----

my $hit;
sub shoot_vm {
	my @vms = map { vms($_) } grep { !$_->{sunk} } @runs;
	$hit += kill KILL => $vms[rand @vms] if @vms;
}

sub shoot_machine {
	my ($wait) = @_;
	kill KILL => $machine->{pid};
	finish($machine);
	$log{machines_shot}++;
	sleep $wait;
	new_machine('--memory=1G', '--overcommit=1');
}

sub all_joined {
	my ($n, $m, $vms);
	return until_true(20, sub {
		$n = sum(map { scalar vms($_) } @runs);
		($m, $vms) = account();
		return $m && $m->{vms} == $n && $n == grep { $_->{merge_joined} } values %$vms;
	}) || !diag "$n run, the machine has " . ($m->{vms} // 'none') . ', joined are: ' .
		join ' ', sort grep { $vms->{$_}{merge_joined} } keys %{$vms // {}};
}

sub part_killed {
	$hit = 0;
	my $long = $slow ? 40 : 16;
	new_machine('--memory=1G', '--overcommit=1');
	launch('ks', 4, 24, [@fast, '--domain=k', '--hugepages=never'], 'stress', $long,
		'pages=3500', 'seed=' . int rand 1e6);
	launch('kc', 3, 24, [@fast], 'churn', 7, 2500, 'rate=1500', "seconds=$long", 'read=2');
	launch('kh', 3, 24, [@fast, '--domain=k'], 'hold', 8, 4000, 'dup=4', 'zero=300', 'own=400',
		'order=shuffle', "seconds=$long");
	launch('kk', 3, 24, [@fast, '--domain=k'], 'hold', 8, 3000, 'dup=2', "seconds=$long");
	launch('kx', 1, 24, [@fast, '--domain=none'], 'stress', $long, 'pages=3500', 'seed=' .
		int rand 1e6);
	hammer();
	watch("$dir/killed");
	ok(started(), 'killed: guests run');
	sleep 1 + rand 0.5;
	shoot_vm() for 1, 2;
	shoot_machine(0.8);
	ok(all_joined(), '... they come to a new machine, and merge with it');
	shoot_vm();
	my $victim = (grep { $_->{name} eq 'kk' } @runs)[0];
	$victim->{sunk} = kill KILL => launcher_of($victim);
	sleep rand 0.5;
	shoot_machine(0);
	sleep rand 0.3;
	shoot_machine(0.3);	# while they come
	shoot_vm();
	ok(all_joined(), '... and to a third and a fourth');
	end_beside();
	my $differs;
	until_true(10, sub { ($differs = at_rest($machine)) eq '' });
	is($differs, '', 'killed: at rest the numbers are exact, and no memory is an orphan\'s');
	hammer();
	watch("$dir/killed");
	my ($odd, $verified, $shot) = judge(0);
	end_beside();
	is($odd, '', "killed: $verified guests verified every byte, $shot were shot");
	cmp_ok($verified, '>=', 7, '... many lived');
	cmp_ok($hit, '>=', 2, "... $hit shots hit");
	my $most = look_at('killed', "$dir/killed");
	cmp_ok($most->{merged}, '>', 5000, '... pages were merged');
	all_back($machine, 'killed');
	delete $log{machines_shot};
}

# ---- too little memory ----

sub part_starved {
	new_machine('--memory=64M', '--overcommit=1');
	launch('ts', 3, 24, [@fast, '--domain=t', '--hugepages=never'], 'stress', 8, 'pages=3500',
		'seed=' . int rand 1e6);
	launch('tc', 2, 24, [@fast, '--domain=t'], 'churn', 9, 3000, 'rate=2000', 'seconds=8',
		'read=1');
	launch('th', 2, 24, [@fast, '--domain=t'], 'hold', 10, 3500, 'dup=5', 'own=1000',
		'order=shuffle', 'seconds=6');
	hammer();
	watch("$dir/starved");
	my ($odd, $verified, $shot, $starved) = judge(1);
	end_beside();
	is($odd, '', "starved: $verified guests verified every byte, " .
		"$starved died for want of memory, and none otherwise");
	is($verified + $starved, 7, '... which are all');
	cmp_ok($verified, '>=', 1, '... some lived');
	my $most = look_at('starved', "$dir/starved");
	cmp_ok($most->{wait} + $starved, '>', 0,
		'... memory was short: pages waited for it, or a VM died');
	my $m = account();
	is($m->{oom_kills}, $starved, '... as many as the machine says it killed');
	all_back($machine, 'starved');
}

# ---- the kernel's own limit of mappings ----

sub part_mappings {
	my ($max) = slurp('/proc/sys/vm/max_map_count') =~ /(\d+)/;
	SKIP: {
		skip "vm.max_map_count is $max here: no guest of this test reaches it", 14
			if $max > 70000;
		new_machine('--memory=1G', '--overcommit=1');
		my $many = launch('many', 1, 16, ['-c', 255], 'hold', 1, 100, 'seconds=10');
		ok(says($many, qr/hold: ready/, 1, 90), 'mappings: a guest with 255 processors');
		my $of = numbers_of('many');
		my $others = (() = slurp("/proc/$of->{pid}/maps") =~ /\n/g) - $of->{mappings};
		my $left = $max - $of->{max_mappings};
		SKIP: {
			skip 'a sanitizer has mappings of its own', 1 if $build =~ /san/;
			cmp_ok(2 * $others, '<', $left,
				"... has $others beside its memory, for which $left are left");
		}
		my $singles = int($max / 2) + 300;
		my $pages = 2 * $singles;
		my $r = launch('map', 1, 304, [@fast, '--hugepages=never'], 'hold', 12, $pages,
			'dup=2', "own=$singles",
			'order=scatter', 'seconds=' . ($slow ? 30 : 10));
		my $peek = launch('peek', 1, 304, [@fast, '--hugepages=never'], 'peek', $pages,
			'write=50', 'seconds=' . ($slow ? 20 : 6));
		ok(says($r, qr/hold: ready/, 1, 90), 'mappings: a guest with ' . $singles .
			' single duplicates');
		for (1 .. 3) { quire('merge', 'now', 'map') }
		my $s = numbers_of('map');
		cmp_ok($s->{mapping_refusals}, '>', 0, '... meets the limit');
		cmp_ok($s->{reason_budget_pages}, '>', 0, '... pages stay private because of it');
		cmp_ok($s->{state_shared_pages}, '>', $max / 2 * 0.9,
			'... as many as can are shared');
		my $maps = () = slurp("/proc/$s->{pid}/maps") =~ /\n/g;
		cmp_ok(abs($maps - $s->{mappings}), '<', 400,
			"... $s->{mappings} mappings by our count, $maps by the kernel's, " .
				'with the rest of the process');
		like(text_of('map'), qr/vm\.max_map_count/, '... quire stat names the sysctl');
		# First reads made all of it zero, in few mappings; each page that is written breaks
		# one of these in two.
		ok(says($peek, qr/peek: written=$singles/, 1, 60),
			'... another writes every second page of what is zero');
		$s = numbers_of('peek');
		cmp_ok($s->{mappings}, '<=', $s->{max_mappings}, '... within the limit, too');
		my ($odd) = judge(0);
		is($odd, '', '... both verify every byte');
		all_back($machine, 'mappings');
	}
}

# QUIRE_PARTS="killed starved" for some of it.
my %part = (storm => \&part_storm, killed => \&part_killed, starved => \&part_starved,
	mappings => \&part_mappings);
for my $name ((split ' ', $ENV{QUIRE_PARTS} // 'storm killed starved mappings') x $rounds) {
	diag sprintf '%5.1f s: %s', time - $begin, $name;
	$part{$name}->();
	next if !$machine || defined ended($machine);
	kill TERM => $machine->{pid};
	is(finish($machine, 30)->{status}, 0, "$name: the machine ends");
}
diag sprintf '%5.1f s', time - $begin;
done_testing();
