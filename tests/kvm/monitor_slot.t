#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# A guest on shadow tables that can write its monitor.  No guest can; so this test changes it from
# outside, as root, in the memory of a real VM in its sandbox: the real page tables then let CPL 3
# in.  The guest (tests/payload/hostile_takeover.c) maps what it likes of the machine's addresses,
# and at last fills the monitor with random bytes.  It must have reached nothing but its own memory,
# and frames of the store to read.  A second guest shares those frames, and verifies them.
#
# Others take a gate of the real IDT, and so have code of theirs at CPL 0 of the real processor.
# They do there what only an operating system does, and end in one way each.  What their memory
# occupies is then no longer quire's to count: the machine sees it, and ends them.
use strict;
use warnings;
no warnings 'portable';
use File::Basename qw(dirname);
use File::Temp qw(tempfile);
use Test::More;
use lib dirname(__FILE__);
use Quire;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $missing = Quire::missing();
plan skip_all => $missing if $missing;
$Quire::quill = ($ENV{QUIRE_BUILD} // 'build') . '/payload/hostile.elf';
plan skip_all => "no $Quire::quill" if !-e $Quire::quill;

# vmm/monitor/world_layout.h and world_memory.c
use constant { CODE => 0x11000, PDPT => 0x12000, PD => 0x13000, PT => 0x14000, ARENA => 0x200000,
	PAGE => 4096, MACHINE => 1 << 38, USER => 4 };
my $gate = "\xe6\x80\x0f\x0b";	# out %al, $0x80; ud2

sub at {
	my ($mem, $where, $bytes) = @_;
	my $got;
	sysseek $mem, $where, 0;
	sysread $mem, $got, $bytes;
	return $got // '';
}

sub put { my ($mem, $where, $data) = @_; sysseek $mem, $where, 0; return syswrite $mem, $data }

# Where in its process the monitor lies, by the gates' code: where it begins, and its size.
sub monitor {
	my ($pid, $mem) = @_;
	open my $maps, '<', "/proc/$pid/maps" or die "maps: $!";
	while (<$maps>) {
		my ($from, $to) = /^(\w+)-(\w+) rw-p 00000000 00:00 0/ or next;
		($from, $to) = (hex $from, hex $to);
		for (my $here = $from; $here + ARENA < $to; $here += PAGE) {
			return ($here, $to - $here) if at($mem, $here + CODE, 8) eq $gate x 2;
			last if $here >= $from + (512 << 20);
		}
	}
	return;
}

# Let CPL 3 use each entry of this table that is present.
sub open_table {
	my ($mem, $where) = @_;
	my @entry = unpack 'Q*', at($mem, $where, PAGE);
	for my $i (grep { $entry[$_] & 1 } 0 .. $#entry) {
		put($mem, $where + 8 * $i, pack 'Q', $entry[$i] | USER);
	}
	return;
}

# Each root gets the monitor once more, where some hosts' KVM lets CPL 3 go.
sub open_monitor {
	my ($pid) = @_;
	open my $mem, '+<:raw', "/proc/$pid/mem" or return "mem: $!";
	my ($monitor, $bytes) = monitor($pid, $mem);
	return 'there is no monitor' if !$monitor;
	open_table($mem, $monitor + $_) for PT, PD, PDPT;
	for (my $table = ARENA; $table < ARENA + (4 << 20) && $table < $bytes; $table += PAGE) {
		my ($entry) = unpack 'Q', at($mem, $monitor + $table + 8 * 256, 8);
		put($mem, $monitor + $table + 8 * 128, pack 'Q', $entry | USER)
		    if $entry == (MACHINE + PDPT | 0x23);
	}
	return;
}

my @options = ('--paging=shadow', '-m', '64M', '--irqchip=off', '--merge-rate=1000000000',
	"--domain=d$$");
my $socket = "monitor-slot-$$";
my (undef, $log) = tempfile(UNLINK => 1);
my $machine;
{
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', $log;
		exec $Quire::quire, 'machine', "--machine=$socket", '--memory=1G';
	}
	$machine = $pid;
	for (1 .. 600) {
		system "$Quire::quire stat --machine=$socket >/dev/null 2>&1" or last;
		select undef, undef, undef, 0.1;
	}
}
push @options, "--machine=$socket";
my $victim = Quire->new(\@options, 'takeover');
my $attacker = Quire->new(\@options, 'takeover');
ok($_->wait_for(qr/verified 1\n/, 60), 'a guest verifies its memory') for $victim, $attacker;


