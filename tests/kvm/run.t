#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire run from the outside: exit statuses, messages, streams, signals, crash reports.  The guests
# are a few bytes of machine code each, made here.
use strict;
use warnings;
use Cwd qw(abs_path);
use IO::Select;
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(time sleep);
use FindBin;
use lib $FindBin::Bin;
use Guests qw($quire $dir selftest_passed slurp spew flat);

# KVM on AMD processors resets a vCPU that shuts down, so no registers of a triple fault are left.
my $lost = -d '/sys/module/kvm_amd' ? qr/^registers: lost, /m : undef;

# ---- running quire ----

# run(args..., \%how): how is in => input, after => [seconds, signal], keep => merged stderr
sub run {
	my $how = ref $_[-1] ? pop : {};
	my ($out, $err) = ("$dir/out", "$dir/err");
	my $start = time;
	my $pid = fork // die;
	if (!$pid) {
		$how->{in} = "$dir/in" if defined $how->{text} && spew('in', $how->{text});
		open STDIN, '<', $how->{in} // '/dev/null' or die;
		open STDOUT, '>', $how->{out} // $out or die;
		if ($how->{merge}) { open STDERR, '>&', \*STDOUT } else { open STDERR, '>', $err }
		$SIG{$_} = 'DEFAULT' for qw(INT HUP TERM QUIT PIPE);
		exec 'timeout', '-k', 1, $how->{limit} // 60, $quire, @_ unless $how->{after};
		exec $quire, @_;
	}
	if ($how->{after}) {
		sleep $how->{after}[0];
		kill $how->{after}[1], $pid;
	}
	waitpid $pid, 0;
	my %r = (status => $? & 127 ? "signal " . ($? & 127) : $? >> 8, time => time - $start);
	$r{out} = slurp($out) unless $how->{out};
	$r{err} = $how->{merge} ? '' : slurp($err);
	return \%r;
}

sub one_line { return $_[0] =~ /\Aquire: [^\n]+\n\z/ }

# ---- guests ----

