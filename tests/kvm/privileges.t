#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire stat --sandbox: what the processes of a VM may do.  The kernel's word is read here a second
# time, from /proc, and a VM without a sandbox has to look like one.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use Test::More;
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = missing();
plan skip_all => $skip if $skip;

sub guest {
	my ($name, @options) = @_;
	my $run = start("$dir/$name", 'timeout', '-s', 'KILL', 100, $quire, 'run',
		"--name=$name-$$", '-m', '32M', @options, $quill, 'hold', 1, 10, 'seconds=90');
	ok(says($run, 'hold: ready'), "$name runs") or diag slurp("$dir/$name.err");
	return $run;
}

sub look {
	my ($name) = @_;
	my ($text, $status) = quire('stat', '--sandbox', '--json', "$name-$$");
	is($status, 0, "$name: stat --sandbox answers");
	my $doc = eval { decode_json($text) } // {};
	is($doc->{schema}, 'quire.sandbox/1', '... as quire.sandbox/1') or diag $text;
	return $doc->{vms}[0];
}

sub field {
	my ($pid, $label) = @_;
	return slurp("/proc/$pid/status") =~ /^$label:\s*(.*)$/m ? $1 : '';
}

my @runs = map { guest(@$_) } [ 'in', '-c', 2 ], [ 'out', '--sandbox=off' ];

# ---- in the sandbox ----

my $in = look('in');
my %in = map { $_->{process} => $_ } @{ $in->{processes} };
is(join(' ', sort keys %in), 'launcher machine vm', 'three processes are found');
my ($vm, $launcher) = ($in{vm}{pid}, $in{launcher}{pid});
is(field($vm, 'PPid'), $launcher, 'the launcher is the parent of the VM');
isnt($in{machine}{pid}, $launcher, "the machine is another process");
my @denied = grep { $in->{pieces}{$_} eq 'denied' } sort keys %{ $in->{pieces} };
is("@denied", '', 'the kernel contradicts nothing that the VM says');
is($in->{pieces}{$_}, 'confirmed', "... and confirms $_") for qw(no_core no_new_privs seccomp);
is($in{vm}{capabilities}, field($vm, 'CapEff') =~ /[^0]/ ? 'some' : 'none', 'capabilities are so');
is($in{vm}{environment}, 'none', 'no environment is left');
is($in{vm}{bounding_set}, field($vm, 'CapBnd') =~ /[^0]/ ? 'some' : 'none', '... the bounding set');
for my $who (values %in) {
	my $pid = $who->{pid};
	for my $ns (qw(user ipc uts net pid)) {
		my $own = readlink "/proc/$pid/ns/$ns" ne readlink "/proc/self/ns/$ns";
		is($who->{"${ns}_namespace"}, $own ? 'own' : "the host's",
			"$who->{process}: its $ns namespace");
	}
	my @fds = glob "/proc/$pid/fd/*";
	cmp_ok(abs($who->{descriptors} - @fds), '<=', 2,
		"$who->{process}: its descriptors are counted");
	my ($files) = slurp("/proc/$pid/limits") =~ /^Max open files\s+(\S+)/m;
	like($who->{descriptor_limit}, qr/^$files(\/|\z)/, '... and bounded');
}
my @threads = grep { !/^the kernel's/ } map { $_->{role} } @{ $in->{threads} };
is(join(',', sort @threads), 'channel,keeper,main,pager,reclaimer,vcpu 0,vcpu 1',
	'threads have their roles');
is(scalar(grep { !$_->{filters} } @{ $in->{threads} }), 0, '... and filters');

my ($text) = quire('stat', '--sandbox', "in-$$");
like($text, qr/^capabilities .* none  +given up$/m, 'the text has it too');
unlike($text, qr/but it is not/, '... and nobody lies');
is(scalar(grep { /.{121}/ } split /\n/, $text), 0, '... in lines of bounded length');

# ---- without one ----

my $out = look('out');
my ($other) = grep { $_->{process} eq 'vm' } @{ $out->{processes} };
is(join(' ', sort { $a cmp $b } keys %{ { reverse %{ $out->{pieces} } } }), 'off',
	'--sandbox=off: no piece is on');
is($other->{filter}, 'none', '... the kernel knows no filter');
is($other->{no_new_privileges}, 'no', '... and would let it have new privileges');
is($other->{root}, "the host's", '... below its own root');

# ---- the document ----

my ($section) = slurp('docs/isolation.md') =~ /^(## One VM's life.*?)^## /ms;
my %described = map { $_ => 1 } $section =~ /`(\w+)`/g;
is(join(' ', grep { !$described{$_} && !/^(process|pid)$/ } sort keys %{ $in{vm} }), '',
	'docs/isolation.md describes each line');

is((quire('stat', '--sandbox'))[1], 2, 'it needs a VM');
is((quire('stat', '--sandbox', '--meminfo', "in-$$"))[1], 2, '... and is a form of its own');
kill TERM => map { $_->{pid} } @runs;
finish($_) for @runs;
done_testing();
