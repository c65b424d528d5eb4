# SPDX-License-Identifier: MIT
#
# Real guests on machines of their own, for tests: start them, read what quire says of them and what
# the kernel does, and end them whatever happens.
package Guests;
use strict;
use warnings;
use Digest::MD5 qw(md5);
use Exporter qw(import);
use File::Temp qw(tempdir);
use JSON::PP;
use POSIX qw(:signal_h :sys_wait_h);
use Time::HiRes qw(time sleep);

our @EXPORT = qw($build $quire $quill $dir $address isolate deviates selftest_passed no_guest
	missing slurp spew flat outcome start ended finish says complains
	alive children vms_of serve until_true account totals quire blocks_of ram_file store_files
	pages_of tables_of glyphs %ZERO);

our $build = $ENV{QUIRE_BUILD} // 'build';
our $quire = "$build/quire";
our $quill = "$build/guest/quill.elf";
$ENV{QUIRE_MACHINE} = 'own';	# a machine of the user's may run
our $dir = tempdir(CLEANUP => 1);

# `quire merge` speaks of all machines and VMs of the user that it can find.  In a network namespace
# of our own, where abstract sockets live, these are ours.
our $address = "\@quire/machine/test-$$";
sub isolate { return !syscall 272, 0x40000000 }	# unshare(CLONE_NEWNET), x86-64

# Does this processor deviate from the manuals so?  tests/bed/deviations.txt has the names.
sub deviates { return " $ENV{QUIRE_DEVIATIONS} " =~ / \Q$_[0]\E / if $ENV{QUIRE_DEVIATIONS} }

# Did quill's selftest, or copies of it, fail only where this processor deviates?
sub selftest_passed {
	my ($status, $out) = @_;
	my @failed = $out =~ /^(?:\S+\| )?not ok (.*)/mg;
	my @known = deviates('reserved-bits') ? grep { /reserved/ } @failed : ();
	return @failed == @known && $status eq (@known ? 1 : 0);
}

# Why there can be no guest, or nothing.
sub no_guest {
	return 'no access to /dev/kvm' if !-r '/dev/kvm' || !-w '/dev/kvm';
	my $probe = `timeout 20 $quire run --machine-memory=64M -m 16M $quill exit 0 2>&1`;
	return $? >> 8 == 121 ? $probe : undef;
}

# ... or none whose pages may be looked at.
sub missing {
	return 'not root: cannot look into VM processes' if $>;
	return 'cannot have a network namespace' if !isolate();
	return no_guest();
}

# ---- processes ----

our %child;	# pid => 1: to be ended whatever happens
END {
	my $status = $?;
	for (keys %child) { kill KILL => $_; waitpid $_, 0 }
	$? = $status;
}
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);

sub slurp { local $/; open my $f, '<:raw', $_[0] or return ''; my $t = <$f>; return $t // '' }

# A file of these bytes in $dir; its path.
sub spew {
	my ($name, $bytes) = @_;
	open my $f, '>:raw', "$dir/$name" or die "$dir/$name: $!";
	print $f $bytes;
	close $f or die "$dir/$name: $!";
	return "$dir/$name";
}

# An image whose code, in hexadecimal, runs in real mode at 0:7c00.
sub flat { my ($name, $hex) = @_; $hex =~ s/\s//g; return spew($name, pack 'H*', $hex) }

# Words of the shell: their status, output, errors.
sub outcome {
	my $status = system "{ @_; } >$dir/out 2>$dir/err </dev/null";
	return ($status >> 8, slurp("$dir/out"), slurp("$dir/err"));
}

# CODE in a process of its own, which ends with it, and which we end whatever happens.  Our handlers
# and children are not that process's: signals wait until it has none of them.
sub spawn(&) {
	my ($code) = @_;
	my $before = POSIX::SigSet->new;
	sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGINT, SIGHUP, SIGTERM), $before);
	my $pid = fork // die "fork: $!";
	$child{$pid} = 1;
	if (!$pid) {
		%child = ();
		$SIG{$_} = 'DEFAULT' for qw(INT HUP TERM);
	}
	sigprocmask(SIG_SETMASK, $before);
	return $pid if $pid;
	$code->();
	POSIX::_exit(127);
}
sub forget { delete $child{$_[0]} }	# it has ended

# A program in the background, its output in files, its input from the FIFO BASE.in if there is one.
sub start {
	my ($base, @command) = @_;
	my $pid = spawn {
		open STDIN, '<', -p "$base.in" ? "$base.in" : '/dev/null';
		open STDOUT, '>', "$base.out";
		open STDERR, '>', "$base.err";
		exec { $command[0] } @command;
	};
	return { pid => $pid, base => $base };
}

# Has it ended?  Then its status, else undef.
sub ended {
	my ($r) = @_;
	return $r->{status} if defined $r->{status} || waitpid($r->{pid}, WNOHANG) != $r->{pid};
	delete $child{$r->{pid}};
	$r->{status} = $? & 127 ? 'signal ' . ($? & 127) : $? >> 8;
	$r->{out} = slurp("$r->{base}.out");
	$r->{err} = slurp("$r->{base}.err");
	return $r->{status};
}

