#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quill's mmutest: random page tables and accesses, with a model of what a TLB may hold.  For a seed
# it must say the same on shadow tables, without, and under QEMU, with KVM and without; also while
# the host merges the guest's pages, takes free ones by the balloon, and stops the guest at any
# moment.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;
use lib dirname(__FILE__);
use Quire;
use Qemu;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my ($quire, $quill) = ($Quire::quire, $Quire::quill);
my $storm = $ENV{QUIRE_STORM} // 1;
my $first = $ENV{QUIRE_SEED} // ($storm > 1 ? time : 1);
my $steps = 1000;
my $deviates = ($ENV{QUIRE_DEVIATIONS} // '') =~ /\bslow\b/;

my $missing = Quire::missing();
plan skip_all => $missing if $missing;
my $dir = tempdir(CLEANUP => 1);
print "# QUIRE_SEED=$first\n";

# What depends on the seed alone.
sub results {
	my ($out) = @_;
	$out =~ s/\r//g;
	return join "\n", grep { /^mmutest: / && !/stale=/ } split /\n/, $out;
}

sub under_quire {
	my ($seed, @options) = @_;
	my $vm = Quire->new([@options, '-m', '64M'], 'mmutest', "seed=$seed", "steps=$steps");
	my $status = $vm->finish;
	return "status $status\n" . results($vm->{out});
}

sub under_qemu {
	my ($seed, @options) = @_;
	my $vm = Qemu->new($quill, $dir, [@options], 'mmutest', "seed=$seed", "steps=$steps");
	my $status = $vm->finish;
	return "status $status\n" . results($vm->{out});
}

# ---- the same everywhere ----

my $no_qemu = Qemu::missing();
for my $seed ($first .. $first + 3 * $storm - 1) {
	my $want = under_quire($seed, '--paging=ept');
	like($want, qr/^status 0\n.*digest=/s, "seed $seed passes without shadow tables");
	is(under_quire($seed, '--paging=shadow'), $want, '... and on them the same');
	is(under_quire($seed, '--paging=shadow', '--hugepages=never'), $want,
		'... also of pages of 4 KiB');
      SKIP: {
		skip $no_qemu, 1 if $no_qemu;
		skip 'an emulator in an emulator is too slow', 1 if $deviates;
		is(under_qemu($seed, qw(-accel tcg -cpu max)), $want,
			"... and by QEMU's processor");
	}
}

# ---- while the host does something ----

my @words = ('mmutest', "seed=$first", 'steps=' . 2000 * $storm);
my $calm = Quire->new(['--paging=ept', '-m', '64M'], @words);
$calm->finish;

# A signal finds the vCPU anywhere, also where KVM is about to raise an exception in the guest.
{
	my $vm = Quire->new(['--paging=shadow', '-m', '64M'], @words);
	my $rounds = 0;
	$vm->wait_for(qr/ready/);
	while (!$vm->wait_for(qr/stale=|wrong|exception/, 0)) {
		eval { $vm->pause; $vm->resume; 1 } or last;
		$rounds++;
	}
	is($vm->finish, 0, 'a guest passes that is stopped and let go all the time')
	    or diag $vm->{out};
	is(results($vm->{out}), results($calm->{out}), "... $rounds times, and says the same");
}

{
	my $vm = Quire->new(['--paging=shadow', '--balloon=manual', '-m', '64M'], @words,
		'balloon=1');
	my $moves = 0;
	$vm->wait_for(qr/ready/);
	$vm->pause;
	$vm->balloon(4000);
	$vm->resume;
	while (!$vm->wait_for(qr/stale=|wrong|exception/, 0)) {
		eval { $moves += $vm->balloon(int rand 8000)->{actual} > 0; 1 } or last;
	}
	is($vm->finish, 0, 'a guest passes whose balloon moves') or diag $vm->{out};
	is(results($vm->{out}), results($calm->{out}), '... and says the same');
	ok($moves, "... while pages were in it, $moves times");
}

# Guests with one seed have the same pages.
{
	my $vm = Quire->new([qw(--paging=shadow -n 2 -m 64M --merge-rate=1000000000 --stats=-)],
		@words);
	is($vm->finish, 0, 'two guests pass that are merged') or diag $vm->{out};
	my @digests = $vm->{out} =~ /digest=(\w+)/g;
	ok(@digests == 2 && $digests[0] eq $digests[1], '... and say the same');
	my ($merged) = $vm->{out} =~ /"merged_pages": (\d+)/;
	my ($broken) = $vm->{out} =~ /"cow_breaks": (\d+)/;
	note("$merged pages were merged, and $broken written again");	# time decides
}

done_testing();