# They stand still until the first shares so many pages; returns how many.
sub merge {
	my @guests = @_;
	my $shared;
	$_->command("pause $_->{name}") for @guests;
	for (1 .. 200) {
		$shared = $guests[0]->account->{state_shared_pages};
		last if $shared >= 300;
		$_->command("merge --machine=$socket now $_->{name}") for @guests;
		select undef, undef, undef, 0.1;
	}
	$_->command("resume $_->{name}") for @guests;
	return $shared;
}
cmp_ok(merge($attacker, $victim), '>=', 300, 'they share it');

is(open_monitor($attacker->vm_pid), undef, 'the monitor of one is opened');
ok($attacker->wait_for(qr/^open\n/m, 60), '... and it can write there');
ok($attacker->wait_for(qr/its own memory is right/, 60), 'its own memory is as it was');
# Then it overwrites its shadow tables: it crashes, or does nothing any more.
$attacker->command("kill $attacker->{name}");
my $status = $attacker->finish;
my ($said) = $attacker->{out} =~ /^open\n(.*)/ms;
my @places = grep { /, (?:as|which)/ } split /\n/, $said;
cmp_ok(scalar(@places), '>=', 9, 'it has tried each of the machine\'s addresses');
is_deeply([grep { /changed/ } @places], [], '... and has changed nothing');
is_deeply([grep { !/^the (?:store|page of zeroes)|^its next/ && !/: nothing/ } @places], [],
	'... nor found anything where nothing of its own is');
like($said, qr/^the store: (?:bytes|zeroes), as they were$/m, '... but what it shares, to read');
like($said, qr/^the page of zeroes: zeroes, as they were$/m, '... and zeroes');
like($status, qr/^(?:122|143)$/, 'with a monitor of random bytes it can be ended') or diag $said;

# ---- with code at CPL 0 ----

# How each ends: its status, and what is said.  Who goes on is killed: by KVM that is not the same
# everywhere.  kvm_pvm executes CPL 0 by itself; with SVM, who has no root faults for ever.
my @ends = (
	[ 'goes-on', 143, qr/^it goes on$/m ],
	[ 'msrs', '122|143', qr/^(?:it goes on|quire: guest crashed)/m ],
	[ 'port', '122|143', qr/^(?:it goes on|quire: guest crashed)/m ],
	[ 'no-paging', '122|143', qr/^(?:it goes on|quire: guest crashed)/m ],
	[ 'wild-root', '122|143', qr/its own memory is right/ ],
	[ 'own-tables', '122', qr/^quire: guest crashed: .*triple fault/m ],
	[ 'halt', '99', qr/^quire: the guest is dead: it halted/m ],
	[ 'loop', '143', qr/its own memory is right/ ],
	[ 'apic-moved', '143', qr/^it goes on/m ],
	[ 'all-ram', '125', qr/^quire: killed by the machine: it occupied .* of RAM/m ],
	[ 'all-frames', '125', qr/^quire: .*broke the rules/m ],
);

for (@ends) {
	my ($name, $status, $said) = @$_;
	my @own = (@options[0 .. $#options - 2], "--domain=$name$$", "--machine=$socket");
	push @own, '-m', '128M' if $name eq 'all-ram';
	my $attacker = Quire->new(\@own, 'takeover', $name);
	subtest "at CPL 0: $name" => sub {
		ok($attacker->wait_for(qr/verified 1\n/, 60), 'it is up');
		cmp_ok(merge($attacker), '>=', 300, 'it shares pages with itself')
		    if $name eq 'all-frames';
		is(open_monitor($attacker->vm_pid), undef, 'its monitor is opened');
		ok($attacker->wait_for(qr/memory is \w+/, 60), 'it has done much at CPL 0');
		like($attacker->{out}, qr/^at CPL 0$/m, '... of the real processor');
		unlike($attacker->{out}, qr/wrong/, '... and its own memory is right');
		$attacker->wait_for($said, 60);
		$attacker->command("kill $attacker->{name}");
		like($attacker->finish, qr/^(?:$status)$/, 'it ends as it should');
		like($attacker->{out}, $said, '... and that is said');
	};
}
{
	open my $f, '<', $log or die "$log: $!";
	like(join('', <$f>), qr/\d+ pages of its store were there that nobody published/,
		'the machine has found what was read where there were no frames');
}

$victim->{out} = '';
ok($victim->wait_for(qr/(?:verified \w+\n.*){3}/s, 60), 'the other guest verifies its memory on');
unlike($victim->{out}, qr/wrong/, '... and it is right');
$victim->stop;
kill TERM => $machine;
waitpid $machine, 0;
done_testing();
