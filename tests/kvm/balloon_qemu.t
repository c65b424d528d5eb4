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

sub value { my ($vm, $name) = @_; return $vm->{out} =~ /\b$name=(\d+)\D*(?!.*\b$name=)/s ? $1 : undef }

# Inflate, deflate, in steps that are and are not whole batches.
sub targets {
	my ($features, $what) = @_;
	my $vm = guest([], 'balloon', 'seconds=4', 'touch=2000', 'reuse=1', "features=$features");
	my ($in, $out, $last) = (0, 0, 0);
	for my $pages (1, 5000, 4744, 12000, 300, 0, 256, 257) {
		like(ask($vm, $pages), qr/actual=$pages took_us/, "$what: $pages pages");
		is(believes($vm, $pages), $pages, '... and the host counts the same');
		$in += $pages - $last if $pages > $last;
		$out += $last - $pages if $pages < $last;
		$last = $pages;
	}
	ends_well($vm, '... and the guest lost nothing', qr/^balloon: verified=2000 /m);
	is(value($vm, 'inflated') . ' ' . value($vm, 'deflated'), "$in $out", '... having moved what it had to');
	return;
}

# More than there is: the guest gives what it has, keeps working, and takes it all back.
sub too_much {
	my $vm = guest([], 'balloon', 'seconds=3', 'touch=1000');
	my $free = value($vm, 'free');
	like(ask($vm, $ram - 1), qr/no more pages to give/, 'a target of all memory cannot be reached');
	my $actual = value($vm, 'actual');
	ok($actual > $free - 200 && $actual < $free, "... $actual of $free free pages are given");
	is(believes($vm, $actual), $actual, '... and counted');
	like(ask($vm, 0), qr/actual=0 took_us/, '... and taken back');
	return ends_well($vm, '... all without a wrong byte', qr/verified=1000 .*/);
}

sub out_of_memory {
	for my $on ('on', 'off') {
		my $vm = guest(["deflate-on-oom=$on"], 'balloon', 'seconds=2', 'touch=500', 'oom=6000');
		my $free = value($vm, 'free');
		ask($vm, 12000);
		my $said = $vm->wait_for(qr/oom=6000 .*\n/) // '';
		my ($allocated, $deflated, $actual) = $said =~ /allocated=(\d+) deflated=(\d+) actual=(\d+)/;
		if ($on eq 'on') {
			is($allocated, 6000, 'deflate-on-oom=on: a guest in need gets its pages');
			ok($actual == 12000 - $deflated && $deflated % 256 == 0, "... $deflated from the balloon");
			is(believes($vm, $actual), $actual, '... of which the host knows');
		} else {
			ok($allocated < $free - 12000 && $deflated == 0, 'off: the balloon keeps them');
		}
		ends_well($vm, '... and nothing is lost', qr/^balloon: verified=500 /m);
	}
	return;
}

sub statistics {
	my $vm = guest([], 'balloon', 'seconds=4', 'touch=100');
	my %at = (path => '/machine/peripheral/balloon');
	my $free = value($vm, 'free');
	ask($vm, 3000);
	$vm->qmp('qom-set', %at, property => 'guest-stats-polling-interval', value => 1);
	sleep 2.5;
	my $stats = $vm->qmp('qom-get', %at, property => 'guest-stats')->{stats};
	my $used = $free - $stats->{'stat-free-memory'} / 4096;
	# The lists of the balloon are pages, too.
	ok($used >= 3000 && $used <= 3010, "statistics: free memory is $used pages less");
	ok($stats->{'stat-total-memory'} / 4096 + 3000 > $free, '... total memory is less the balloon');
	is($stats->{'stat-available-memory'}, $stats->{'stat-free-memory'}, '... and all that is free is available');
	is("@$stats{qw(stat-swap-in stat-swap-out stat-major-faults)}", '0 0 0', '... nothing is swapped');
	ends_well($vm, '... asked for again and again', qr/stats=[1-9]/);
	return;
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
		qr/written=8192\nreport: reported=8192 buffers=\d+ .*\nreport: zero=8192 kept=0 other=0\n.*verified=8192/);
	for my $how ('features=0xffffffff', 'features=0xcfffffff') {
		$vm = guest(['free-page-reporting=on'], 'report', 512 * 25, $how);
		ends_well($vm, "... with $how", qr/reported=12800 .*zero=12800 .*verified=12800/s);
	}
	for my $poison (0, 0xdeadbeef) {
		$vm = guest(['free-page-reporting=on'], 'report', 2000, "poison=$poison");
		ends_well($vm, "... with poison $poison it reads as that", qr/reported=2048 .*verified=2048/s);
	}
	$vm = guest(['free-page-reporting=off'], 'report', 2000);
	is($vm->finish, 4, '... and not without the feature');

	$vm = guest(['free-page-reporting=on'], 'balloon', 'seconds=3', 'touch=500', 'dirty=8192', 'delay=500');
	sleep 1.5;
	my $after = resident($vm);
	ends_well($vm, 'free blocks are reported on the side', qr/reported=8192 .*verified=500/s);
	$vm = guest(['free-page-reporting=off'], 'balloon', 'seconds=2', 'touch=500', 'dirty=8192');
	sleep 0.5;
	my $before = resident($vm);
	ok($before - $after > 7500, "... which makes $after pages resident of $before") if $before && $after;
	ends_well($vm, '... and not otherwise', qr/reported=0 .*verified=500/s);
	return;
}

sub hints {
	my $vm = guest(['free-page-hint=on', 'iothread=hints'], 'balloon', 'seconds=4', 'touch=500', 'dirty=4096');
	$vm->qmp('migrate', uri => 'exec:cat >/dev/null');
	my $end = time + 10;
	my $state = '';
	while (time < $end && $state !~ /completed|failed/) {
		sleep 0.05;
		$state = $vm->qmp('query-migrate')->{status} // '';
	}
	is($state, 'completed', 'hints: the guest is copied') or return;
	$vm->qmp('cont');
	return ends_well($vm, '... having named its free blocks, and lost nothing',
		qr/hinted=[1-9]\d* .*verified=500/s);
}

targets('0xffffffffffffffff', 'all features');
targets(0, 'no features');
too_much();
out_of_memory();
statistics();
reporting();
hints();
done_testing;
