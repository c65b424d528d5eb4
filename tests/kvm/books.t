#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The machine's books add up to the page, whatever its guests do: while they touch memory, merge it,
# give it to their balloons and end, and when the machine is made smaller than what is in use.  The
# text of quire stat, its JSON and --meminfo are each read as they are printed:
#
#   memory + excess = free + credits + store + overhead
use strict;
use warnings;
use FindBin;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time sleep);
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = missing();
plan skip_all => $skip if $skip;

# ---- three ways to read them: each gives pages by word ----

my @parts = qw(free credits store overhead);

sub of_json {
	my $m = decode_json(scalar quire('stat', '--json', "--machine=$address"))->{machine};
	my %is = map { $_ => $m->{($_ eq 'credits' ? 'credit' : $_) . '_bytes'} / 4096 }
		'memory', 'excess', 'resident', @parts;
	return \%is;
}

# The lines of the group, with their pages.
sub of_text {
	my ($group) = quire('stat', "--machine=$address") =~ /^budget: (.*?)\n\n/ms;
	my %is = (excess => 0, $group =~ /^  (\w+)[a-z ]* +[0-9.]+ .iB +([0-9]+) pages$/mg);
	return \%is;
}

sub of_meminfo {
	my %line = quire('stat', '--meminfo', "--machine=$address") =~ /^(\w+): +([0-9]+) kB$/mg;
	my %is = map { $_ => $line{ucfirst $_} / 4 } qw(credits store overhead excess);
	@is{qw(memory free)} = ($line{MemTotal} / 4, $line{MemFree} / 4);
	return \%is;
}

my %reader = (JSON => \&of_json, text => \&of_text, meminfo => \&of_meminfo);
my %most = map { $_ => 0 } @parts, 'excess';	# the largest that each part has been
my ($seen, @odd) = (0);

sub add_up {
	my ($form) = @_;
	my $is = $reader{$form}->();
	my ($left, $right) = (0, 0);
	for (@parts) {
		$right += $is->{$_} // die "$form: no $_";
		$most{$_} = $is->{$_} if $is->{$_} > $most{$_};
	}
	$left += $is->{$_} // die "$form: no $_" for qw(memory excess);
	$most{excess} = $is->{excess} if $is->{excess} > $most{excess};
	push @odd, "$form: $left != $right: " . join ', ', map { "$_ $is->{$_}" } sort keys %$is
		if $left != $right;
	push @odd, "$form: both free and excess" if $is->{free} && $is->{excess};
	$seen++;
	return $is;
}

# All forms, for so many seconds: no sum may be wrong in any of them.
sub watch {
	my ($seconds, $what) = @_;
	my $until = time + $seconds;
	($seen, @odd) = (0);
	do { add_up($_) for sort keys %reader } while time < $until && !@odd;
	ok(!@odd, "$what: the books add up ($seen readings)") or diag @odd;
}

sub run_guest {
	my ($name, $options, @words) = @_;
	return start("$dir/$name", 'timeout', '-s', 'KILL', 120, $quire, 'run',
		"--machine=$address", "--name=$name",
		'--timeout=100', @$options, $quill, @words);
}

# ---- in motion ----

my $machine = serve("$dir/machine", '--memory=512M', '--overcommit=1')
	or BAIL_OUT(slurp("$dir/machine.err"));
watch(0, 'nobody is there');
my $twins = run_guest('twin', [qw(-n 2 -m 48M)], qw(hold 1 5000 seconds=60));
my $busy = run_guest('busy', [qw(-m 32M)], qw(stress 20 pages=2000));
my $squeezed = run_guest('squeezed', [qw(-m 64M --merge=off)],
	qw(balloon seconds=60 touch=500 dirty=12000 features=7));
watch(1, 'guests start');
ok(says($twins, 'hold: ready', 2), 'two guests hold the same pages') or diag slurp("$dir/twin.err");
ok(says($squeezed, 'balloon: ready'), 'one has a balloon') or diag slurp("$dir/squeezed.err");
watch(1, 'one is busy');

my $merging = start("$dir/merge", $quire, qw(merge now twin-1 twin-2));
watch(1, 'pages are merged');
is(finish($merging)->{status}, 0, 'they were');
my $inflating = start("$dir/balloon", $quire, 'balloon', "--machine=$address", '--wait', 'squeezed',
	'20M');
watch(1, 'a balloon is inflated');
is(finish($inflating)->{status}, 0, 'it was');
cmp_ok($most{store}, '>=', 5000, 'the store holds what the twins share');
cmp_ok($most{$_}, '>', 0, "$_: not nothing") for qw(free credits overhead);
is($most{excess}, 0, 'and there was no excess');

# ---- at rest: the three forms say the same ----

quire('kill', 'busy');
finish($busy);
quire('pause', 'twin-1', 'twin-2', 'squeezed');
my %form = map { $_ => add_up($_) } keys %reader;
for my $word (@parts, 'memory', 'excess') {
	my %value = map { $form{$_}{$word} => 1 } keys %form;
	is(keys %value, 1, "$word is the same in text, JSON and meminfo") or diag join ' ', %value;
}
cmp_ok($form{JSON}{resident}, '<=', $form{JSON}{credits} + $form{JSON}{store},
	'resident is at most credits and store');

# ---- what merging saves, in words that cannot be confused ----

# A size of 4 KiB pages, as quire writes it.
sub size {
	my ($value, @unit) = ($_[0] * 4, qw(KiB MiB GiB));
	for (; $value >= 1024; shift @unit) { $value /= 1024 }
	return sprintf($value == int $value ? '%.0f %s' : '%.1f %s', $value, $unit[0]);
}

my $said;
for (1 .. 10) {
	$said = quire('merge', 'now', 'twin-1', 'twin-2');
	last if $said =~ /^merged 0 pages and found 0 of zeroes, in 2 passes of 2 VMs\n/;
}
my ($m, $vms) = account();
my ($shared, $zero) = (0, 0);
for (qw(twin-1 twin-2)) {
	$shared += $vms->{$_}{state_shared_pages};
	$zero += $vms->{$_}{state_zero_pages};
}
my $frames = $m->{store_bytes} / 4096;
my $saved = sprintf '%d frames: %s saved; %d pages of zeroes: %s saved', $frames,
	size($shared - $frames), $zero, size($zero);
is(($said =~ /(.*)\n\z/)[0], "$shared pages now share $saved",
	'pages, frames and what is saved are three numbers');
cmp_ok($shared, '>=', 2 * 5000, 'which are those of the twins');
isnt(size($shared), size($shared - $frames), '... and are not the same');
like(scalar quire('merge', "--machine=$address"), qr/^\Q$shared pages share $frames frames: \E/m,
	'quire merge says so too');

# ---- a machine that is made smaller than what is in use ----

quire('machine', 'set', "--machine=$address", '--memory=24M');
watch(0, 'a smaller machine');
cmp_ok($most{excess}, '>', 0, 'what is in use beyond memory has its own line');
quire('machine', 'set', "--machine=$address", '--memory=512M');
watch(0, 'a larger one again');

quire('resume', 'twin-1', 'twin-2', 'squeezed');
my $kill = start("$dir/kill", $quire, qw(kill twin-1 twin-2 squeezed));
watch(1, 'guests end');
finish($_) for $kill, $twins, $squeezed;
my $end = add_up('JSON');
is_deeply([@$end{qw(free credits store overhead)}], [$end->{memory}, 0, 0, 0],
	'in the end all is free')
	or diag join ' ', %$end;
kill TERM => $machine->{pid};
is(finish($machine)->{status}, 0, 'the machine ends');
done_testing();
