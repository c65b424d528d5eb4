#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Linux guests that merge: each reads and writes what it would alone.  QUIRE_GUESTS says how many.
use strict;
use warnings;
use FindBin;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;
use Linux;

my $skip = no_linux();
plan skip_all => $skip if $skip;

use constant MIB => 128;
my $nr_guests = $ENV{QUIRE_GUESTS} // 2;
my $patience = 60 * (1 + $nr_guests);	# seconds, for what all of them do at once
my $memory = $nr_guests * (MIB + 16) + 128;
my $machine = serve("$dir/machine", "--memory=${memory}M", '--overcommit=1')
	or BAIL_OUT(slurp("$dir/machine.err"));

# Files that are the same in each guest.
sub numbers { my ($n) = @_; return pack 'Q*', map { ($n << 32 | $_) * 0x85eb } 1 .. 32768 }
my %data = map { ("data$_" => numbers($_)) } 1 .. 8;
my @modules = qw(virtio_ring virtio virtio_mmio virtio_balloon);
my $initramfs = initramfs(\@modules, $Linux::shell, %data);
my @guests = map { linux("g$_", $initramfs, ['-m', MIB . 'M', qw(--merge=off --domain=linux)]) }
	1 .. $nr_guests;
for (@guests) {
	is_up($_, $patience) or diag(slurp("$_->{base}.out"), slurp("$_->{base}.err")),
		BAIL_OUT('no Linux');
}
ok(1, "$nr_guests guests with Debian's kernel come up");

my $files = '/data* /bin/busybox /*.ko';
my @before = map { scalar ask($_, "md5sum $files") } @guests;
is(scalar(grep { $_ ne $before[0] } @before), 0, 'the guests have the same files');
my @names = map { $_->{name} } @guests;
quire('merge', 'on', @names);
my ($merged) = quire('merge', 'now', @names);
my $totals = totals();
# Eight files of 256 KiB, and a busybox.
cmp_ok($totals->{pages_sharing} // 0, '>', (@guests - 1) * 900,
	'what they have in common is there once') or diag $merged;
memory_is_exact('merged', MIB, @names);
is(scalar(grep { $_ ne $before[0] } map { scalar ask($_, "md5sum $files") } @guests), 0,
	'each reads what was in its files');

# Writes to shared pages, while more are shared: copies, and compression of what was read.
say_to($_, 'for i in 1 2; do for f in /data?; do ' .
	'gzip -c <$f >/tmp/z; gzip -dc /tmp/z | cmp - $f; ' .
	"cat \$f \$f >/tmp/y; cp /tmp/y /tmp/x; done; done; md5sum $files") for @guests;
quire('merge', 'now', @names) for 1 .. 3;
my @after = map { scalar answer($_, $patience) } @guests;
is(scalar(grep { ($_ // '') ne $before[0] } @after), 0, 'a storm changes nothing') or diag @after;
memory_is_exact('after the storm', MIB, @names);
for (@guests) {
	say_to($_, 'poweroff -f');
	is(finish($_, $patience)->{status}, 0, "$_->{name} powers off");
}
done_testing();
