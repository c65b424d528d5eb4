#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Guests that wait give their processors back: what they use is a small part of the time that
# they wait.  They still hear at once what they wait for.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $build = $ENV{QUIRE_BUILD} // 'build';
my ($quire, $quill) = ("$build/quire", "$build/guest/quill.elf");

plan skip_all => 'no access to /dev/kvm' if !-r '/dev/kvm' || !-w '/dev/kvm';

# Processor seconds of all children that have ended.
sub used { my @t = times; return $t[2] + $t[3] }

# Run a guest; its status, and the processor seconds that it used.
sub run {
	my ($words) = @_;
	my $before = used();
	my $status = system "timeout 100 $quire run $words >/dev/null";
	return ($status >> 8, used() - $before);
}

# What a guest uses in three seconds more than in one is what waiting costs it.
for my $guest ("$quill idle ", "-c 2 $quill idle ", "$quill hold 1 100 seconds=",
	       "$quill balloon seconds=") {
	my ($first, $short) = run($guest . 1);
	my ($second, $long) = run($guest . 4);
	is("$first $second", '0 0', "$guest: ends well");
	cmp_ok($long - $short, '<', 0.6,
		'... and uses less than a fifth of the time that it waits');
}

my $before = used();
my $heard = `( sleep 2; echo hello; echo quit ) | timeout 60 $quire run $quill echo`;
is($heard, "echo: ready\nhello\n", 'a guest that waits for input gets it');
cmp_ok(used() - $before, '<', 1, '... and did not poll for it');
done_testing();
