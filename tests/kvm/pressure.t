#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Guests that are larger than their machine, in both modes: with a policy they compress what they do
# not use, and find every byte again; without one the machine has to kill them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use Test::More;

my $why = missing();
plan skip_all => $why if $why;

# A guest of 64 MiB with 47 MiB of pages, of which 4 in 5 can be compressed, in a machine of 48.
sub hold {
	my ($name, @options) = @_;
	my $base = "$dir/$name";
	my $guest = start($base, $quire, 'run', "--name=$name", '-m', '64M', '--machine=own',
		'--machine-memory=48M', '--overcommit=1', '--balloon=off', "--stats=$base.json",
		@options, $quill, qw(hold 7 12000 own=11000 packs=80 order=shuffle seconds=0));
	return finish($guest, 100);
}

for my $mode (qw(ept shadow)) {
	my $guest = hold("p$mode", "--paging=$mode");
	is($guest->{status}, 0, "$mode: a guest larger than its machine ends well");
	like($guest->{out}, qr/^hold: verified=12000$/m, '... and finds every byte');
	my %stat = slurp("$dir/p$mode.json") =~ /"(\w+)": (\d+)/g;
	cmp_ok($stat{reclaim_direct}, '>', 0, '... because it reclaimed when it waited');
	cmp_ok($stat{reclaim_gone_pages}, '>=', 1000, '... so many pages as it had too many');
	cmp_ok($stat{zswpin_pages}, '>', 0, '... of which some came back');
	cmp_ok($stat{most_resident_bytes}, '<=', 48 << 20, '... it never had too many');
	is(hold("o$mode", "--paging=$mode", '--reclaim=off')->{status}, 123,
		"$mode: without a policy it is out of memory");
}

for my $policy (qw(clock lru lfu fifo random)) {
	my $guest = hold($policy, "--reclaim=$policy");
	is($guest->{status}, 0, "$policy: the same");
	like($guest->{out}, qr/^hold: verified=12000$/m, '... with every byte');
	like(slurp("$dir/$policy.json"), qr/"reclaim": "$policy"/, '... by this policy');
}
like(hold('bad', '--reclaim=best')->{err}, qr/^quire: --reclaim: .*clock, lru/m,
	'what is no policy is refused');
done_testing;
