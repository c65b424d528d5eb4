#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The cgroup of a VM: where the launcher may make one the VM is in it, bounded and undisturbed, and
# nothing is left of it afterwards, whoever was killed.  Where it may not, quire says so.
# cgroup_test.c has VMs that were taken over.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep);
BEGIN { chdir "$FindBin::Bin/../.." }
use lib "$FindBin::Bin";
use Guests;

my $skip = missing();
plan skip_all => $skip if $skip;

# What a lone guest prints into a file in memory would be its own to pay, so it prints nowhere.
sub run_of {
	my (@words) = @_;
	return "exec $quire run --stats=$dir/stats @words >/dev/null";
}

# The end of a run, and what the VM said of its sandbox.
sub run_once {
	my ($before, @words) = @_;
	unlink "$dir/stats";
	my $r = finish(start("$dir/run", 'sh', '-c', $before . run_of(@words)), 100);
	my $doc = eval { decode_json(slurp("$dir/stats")) } // {};
	return ($r, $doc->{vms}[0]{sandbox}{memory_cgroup});
}

# ---- where none may be made ----

my $hidden = "exec unshare -m sh -c 'mount -t tmpfs none /sys/fs/cgroup && ";
my ($r, $has) = run_once($hidden, "-m 32M $quill hello'");
is($r->{status}, 0, 'without cgroups: a guest runs') or diag $r->{err};
is($has, 0, '... and --stats says that it is in none of its own');
($r) = run_once($hidden, "--sandbox=strict -m 32M $quill hello'");
unlike($r->{err}, qr/memory_cgroup/, '... which --sandbox=strict does not ask for');

# ---- where one may ----

my ($own) = slurp('/proc/self/cgroup') =~ m{^0::(/.*)}m;
my $home = '/sys/fs/cgroup' . ($own // '');
$home =~ s{/\z}{};
sub folders { return map { s{.*/}{}r } grep { -d } glob $_[0] }
sub groups { return folders("$home/quire-*") }

sub guest {
	my ($name, @words) = @_;
	my $run = start("$dir/$name", 'sh', '-c', run_of("--name=$name-$$", @words));
	my $json;
	until_true(60, sub {
		my ($text, $status) = quire('stat', '--sandbox', '--json', "$name-$$");
		$json = $status ? undef : eval { decode_json($text) };
		return $json || defined ended($run);
	});
	diag slurp("$dir/$name.err") if !$json;
	my %by = map { $_->{process} => $_ } @{ $json->{vms}[0]{processes} };
	return { %$run, vm => $by{vm}, launcher => $by{launcher},
		pieces => $json->{vms}[0]{pieces} };
}

sub test_one {
	my $g = guest('one', '-c 2 -m 64M', $quill, 'hold 1 10 seconds=200');
	is($g->{pieces}{memory_cgroup}, 'confirmed', 'the kernel says that a VM is in a cgroup');
	my ($name) = $g->{vm}{cgroup} =~ m{/(quire-vm-[^/]*)\z};
	ok($name, "... of its own: $g->{vm}{cgroup}");
	my $max = slurp("$home/$name/memory.max");
	cmp_ok($max, '>', 64 << 20, '... with room for all its RAM');
	cmp_ok($max, '<', 200 << 20, '... and not much more');
	is($g->{vm}{cgroup_memory_limit} . "\n", $max, '... as stat --sandbox has it');
	# KVM's own threads of the kernel have no program.
	my @others = grep { readlink "/proc/$_/exe" } split ' ', slurp("$home/$name/cgroup.procs");
	is("@others", $g->{vm}{pid}, 'nobody else is in it');
	like(slurp("$home/$name/pids.max"), qr/^\d+$/, 'its threads are bounded')
		if slurp("$home/cgroup.controllers") =~ /\bpids\b/;
	kill KILL => $g->{vm}{pid};
	finish($g);
	is($g->{status}, 121, 'a VM that somebody kills is not taken for one that took too much');
	is(join(' ', groups()), '', '... and its cgroup is gone');
}

sub test_killed_launcher {
	my $g = guest('two', '-m 32M', $quill, 'hold 1 10 seconds=200');
	kill KILL => $g->{launcher}{pid};
	finish($g);
	until_true(60, sub { !alive($g->{vm}{pid}) });
	is(scalar(groups()), 1, 'a launcher that is killed leaves a cgroup');
	run_once('', "-m 32M $quill hello");
	is(join(' ', groups()), '', '... which the next one removes');
}

# What a guest writes to a disk in memory is charged to its VM.
sub test_disk {
	my $disk = "/dev/shm/quire-cgroup-$$";
	open my $f, '>', $disk or return;
	truncate $f, 512 << 20;
	my $g = guest('three', "-m 32M --disk=$disk", $quill, 'hold 1 10 seconds=200');
	cmp_ok($g->{vm}{cgroup_memory_limit}, '>', 544 << 20, 'a disk on a tmpfs has room, too');
	kill TERM => $g->{launcher}{pid};
	finish($g);
	unlink $disk;
}

# A guest may use all that it was promised.
sub test_honest {
	my ($r, $has) = run_once('',
		"-n 2 -m 64M --machine-memory=256M --domain=$$ $quill touch all");
	is($r->{status}, 0, 'guests touch all their RAM') or diag $r->{err};
	is($has, 1, '... each in its cgroup');
}

# A cgroup that is left to the launcher.
sub test_given {
	my ($given) = @_;
	my $enter = "echo \$\$ >$given/cgroup.procs && ";
	for my $time ('once', 'again') {
		my ($r, $has) = run_once($enter, "-m 32M $quill hello");
		is($has, 1, "alone in a cgroup, $time: its VM has one below") or diag $r->{err};
		is(join(' ', folders("$given/*")), '', '... of which nothing is left');
	}
	my ($r, $has) = run_once("sleep 300 & echo \$! >$given/cgroup.procs; $enter",
		"-m 32M $quill hello");
	is($has, 0, 'in company: its VM has none') or diag $r->{err};
	is(slurp("$given/cgroup.subtree_control"), '', '... and others keep theirs as it was');
}

my $given = "$home/given-$$";
END {
	if (defined $given && -d $given) {
		kill KILL => split ' ', slurp("$given/cgroup.procs");
		until_true(10, sub { rmdir $given });
	}
}

($r, $has) = run_once('', "-m 32M $quill hello");
is($r->{status}, 0, 'a guest runs here') or diag $r->{err};
# The root passes controllers on; another cgroup with processes does if it did already.
my $ours = defined $own && -w "$home/cgroup.procs" &&
	slurp("$home/cgroup.controllers") =~ /\bmemory\b/ &&
	($own eq '/' || slurp("$home/cgroup.subtree_control") =~ /\bmemory\b/);
is($has, 1, '... in a cgroup, since this one is ours to divide') if $ours;
SKIP: {
	skip 'no cgroup of version 2 with the memory controller is ours to divide', 1 if !$has;
	is(join(' ', groups()), '', 'its cgroup is gone at its end');
	test_one();
	test_killed_launcher();
	test_disk();
	test_honest();
	skip 'no cgroup can be made here', 1 if !mkdir $given;
	test_given($given);
}
done_testing();