# Wait for its end, at most so many seconds (60).
sub finish {
	my ($r, $limit) = @_;
	if (!until_true($limit // 60, sub { defined ended($r) })) {
		kill KILL => $r->{pid};
		waitpid $r->{pid}, 0;
		delete $child{$r->{pid}};
		@$r{qw(status out err)} = ('hung', slurp("$r->{base}.out"),
			slurp("$r->{base}.err"));
	}
	return $r;
}

# What it returns as soon as that is true; at most so many seconds.
sub until_true {
	my ($seconds, $what) = @_;
	my $until = time + $seconds;
	while (1) {
		my $is = $what->();
		return $is if $is || time > $until;
		sleep 0.02;
	}
}

# Has it said so often?
sub says {
	my ($r, $what, $times, $seconds) = @_;
	return until_true($seconds // 30, sub {
		return ($times // 1) <= (() = slurp("$r->{base}.out") =~ /$what/g) ||
			(defined ended($r) && -1);
	}) == 1;
}

sub complains {
	my ($r, $what, $seconds) = @_;
	return until_true($seconds // 30, sub { slurp("$r->{base}.err") =~ $what });
}

sub alive { my $s = slurp("/proc/$_[0]/stat"); return $s ne '' && $s !~ /\) [ZX] / }

sub children
{
	my ($pid) = @_;

	return grep { alive($_) } split ' ', slurp("/proc/$pid/task/$pid/children");
}


# VM processes of a launcher.
sub vms_of { return grep { slurp("/proc/$_/cmdline") =~ /^quire-vm\0/ } children($_[0]) }

# A machine, when it answers; undef.
sub serve {
	my ($base, @options) = @_;
	my $m = start($base, $quire, 'machine', "--machine=$address", @options);
	return until_true(10, sub { account() }) ? $m : undef;
}

# ---- what quire says ----

# The output of a command and its status.
sub quire {
	my $text = join ' ', map { "'$_'" } @_;
	my $out = `timeout 60 $quire $text 2>&1`;
	return wantarray ? ($out, $? >> 8) : $out;
}

# The machine's numbers, and each VM's by name.
sub account {
	my $text = `timeout 20 $quire stat --json --machine=$address 2>/dev/null`;
	my $doc = eval { decode_json($text) } or return;
	return wantarray ? ($doc->{machine}, { map { $_->{name} => $_ } @{$doc->{vms}} }) :
		$doc->{machine};
}

# Those of `quire merge`.
sub totals {
	my $text = `timeout 20 $quire merge --json 2>/dev/null`;
	return eval { decode_json($text) } || {};
}

# A character for each page of RAM, as `quire map` has it.
sub glyphs {
	my ($vm, $mib) = @_;
	my $all = '';
	for (my $at = 0; $at < $mib; $at += 4) {
		my $text = quire('map', "--range=${at}M+4M", $vm);
		return '' if $text !~ /^one glyph is 4 KiB/m;
		$all .= $1 while $text =~ /^0x[0-9a-f]+  (.*)$/mg;
	}
	return $all;
}

# ---- what the kernel says ----

sub blocks_of { my @st = stat $_[0]; return @st ? $st[12] / 8 : 0 }	# in pages

# The RAM file of a process: the unlinked regular file of twice that size, for the pool is in it.
sub ram_file {
	my ($pid, $mib) = @_;
	for (glob "/proc/$pid/fd/*") {
		my @st = stat or next;
		return $_ if $st[3] == 0 && -f _ && $st[7] == $mib << 21;
	}
	return;
}

# The store files that a process has open for writing: a machine's.
sub store_files
{
	return grep { (readlink // '') =~ m{^/(?:memfd:)?quire-store} } glob "/proc/$_[0]/fd/*";
}


our %ZERO = (md5("\0" x 4096) => 1);

# The digest of each page that the file has, by number: glyphs tell which.
sub pages_of {
	my ($file, $glyphs) = @_;
	my (%digest, $page);
	open my $f, '<:raw', $file or return;
	for my $gfn (grep { substr($glyphs, $_, 1) =~ /p/i } 0 .. length($glyphs) - 1) {
		sysseek $f, $gfn * 4096, 0;
		sysread $f, $page, 4096;
		$digest{$gfn} = md5($page);
	}
	return \%digest;
}

# The numbers of the pages that hold a guest's page tables (4 levels), as its RAM file and vCPU 0
# say.
sub tables_of {
	my ($name, $file) = @_;
	my ($text) = quire('walk', $name, 0);
	my ($root) = $text =~ /^ *\d+ +PML4E .* at 0*([0-9a-f]+)/m or return;
	my %table;
	my @todo = ([hex($root) >> 12, 4]);
	open my $f, '<:raw', $file or return;
	while (my $next = shift @todo) {
		my ($gfn, $level) = @$next;
		next if $table{$gfn}++;
		sysseek $f, $gfn * 4096, 0;
		sysread $f, my $page, 4096;
		for my $entry ($level > 1 ? unpack 'Q<512', $page : ()) {
			push @todo, [$entry >> 12 & (1 << 40) - 1, $level - 1]
				if $entry & 1 && !($entry & 0x80);
		}
	}
	return \%table;
}

1;
