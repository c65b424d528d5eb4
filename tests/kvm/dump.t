#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire dump: the file is an ELF core file, its memory is the guest's, byte by byte, also where
# pages are shared, and neither the guest nor any page of it notices.
use strict;
use warnings;
use Digest::MD5 qw(md5);
use FindBin;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = missing();
plan skip_all => $skip if $skip;

# ---- reading core files ----

# { load => [{ offset, paddr, bytes }], note => [[name, type, description]] }; undef: none.
sub core_of {
	my ($path) = @_;
	my $head = '';
	open my $f, '<:raw', $path or return;
	sysread $f, $head, 65536;
	my ($ident, $type, $machine, undef, undef, $phoff, undef, undef, undef, $each, $nr) =
		unpack 'a16 S S L Q Q Q L S S S', $head;
	return if substr($ident, 0, 6) ne "\x7fELF\2\1" || $type != 4 || $machine != 62;
	my %core = (file => $f, load => [], note => []);
	for my $i (0 .. $nr - 1) {
		my ($kind, undef, $offset, undef, $paddr, $bytes, undef, $align) =
			unpack 'L L Q Q Q Q Q Q', substr $head, $phoff + $i * $each, $each;
		push @{$core{load}}, { offset => $offset, paddr => $paddr, bytes => $bytes,
			align => $align } if $kind == 1;
		next if $kind != 4;
		for (my $at = $offset; $at < $offset + $bytes;) {
			my ($name, $desc, $what) = unpack 'L3', substr $head, $at, 12;
			$at += 12;
			push @{$core{note}}, [substr($head, $at, $name - 1), $what,
				substr $head, $at + ($name + 3 & ~3), $desc];
			$at += ($name + 3 & ~3) + ($desc + 3 & ~3);
		}
	}
	return \%core;
}

# The digest of each page, by number: of pages that are in holes, too.
sub digests {
	my ($core) = @_;
	my (%digest, $page);
	for my $load (@{$core->{load}}) {
		sysseek $core->{file}, $load->{offset}, 0;
		my $end = $load->{paddr} + $load->{bytes};
		for (my $gpa = $load->{paddr}; $gpa < $end; $gpa += 4096) {
			sysread $core->{file}, $page, 4096;
			$digest{$gpa >> 12} = md5($page);
		}
	}
	return \%digest;
}

sub dump_of {
	my ($name) = @_;
	my ($text, $status) = quire('dump', $name, "$dir/$name.core");
	is($status, 0, "$name: dumped") or diag $text;
	return core_of("$dir/$name.core");
}

sub state_of { my ($name) = @_; return (quire('ps', $name) =~ /^\Q$name\E +(\w+)/m)[0] }

# ---- two guests that share ----

my $machine = serve("$dir/machine", '--memory=1G', '--overcommit=1')
	or BAIL_OUT(slurp("$dir/machine.err"));
my $run = start("$dir/twin", $quire, 'run', "--machine=$address", '--name=twin', '-n', 2, '-m',
	'32M', '--merge=on', $quill, qw(hold 1 3000 own=200 zero=100 seconds=100));
ok(says($run, 'ready', 2, 60), 'two guests hold what they filled');

