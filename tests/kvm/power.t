#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# How guests power off and reset themselves, by every port that kernels try.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = no_guest();
plan skip_all => $skip if $skip;
my $dir = tempdir(CLEANUP => 1);

# Run words of the shell; status, output, errors.
sub run {
	my $status = system "timeout 60 $quire run @_ >$dir/out 2>$dir/err </dev/null";
	return ($status >> 8, slurp("$dir/out"), slurp("$dir/err"));
}

# Real mode at 0:7c00.  It prints an 'x' first; if what follows it does nothing, it ends with 7.
sub flat {
	my ($name, $hex) = @_;
	$hex = "baf803 b078 ee $hex b007 e6f4";
	$hex =~ s/\s//g;
	open my $f, '>:raw', "$dir/$name" or die;
	print $f pack 'H*', $hex;
	close $f or die;
	return "$dir/$name";
}

# ---- power-off ----

# mov dx, 604; mov ax, 2000; out dx, ax
my ($status, $out, $err) = run(flat('off', 'ba0406 b80020 ef'));
is("$status|$out|$err", '0|x|', 'S5 is the power-off, with status 0 and without a word');
# mov dx, 605; mov al, 20; out dx, al
is((run(flat('byte', 'ba0506 b020 ee')))[0], 0, '... also as a byte');
# mov ax, 3400
is((run(flat('other', 'ba0406 b80034 ef')))[0], 7, 'a sleep state that there is not does nothing');

done_testing();
