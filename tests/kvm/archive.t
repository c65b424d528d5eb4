#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Guests with equal pages that they do not use, in a machine that becomes short of memory: the pages
# are archived, once for all, and each guest finds every byte again.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use JSON::PP;
use Test::More;

my $why = missing();
plan skip_all => $why if $why;

my $pages = 4000;	# equal ones, each of which packs to two fifths
my $enough = 500;
my @names = qw(a b c);

# What `quire merge` says of the domain, and the names' numbers in `quire stat`.
sub look {
	my $merge = decode_json(scalar `$quire merge --json --machine=$address`);
	my $stat = decode_json(scalar `$quire stat --json --machine=$address`);
	my ($domain) = grep { ($_->{name} // '') eq 'd' } @{ $merge->{domains} };
	return ($domain, map { my $n = $_; grep { $_->{name} eq $n } @{ $stat->{vms} } } @names);
}

sub in_all {
	my ($state, @vm) = @_;
	my $n = 0;
	$n += $_->{"state_${state}_pages"} for @vm;
	return $n;
}

my $machine = serve("$dir/machine", '--memory=256M', '--overcommit=1')
	or BAIL_OUT('no machine');
my (%guest, %in);
for my $name (@names) {
	system 'mkfifo', "$dir/$name.in";
	$guest{$name} = start("$dir/$name", $quire, 'run', "--name=$name", '--domain=d',
		"--machine=$address", '-m', '64M', '--balloon=off',
		'--paging=' . ($name eq 'c' ? 'shadow' : 'ept'), $quill, 'hold', 1, $pages,
		'packs=100', 'seconds=200');
	open $in{$name}, '+<', "$dir/$name.in" or die;
}
says($guest{$_}, 'hold: ready', 1, 60) or BAIL_OUT("no guest $_") for @names;
ok(until_true(60, sub {
	quire('merge', 'now', $_) for @names;
	my ($domain, @vm) = look();
	return in_all('shared', @vm) >= 3 * $pages;
}), 'three guests share their pages, one of them on shadow tables');
my ($before) = look();
is($before->{archived_pages}, 0, 'with memory to spare none of them is archived');

# Memory falls below low, and not to min.  What comes free goes, too: archives are made only as long
# as memory is short, and there is room for some of them at a time.
my ($account, $domain, @vm);
ok(until_true(120, sub {
	($account) = account();
	my $memory = int(($account->{memory_bytes} - $account->{free_bytes}) / 1024) + 900;
	quire('machine', 'set', "--machine=$address", "--memory=${memory}K")
		if $account->{free_bytes} >= $account->{high_bytes};
	quire('merge', 'now', $_) for @names;
	($domain, @vm) = look();
	return in_all('archived', @vm) >= 3 * $enough;
}), 'when the machine is short of memory, what no guest uses is archived')
	or diag(explain([$domain, $account, map { in_all('archived', $_) } @vm]));
ok(until_true(30, sub {
	quire('merge', 'now', $_) for @names;
	($domain) = look();
	return $domain->{pages_shared} < $before->{pages_shared} - $enough / 3;
}), '... and is in fewer frames, once for all');
cmp_ok($domain->{archived_pages}, '>=', 2 * $domain->{archive_pages},
	'... of which each has two pages at least');
like(scalar(`$quire map a`), qr/a{16}/, 'quire map shows archived pages');
quire('machine', 'set', "--machine=$address", '--memory=256M');

# One guest goes, and what it had is for the others.
syswrite $in{a}, "\n";
finish($guest{a}, 100);
is($guest{a}{status}, 0, 'a guest ends well');
like($guest{a}{out}, qr/^hold: verified=$pages$/m, '... and finds every byte');
kill 'KILL', $guest{b}{pid};
finish($guest{b}, 20);
syswrite $in{c}, "\n";
finish($guest{c}, 100);
is($guest{c}{status}, 0, 'another one was shot, and the third ends well');
like($guest{c}{out}, qr/^hold: verified=$pages$/m, '... and finds every byte');
($account) = account();
is($account->{store_bytes} + $account->{store_references} + $account->{vms}, 0,
	'nothing is left in the store');
kill 'TERM', $machine->{pid};
finish($machine, 20);
done_testing();
