#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The balloon of real guests, to the page.  The guest is paused at each step and its map compared
# with the one before: of the pages that went into the balloon, those that had a frame of their own
# are exactly what the RAM file became smaller by; of the others each is as it was, or has been
# written by the driver (its list).  The guest verifies its own memory all the time.
use strict;
use warnings;
use File::Basename qw(dirname);
use Test::More;
use Time::HiRes qw(time sleep);
use lib dirname(__FILE__);
use Quire;

chdir "$1/../.." if __FILE__ =~ m{(.*)/};
my $missing = Quire::missing();
plan skip_all => $missing if $missing;

my $mib = 64;
my $unreported = 'features=0x' . 'f' x 14 . 'df';	# all but REPORTING
my $domain;

# Map and file of a paused guest; the file must hold the private pages and nothing else.  The pager
# may finish a block that it has begun.
sub look {
	my ($vm, $what) = @_;
	my (@map, $file, $private);
	$vm->pause;
	for (1 .. 20) {
		@map = $vm->each_page;
		$file = $vm->file_pages($mib);
		$private = grep { /^private/ } @map;
		last if $file == $private;
		sleep 0.02;
	}
	$vm->resume;
	is($file, $private, "$what: the RAM file has $file pages, those that are private");
	is(scalar @map, $mib * 256, '... each page is in one state');
	return { map => \@map, file => $file, ballooned => scalar grep { $_ eq 'ballooned' } @map };
}

