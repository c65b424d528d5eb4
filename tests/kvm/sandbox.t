#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The sandbox from the outside: a sandboxed quire run behaves as one that is not, and its threads
# are held to their tables.  sandbox_test.c and takeover_test.c have what it keeps a VM from.
use strict;
use warnings;
use File::Temp qw(tempdir);
use POSIX ();
use Test::More;
use Time::HiRes qw(time sleep);
use FindBin;
use lib $FindBin::Bin;
use Guests qw(slurp);

my $build = $ENV{QUIRE_BUILD} // 'build';
my ($quire, $guest) = ("$build/quire", "$build/guest/quill.elf");
my $dir = tempdir(CLEANUP => 1);

# As on a host without Landlock: landlock_create_ruleset() fails with ENOSYS.
our $no_landlock;
sub refuse_landlock {
	my $code = pack('SCCL' x 4, 0x20, 0, 0, 0, 0x15, 0, 1, 444, 0x06, 0, 0, 0x50000 | 38,
		0x06, 0, 0, 0x7fff0000);
	my $program = pack('Sx6P', 4, $code);
	syscall(157, 38, 1, 0, 0, 0);		# prctl: PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
	return !syscall(157, 22, 2, $program);
}

# Exit status or signal, standard output, standard error.
sub run {
	my $pid = fork // die;
	if (!$pid) {
		open STDIN, '<', '/dev/null' or die;
		open STDOUT, '>', "$dir/out" or die;
		open STDERR, '>', "$dir/err" or die;
		POSIX::_exit(77) if $no_landlock && !refuse_landlock();
		exec 'timeout', 60, $quire, 'run', @_;
	}
	waitpid $pid, 0;
	my $status = $? & 127 ? 'signal ' . ($? & 127) : $? >> 8;
	return ($status, slurp("$dir/out"), slurp("$dir/err"));
}

my ($status, $out, $err) = run("--stats=$dir/stats", $guest, 'hello');
if ($status eq 121) {
	chomp $err;
	plan skip_all => $err;
}

# ---- what is on ----

sub pieces {
	my ($object) = slurp("$dir/stats") =~ /"sandbox": \{(.*?)\}/s;
	my %p = ($object // '') =~ /"(\w+)": ([01])/g;
	return \%p;
}

is($status, 0, 'a guest runs in the sandbox');
my $on = pieces();
ok($on->{$_}, "--stats says that $_ is on")
	for qw(no_core limits no_descriptors no_new_privs seccomp);
note join ' ', map { "$_=$on->{$_}" } sort keys %$on;
is((run('--sandbox=off', "--stats=$dir/stats", $guest, 'hello'))[0], 0, '--sandbox=off runs');
is(join(' ', grep { pieces()->{$_} } sort keys %$on), '', '... with no piece on');
($status, $out, $err) = run('--sandbox=strict', "--stats=$dir/stats", $guest, 'hello');
if ($status eq 121) {
	like($err, qr/\Aquire: --sandbox=strict: this host does not permit \w+, use [^\n]+\n\z/,
	     '--sandbox=strict says what is missing');
} else {
	is($status, 0, '--sandbox=strict runs');
	# That takes a host that leaves cgroups to the launcher.
	is(join(' ', grep { !pieces()->{$_} && $_ ne 'memory_cgroup' } sort keys %$on), '',
		'... with all pieces on');
}
is((run('--sandbox=maybe', $guest))[0], 2, 'another value is refused');

# ---- a machine whose frames others could write ----

sub store { return (slurp("$dir/stats") =~ /"store_read_only": ([01])/)[0] }

{
	my $could = $status ne 121;
	is(store(), 1, '--stats: the store is read-only to others') if $could;
	local $no_landlock = 1;
	($status, $out, $err) = run("--stats=$dir/stats", $guest, 'hello');
	is($status, 0, 'without Landlock: a guest runs') or diag $err;
	is(store(), 0, '... and --stats says what its machine lacks');
	($status, $out, $err) = run('--sandbox=strict', $guest, 'hello');
	is($status, 121, '... which --sandbox=strict asks for');
	like($err, qr/\Aquire: --sandbox=strict: the machine has no read-only store, [^\n]+\n\z/,
		'... in one line');
}

# ---- the same behaviour ----

# What differs from run to run: times, cycles, host addresses.
sub steady { return $_[0] =~ s/^time: .*$//mgr =~ s/\d+(\.\d+)? (us|ms|s|ns)\b//gr =~ s/tsc \d+//r }

# A guest that halts is ended by its timeout.
my @crash = map { ['crash', $_] } qw(triple ud null jump stack vmcall scribble int3 hlt);
for my $case (['exit', 7], ['exit', 200], @crash) {
	my @how = ('--timeout=' . ($case->[1] eq 'hlt' ? 3 : 20), '--irqchip=off',
		"--name=same-$$");
	my @in = run(@how, $guest, @$case);
	my @off = run('--sandbox=off', @how, $guest, @$case);
	is($in[0], $off[0], "@$case: same status ($off[0])");
	is(steady($in[1]), steady($off[1]), "@$case: same output");
	is(steady($in[2]), steady($off[2]), "@$case: same messages");
}
for my $case (['selftest'], ['stress', 1], ['touch', 1000], ['fill', 7, 1000]) {
	for my $how ([], ['-c', 2, '--irqchip=on'], ['--hugepages=never']) {
		my @in = run('--timeout=50', @$how, $guest, @$case);
		my @off = run('--timeout=50', '--sandbox=off', @$how, $guest, @$case);
		is($in[0], $off[0], "@$how @$case: same status ($off[0])");
		is($in[2], $off[2], "@$how @$case: same messages");
	}
}

# ---- every thread ----

my $vm = fork // die;
if (!$vm) {
	open STDOUT, '>', '/dev/null' or die;
	exec $quire, 'run', "--name=sandbox-$$", '--timeout=30', '-c', 2, $guest, 'idle', 20;
}
# The launcher's children are the machine and the VM.
my (@tasks, %filtered);
for (1 .. 100) {
	my (undef, $process) = split ' ', slurp("/proc/$vm/task/$vm/children");
	# KVM adds a thread of the kernel's own to the process.
	@tasks = grep { slurp("$_/comm") !~ /^kvm-/ } $process ? glob "/proc/$process/task/*" : ();
	%filtered = map { $_ => scalar(slurp("$_/status") =~ /^Seccomp:\s2$/m) } @tasks;
	last if @tasks > 6 && !grep { !$_ } values %filtered;
	sleep 0.05;
}
is(scalar @tasks, 7, 'main loop, pager, keeper, reclaimer, channel and two vCPUs run');
is(scalar(grep { !$_ } values %filtered), 0, '... each with a filter');
is(scalar(grep { slurp("$_/status") =~ /^Seccomp_filters:\s([^1]|1\d)/m } @tasks), 0,
   '... and only its own');
like(`$quire map sandbox-$vm 2>&1; $quire map $vm`, qr/private/, 'quire map sees into it');
like(`$quire walk $vm 0x100000`, qr/0x100000/, '... and quire walk');
kill TERM => $vm;
waitpid $vm, 0;
is($? >> 8, 143, 'SIGTERM ends it in order');

done_testing();
