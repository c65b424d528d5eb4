#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The balloon of a real VM, in and out of the sandbox: a driver in a small payload
# (tests/payload/pvh32_balloon.S) gives up six pages, and the host has them; another
# (pvh32_interrupt.S) halts until it is interrupted; a third (pvh32_queue_wait.S) has its queues in
# memory that nobody has touched.
use strict;
use warnings;
use FindBin;
use Test::More;
use lib $FindBin::Bin;
use Guests qw(deviates);

my $build = $ENV{QUIRE_BUILD} // 'build';
my $quire = "$build/quire";
my ($driver, $interrupted, $ring) =
	map { "$build/payload/pvh32_$_.elf" } qw(balloon interrupt queue_wait);

plan skip_all => "no $_" for grep { !-e } $driver, $interrupted, $ring;

# Exit status, and the statistics as text.  Options of quire run, an image, and a command to run it.
sub run {
	my ($options, $image, $command) = @_;
	my $wrapper = $command // '';
	my $out = `$wrapper timeout 400 $quire run --timeout=300 --stats=- $options $image 2>&1`;
	return ($? >> 8, $out);
}

my ($status, $out) = run('', $driver);
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
	($status, $out) = run($how, $driver);
	is($status, 11, "$how: pages given up read as zero, their neighbours are as they were");
	is(number('ballooned_pages'), 6, '... and six left the host');
	is(number('balloon_touches'), 6, '... touched again untold, which is counted');
	$exits{$how} = number('mmio_exits');
}
for my $how ('--irqchip=off', '--irqchip=on') {
	($status, $out) = run($how, $driver, $one);
	is($status, 11, "$how, one CPU: the same");
	$exits{"one $how"} = number('mmio_exits');
}
is($exits{'one --irqchip=on'}, $exits{'one --irqchip=off'} - 1,
   'on one CPU a notification is an exit, unless there is an interrupt controller');
SKIP: {
	skip 'there is one CPU only', 2 if $cpus < 2;
	is($exits{'--irqchip=off'}, $exits{'one --irqchip=on'},
	   'on two it goes to the main loop, through an ioeventfd');
	is($exits{'--irqchip=on'}, $exits{'one --irqchip=on'},
		'... with an interrupt controller, too');
}

my @well = (11);
push @well, map { $_ + 1 } @well if deviates('interrupt-shadow');
push @well, map { $_ + 2 } @well if deviates('injected-twice');
for my $how ('--irqchip=on', '-c 2', '--irqchip=on --sandbox=off',
	'--irqchip=on --hugepages=never') {
	($status, $out) = run($how, $interrupted);
	ok((grep { $_ == $status } @well),
	     "$how: each buffer interrupts once, the next one also after a lost one")
		or diag("status $status");
	is(number('balloon_inflated_pages') . ' ' . number('balloon_deflated_pages'), '606 606',
	   '... with as many in as out');
}

# A device that touches new memory waits for it in the vCPU, and the wait may be in vain.
my $short = '--machine=own --machine-memory=24M --overcommit=1 -m 64M --merge=off ' .
	'--reclaim=off';
($status, $out) = run("$short --timeout=3", $ring);
is($status, 124,
	'a used ring for which there is no memory breaks the device, and the guest goes on');
like($out, qr/timeout: the guest still ran/, '... until its time is over');
($status, $out) = run('-m 64M', $ring);
is($status, 11, '... and with memory it comes to its end');

done_testing();