my $before = glyphs('twin-1', 32);
my $first = dump_of('twin-1') or BAIL_OUT('no core file');
is(glyphs('twin-1', 32) =~ tr/.//, $before =~ tr/.//, 'no page was brought in');
is(state_of('twin-1'), 'running', '... and the guest goes on');
is_deeply([map { @$_{qw(paddr bytes)} } @{$first->{load}}], [0, 32 << 20], 'a segment for its RAM');
is($first->{load}[0]{align}, 0, '... of no alignment: by that crash tells it from a netdump');
my $digest = digests($first);

quire('merge', 'now', 'twin-1', 'twin-2');
quire('pause', 'twin-1');
my $glyphs = glyphs('twin-1', 32);
my $second = dump_of('twin-1');
is(state_of('twin-1'), 'paused', 'a guest that was paused stays paused');
is(glyphs('twin-1', 32), $glyphs, '... with each page as it was');
my $after = digests($second);
my @shared = grep { substr($glyphs, $_, 1) eq 's' } 0 .. 8191;
cmp_ok(scalar @shared, '>=', 2000, 'pages are shared now');
is(scalar(grep { $after->{$_} ne $digest->{$_} } @shared), 0, '... and have the bytes they had');
my ($pid) = grep { slurp("/proc/$_/comm") =~ /./ } quire('ps', 'twin-1') =~ /(\d+)$/m;
my $private = pages_of(ram_file($pid, 32), $glyphs);
cmp_ok(scalar keys %$private, '>', 100, 'private pages are in the RAM file');
is(scalar(grep { $private->{$_} ne $after->{$_} } keys %$private), 0,
	'... and have the bytes of the dump');
my @others = grep { substr($glyphs, $_, 1) =~ /[.z]/ } 0 .. 8191;
is(scalar(grep { !$ZERO{$after->{$_}} } @others), 0, 'all others are zeroes');
my $full = grep { !$ZERO{$_} } values %$after;
cmp_ok(blocks_of("$dir/twin-1.core"), '<=', $full + 8, 'pages of zeroes are holes in the file');

# ---- notes ----

my ($arrow) = quire('dis', 'twin-1') =~ /^  => ([0-9a-f]+)/m;
my ($status) = grep { $_->[0] eq 'CORE' } @{$second->{note}};
is($status->[1], 1, 'NT_PRSTATUS is there');
is(length $status->[2], 336, '... of the right size');
is(sprintf('%016x', unpack 'Q', substr $status->[2], 112 + 16 * 8, 8), $arrow // 'no arrow',
	'... and RIP is where the vCPU is');
my ($qemu) = grep { $_->[0] eq 'QEMU' } @{$second->{note}};
my ($version, $bytes) = unpack 'L2', $qemu->[2];
is($version, 1, 'the state of a vCPU as QEMU has it is there');
is($bytes, length $qemu->[2], '... and says its size');
my ($cr3) = unpack 'Q', substr $qemu->[2], $bytes - 16, 8;
my ($root) = quire('walk', 'twin-1', '0x100000') =~ /^ *\d+ +PML4E .* at 0*([0-9a-f]+)/m;
is(sprintf('%x', $cr3), $root, '... and CR3 is the root of its tables');
quire('resume', 'twin-1');

SKIP: {
	skip 'no readelf', 1 if system 'command -v readelf >/dev/null';
	my $text = `readelf -hln '$dir/twin-1.core' 2>&1`;
	ok($text =~ /CORE \(Core file\)/ && $text =~ /NT_PRSTATUS/ && $text !~ /Warning|Error/,
		'readelf has no complaint') or diag $text;
}
SKIP: {
	skip 'no gdb', 1 if system 'command -v gdb >/dev/null';
	my @look = ("-ex 'info threads'", "-ex 'x/i \$pc'");
	my $text = `gdb -nx -batch @look $quill '$dir/twin-1.core' 2>&1`;
	like($text, qr/^=> 0x0*\Q${\($arrow =~ s{^0+}{}r)}\E/m, 'gdb opens it with the image')
		or diag $text;
}

# ---- RAM around the hole, and several vCPUs ----

my $wide = start("$dir/wide", $quire, 'run', "--machine=$address", '--name=wide', '-m', '3200M',
	'-c', 3, '--irqchip=on', $quill, qw(idle 100));
ok(until_true(30, sub { (state_of('wide') // '') eq 'running' }), 'a guest with RAM above 4 GiB');
my $core = dump_of('wide');
is_deeply([map { @$_{qw(paddr bytes)} } @{$core->{load}}],
	[0, 3072 << 20, 4096 << 20, 128 << 20], 'there are two segments');
is($core->{load}[1]{offset}, $core->{load}[0]{offset} + (3072 << 20),
	'... in order, without a gap');
is(-s "$dir/wide.core", $core->{load}[1]{offset} + (128 << 20), '... and the file ends with them');
is(scalar(grep { $_->[0] eq 'CORE' } @{$core->{note}}), 3, 'each vCPU has its registers');
unlink "$dir/wide.core";

# ---- what goes wrong ----

for (['no file named', 2, 'wide'], ['no such VM', 121, 'no-such-vm', "$dir/none"],
	['a directory', 121, 'wide', $dir], ['a device', 2, 'wide', '/dev/null'],
	['a file nowhere', 121, 'wide', '/nonexistent/core'],
	['symbols nowhere', 121, '--symbols=/nonexistent', 'wide', "$dir/none"]) {
	my ($what, $want, @words) = @$_;
	my ($text, $status) = quire('dump', @words);
	is($status, $want, "$what: " . ($text =~ s/\n//r));
	is($text =~ tr/\n//, 1, '... is one line');
}
my $text = `(ulimit -f 1024; exec $quire dump twin-2 $dir/small 2>&1)`;
is($? >> 8, 121, 'a file that may not grow: ' . ($text =~ s/\n//r));
ok(!-e "$dir/small", '... is not left');
is(state_of('twin-2'), 'running', '... and the guest goes on');
for my $signal (qw(INT TERM)) {
	my $dump = start("$dir/dump", $quire, 'dump', 'twin-2', "$dir/interrupted");
	until_true(30, sub { -e "$dir/interrupted" || defined ended($dump) });
	kill $signal => $dump->{pid} if !defined ended($dump);
	finish($dump);
	is(state_of('twin-2'), 'running', "after SIG$signal the guest goes on ($dump->{status})");
	# A signal may come when all is written.
	quire('dump', 'twin-2', "$dir/whole");
	is(-s "$dir/interrupted" // ($dump->{status} eq '0' ? 'none' : -s "$dir/whole"),
		-s "$dir/whole", '... and there is the whole file or none');
	unlink "$dir/interrupted";
}
kill TERM => $_->{pid} for $run, $wide;
finish($_) for $run, $wide;
done_testing();
