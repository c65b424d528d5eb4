#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Every #include against the table of rooms in docs/architecture.md.  A room is a folder with
# sources.  Its row in the table says which other rooms its files may include: that is an arrow.
use strict;
use warnings;
use Test::More;
use File::Basename qw(dirname);

chdir dirname(__FILE__) . '/../..' or die "cannot enter the tree: $!";

my $document = 'docs/architecture.md';
my $anywhere = 'include/quire';		# every room may include this one

# The table whose third column begins with "may include": | `ROOM` | what it is | `ROOM` `ROOM` |.
sub table {
	my (%may, $inside);
	for (split /\n/, shift) {
		my @cell = map { s/^\s+|\s+$//gr } /^\|/ ? split(/\|/, substr($_, 1)) : ();
		$inside = 1, next if @cell > 2 && $cell[2] =~ /^may include/;
		$inside = 0 if !@cell;
		next if !$inside || $cell[0] !~ /^`(.*)`$/;
		my $room = $1 =~ s/\/$//r;
		$may{$room} = { map { $_ => 1 } $cell[2] =~ /`([^`]+)`/g };
	}
	return \%may;
}

# The room of an included name, and what is wrong with the way it is named.  undef: no room of ours.
sub target {
	my ($from, $open, $name, $files) = @_;
	my $room = dirname($name);

	if ($open eq '<') {
		return ($anywhere, undef) if $room eq 'quire';
		return $files->{$name} ? ($room, 'is not included as "' . $name . '"') : ();
	}
	if ($name !~ /\//) {
		return ($from, undef) if $files->{"$from/$name"};
		my ($other) = grep { /\/\Q$name\E$/ } sort keys %$files;
		return $other ? (dirname($other), "is not by path from the root: $other") : ();
	}
	return ($anywhere, 'is not included as <quire/...>') if $name =~ /^(include\/)?quire\//;
	return (undef, 'is not by path from the root') if !$files->{$name};
	return ($room, $room eq $from ? 'is of the same room, so its name is enough' : undef);
}

# All that is wrong with the sources, a line each.  $files: name => text.
sub faults {
	my ($may, $files) = @_;
	my (@fault, %rooms);

	for my $file (sort keys %$files) {
		my ($from, $line) = (dirname($file), 0);
		$rooms{$from} = 1;
		for (split /\n/, $files->{$file}) {
			$line++;
			next unless /^\s*#\s*include\s+([<"])([^>"]+)[>"]/;
			my ($to, $wrong) = target($from, $1, $2, $files);
			push @fault, "$file:$line: $2 $wrong" if $wrong;
			next if !defined $to || $to eq $from || $to eq $anywhere || !$may->{$from};
			push @fault, "$file:$line: the arrow $from -> $to is not in $document"
			    unless $may->{$from}{$to};
		}
	}
	push @fault, "$_: this room has no row in $document"
	    for grep { !$may->{$_} } sort keys %rooms;
	for my $from (sort keys %$may) {
		push @fault, "$document: there is no room $from" unless $rooms{$from};
		push @fault, "$document: $from may include $_, which is no room"
		    for grep { !$rooms{$_} } sort keys %{ $may->{$from} };
	}
	return @fault;
}

# Every way along arrows that comes back to a room on it.
sub cycles {
	my ($may, @way) = @_;
	my @found;

	for my $to (sort @way ? keys %{ $may->{ $way[-1] } || {} } : keys %$may) {
		my ($at) = grep { $way[$_] eq $to } 0 .. $#way;
		if (defined $at) {
			push @found, join ' -> ', @way[ $at .. $#way ], $to if $at == 0;
		} elsif (!@way || $to gt $way[0]) {	# each cycle once, from its first room on
			push @found, cycles($may, @way, $to);
		}
	}
	return @found;
}

sub slurp {
	my $name = shift;
	open my $f, '<', $name or die "cannot read $name: $!";
	local $/;
	return <$f>;
}

# ---- the test itself: each kind of fault is found ----

my $sample = "| room | what | may include |\n|---|---|---|\n| `include/quire` | | nothing |\n" .
    "| `a/low` | | nothing |\n| `a/high/` | | `a/low` |\n| `t` | | `a/low` `a/high` |\n" .
    "\n| `x` | not of the table | `a/low` |\n";
my %sources = (
	'include/quire/types.h' => '',
	'a/low/low.h' => "#include <stdint.h>\n#include <quire/types.h>\n",
	'a/low/low.c' => "#include \"low.h\"\n#include \"generated.h\"\n",
	'a/high/high.h' => "#include <quire/types.h>\n#include \"a/low/low.h\"\n",
	't/t.c' => "#include \"a/high/high.h\"\n",
);

sub finds {
	my ($what, $more, $want) = @_;
	my @found = faults(table($sample), { %sources, %$more });
	is_deeply(\@found, [$want], $what) or diag(join "\n", @found);
}

is_deeply([ faults(table($sample), \%sources) ], [], 'a tree without faults has none');
finds('an arrow that is not in the table is found',
	{ 'a/low/bad.c' => "\n#  include \"a/high/high.h\"\n" },
	"a/low/bad.c:2: the arrow a/low -> a/high is not in $document");
finds('a room without a row is found', { 'b/b.c' => '' }, "b: this room has no row in $document");
finds('a relative path is found', { 'a/high/bad.c' => "#include \"../low/low.h\"\n" },
	'a/high/bad.c:1: ../low/low.h is not by path from the root');
finds('a bare name of another room is found', { 'a/high/bad.c' => "#include \"low.h\"\n" },
	'a/high/bad.c:1: low.h is not by path from the root: a/low/low.h');
finds('a path to the same room is found', { 'a/low/bad.c' => "#include \"a/low/low.h\"\n" },
	'a/low/bad.c:1: a/low/low.h is of the same room, so its name is enough');
finds('a room in angle brackets is found', { 'a/high/bad.c' => "#include <a/low/low.h>\n" },
	'a/high/bad.c:1: a/low/low.h is not included as "a/low/low.h"');
finds('include/quire in quotes is found', { 'a/low/bad.c' => "#include \"quire/types.h\"\n" },
	'a/low/bad.c:1: quire/types.h is not included as <quire/...>');
{
	my %fewer = %sources;
	delete $fewer{'t/t.c'};
	is_deeply([ faults(table($sample), \%fewer) ], ["$document: there is no room t"],
		'a row without a room is found');
}
my %round = (a => { b => 1, c => 1 }, b => { c => 1 }, c => { a => 1 }, d => { a => 1 });
is_deeply([ cycles(\%round) ],
	[ 'a -> b -> c -> a', 'a -> c -> a' ], 'cycles are found');

# ---- the tree ----

my %tree = map { $_ => slurp($_) } grep { -f } split /\n/,
    `find include mmu vmm guest tools -name '*.[chS]'`;
my $may = table(slurp($document));
my @fault = faults($may, \%tree);
my @cycle = cycles($may);

cmp_ok(scalar(keys %tree), '>', 100, 'the sources are there');
ok(!@fault, 'every include is an arrow of the table') or diag(join "\n", @fault);
ok(!@cycle, 'the arrows of the table make no cycle') or diag(join "\n", @cycle);
done_testing();
