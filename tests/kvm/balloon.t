#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The balloon of a real VM, in and out of the sandbox: a driver in a small payload
# (tests/payload/pvh32_balloon.S) gives up six pages, and the host has them.
use strict;
use warnings;
use Test::More;

my $build = $ENV{QUIRE_BUILD} // 'build';
my ($quire, $driver) = ("$build/quire", "$build/payload/pvh32_balloon.elf");

plan skip_all => "no $driver" if !-e $driver;

# Exit status, and the statistics as text.  Options of quire run, and a command to run it.
sub run {
	my ($options, $command) = @_;
	my $out = `@{[$command // '']} timeout 60 $quire run --stats=- $options $driver 2>&1`;
	return ($? >> 8, $out);
}

my ($status, $out) = run('');
if ($status == 121) {
	chomp $out;
	plan skip_all => $out;
}

sub number { $out =~ /"$_[0]": (\d+)/ ? $1 : -1 }

# A shell with one CPU; no more than that may be there.
my ($cpu) = `taskset -cp \$\$` =~ /: (\d+)/;
my $one = "taskset -c $cpu";
my $cpus = `nproc`;

my %exits;
for my $how ('--irqchip=off', '--irqchip=on', '-c 2', '--irqchip=off --sandbox=off',
	     '--irqchip=on --sandbox=off', '--hugepages=never') {
	($status, $out) = run($how);
	is($status, 11, "$how: pages given up read as zero, their neighbours are as they were");
	is(number('ballooned_pages'), 6, '... and six left the host');
	is(number('balloon_touches'), 6, '... touched again untold, which is counted');
	$exits{$how} = number('mmio_exits');
}
for my $how ('--irqchip=off', '--irqchip=on') {
	($status, $out) = run($how, $one);
	is($status, 11, "$how, one CPU: the same");
	$exits{"one $how"} = number('mmio_exits');
}
is($exits{'one --irqchip=on'}, $exits{'one --irqchip=off'} - 1,
   'on one CPU a notification is an exit, unless there is an interrupt controller');
SKIP: {
	skip 'there is one CPU only', 2 if $cpus < 2;
	is($exits{'--irqchip=off'}, $exits{'one --irqchip=on'},
	   'on two it goes to the main loop, through an ioeventfd');
	is($exits{'--irqchip=on'}, $exits{'one --irqchip=on'}, '... with an interrupt controller, too');
}

done_testing();
