#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# balloon_turn.pl quire|qemu MIB inflate PAGES WORD... [-- OPTION...]
#                            ... report PAGES WORD...
#
# One guest of MIB.  inflate: the target goes to PAGES and, if the guest waits for two targets, back
# to 0; prints "in_us=N out_us=N stall_us=N", as the guest measured them.  report: PAGES are
# reported; prints "report_us=N".  Options are quire run's.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use lib dirname(__FILE__) . '/../kvm';
use Qemu;
use Quire;

my ($who, $mib, $what, $pages, @words) = @ARGV;
my @options;
for my $i (grep { $words[$_] eq '--' } reverse 0 .. $#words) {
	@options = splice @words, $i;
	shift @options;
}
my $dir = tempdir(CLEANUP => 1);
my $ram = $mib * 256;

sub start {
	my @command = @_;
	return Quire->new(['-m', "${mib}M", '--merge=off', @options], @command) if $who eq 'quire';
	return Qemu->new($Quire::quill, $dir, ['-m', $mib, '-device',
		'virtio-balloon-device,id=balloon,free-page-reporting=on'], @command);
}

sub ask {
	my ($vm, $target) = @_;
	my $bytes = ($ram - $target) * 4096;
	$who eq 'qemu' ? $vm->balloon($bytes) :
		system "$Quire::quire balloon $vm->{name} $bytes >/dev/null 2>&1";
	my $line = $vm->wait_for(qr/target=$target actual=$target took_us=\d+\n/, 100) //
		die "$who: $vm->{out}\n";
	return $line =~ /took_us=(\d+)/;
}

if ($what eq 'report') {
	my $vm = start('report', $pages, @words);
	my ($us) = ($vm->wait_for(qr/reported=.*\n/, 100) //
		die "$who: $vm->{out}\n") =~ /took_us=(\d+)/;
	$vm->stop;
	print "report_us=$us\n";
	exit 0;
}
my $vm = start('balloon', 'seconds=90', @words);
$vm->wait_for(qr/balloon: ready/, 100) or die "$who: $vm->{out}\n";
my ($in) = ask($vm, $pages);
my ($out) = grep({ /steps=2/ } @words) ? ask($vm, 0) : 0;
$vm->finish;
my ($stall) = $vm->{out} =~ /longest_stall_us=(\d+)/;
die "$who: $vm->{out}\n" if $vm->{out} !~ /verified=/;
print "in_us=$in out_us=$out stall_us=$stall\n";
