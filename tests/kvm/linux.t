#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Debian's kernel as a guest: what it makes of the platform, and how it ends.  For the bed.
use strict;
use warnings;
use FindBin;
use IPC::Open3;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;
use Linux;

my $skip = no_linux();
plan skip_all => $skip if $skip;

# It says what it found, waits for a word, and does what that says.
my $features = ($ENV{QUIRE_BUILD} // 'build') . '/payload/features';
my $asks = initramfs(['pvpanic', 'pvpanic-mmio'], <<'END', 'bin/features', slurp($features));
grep -E '^(processor|apicid|flags)' /proc/cpuinfo
features $(grep -m 1 ^flags /proc/cpuinfo)
echo "time: $(date +%s)"
grep IO-APIC /proc/interrupts
echo asks
read word
[ "$word" = panic ] && echo c >/proc/sysrq-trigger
reboot -f
END

my ($in, $from, $log);

# Boot with these options, and read until the guest asks.
sub boot {
	my ($image, @options) = @_;
	my $err = "$dir/err-" . ++our $boots;
	open my $errors, '>', $err or die "$err: $!";
	my $pid = open3($in, $from, '>&' . fileno $errors, $quire, 'run', '--machine=own',
		"--initrd=$asks", '--append=console=ttyS0 quiet panic=-1', @options, $image);
	hear();
	return ($pid, $err);
}

# Read until the guest asks, or has ended; what it said is in $log.
sub hear {
	$log = '';
	while (defined(my $line = <$from>)) {
		$log .= $line;
		last if $line =~ /^asks/;
	}
}

sub reply { syswrite $in, "$_[0]\n" }

# The status of the run, after it has ended.
sub status {
	my ($pid) = @_;
	hear();
	waitpid $pid, 0;
	return $? >> 8;
}

my ($pid, $err) = boot($vmlinuz, '-c', 2, '--max-reboots=1');
is(join(',', $log =~ /^apicid\s*: (\d+)/mg), '0,1',
	'a stock kernel comes to its first process, with two processors, of APIC ids 0 and 1');
my ($time) = $log =~ /^time: (\d+)/m;
ok(defined $time && abs($time - time) < 120, 'it has the time of the clock');
my $inputs = () = $log =~ /IO-APIC/g;
cmp_ok($inputs, '>=', 3, 'devices have interrupts of the I/O APIC') or diag $log;
my ($flags) = $log =~ /^flags\s*: (.*)/m;
my %flag = map { $_ => 1 } split ' ', $flags // '';
ok($flag{hypervisor}, 'it knows that it is virtual');
is(join(' ', grep { $flag{$_} } qw(vmx svm npt vgif vmcb_clean nrip_save arch_perfmon pdcm dtes64 ds
	perfctr_core perfctr_nb perfctr_llc perfmon_v2 intel_pt arch_lbr kvmclock)), '',
	'it sees nothing that has MSRs which are not there');
like($log, qr/^features: [2-9]\d tried, 0 faults\r?$/m,
	'an instruction of each feature that /proc/cpuinfo has does not fault')
	or diag $log =~ /^(fault.*)/mg;
reply('reboot');
hear();
is(join(',', $log =~ /^processor\s*: (\d+)/mg), '0,1', 'it reboots, and both start again');
reply('panic');
is(status($pid), 122, 'when it panics it ends, with status 122');
like($log, qr/Kernel panic - not syncing: sysrq triggered crash/, '... its own last lines');
like(slurp($err), qr/^quire: .*kernel panicked/m, '... and a report');
like(slurp($err), qr/^ *=> /m, '... with the code that told of it');

my @unknown = grep { !/WRMSR\(0xc0010007\)/ } `dmesg` =~ /.*[Uu]nhandled .*MSR.*/g;
is(join('', @unknown), '', 'no guest used an MSR that KVM does not know');
done_testing();
