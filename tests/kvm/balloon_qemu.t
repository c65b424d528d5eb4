#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quill's balloon driver against a device that somebody else wrote: QEMU's.  The target is set by
# QMP, and both sides must count the same pages; the guest verifies its memory throughout.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;
use Time::HiRes qw(time sleep);
use lib dirname(__FILE__);
use Qemu;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $quill = ($ENV{QUIRE_BUILD} // 'build') . '/guest/quill.elf';
my $dir = tempdir(CLEANUP => 1);
my $ram = 16384;	# pages
my $missing = Qemu::missing();

plan skip_all => $missing if $missing;

# A guest with a balloon of these properties, once it is ready.
sub guest {
	my ($properties, @words) = @_;
	my @device = ('-device', join ',', 'virtio-balloon-device,id=balloon', @$properties);
	unshift @device, '-object', 'iothread,id=hints' if grep { /iothread/ } @$properties;
	my $vm = Qemu->new($quill, $dir, \@device, @words);
	$vm->wait_for(qr/ready|written=|no virtio/) or diag "@words: $vm->{out}";
	return $vm;
}

# Set the target to so many pages in the balloon; what the guest says when it is there.
sub ask {
	my ($vm, $pages) = @_;
	$vm->balloon(($ram - $pages) * 4096);
	return $vm->wait_for(qr/target=$pages actual=\d+[: ].*\n/);
}

# What the host believes is in the balloon.  The guest tells it after it has told us: wait a little.
sub believes {
	my ($vm, $pages) = @_;
	my $end = time + 5;
	sleep 0.02 while $vm->actual != ($ram - $pages) * 4096 && time < $end;
	return $ram - $vm->actual / 4096;
}

sub ends_well {
	my ($vm, $what, $like) = @_;
	my $status = $vm->finish;
	return ok($status eq 0 && $vm->{out} =~ $like, $what) || diag "status $status: $vm->{out}";
}

# The last number that the guest printed by that name.
sub value { my ($vm, $name) = @_; return ($vm->{out} =~ /\b$name=(\d+)/g)[-1] }

# Inflate, deflate, in steps that are and are not whole batches.
sub targets {
	my ($features, $what) = @_;
	my @targets = (1, 5000, 4744, 12000, 300, 0, 256, 257);
	my $vm = guest([], 'balloon', 'seconds=250', 'steps=' . (@targets + 1), 'touch=2000',
		'reuse=1',
		"features=$features");
	my ($in, $out, $last) = (0, 0, 0);
	for my $pages (@targets) {
		like(ask($vm, $pages), qr/actual=$pages took_us/, "$what: $pages pages");
		is(believes($vm, $pages), $pages, '... and the host counts the same');
		$in += $pages - $last if $pages > $last;
		$out += $last - $pages if $pages < $last;
		$last = $pages;
	}
	ask($vm, 0);
	$out += $last;
	ends_well($vm, '... and the guest lost nothing', qr/^balloon: verified=2000 /m);
	is(value($vm, 'inflated') . ' ' . value($vm, 'deflated'), "$in $out",
		'... having moved what it had to');
	return;
}

# More than there is: the guest gives what it has, keeps working, and takes it all back.
sub too_much {
	my $vm = guest([], 'balloon', 'seconds=250', 'steps=1', 'touch=1000');
	my $free = value($vm, 'free');
	like(ask($vm, $ram - 1), qr/no more pages to give/,
		'a target of all memory cannot be reached');
	my $actual = value($vm, 'actual');
	ok($actual > $free - 200 && $actual < $free, "... $actual of $free free pages are given");
	is(believes($vm, $actual), $actual, '... and counted');
	like(ask($vm, 0), qr/actual=0 took_us/, '... and taken back');
	return ends_well($vm, '... all without a wrong byte', qr/verified=1000 .*/);
}

sub out_of_memory {
	for my $on ('on', 'off') {
		my $vm = guest(["deflate-on-oom=$on"], 'balloon', 'seconds=250', 'steps=2',
			'touch=500', 'oom=6000');
		my $free = value($vm, 'free');
		ask($vm, 12000);
		my $said = $vm->wait_for(qr/oom=6000 .*\n/) // '';
		my ($allocated, $deflated, $actual) =
			$said =~ /allocated=(\d+) deflated=(\d+) actual=(\d+)/;
		if ($on eq 'on') {
			is($allocated, 6000, 'deflate-on-oom=on: a guest in need gets its pages');
			ok($actual == 12000 - $deflated && $deflated % 256 == 0,
				"... $deflated from the balloon");
			is(believes($vm, $actual), $actual, '... of which the host knows');
		} else {
			ok($allocated < $free - 12000 && $deflated == 0,
				'off: the balloon keeps them');
		}
		ask($vm, 0);
		ends_well($vm, '... and nothing is lost', qr/^balloon: verified=500 /m);
	}
	return;
}

sub statistics {
	my $vm = guest([], 'balloon', 'seconds=250', 'steps=2', 'touch=100');
	my %at = (path => '/machine/peripheral/balloon');
	my $free = value($vm, 'free');
	my ($end, $updated, $stats) = (time + 15, 0);
	ask($vm, 3000);
	$vm->qmp('qom-set', %at, property => 'guest-stats-polling-interval', value => 1);
	# Twice, as the first answer is what the driver sent when it started.
	for my $n (1, 2) {
		my $before = $updated;
		while ($updated == $before && time < $end) {
			sleep 0.1;
			my $answer = $vm->qmp('qom-get', %at, property => 'guest-stats');
			($updated, $stats) = @$answer{qw(last-update stats)};
		}
	}
	my $used = $free - $stats->{'stat-free-memory'} / 4096;
	# The lists of the balloon are pages, too.
	ok($used >= 3000 && $used <= 3010, "statistics: free memory is $used pages less");
	ok($stats->{'stat-total-memory'} / 4096 + 3000 > $free,
		'... total memory is less the balloon');
	is($stats->{'stat-available-memory'}, $stats->{'stat-free-memory'},
		'... and all that is free is available');
	is("@$stats{qw(stat-swap-in stat-swap-out stat-major-faults)}", '0 0 0',
		'... nothing is swapped');
	ask($vm, 0);
	return ends_well($vm, '... asked for again and again', qr/stats=[1-9]/);
}

# Pages of which RAM is resident in QEMU; guest memory is a part of it.
sub resident {
	my ($vm) = @_;
	my $qemu = (split ' ', `pgrep -P $vm->{pid}`)[0] // $vm->{pid};
	open my $f, '<', "/proc/$qemu/statm" or return;
	return (split ' ', <$f>)[1];
}

sub reporting {
	my $vm = guest(['free-page-reporting=on'], 'report', 8000);
	ends_well($vm, 'report: what was freed is discarded, and can be used again',
		qr/written=8192\n/ . qr/report: reported=8192 buffers=\d+ .*\n/ .
			qr/report: zero=8192 kept=0 other=0\n.*verified=8192/);
	for my $how ('features=0xffffffff', 'features=0xcfffffff') {
		$vm = guest(['free-page-reporting=on'], 'report', 512 * 25, $how);
		ends_well($vm, "... with $how", qr/reported=12800 .*zero=12800 .*verified=12800/s);
	}
	for my $poison (0, 0xdeadbeef) {
		$vm = guest(['free-page-reporting=on'], 'report', 2000, "poison=$poison");
		ends_well($vm, "... with poison $poison it reads as that",
			qr/reported=2048 .*verified=2048/s);
	}
	$vm = guest(['free-page-reporting=off'], 'report', 2000);
	is($vm->finish, 4, '... and not without the feature');

	my %resident;
	for my $on ('on', 'off') {
		$vm = guest(["free-page-reporting=$on"], 'balloon', 'seconds=250', 'steps=1',
			'touch=500', 'dirty=8192');
		sleep 1;
		$resident{$on} = resident($vm);
		ask($vm, 1);
		my $reported = $on eq 'on' ? 8192 : 0;
		ends_well($vm, "free blocks are reported on the side ($on)",
			qr/reported=$reported .*verified=500/s);
	}
	ok($resident{off} - $resident{on} > 7500,
		"... which makes $resident{on} pages resident of $resident{off}");
	return;
}

sub hints {
	my $vm = guest(['free-page-hint=on', 'iothread=hints'], 'balloon', 'seconds=250', 'steps=1',
		'touch=500',
		'dirty=4096');
	$vm->qmp('migrate', uri => 'exec:cat >/dev/null');
	my ($end, $state) = (time + 10, '');
	while (time < $end && $state !~ /completed|failed/) {
		sleep 0.05;
		$state = $vm->qmp('query-migrate')->{status} // '';
	}
	is($state, 'completed', 'hints: the guest is copied') or return;
	$vm->qmp('cont');
	# Only once it has its free blocks back is there so much to give.
	like(ask($vm, 14000), qr/actual=14000/, '... and told that it is over');
	return ends_well($vm, '... having named its free blocks, and lost nothing',
		qr/hinted=[1-9]\d* .*verified=500/s);
}

sub evil {
	my @kinds = qw(dup range queue deflate report loop outside length jump setup reset storm);
	my $vm = Qemu->new($quill, $dir,
		['-device', 'virtio-balloon-device,free-page-reporting=on'],
		'evil-balloon', 'all');
	ends_well($vm, 'evil drivers: the guest is well',
		qr/^evil-balloon: kinds=12 verified=1000$/m);
	for my $kind (@kinds) {
		like($vm->{out}, qr/^evil-balloon: $kind: offered=[1-9].* recovered=1$/m,
			"... after $kind");
	}
	return;
}

targets('0xffffffffffffffff', 'all features');
targets(0, 'no features');
too_much();
out_of_memory();
statistics();
reporting();
hints();
evil();
done_testing;
