#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Load control on real guests: working sets that do not fit together, on a disk so slow that guests
# wait for it, and for little else, however busy the host is.  The machine suspends one after the
# other, the log says so with its numbers, nobody is killed, and each guest finds every byte again.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

use constant {
	GUESTS => 3,
	PAGES => 400,		# that each guest uses, besides the 100 of its image and tables
	ROOM => 1150,		# pages that there are for all guests
	TURN_NS => 10e9,
	SOON => 120,		# seconds: far more than anything here takes
};

my $skip = missing();
plan skip_all => $skip if $skip;

serve("$dir/machine", '--memory=128M', '--swap=64M', '--overcommit=1')
	or BAIL_OUT(slurp("$dir/machine.err"));

# It goes on to its end when there is input.
sub run_guest {
	my ($name, @words) = @_;
	my $base = "$dir/$name";
	system 'mkfifo', "$base.in";
	my $guest = start($base, $quire, 'run', "--machine=$address", "--name=$name", '-m', '16M',
		'--merge=off', '--balloon=off', '--swap-dir=/var/tmp',
		'--swap-faults=stall=4', $quill, @words);	# each fourth operation takes 0.2 s
	open $guest->{in}, '+<', "$base.in" or BAIL_OUT("$base.in: $!");
	return $guest;
}

sub go_on { my ($guest) = @_; syswrite $guest->{in}, "\n"; return }

sub events {
	my ($like) = @_;
	my ($text) = quire('events', "--machine=$address");
	return grep { $_->{kind} =~ /^(?:$like)$/ } map { decode_json($_) } split /\n/, $text;
}

# ---- a machine that is too small ----

my $probe = run_guest('probe', qw(hold 1 100 seconds=100));
BAIL_OUT('no guest: ' . slurp("$dir/probe.err")) if !says($probe, 'hold: ready', 1, SOON);
my $overhead = (account())[1]{probe}{overhead_bytes};
go_on($probe);
is(finish($probe, SOON)->{status}, 0, 'a guest, to see what one costs besides its pages');
my $memory = GUESTS * $overhead + ROOM * 4096;
quire('machine', 'set', "--machine=$address", "--memory=$memory");
is(account()->{memory_bytes}, $memory, 'a machine with too few pages for three');

# ---- they take turns ----

my %guest = map { ("busy-$_" => run_guest("busy-$_", 'stress', 10 * SOON, 'pattern=random',
	"seed=$_", 'pages=' . PAGES, 'fill=1')) } 1 .. GUESTS;
ok(until_true(SOON, sub { events('suspension') }), 'the machine thrashes, and suspends a guest');
ok(until_true(SOON, sub { my (undef, $vm) = account();
		grep { $_->{state} eq 'suspended' } values %$vm }), '... which stands still');
ok(until_true(SOON, sub { events('suspension') > GUESTS && events('resumption') }),
	'... then the others, and one a second time') or diag slurp("$dir/machine.err");
is(account()->{oom_kills}, 0, 'nobody is killed');

# ---- there is memory for all ----

quire('machine', 'set', "--machine=$address", '--memory=128M');
go_on($_) for values %guest;
for my $name (sort keys %guest) {
	my $guest = finish($guest{$name}, SOON);
	is($guest->{status}, 0, "$name: with memory for all it ends well") or diag $guest->{err};
	my ($verified) = $guest->{out} =~ /^stress: writes=\d+ verified=(\d+)$/m;
	cmp_ok($verified, '>=', PAGES, '... and has found every byte');
}
my $end = account();
is($end->{oom_kills}, 0, 'nobody was killed');
is($end->{suspended}, 0, 'in the end nobody stands still');

# ---- what the log says ----

my @log = events('suspension|resumption');
my @suspension = grep { $_->{kind} eq 'suspension' } @log;
is(scalar @suspension, $end->{suspensions}, 'each suspension is in the log');
is(scalar @log, 2 * @suspension, '... and so is the end of each');
is_deeply([sort map { $_->{vm} } @suspension[0 .. GUESTS - 1]], [sort keys %guest],
	'nobody is suspended a second time before each was once');

my $first = $suspension[0];
is($first->{reason}, 'thrashing', 'the first was suspended because the machine thrashed');
cmp_ok($first->{busy_vms}, '>=', 2, "... with several guests busy: $first->{text}");
cmp_ok($first->{machine_stall_permille}, '>=', 600, '... that did little but wait for pages');
cmp_ok($first->{stall_permille}, '>=', 300, '... as this one did');

# For how long each was suspended, and since when it is, or runs again.
my (%past, %since, %still, @wrong);
for my $e (@log) {
	my $name = $e->{vm};
	my $text = "$e->{time} $e->{kind} of $name";
	if ($e->{kind} eq 'suspension') {
		push @wrong, "$text: stands still already" if $still{$name}++;
		push @wrong, "$text: was not suspended for so long, but $past{$name} ns"
			if $e->{suspended_ns} != ($past{$name} //= 0);
		push @wrong, "$text: it has run for less than a turn"
			if $past{$name} && $e->{monotonic_ns} - $since{$name} < TURN_NS;
		push @wrong, "$text: why?" if $e->{reason} !~ /^(?:thrashing|in turn)$/
			|| !$e->{credit_bytes} || $e->{shares} != 1000 || !$e->{low_bytes};
	} else {
		push @wrong, "$text: does not stand still" if !delete $still{$name};
		push @wrong, "$text: its turn is not over" if $e->{reason} eq 'its turn is over'
			&& $e->{suspended_ns} < TURN_NS;
		push @wrong, "$text: why?" if !$e->{reason};
		$past{$name} += $e->{suspended_ns};
	}
	$since{$name} = $e->{monotonic_ns};
}
is_deeply(\@wrong, [], 'each turn agrees with those before it')
	or diag map { "$_->{time} $_->{text}\n" } @log;
done_testing;
