#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# What images that were made for a PC find, and what is said of those that find less than they need.
use strict;
use warnings;
use FindBin;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = no_guest();
plan skip_all => $skip if $skip;

sub run { return outcome("timeout 60 $quire run @_") }

# ---- ending ----

# mov dx, 501; mov al, 10; out dx, al
my ($status, $out, $err) = run(flat('qemu', 'ba0105 b010 ee'));
is("$status$err", '33', 'the port of QEMU gives twice the value plus one, as QEMU does');
my $port = flat('port', 'ba2006 b007 ee b008 e6f4');
is((run($port))[0], 8, 'a port that nobody named does nothing');
is((run('--exit-port=0x620', $port))[0], 7, '... and with --exit-port=PORT is an exit port');
is((run('--exit-port=1568', $port))[0], 7, '... in decimal too');
for my $bad ('0', '0x10000', 'x', '0x3f8') {
	($status, $out, $err) = run("--exit-port=$bad", $port);
	like("$status$err", qr/^2quire: --exit-port: [^\n]+\n\z/, "--exit-port=$bad is refused");
}

# ---- what a BIOS leaves ----

# push [40e]; ... the two words, high byte first, to the serial port
my $words = flat('words', 'baf803 a00f04 ee a00e04 ee a01404 ee a01304 ee b000 e6f4');
($status, $out) = run($words);
is(unpack('H*', $out), '9fc0027f', 'the BIOS data area has the end of conventional memory');

# ---- no BIOS ----

my $bios = "$build/payload/flat_bios.bin";
# bios(key, option...): what it says when this key is typed
sub bios {
	my ($key, @options) = @_;
	return outcome("printf '$key' | timeout 60 $quire run @options $bios");
}
($status, $out, $err) = bios('d');
is($out, 'hello d.', 'int 10h prints, int 16h reads, and the PIT ticks as after a BIOS');
like("$status $err", qr/^122 quire: BIOS int 13h, ah=02, called at 0000:7c\w\w, and there is no/,
	'... and a call to the disk ends the guest with a line');
($status, $out, $err) = bios('\n');
is($out, "hello \r", 'a line end is the Enter key');
like("$status $err", qr/^122 quire: exception 00h at 0000:7c\w\w, and there is no BIOS/,
	'... and an exception that it has no handler for is named');

# ---- the text screen ----

