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

# Run a guest that waits for so many seconds; its status, and the part of them that it used.
sub part {
	my ($seconds, @words) = @_;
	my $before = used();
	my $status = system "timeout 60 $quire run @words >/dev/null";
	return ($status >> 8, (used() - $before) / $seconds);
}

for my $guest ("$quill idle 2", "-c 2 $quill idle 2", "$quill hold 1 100 seconds=2",
	       "$quill balloon seconds=2") {
	my ($status, $part) = part(2, $guest);
	is($status, 0, "$guest: ends well");
	cmp_ok($part, '<', 0.2, '... and has used less than a fifth of the time');
}

my $before = used();
my $heard = `( sleep 2; echo hello; echo quit ) | timeout 60 $quire run $quill echo`;
is($heard, "echo: ready\nhello\n", 'a guest that waits for input gets it');
cmp_ok(used() - $before, '<', 1, '... and did not poll for it');
done_testing();