# 32-bit code at 1 MiB in an ELF64 with a PVH note; what follows it is at 1 MiB + 4 KiB.
sub pvh {
	my ($name, $hex, $data) = @_;
	$hex =~ s/\s//g;
	my $body = pack('H*', $hex);
	$body .= "\0" x (4096 - length $body) . ($data // '');
	my $note = pack 'VVVa4V', 4, 4, 18, "Xen\0", 0x100000;
	my $head = pack 'a4CCCCx8vvVQQQVvvvvvv', "\x7fELF", 2, 1, 1, 0, 2, 62, 1, 0x100000, 64, 0,
		0,
		64, 56, 2, 0, 0, 0;
	my $load = pack 'VVQQQQQQ', 1, 7, 4096, 0x100000, 0x100000, length $body, length $body,
		4096;
	my $pnote = pack 'VVQQQQQQ', 4, 4, 64 + 112, 0, 0, length $note, length $note, 4;
	my $file = $head . $load . $pnote . $note;
	return spew($name, $file . "\0" x (4096 - length $file) . $body);
}

my $exit42 = flat('exit42', 'b02a e6f4');
my $loop = flat('loop', 'ebfe');
my $halt = flat('halt', 'faf4 ebfd');
my $hello = flat('hello', 'baf803 be117c b90600 fc f36e b000 e6f4 90 ' . unpack 'H*', "hello\n");
my $echo = flat('echo', 'bafd03 ec a801 74fb baf803 ec ee 3c0a 75ef b007 e6f4');

# ---- is there a KVM to run on? ----

my $probe = run('run', $exit42);
if ($probe->{status} == 121) {
	chomp $probe->{err};
	plan skip_all => $probe->{err};
}

# ---- arguments ----

for my $bad (
	[[]], [['frobnicate']], [['run']], [['run', '--no-such', $exit42]],
	[['run', '-x', $exit42]],
	[['run', '-m']], [['run', '-m', '0', $exit42]], [['run', '-m', '-1', $exit42]],
	[['run', '-m', '128', $exit42]], [['run', '-m', '4097', $exit42]],
	[['run', '-m', '12Q', $exit42]], [['run', '-m', '256T', $exit42]],
	[['run', '-m', '99999999999999999999T', $exit42]],
	[['run', '-c', '0', $exit42]], [['run', '-c', '256', $exit42]],
		[['run', '-c', 'x', $exit42]],
	[['run', '-c', '2', '--irqchip=off', $exit42]],
	[['run', '--hugepages=yes', $exit42]],
	[['run', '--irqchip=maybe', $exit42]], [['run', '--timeout=0', $exit42]],
	[['run', '--timeout=soon', $exit42]], [['run', '--timeout', '-1', $exit42]],
	[['run', '--module=', $exit42]], [['run', "--module=$dir/none", $exit42]],
	[['run', '--name=', $exit42]], [['run', '--name=' . 'x' x 64, $exit42]],
	[['run', '--name=a/b', $exit42]], [['run', '--stats=', $exit42]],
	[['run', "--stats=$dir/none/s", $exit42]],
	[['run', "$dir/none"]], [['run', $dir]], [['run', '/dev/null']],
		[['run', spew('empty', '')]],
	[['run', spew('elf', "\x7fELF" . 'x' x 100)]], [['run', '-m', '4K', $exit42]],
	[['help', 'frobnicate']], [['help', 'run', 'x']], [['version', 'x']], [['-V', 'x']],
) {
	my $r = run(@{$bad->[0]});
	my $what = join ' ', map { s/\Q$dir\E/DIR/r }
		map { length > 40 ? substr($_, 0, 40) . '...' : $_ }
		@{$bad->[0]};
	ok($r->{status} eq 2 && one_line($r->{err}) && $r->{out} eq '', "usage: quire $what")
		or diag "status $r->{status}, stderr: $r->{err}";
}
for my $module ("$dir", '/dev/null', "$dir/none") {
	my $r = run('run', "--module=$module", $exit42);
	ok($r->{status} eq 2 && one_line($r->{err}) && $r->{err} =~ /--module: \Q$module\E: /
			&& $r->{err} !~ /image/,
		'a module that is none: the error is about a module')
		or diag $r->{err};
}
for my $good (['--version'], ['--help'], ['help'], ['help', 'run'], ['run', '--help'],
	['help', 'map']) {
	my $r = run(@$good);
	ok($r->{status} eq 0 && $r->{out} =~ /quire/ && $r->{err} eq '', "quire @$good");
}
is(run('--version', { out => '/dev/full' })->{status}, 121, 'a full standard output is an error');

# ---- installed images ----

{
	mkdir "$dir/$_" or die for qw(usr usr/bin usr/lib usr/lib/quire plain);
	system('cp', $quire, "$dir/usr/bin/quire") and die;
	system('cp', $exit42, "$dir/usr/lib/quire/image") and die;
	my $at = sub {
		my $run = "$dir/usr/bin/quire run @_";
		return system("cd $dir/plain && $run >$dir/out 2>$dir/err") >> 8;
	};
	is($at->('image'), 42, 'an image without a slash is found where it is installed');
	is($at->('./image'), 2, '... one with a slash is not');
	is($at->('other'), 2, '... nor is one that is not installed');
	ok(one_line(slurp("$dir/err")), '... in one line');
	system('cp', flat('seven', 'b007 e6f4'), "$dir/plain/image") and die;
	is($at->('image'), 7, '... and a file in the working directory comes first');
}

# ---- statuses ----

is($probe->{status}, 42, 'the exit status is what the guest writes to the exit port');
is(run('run', flat('exit0', 'b000 e6f4'))->{status}, 0, '... 0 too');
{
	my $one = run('run', flat('exit1', 'b001 e6f4'));
	ok($one->{status} eq 1 && $one->{err} eq '', '... 1 too, and nothing is said');
	my $two = run('run', flat('exit2', 'b002 e6f4'));
	ok($two->{status} eq 2 && $two->{err} eq "quire: the guest ended with status 2\n",
		'2 is also what wrong arguments give: a line says that it is the guest\'s');
}
is(run('run', flat('exit99', 'b063 e6f4'))->{status}, 99, '... and 99');
my $r = run('run', flat('exit16', 'b82c01 e7f4'));
ok($r->{status} eq 99 && one_line($r->{err}) && $r->{err} =~ /300/,
	'a larger one (300, 16 bits wide) is reported as 99 and said');
$r = run('run', flat('exit32', '66b878563412 66e7f4'));
ok($r->{status} eq 99 && $r->{err} =~ /305419896/, 'a 32-bit one');
my $nothing = "quire: the guest has printed nothing\n";
$r = run('run', '--irqchip=off', $halt);
ok($r->{status} eq 99 && $r->{err} =~ /\Aquire: [^\n]+ is dead: .*--irqchip=on[^\n]*\n$nothing\z/,
	'a guest that halts for good has ended, and a line says so');
$r = run('run', '--timeout=0.3', $loop);
ok($r->{status} eq 124 && $r->{time} > 0.3 &&
	$r->{err} =~ /\Aquire: timeout: [^\n]+\n${nothing}vCPU 0: stays at 0x7c00; /,
	'--timeout stops a busy guest, and says where it is');
$r = run('run', '--timeout=0.3', $halt); # before anybody looks whether it is dead
is($r->{status}, 124, '... and a sleeping one');
$r = run('run', '--timeout=1', flat('vmcall', '0f01c1 0f01d9 ebf8'));
ok($r->{err} =~ /\Aquire: / && $r->{err} !~ /stopped by SIG/,
	"a guest that uses VMCALL hangs nobody (status $r->{status})") or diag $r->{err};
for ([INT => 130], [TERM => 143], [HUP => 129], [QUIT => 131]) {
	my ($sig, $want) = @$_;
	$r = run('run', $loop, { after => [0.3, $sig] });
	my $said = $sig eq 'QUIT' ? $r->{err} =~ /\Aquire: [^\n]+\n${nothing}vCPU 0: / :
		one_line($r->{err});
	ok($r->{status} eq $want && $said, "SIG$sig: status $want");
}

# ---- streams ----

$r = run('run', $hello);
ok($r->{out} eq "hello\n" && $r->{status} eq 0, 'output through rep outsb');
$r = run('run', $echo, { text => "some input\nnot read" });
ok($r->{out} eq "some input\n" && $r->{status} eq 7, 'input comes back');
$r = run('run', '--timeout=5', $echo, { text => 'z' x 9000 . "\n" });
is(length $r->{out}, 9001, 'input larger than the FIFO arrives whole');
$r = run('run', '--irqchip=off', $hello, { in => '/dev/full' });
is($r->{out}, "hello\n", 'a strange standard input does not matter');
is(run('run', '--timeout=5', $hello, { out => '/dev/full' })->{status}, 121,
	'output that cannot be written is a host error');
for my $closed ('<&-', '>&-', '2>&-', '<&- >&- 2>&-') {
	is(system("timeout 60 $quire run $exit42 $closed") >> 8, 42, "with $closed");
}
is(`timeout 60 $quire run $hello <&-`, "hello\n", 'output with standard input closed');

# 70 000 bytes, more than a pipe holds, and a reader that is late.
my $flood = flat('flood', '66b970110100 baf803 b041 ee 6649 75fb b005 e6f4');
is(`timeout 60 $quire run $flood | (sleep 0.5; wc -c)` + 0, 70000, 'a slow reader gets all of it');
my $endless = flat('endless', 'baf803 b041 ee ebfd');
my $t = time;
is(`(timeout 60 $quire run $endless 2>$dir/err; echo \$? >$dir/status) | head -c 100 | wc -c` + 0,
	100,
	'a reader that leaves ...');
ok(slurp("$dir/status") == 141 && one_line(slurp("$dir/err")) && time - $t < 3,
	'... ends the guest: status 141');
$t = time;
system("(timeout 20 $quire run --timeout=0.5 $endless 2>/dev/null; " .
	"echo \$? >$dir/status) | sleep 4 &" .
	"sleep 3");
is(slurp("$dir/status") + 0, 124, '--timeout works while output is blocked');

# ---- memory ----

for my $size (qw(1M 3G 3073M 6G)) {
	is(run('run', '-m', $size, $exit42)->{status}, 42, "-m $size");
}
# 32-bit code: ones from a hole, nothing from a write there, RAM right below 3 GiB.
my $hole = pvh('hole', 'a1001000d0 83f8ff 7517 c705001000d0 00000000 833d001000d0ff 7504' .
	'b011 e6f4' .
	'b001 e6f4');
$r = run('run', '-m', '4G', '--stats=-', $hole);
ok($r->{status} eq 17 && $r->{out} =~ /"unclaimed_mmio_accesses": 3/,
	'where no device is, reads give ones, writes vanish, and both are counted');
my $top = pvh('top', 'c705fcffffbf 78563412 813dfcffffbf 78563412 7504 b003 e6f4 b001 e6f4');
is(run('run', '-m', '4G', $top)->{status}, 3, 'the last word below 3 GiB is RAM');

# ---- CPUs ----

# The first CPU switches its local APIC on and sends INIT and SIPI; the second writes 0x55 to
# 0x9000.
my $smp = pvh('smp', 'c70500800000 b055a200 c70504800000 90f4ebfd c705f000e0fe ff010000' .
	'c7051003e0fe 00000001' .
	'c7050003e0fe 00450000 c7050003e0fe 08460000 803d00900000 55 75f7 b021 e6f4');
is(run('run', '-c', 2, '--timeout=10', $smp)->{status}, 33, '-c 2: the second CPU starts by SIPI');
is(run('run', '-c', 1, '--irqchip=on', '--timeout=0.3', $smp)->{status}, 124,
	'-c 1: there is no second CPU');
is(run('run', '-c', 16, $exit42)->{status}, 42, '-c 16');
# CPUID 0x40000000: "QuireQuire"
my $cpuid = pvh('cpuid', 'b800000040 0fa2 81fb51756972 7506 81f965517569 0f94c0 e6f4');
is(run('run', $cpuid)->{status}, 1, 'CPUID says QuireQuire');

# ---- every kind of image ----

my $payload = ($ENV{QUIRE_BUILD} // 'build') . '/payload';
for ([multiboot => 'multiboot_hello.elf', 7, "cmdline=$payload/multiboot_hello.elf a b"],
	['multiboot 2' => 'multiboot2_hello.elf', 11, "cmdline=$payload/multiboot2_hello.elf a b"],
	['ELF32 PVH' => 'pvh32_hello.elf', 8, 'cmdline=a b'],
	[flat => 'flat_hello.bin', 9, 'hello from real mode']) {
	my ($kind, $file, $status, $says) = @$_;
	SKIP: {
		skip "no $file", 2 if !-e "$payload/$file";
		$r = run('run', "$payload/$file", $kind eq 'flat' ? () : ('a', 'b'));
		is($r->{status}, $status, "$kind: its status");
		like($r->{out}, qr/\Q$says\E/, "$kind: its words");
	}
}
SKIP: {
	my $image = "$payload/multiboot2_hello.elf";
	skip 'no multiboot2_hello.elf', 3 if !-e $image;
	$r = run('run', '-m', '64M', '--module=' . spew('mod', 'x' x 5000) . ',some args', $image);
	like($r->{out}, qr/^module: bytes=0x1388 string=\S+mod some args$/m,
		'multiboot 2: a module');
	like($r->{out}, qr/^mem_upper=0xfc00\nmmap: entries=0x5$/m, '... memory');
	like($r->{out}, qr/^acpi: xsdt=0xe[0-9a-f]{4}$/m, '... ACPI');
}
SKIP: {
	skip 'no multiboot2_moved.elf', 2 if !-e "$payload/multiboot2_moved.elf";
	is(run('run', '-m', '64M', "$payload/multiboot2_moved.elf")->{status}, 32,
		'multiboot 2: an image that wants to be elsewhere is there, and told so');
	$r = run('run', '-m', '16M', "$payload/multiboot2_moved.elf");
	like("$r->{status}$r->{err}", qr/^2quire: .* no room for .* RAM ends at 0x1000000: run/,
		'... unless there is no RAM');
}
# Disks fill the slots before virtio-rng's.
SKIP: {
	skip 'no pvh32_line.elf', 2 if !-e "$payload/pvh32_line.elf";
	my @words = qw(run --irqchip=on --rng=on);
	my @disk = '--disk=' . spew('disk', 'x' x 512) . ',ro';
	my @line = map { run(@words, (@disk) x $_, "$payload/pvh32_line.elf")->{status} } 0 .. 7;
	is("@line", '10 11 3 7 6 12 14 15', 'each virtio device has a line of the 8259s');
	$r = run('run', '-v', '--rng=on', '--balloon=off', "$payload/pvh32_hello.elf");
	like($r->{err}, qr/^quire: virtio rng: 512\@0xd0000200:10$/m, '... which -v says');
}
SKIP: {
	skip 'no bzImages', 8 if !-e "$payload/linux32_hello.bzImage";
	my @initrd = ("--initrd=" . spew('one', 'first'), "--initrd=" . spew('two', 'second'));
	for my $bits (32, 64) {
		my $image = "$payload/linux${bits}_hello.bzImage";
		$r = run('run', '-v', '-m', '64M', @initrd, '--append=x y', $image, 'z');
		is($r->{status}, 10, "a bzImage by its $bits-bit entry: its status");
		like($r->{out}, qr/^linux$bits: cs=0x10 loader=0xff code32_start=0x1000000 /,
			'... its words');
		like($r->{out}, qr/ cmdline=console=ttyS0 x y z\n/, '... its command line');
		like($r->{out}, qr/^e820: 0x100000 \+ 0x3f00000 is 0x1$/m, '... its memory');
		like($r->{out}, qr/^initrd: bytes=0xe "first000second"$/m, '... its initrds');
		ok($r->{err} =~ /\A.*: Linux boot protocol, $bits-bit entry, version 0\.1 /
				&& $r->{err} =~ /command line "console=ttyS0 x y z"\n/,
			'... and -v says so');
	}
	my $image = "$payload/linux64_hello.bzImage";
	$r = run('run', '-m', '16M', $image);
	ok($r->{status} eq 2 && one_line($r->{err}) && $r->{err} =~ /-m 17M or more/,
		'a kernel that needs more RAM than there is: how much');
	truncate spew('big', ''), 60 << 20;
	$r = run('run', '-m', '64M', "--initrd=$dir/big", $image);
	ok($r->{status} eq 2 && one_line($r->{err}) && $r->{err} =~ /initrd.*-m 78M or more/,
		'an initrd that does not fit beside the kernel, too');
	for my $refused (["--initrd=$dir/one", "$payload/pvh32_hello.elf"],
		["--module=$dir/one", $image], ["--initrd=$dir/none", $image],
		['--initrd=', $image]) {
		$r = run('run', @$refused);
		ok($r->{status} eq 2 && one_line($r->{err}) && $r->{err} =~ /--(initrd|module)/,
			"refused: $refused->[0]" =~ s/\Q$dir\E/DIR/r)
			or diag $r->{err};
	}
}
for my $cpus (1, 2, 4, 9) {
	SKIP: {
		skip 'no multiboot_smp.elf', 1 if !-e "$payload/multiboot_smp.elf";
		$r = run('run', '-c', $cpus, '--timeout=15', "$payload/multiboot_smp.elf");
		like($r->{out}, qr/cpus=$cpus ticks=/, "-c $cpus: $cpus CPUs and a timer");
	}
}
SKIP: {
	my $quill = ($ENV{QUIRE_BUILD} // 'build') . '/guest/quill.elf';
	skip 'no quill.elf', 12 if !-e $quill;
	$r = run('run', '--stats=-', $quill, 'hello');
	my ($told) = $r->{err} =~ /^time: setup (\d+)/m;
	my ($setup) = $r->{out} =~ /"setup_ns": (\d+)/;
	ok($r->{status} eq 0 && $told > 0 && $told * 1000 <= $setup,
		"quill hello: set up in $told us");
	my ($exits) = $r->{out} =~ /"exits": (\d+)/;
	cmp_ok($exits, '<', 100, "and a page of output is no exit a byte ($exits exits)");
	for my $how ([], ['--irqchip=on'], ['-c', 2], ['--hugepages=never'], ['-m', '6G']) {
		$r = run('run', @$how, $quill, 'selftest', 'pages=2000');
		ok(selftest_passed(@$r{qw(status out)}), "quill selftest @$how");
	}
	for ([null => qr/^CR2, read: walk of gva 0 .*page fault/m], [jump => qr/fetch outside RAM/],
		[stack => qr/triple fault/], [triple => qr/triple fault/],
		[scribble => qr/guest crashed/]) {
		my ($how, $like) = @$_;
		$r = run('run', '--timeout=15', $quill, 'crash', $how);
		$like = $lost if $lost && $r->{err} =~ /crashed: vCPU 0: triple fault/;
		ok($r->{status} eq 122 && $r->{err} =~ $like, "quill crash $how") or diag $r->{err};
	}
}

# Output that no exit follows.
$r = run('run', '--timeout=0.5', flat('quiet', 'baf803 b041 ee ebfe'));
is($r->{out}, 'A', 'a byte from a guest that then never exits comes out');
# IRQ 4 through the PIC as vector 0x24; each interrupt sends the next byte, the 600th ends it.
my $irq = flat('irq', 'fa 31c0 8ed8 bc007c c7069000357c c70692000000 b011e620 b020e621' .
	'b004e621 b001e621' .
	'b0efe621 baf903 b002 ee b95802 fb f4 ebfd bafa03 ec baf803 b062 ee b020e620 49 7504' .
	'b006 e6f4 cf');
$r = run('run', '--timeout=60', $irq);
ok($r->{status} eq 6 && $r->{out} eq 'b' x 600,
	'a transmitter driven by interrupt waits for nobody')
	or diag "status $r->{status}, " . length($r->{out}) . " bytes, $r->{err}";

# ---- crashes ----

my $crash = sub {
	my ($name, $image, @like) = @_;
	my $r = run('run', '--timeout=10', $image);
	is($r->{status}, 122, "$name: status 122");
	@like = ($like[0], $lost) if $lost && $r->{err} =~ /crashed: vCPU 0: triple fault/;
	like($r->{err}, $_, "$name: report has $_") for @like;
	like($r->{err}, qr/\A[^\n]*guest crashed: vCPU 0: /, "$name: one headline first");
	return $r;
};
my @always = (qr/^  rip [0-9a-f]{16}  rflags/m, qr/^  rax /m, qr/^  cs   /m, qr/^  cr0  .* PE\b/m,
	qr/^  =>/m, qr/^RIP, fetch: walk of gva/m, qr/^  gpa 000000100000  private/m);
$crash->('triple fault', pvh('ud2', '0f0b'), qr/triple fault/, qr/^  => 0+100000 .*ud2/m,
	qr/code, 32-bit, CPL 0/, @always);

# Identity-mapped first 2 MiB, 4-level, compatibility mode; then a read of 0x80000000.
my $tables = pack('Q', 0x102003) . "\0" x 4088 . pack('Q', 0x103003) . "\0" x 4088 .
	pack('Q', 0x83) . "\0" x 4088;
my $paging = 'b800101000 0f22d8 0f20e0 83c820 0f22e0 b9800000c0 0f32 0d00010000 0f30 0f20c0 ' .
	'0d00000080 0f22c0';
$crash->('page fault', pvh('pf', "$paging a100000080", $tables), qr/triple fault/,
	qr/^  cr4 .* PAE/m, qr/^  efer .*LME LMA/m, qr/^  cr2  0+80000000/m,
	qr/^CR2, read: walk of gva 0x80000000 \(.*page fault/m, qr/<-- refused here/,
	qr/#PF with error code 0: page not present/, qr/^   1    EPT PML4E  gpa 0000000000101000/m,
	qr/^   \d  PML4E /m, @always);
$crash->('fetch outside RAM', pvh('jump', 'b8000000d0 ffe0'),
	qr/instruction fetch outside RAM at gpa 0xd0000000/, qr/=> .*no memory there/,
	qr/EPT violation at gpa 0xd0000000/, qr/not RAM/);
$r = run('run', pvh('lastwords', 'baf8030000 b041 ee ee ee 0f0b'), { merge => 1 });
like($r->{out}, qr/\AAAAquire: guest crashed/, 'what a guest wrote comes before its crash report');

# ---- statistics ----

$r = run('run', "--stats=$dir/stats", '--name=counted', '-m', '64M', $exit42);
my $stats = slurp("$dir/stats");
SKIP: {
	eval { require JSON::PP; 1 } or skip 'no JSON::PP', 5;
	my $vm = eval { JSON::PP::decode_json($stats) };
	ok($vm && $vm->{schema} eq 'quire.stats/1' && ref $vm->{machine} eq 'HASH',
		'quire.stats/1');
	$vm = $vm->{vms}[0];
	ok($vm->{name} eq 'counted' && $vm->{exit_status} == 42, 'name and status');
	my $sum = 0;
	$sum += $vm->{$_} for grep { /^state_.*_pages$/ } keys %$vm;
	ok($sum == $vm->{ram_pages} && $sum == 64 * 256, 'each page is in exactly one state');
	ok($vm->{setup_ns} > 0 && $vm->{run_ns} > 0 && $vm->{metadata_bytes} > 0,
		'times and metadata');
	ok($vm->{exits_by_reason}{io_exits} >= 1 && $vm->{exits} >= 1, 'exits by reason');
}
is(run('run', '--stats=/dev/full', flat('exit0', 'b000 e6f4'))->{status}, 121,
	'statistics that cannot be written are an error');

# ---- nothing is left behind ----

my $pid = fork // die;
if (!$pid) {
	open STDOUT, '>', '/dev/null';
	exec $quire, 'run', '--name=left', $loop;
}
for (1 .. 100) {
	last if !system "$quire ps left >/dev/null 2>&1";
	sleep 0.1;
}
$r = run('run', '--name=left', $exit42);
ok($r->{status} eq 2 && one_line($r->{err}) && $r->{err} =~ /left/,
	'a name is taken while its VM runs');
kill KILL => $pid;
waitpid $pid, 0;
is($? & 127, 9, 'killed');
# The VM dies with its launcher, a moment after it.
for (1 .. 100) {
	$r = run('run', '--name=left', $exit42);
	last if $r->{status} ne 2;
	sleep 0.1;
}
is($r->{status}, 42, 'after kill -9 the name is free, and nothing has to be cleared away');
# The killed one's machine ends by itself, when it has seen its last VM go.
my $binary = abs_path($quire);
my $left;
for (1 .. 100) {
	$left = grep { (readlink("/proc/$_/exe") // '') eq $binary }
		map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
	last if !$left;
	sleep 0.05;
}
is($left, 0, 'no process is left');

# ---- no permission ----

SKIP: {
	skip 'needs root to become somebody else', 2 if $>;
	my @as_nobody = ('perl', '-e',
		'$) = "65534 65534"; $( = 65534; $< = $> = 65534; exec @ARGV');
	skip '/dev/kvm is open to all', 2 if !system(@as_nobody, 'test', '-w', '/dev/kvm');
	chmod 0755, $dir;
	system "cp $quire $dir/q; chmod 755 $dir/q";
	my $line = `setpriv --reuid 65534 --regid 65534 --clear-groups $dir/q run $exit42 2>&1`;
	is($? >> 8, 121, 'no permission for /dev/kvm: status 121');
	ok(one_line($line) && $line =~ m{permission.*/dev/kvm},
		'and one line that says what to do');
	diag $line;
}

done_testing();