# A target; when it is reached, what the guest gave up must be what the host took.
sub inflate {
	my ($vm, $what, $pages, $before) = @_;
	$vm->balloon($pages);
	$vm->wait_for(qr/target=$pages actual=$pages took/) or diag $vm->{out};
	my $now = look($vm, "$what: $pages in the balloon");
	is($now->{ballooned}, $pages, '... so many pages are ballooned');
	my (%gone, $other);
	for my $gfn (0 .. $#{ $now->{map} }) {
		my ($from, $to) = ($before->{map}[$gfn], $now->{map}[$gfn]);
		$gone{$from}++ if $to eq 'ballooned' && $from ne 'ballooned';
		$other++ if $to ne 'ballooned' && $from ne 'ballooned' && $from =~ /^private/ &&
			$to !~ /^private/;
	}
	my $own = ($gone{private} // 0) + ($gone{'private large'} // 0);
	# The driver's list may have taken a few.
	my $fewer = $before->{file} - $now->{file};
	ok($fewer <= $own && $fewer >= $own - 20,
		"... $own had frames of their own, the file lost $fewer pages");
	is($other // 0, 0, '... and no other page was lost');
	return { %$now, gone => \%gone };
}

sub deflate {
	my ($vm, $what, $pages, $before) = @_;
	$vm->balloon($pages);
	$vm->wait_for(qr/target=$pages actual=$pages took/) or diag $vm->{out};
	my $now = look($vm, "$what: $pages left in the balloon");
	is($now->{ballooned}, $pages, '... the rest is not ballooned any more');
	return $now;
}

sub ends_well {
	my ($vm, $what, $like) = @_;
	my $status = $vm->finish;
	return ok($status eq 0 && $vm->{out} =~ $like, $what) || diag "status $status: $vm->{out}";
}

# Both must have counted the same.
sub counts_agree {
	my ($vm, $what, $in, $out) = @_;
	my $info = $vm->balloon;
	is("@$info{qw(actual requested inflated deflated)}", ($in - $out) . " $in $in $out",
		"$what: all counted");
	is("@$info{qw(duplicates refused kept failed)}", '0 0 0 0', '... and nothing amiss');
	return;
}

# Private memory, in 2 MiB leaves or not.
sub private {
	my ($mode) = @_;
	my $vm = Quire->new(['-m', "${mib}M", "--hugepages=$mode", '--merge=off'], 'balloon',
		'seconds=50',
		'steps=6', 'touch=1000', 'dirty=14336', 'reuse=1', $unreported);
	$vm->wait_for(qr/ready/) or diag $vm->{out};
	my $at = look($vm, $mode);
	my $in = 0;
	for my $pages (1, 300, 700, 9000) {
		$at = inflate($vm, $mode, $pages, $at);
		$in += $pages - $in;
	}
	ok($at->{gone}{$mode eq 'auto' ? 'private large' : 'private'} > 7000,
		'... most of them from where they were expected');
	deflate($vm, $mode, 5000, $at);
	counts_agree($vm, $mode, 9000, 4000);
	$vm->balloon(0);
	ends_well($vm, "$mode: all back, as zeroes, and the guest lost nothing",
		qr/inflated=9000 deflated=9000 .* zeroed=9000\n.*verified=1000/);
	return;
}

# Whole blocks go first and come back together: nothing that the guest uses is taken out of a 2 MiB
# leaf.
sub blocks {
	my $pages = 8 * 512;
	my $vm = Quire->new(['-m', "${mib}M", '--hugepages=auto', '--merge=off'], 'balloon',
		'seconds=50', 'steps=3',
		'touch=1000', 'dirty=14336', 'reuse=1', $unreported);
	$vm->wait_for(qr/ready/) or diag $vm->{out};
	my $before = look($vm, 'blocks');
	my $in = inflate($vm, 'blocks', $pages, $before);
	is($in->{gone}{'private large'}, $pages, '... all in 2 MiB leaves before');
	my $split = grep { $before->{map}[$_] =~ /large/ && $in->{map}[$_] eq 'private' }
		0 .. $#{ $in->{map} };
	is($split, 0, '... and no page that stayed left its leaf');
	my $out = deflate($vm, 'blocks', 0, $in);
	my $whole = grep { $in->{map}[$_] eq 'ballooned' && $out->{map}[$_] eq 'private large' }
		0 .. $#{ $in->{map} };
	is($whole, $pages,
		'... each of those that came back is in a 2 MiB leaf when it has been written');
	$vm->balloon(1);
	ends_well($vm, '... and the guest lost nothing', qr/zeroed=4096\n.*verified=1000/);
	return;
}

# Pages that are shared between two guests, zero, or their own.
sub merged {
	my ($mode) = @_;
	my @options = ('-m', "${mib}M", "--hugepages=$mode", "--machine=$domain", '--domain=twins',
		'--merge-rate=1000000000');
	my @words = ('balloon', 'seconds=600', 'steps=2', 'touch=1000', 'dirty=8192', 'zero=2000',
		'reuse=1',
		$unreported);
	my @vm = map { Quire->new(\@options, @words) } 1 .. 2;
	$_->wait_for(qr/ready/) for @vm;
	for (1 .. 20) {
		$_->merge_now for @vm;
		my $s = $vm[0]->states;
		last if $s->{shared} > 5000 && $s->{zero} > 1000;
	}
	my $at = look($vm[0], "merged, $mode");
	my $got = inflate_merged($vm[0], 12000, $at);
	ok(($got->{shared} // 0) > 3000, "... $got->{shared} of them were shared");
	ok(($got->{zero} // 0) > 500, "... $got->{zero} were zero");
	for my $vm (@vm) {
		$vm->balloon(12000);
		$vm->wait_for(qr/target=12000 actual=12000/);
		$vm->balloon(0);
		ends_well($vm, '... and back as zeroes; neither lost a byte',
			qr/inflated=12000 deflated=12000 .* zeroed=12000\n.*verified=1000/);
	}
	return;
}

# As inflate, while the keeper goes on: only what the balloon says is exact.
sub inflate_merged {
	my ($vm, $pages, $before) = @_;
	$vm->balloon($pages);
	$vm->wait_for(qr/target=$pages actual=$pages took/) or diag $vm->{out};
	my $now = look($vm, "$pages in the balloon");
	is($now->{ballooned}, $pages, '... so many pages are ballooned');
	my %gone;
	for my $gfn (0 .. $#{ $now->{map} }) {
		$gone{ $before->{map}[$gfn] }++ if $now->{map}[$gfn] eq 'ballooned';
	}
	return \%gone;
}

# The rings are memory like any other, and idle: but they must not be merged away from the device.
sub answers {
	my $vm = Quire->new(['-m', '32M', '--irqchip=on', '--merge-rate=1000000000'], 'balloon',
		'seconds=6',
		$unreported);
	$vm->wait_for(qr/ready/);
	my $ticks = -cpu($vm);
	sleep 4;
	$ticks += cpu($vm);
	ends_well($vm, 'statistics are answered while rings could be merged', qr/stats=[3-9]/);
	return;
}

sub cpu {
	my ($vm) = @_;
	open my $f, '<', '/proc/' . $vm->vm_pid . '/stat' or return 0;
	my @fields = split ' ', <$f>;
	return $fields[13] + $fields[14];
}

sub reports {
	my ($mode, @options) = @_;
	my $run = "timeout 60 $Quire::quire run -m ${mib}M --merge=off --hugepages=$mode --stats=-";
	my $out = `$run @options $Quire::quill report 8000 2>&1`;
	is($?, 0, "report, $mode @options: the guest is well");
	my ($dropped) = $out =~ /"dropped_pages": (\d+)/;
	like($out, qr/reported=8192 .*\nreport: zero=8192 kept=0 other=0\nreport: verified=8192/,
		'... what it reported is zero');
	is($dropped, 8192, '... and exactly that left the host');
	return;
}

sub evil {
	my (@options) = @_;
	my $vm = Quire->new(['-m', "${mib}M", '--stats=-', @options], 'evil-balloon', 'all');
	my $looks = 0;
	# Once all is over there is nothing to look at: look while it goes on.
	while (!$vm->wait_for(qr/kinds=|quire/, 0.4)) {
		eval { look($vm, "evil, @options"); $looks++; 1 } or last;
	}
	ends_well($vm, "evil, @options: the guest is well ($looks looks)",
		qr/evil-balloon: kinds=12 verified=1000/);
	my %count = $vm->{out} =~ /"(state_\w+_pages|ram_pages)": (\d+)/g;
	my $ram = delete $count{ram_pages};
	my $sum = 0;
	$sum += $_ for values %count;
	is($sum, $ram, '... each page is in one state');
	is($count{state_ballooned_pages}, 0, '... and after the last reset none is ballooned');
	return;
}

private('auto');
private('never');
blocks();
reports('auto', '--irqchip=off');
reports('never', '--irqchip=off');
reports('never', '--irqchip=on');
evil('--irqchip=off');
evil('--irqchip=on');
evil('--hugepages=never', '--merge=off');
evil('--irqchip=on', '--merge-rate=1000000000');
answers();

$domain = "\@quire-test/balloon-$$";
my $machine = fork // die;
if (!$machine) {
	open STDERR, ">", "/dev/null";
	exec $Quire::quire, 'machine', "--machine=$domain", '--memory=512M' or POSIX::_exit(127);
}
sleep 0.5;
merged($_) for 'auto', 'never';
kill TERM => $machine;
waitpid $machine, 0;
is($? >> 8, 0, 'the machine ends');
done_testing;
