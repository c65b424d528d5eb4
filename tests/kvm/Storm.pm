# SPDX-License-Identifier: MIT
#
# For tests that let much happen at once, to many guests on one machine: what goes on beside them,
# and the comparison of everybody's numbers when they are held still.
package Storm;
use strict;
use warnings;
use Exporter qw(import);
use POSIX ();
use Test::More;
use Guests;

our @EXPORT = qw(sum beside end_beside window_mappings at_rest all_back);

sub sum { my $s = 0; $s += $_ // 0 for @_; return $s }

# ---- beside ----

# A process of its own that does something again and again until it is stopped, or we are.
sub again {
	my ($what) = @_;
	my $parent = $$;
	return Guests::spawn {
		my $over;
		$SIG{TERM} = sub { $over = 1 };
		$what->() while !$over && getppid == $parent;
	};
}
my @beside;
sub beside { push @beside, again(@_) }
# Each finishes its round, so that no command of its is left.
sub end_beside { for (splice @beside) { kill TERM => $_; waitpid $_, 0; Guests::forget($_) } }

# ---- at rest ----

# How many mappings the kernel has in the window of a VM process: the highest stretch of addresses
# that begins at a GiB and is as long as RAM.  (The alias is another, below.)  undef: it is gone.
sub window_mappings {
	no warnings 'portable';	# of hex(), which it is here
	my ($pid, $bytes) = @_;
	my @maps = map { /^(\w+)-(\w+) / ? [hex $1, hex $2] : () } split /\n/,
		slurp("/proc/$pid/maps");
	my $nr;
	for my $i (grep { $maps[$_][0] % (1 << 30) == 0 } 0 .. $#maps) {
		my ($end, $j) = ($maps[$i][0], $i);
		$end = $maps[$j++][1] while $j < @maps && $maps[$j][0] == $end;
		$nr = $j - $i if $end == $maps[$i][0] + $bytes;
	}
	return $nr;
}

# How many mappings more than we count the kernel may have: they end where blocks of 2 MiB do.
sub may_be_apart { my ($vm) = @_; return deviates('joins') ? $vm->{ram_bytes} >> 21 : 0 }

sub inode { my @st = stat $_[0]; return $st[1] // 0 }

# Hold all guests still, let the keepers finish, and compare everything.  '' or what is not so.
sub at_rest {
	my ($machine) = @_;
	my ($m, $vms, @names);
	my $paused = until_true(20, sub {
		($m, $vms) = account();
		@names = sort keys %{$vms // {}} or return 1;
		return !(quire('pause', @names))[1];
	});
	return 'the machine does not answer' if !$m;
	return 'no VM' if !@names;
	my ($odd, $last) = ('', '');
	for (1 .. 10) {
		$last = quire('merge', 'now', @names);
		last if $last =~ /^merged 0 pages and found 0/;
	}
	($m, $vms) = account();
	my %ours = map { (inode($_) => 1) } store_files($machine->{pid});
	my $blocks = sum(map { blocks_of($_) } store_files($machine->{pid}));
	my ($shared, $files, $orphans) = (0, 0, 0);
	for my $vm (values %$vms) {
		if (!defined $vm->{state_private_pages}) {
			$odd .= "$vm->{name} does not answer; ";
			next;
		}
		my $file = ram_file($vm->{pid}, $vm->{ram_bytes} >> 20);
		my $n = $file ? blocks_of($file) : -1;
		$odd .= "$vm->{name}: $n blocks, $vm->{state_private_pages} private pages; "
			if $n != $vm->{state_private_pages};
		$odd .= "$vm->{name}: $vm->{ram_file_bytes} resident, credits $vm->{credit_bytes}; "
			if $vm->{ram_file_bytes} > $vm->{credit_bytes};
		my $maps = window_mappings($vm->{pid}, $vm->{ram_bytes}) // 0;
		my $more = $maps - $vm->{mappings};
		$odd .= "$vm->{name}: $maps mappings, $vm->{mappings} by our count; "
			if $more < 0 || $more > may_be_apart($vm);
		my $reasons = sum(map { $vm->{$_} } grep { /^reason_/ } keys %$vm);
		$odd .= "$vm->{name}: $reasons reasons; " if $reasons != $vm->{state_private_pages};
		$odd .= "$vm->{name}: not joined; " if !$vm->{merge_joined};
		$orphans += grep { !$ours{inode($_)} } store_files($vm->{pid});
		$shared += $vm->{state_shared_pages};
		$files += $n;
	}
	$odd .= "$orphans store files of machines that are gone; " if $orphans;
	$odd .= "$m->{store_references} references, $shared shared pages; "
		if $m->{store_references} != $shared;
	$odd .= "store: $blocks blocks, $m->{store_bytes} bytes; "
		if $m->{store_bytes} != $blocks * 4096;
	$odd .= "$m->{resident_bytes} resident, $files + $blocks blocks; "
		if $m->{resident_bytes} != ($files + $blocks) * 4096;
	$odd .= 'nothing is shared; ' if !$shared;
	$odd .= "not all are paused; " if !$paused;
	quire('resume', @names);
	return $odd && "$odd (last: $last)";
}

sub all_back {
	my ($machine, $what) = @_;
	my $m = until_true(15, sub { my $m = account(); $m && !$m->{vms} ? $m : 0 }) || account() ||
		{};
	is(join(' ', map { "$_=" . ($m->{$_} // 'unknown') } grep { $m->{$_} // 1 }
		qw(vms committed_bytes credit_bytes overhead_bytes resident_bytes store_bytes
		store_references domains)), '', "$what: everything came back");
	is($m->{free_bytes}, $m->{memory_bytes}, '... all memory is free');
	is(sum(map { blocks_of($_) } store_files($machine->{pid})), 0,
		'... and no block of a store is left');
}

1;
