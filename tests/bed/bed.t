#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The tests that touch KVM, on a true second stage of translation: in the bed (tools/bed), whose
# emulated processor has AMD's nested paging.  docs/testing.md says what only this can show.
#
# Each test that runs there is one check here; its own failed checks are told below it.  How the
# emulated processor deviates from a real one stands in deviations.txt, which tests consult.
# With BED=all every test in tests/ that needs no compiler runs, with BED_TESTS="ROOM/NAME..."
# these, else the few of @short.  What they print, all of it, is in log of the bed's folder.
# Tests have their variables there (QUIRE_GUESTS, QUIRE_SEED and others), as the environment here.
# BED_TIMEOUT and BED_TEST_TIMEOUT end what hangs: the bed, in seconds of the host's, and a test in
# seconds of the bed's clock.
use strict;
use warnings;
use Cwd qw(getcwd);
use IO::Handle;
use Test::More;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $build = $ENV{QUIRE_BUILD} // 'build';
my $bed = $ENV{QUIRE_BED} // 'build-bed';
my $patience = $ENV{BED_TEST_TIMEOUT} // 600;

my @short = ('kvm/selftest.t', 'kvm/walk_translate_test', 'kvm/walk_fault_test',
	'kvm/efault_test', 'kvm/slot_log_test', 'kvm/world_test', 'kvm/locked.t', 'kvm/balloon.t',
	'kvm/events.t', 'kvm/cgroup.t', 'kvm/cgroup_test', 'kvm/linux_boot.t', 'kvm/linux_look.t',
	'kvm/linux.t');
# They compile, or start an emulator of their own.
my %elsewhere = map { $_ => 1 }
	qw(house/tsan.t house/docs.t house/install.t fuzz/fuzz.t kvm/balloon_qemu.t bed/bed.t);

my $missing = `tools/bed/prepare.sh $bed 2>&1`;
chomp $missing;
plan skip_all => $missing if $?;

# room/name of every test: a program that was built, or a script.
sub all_tests {
	my @names = map { m{tests/(.*_test)\.c} ? $1 : () } sort glob 'tests/*/*_test.c';
	return grep { !$elsewhere{$_} } @names, map { m{tests/(.*\.t)} } sort glob 'tests/*/*.t';
}

sub path { my ($name) = @_; return $name =~ /\.t$/ ? "tests/$name" : "$build/tests/$name" }

# The names in deviations.txt.
sub deviations {
	open my $in, '<', 'tests/bed/deviations.txt' or die "deviations.txt: $!";
	return join ' ', map { /^([^#\t]+)\t/ ? $1 : () } <$in>;
}

my $all = ($ENV{BED} // '') eq 'all';
my @tests = $all ? all_tests() :
	    defined $ENV{BED_TESTS} ? split(' ', $ENV{BED_TESTS}) : @short;
$ENV{BED_TIMEOUT} //= $all ? 6 * 3600 : 2400;
# There are guests of 6 GiB.
$ENV{BED_MEMORY} //= $all || defined $ENV{BED_TESTS} ? '8G' : '4G';

# Linux guests have a bed each: the longer one runs, the likelier it meets an interrupt twice, and
# may stand still then (docs/testing.md).
my @beds = ([grep { !m{^kvm/linux} } @tests], map { [$_] } grep { m{^kvm/linux} } @tests);

sub write_script {
	my ($script, @names) = @_;
	open my $out, '>', $script or die "$script: $!";
	print $out map { "export $_='$ENV{$_}'\n" } grep { /^QUIRE_/ } sort keys %ENV;
	print $out "cd '" . getcwd() . "'\n",
		"export QUIRE_MACHINE=own QUIRE_BUILD=$build QUIRE_BED=$bed\n",
		"export QUIRE_DEVIATIONS='" . deviations() . "'\n";
	for (@names) {
		my $test = path($_);
		print $out "echo; echo '\@\@ begin $_'\n",
			"timeout -k 5 $patience $test 2>&1 </dev/null; ",
			"echo; echo '\@\@ end $_' \$?\n";
	}
	close $out;
	return;
}

# The checks of one test: those that failed without being known to, and how many there were.
sub judge {
	my ($name, $lines, $status) = @_;
	my ($checks, $skips, @bad) = (0, 0);

	for (@$lines) {
		my ($not, $text) = /^(not )?ok \d+(.*)/ or next;
		$checks++;
		$skips++ if $text =~ /# SKIP/i;
		push @bad, $_ if $not;
	}
	my ($planned) = map { /^1\.\.(\d+)/ ? $1 : () } @$lines;
	push @bad, "it ended with status $status" if $status;
	push @bad, 'it has no plan' if !defined $planned;
	push @bad, "it planned $planned checks and made $checks"
		if defined $planned && $planned != $checks;
	my $what = "$name: $checks checks";
	$what .= ", $skips skipped" if $skips;
	return ($what, @bad);
}

open my $log, '>', "$bed/log" or die "log: $!";
$log->autoflush;
my (%seen, @console);

sub run_bed {
	my (@names) = @_;
	my $script = getcwd() . "/$bed/script.sh";
	my ($begin, @lines);

	write_script($script, @names);
	open my $in, '-|', 'tools/bed/run.sh', $bed, $script or die "run.sh: $!";
	while (<$in>) {
		s/[\r\n]+$//;
		print $log "$_\n";
		push @console, $_;
		shift @console if @console > 40;
		if (/^@@ begin (.*)/) {
			($begin, @lines) = (time);
		} elsif (/^@@ end (\S+) (\d+)/) {
			my ($what, @bad) = judge($1, \@lines, $2);
			$seen{$1} = 1;
			ok(!@bad, $what . ', ' . (time - $begin) . ' s');
			diag(join "\n", @bad, @lines > 60 ? @lines[-60 .. -1] : @lines) if @bad;
		} else {
			push @lines, $_;
		}
	}
	close $in;
	return;
}

run_bed(@$_) for grep { @$_ } @beds;
my @unseen = grep { !$seen{$_} } @tests;
my (undef, undef, $user, $system) = times;
ok(!@unseen, sprintf 'all ran to their end, with %d s of processor time', $user + $system);
diag(join "\n", "not run, or not to its end: @unseen", @console) if @unseen;
done_testing();
