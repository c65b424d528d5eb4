#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The scenarios of docs/scenarios: each passes.  Their checks become tests of this one.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use Test::More;

chdir "$FindBin::Bin/../..";
my $why = no_guest();
plan skip_all => $why if $why;

my @file = @ARGV ? @ARGV : glob 'docs/scenarios/*.yaml';
cmp_ok(scalar @file, '>', 0, 'there are scenarios');
for my $file (@file) {
	my ($status, $out, $err) = outcome("$quire play --tap $file");
	my @line = $out =~ /^((?:not )?ok \d+.*)$/mg;
	cmp_ok(scalar @line, '>', 1, "$file has checks");
	for (@line) {
		my ($not, $text) = /^(not )?ok \d+ - (.*)/;
		ok(!$not, "... $text");
	}
	is($status, 0, '... it passes') or diag $out . $err;
	is($err, '', '... without a word on standard error');
}
done_testing;
