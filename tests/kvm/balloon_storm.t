#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Balloons that go up and down all the time, in guests whose memory is merged at full speed and with
# pass upon pass, beside guests that stress and churn theirs, on a machine that has less memory than
# they could touch; a guest is killed in the middle.  No guest may find a wrong byte, in no paused
# guest may RAM file and states differ, and in the end the machine has everything back.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(time sleep);
use lib dirname(__FILE__);
use Quire;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $missing = Quire::missing();
plan skip_all => $missing if $missing;

my $dir = tempdir(CLEANUP => 1);
my $address = "\@quire-test/balloon-storm-$$";
my $san = ($ENV{QUIRE_BUILD} // '') =~ /san/;
my $seconds = ($san ? 10 : 8) * ($ENV{QUIRE_STORM} // 1);
my $seed = $ENV{QUIRE_SEED} // (time * 1000 ^ $$) % 1_000_000;
my $mib = 64;
my $memory = 260;	# MiB, for five guests of 64
diag "seed $seed (repeat with QUIRE_SEED=$seed)";
srand $seed;

my %child;
END { my $status = $?; for (keys %child) { kill KILL => $_; waitpid $_, 0 } $? = $status }
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);

sub background {
	my (@command) = @_;
	my $pid = fork // die;
	if (!$pid) {
		%child = ();
		$SIG{$_} = 'DEFAULT' for qw(INT HUP TERM);
		open STDOUT, '>', "$dir/out";
		open STDERR, '>', "$dir/err";
		exec @command or POSIX::_exit(127);
	}
	$child{$pid} = 1;
	return $pid;
}

sub account {
	my $text = `timeout 20 $Quire::quire stat --json --machine=$address 2>/dev/null`;
	my $doc = eval { decode_json($text) } or return undef;
	return $doc->{machine};
}

sub guest {
	my ($huge, @words) = @_;
	return Quire->new(['-m', "${mib}M", "--hugepages=$huge", "--machine=$address",
		'--domain=storm', '--balloon-min=4M',
		'--merge-rate=1000000000', '--irqchip=' . (qw(on off))[rand 2]], @words);
}

my $machine = background($Quire::quire, 'machine', "--machine=$address", "--memory=${memory}M",
	'--overcommit=1');
for (1 .. 250) { last if account(); sleep 0.02 }

# They begin one after the other, so all last longer than the storm.
my @balloon = ('balloon', 'seconds=' . ($seconds + 8), 'touch=1000', 'dirty=6144', 'zero=1500',
	'reuse=1');
my @inflating = map { guest($_, @balloon, 'delay=500') } 'auto', 'never', 'auto';
my @others = (guest('auto', 'stress', $seconds, 'pages=5000', "seed=$seed"),
	guest('never', 'churn', 1, 5000, 'rate=0', "seconds=$seconds"));
my $victim = $inflating[2];
$_->wait_for(qr/ready/) for @inflating;
# Passes without end, on all that run.
my $passes = background('sh', '-c', "while :; do $Quire::quire merge now " .
	join(' ', map { $_->{name} } @inflating, @others) . '; done');

my ($end, $looks, $asked, $wrong) = (time + $seconds - 2, 0, 0, '');
my $shot = time + $seconds / 2;
while (time < $end) {
	for my $vm (grep { $_->{pid} } @inflating) {
		my $target = int rand 14000;
		eval { $vm->balloon($target); $asked++; 1 } or $wrong .= "$@$vm->{out}";
		next if rand() > 0.05;
		# One moment of one guest: what its file has is what it has.
		my ($file, $private);
		eval {
			$vm->pause;
			for (1 .. 50) {
				$private = $vm->states->{private};
				$file = $vm->file_pages($mib);
				last if $file == $private && $vm->states->{private} == $private;
				sleep 0.02;
			}
			$vm->resume;
			$looks++;
			1;
		} or $wrong .= $@;
		$wrong .= "$file pages in the file, $private private\n" if $file != $private;
	}
	if ($shot && time > $shot) {
		kill KILL => $victim->vm_pid;
		is($victim->finish, 121, 'a guest is killed in the middle');
		$shot = 0;
	}
	sleep 0.02;
}
is($wrong, '', "$asked targets, $looks looks: file and states agree");
my @left = grep { $_->{pid} } @inflating;
$_->balloon(0) for @left;	# before any of them ends by itself
for my $vm (@left) {
	is($vm->finish, 0, 'a guest whose balloon went up and down is well') or diag $vm->{out};
	my ($in, $out, $zero) = map { $vm->value($_) } qw(inflated deflated zeroed);
	ok($in > 1000, "... $in pages in, $out out");
	is($zero, $out, '... each came back as zeroes');
	like($vm->{out}, qr/^balloon: verified=1000 /m, '... and no byte was wrong');
}
for my $vm (@others) {
	is($vm->finish, 0, 'one that works beside it is well') or diag $vm->{out};
	like($vm->{out}, qr/verified=\d+$/m, '... and lost nothing');
}
kill TERM => $passes;
waitpid $passes, 0;
delete $child{$passes};

my $m;
for (1 .. 250) { $m = account(); last if $m && !$m->{vms} &&
	$m->{free_bytes} == $m->{memory_bytes}; sleep 0.02 }
is($m->{$_}, 0, "in the end $_ is 0")
	for qw(vms committed_bytes credit_bytes overhead_bytes resident_bytes store_bytes);
is($m->{free_bytes}, $m->{memory_bytes}, '... and everything is free');
is($m->{oom_kills}, 0, '... nobody had to die for memory');
kill TERM => $machine;
waitpid $machine, 0;
is($? >> 8, 0, '... and the machine ends');
delete $child{$machine};
done_testing;