my $screen = ($ENV{QUIRE_BUILD} // 'build') . '/payload/flat_screen.bin';
my $text = "text on a screen\nits last line\n";
is(`printf A | timeout 60 $quire run $screen 2>&1`, $text, 'text at 0xb8000 is printed at the end');
is(`printf A | timeout 60 $quire run --vga-text=off $screen 2>&1`, '', '... but not with =off');
($status, $out) = run("--wait-for='last line' --name=screen-$$ --timeout=100", $screen);
is("$status$out", "0$text", '... and while the guest runs');
system("$quire kill screen-$$ 2>/dev/null");

# ---- PCI ----

# mov dx, cf8; out dx, eax
my $probe = 'baf80c 66ef';
(undef, undef, $err) = run('--timeout=0.5', flat('pci', "$probe ebfe"));
like($err, qr/^quire: the guest looked for PCI devices; [^\n]+$/m,
	'a guest that looked for PCI and came to nothing: a line says what it lacked');
($status, undef, $err) = run(flat('pci0', "$probe b000 e6f4"));
is("$status$err", '0', '... and one that ended well hears nothing of it');

# ---- features of the processor ----

# mov eax, 1; cpuid; shr ecx, 13; and cl, 1; to the exit port
my $cx16 = flat('cx16', '66b801000000 0fa2 66c1e90d 80e101 88c8 e6f4');
my ($has) = run($cx16);
is((run('--cpu=-cx16', $cx16))[0], 0, '--cpu=-cx16: the guest does not see it');
is((run('--cpu=-avx,-cx16,+cx16', $cx16))[0], 1, '... and the last word counts')
	if $has;
# ... shr ecx, 23: popcnt
my $popcnt = flat('popcnt', '66b801000000 0fa2 66c1e917 80e101 88c8 e6f4');
($status, undef, $err) = run('--cpu=-popcnt', $popcnt);
is($err, $status ? "quire: --cpu: this host's KVM shows the guest popcnt all the same\n" : '',
	'... and where KVM puts a feature back, a line says so');
for my $bad ('cx16', '-', '+nosuch', '-cx16,', '') {
	($status, undef, $err) = run("--cpu=$bad", $cx16);
	my ($word) = $bad =~ /([^,]*)$/;
	like("$status$err",
		qr/^2quire: --cpu: '\Q$word\E' is not - or \+ and one of .* cx16 .* rdtscp\n\z/,
		"--cpu=$bad gets the names");
}

# ---- silence ----

my $dead = flat('dead', 'baf803 b041 ee fa f4 ebfd');
($status, $out, $err) = run('--timeout=50', $dead);
is("$status$out", '99A', 'a guest that halts with interrupts off ends with 99');
like($err, qr/\Aquire: the guest is dead: it halted at 0x7c07 with interrupts off[^\n]+\n/,
	'... and with a line that says where');
like($err, qr/\nquire: the guest's last lines:\n  \| A\n\z/, '... and what it printed last');
($status) = run('-c 2 --timeout=50', $dead);
is($status, 99, '... also if it has a vCPU that it never started');
($status, undef, $err) = run('--timeout=50 --irqchip=off', $dead);
like("$status$err", qr/^99quire: the guest is dead: [^\n]+\nquire: the .*:\n  \| A\n\z/,
	'... and without irqchip');
($status, undef, $err) = run('--timeout=50', flat('dead_on', 'b0ff e621 e6a1 fb f4 ebfd'));
like("$status$err", qr/^99.* with interrupts on.*\nquire: the guest has printed nothing\n\z/,
	'... and with all interrupts masked');
($status) = run('--timeout=2', flat('loop', 'fa ebfe'));
is($status, 124, 'one that loops lives');
my $asleep = ($ENV{QUIRE_BUILD} // 'build') . '/payload/multiboot_asleep.elf';
($status, undef, $err) = run('--timeout=50', $asleep);
is("$status$err", '3', '... and so does one that sleeps until its timer fires');

# ---- where it is ----

my $name = "pc-$$";
# why(image, option...): what quire why says of a guest that has printed "A"
sub why {
	my ($image, @options) = @_;
	run("--wait-for=A --name=$name --timeout=100 @options", $image);
	my $said = `timeout 60 $quire why $name 2>&1`;
	system "$quire kill $name 2>/dev/null";
	return $said;
}
my $tell = 'baf803 b041 ee';	# print "A"
my $said = why(flat('jump', "$tell fa ebfe"));
like($said, qr/^VM $name, pid \d+: running, 1 vCPU\nthe guest's last lines:\n  \| A\nvCPU 0/,
	'quire why: the VM, and what it printed last');
like($said, qr/^vCPU 0: stays at 0x7c07; CPL 0, 16-bit, int\w+ off$/m,
	'quire why: a vCPU that jumps to itself');
like($said, qr/^RIP, fetch: walk of gva 0x7c07 .* ok, .*^  page: private/ms, '... its walk');
like($said, qr/^code, 16-bit, CPL 0:\n.*^  => 0+7c07  eb fe .*jmp/ms, '... and its code');
$said = why(flat('turn', "$tell fb 90 90 40 b464 90 ebf8"));
like($said, qr/^vCPU 0: (loops in \[0x7c0\w, 0x7c0\w\], now|stays) at 0x7c0\w; .*interrupts on$/m,
	'... a loop');
$said = why(flat('halt', "$tell fb f4 ebfd"), '-c 2');
like($said, qr/^vCPU 0: halted at 0x7c07; .*interrupts on$/m, '... one that halted');
like($said, qr/^vCPU 1: waits to be started$/m, '... and one that was never started');
is(system("$quire why $name 2>$dir/err") >> 8, 121, '... and no VM');
is(system("$quire why 2>$dir/err") >> 8, 2, '... and no word');

done_testing();
