#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Looking into a Linux guest, with Debian's kernel as it is: KASLR, five levels of tables if the
# processor has them, SMEP, SMAP, and page tables of the user's own (KPTI).
use strict;
use warnings;
no warnings 'portable';	# addresses have 64 bits
use FindBin;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;
use Linux;

my $skip = no_linux();
plan skip_all => $skip if $skip;

my $machine = serve("$dir/machine", '--memory=512M', '--overcommit=1')
	or BAIL_OUT(slurp("$dir/machine.err"));
my $g = linux('g1', initramfs([], $Linux::shell), [qw(-m 256M --merge=off)], 'pti=on');
is_up($g) or diag(slurp("$g->{base}.out"), slurp("$g->{base}.err")), BAIL_OUT('no Linux');
ok(1, 'Linux comes up');

# The text of a symbol file, as it is or as the kernel was linked, as an option.
my $kallsyms;
sub symbols {
	my ($name, $by) = @_;
	my $text = $kallsyms =~ s/^([0-9a-f]+)/sprintf '%016x', hex($1) - $by/gemr;
	return '--symbols=' . spew($name, $text);
}

$kallsyms = ask($g, q{grep -E ' (_text|linux_banner|asm_exc_divide_error|asm_exc_page_fault|} .
	q{vmcoreinfo_data|vmcoreinfo_size)$' /proc/kallsyms});
my ($text) = $kallsyms =~ /^([0-9a-f]+) \w _text$/m;
my ($banner) = $kallsyms =~ /^([0-9a-f]+) \w linux_banner$/m;
my $slide = hex($text) - 0xffffffff81000000;
ok($slide > 0, sprintf 'KASLR moved the kernel by %#x', $slide);
my ($moved, $linked) = (symbols('moved', 0), symbols('linked', $slide));

# An idle guest is in its kernel, also with page tables of the user's own.
for (['as the guest sees them', $moved], ['as it was linked', $linked]) {
	my ($what, $option) = @$_;
	my ($walk, $status) = quire('walk', $option, '--bytes=16', 'g1', 'linux_banner');
	is($status, 0, "symbols $what: linux_banner is found");
	like($walk, qr/^linux_banner is gva 0x$banner\b/m, '... where it is') or diag $walk;
	like($walk, qr/\|Linux version 6\.\|$/m, '... and it is the banner') or diag $walk;
}
my ($dis) = quire('dis', $moved, 'g1', 'asm_exc_page_fault', 3);
like($dis, qr/^asm_exc_page_fault:\n/, 'code of Linux by name') or diag $dis;
my ($dump) = quire('dump', $linked, 'g1', "$dir/g1.core");
like($dump, qr/^VM g1: 256 MiB of RAM/, 'a dump of Linux') or diag $dump;
open my $core, '<:raw', "$dir/g1.core";
sysread $core, my $head, 16384;
like($head, qr/VMCOREINFO.*OSRELEASE=6\./s, '... has its VMCOREINFO');
unlink "$dir/g1.core";

# A process that does not sleep: what it executes is what its program's file has there.
my $flags = ask($g, 'grep -m 1 ^flags /proc/cpuinfo');
my $maps = ask($g, q(while :; do :; done & grep r-xp.*busybox /proc/$!/maps));
my ($start, $end, $offset) = map { hex } $maps =~ /^([0-9a-f]+)-([0-9a-f]+) r-xp ([0-9a-f]+)/m;
my $level = $flags =~ /\bla57\b/ ? 5 : 4;
my ($rip, $walk) = ('', '');
until_true(30, sub {
	($rip) = quire('dis', 'g1') =~ /^  => 0*([0-9a-f]+)/m;
	return hex($rip // 0) >= $start && hex($rip) < $end - 16;
});
$walk = quire('walk', '--user', '--fetch', '--bytes=16', 'g1', "0x$rip");
like($walk, qr/^walk of gva 0x$rip \($level-level\): ok/, "a user's page, at $level levels")
	or diag $walk;
my $bytes = substr slurp("$Linux::bed/guest/busybox"), hex($rip) - $start + $offset, 16;
my $hex = join ' ', map { sprintf '%02x', ord } split //, $bytes;
like($walk, qr/^  0*$rip  $hex  /m, '... has the bytes of its program') or diag $walk;
SKIP: {
	skip 'no SMAP', 1 if $flags !~ /\bsmap\b/;
	like(scalar quire('walk', 'g1', "0x$rip"), qr/#PF with error code 0x1\b/,
		'... which SMAP keeps from the supervisor');
}
ok(until_true(30, sub { quire('walk', $moved, 'g1', 'linux_banner') =~ /#PF with error code 0\b/ }),
	'the user has none of the kernel mapped (KPTI)');
ask($g, 'kill $!');
ok(until_true(30, sub { (quire('walk', $moved, 'g1', 'linux_banner'))[1] == 0 }),
	'... and the kernel has again');

say_to($g, 'poweroff -f');
is(finish($g, 60)->{status}, 0, 'it powers off');
done_testing();
