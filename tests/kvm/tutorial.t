#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# docs/tutorial.md does what it shows: every command of its console blocks is run, in order and in
# one shell, and prints what the page prints.
#
# The shell has a network namespace of its own where that is permitted.  Names of guests and of
# machines are abstract sockets, so nothing that runs outside is seen inside, or the other way
# round.
#
# On the page, `$ ` begins a command and `> ` continues it.  What follows is its output:
#
#   ...                       a line that stands for any lines, or for none
#   text \                    a line that goes on in the next one
#   <!-- varies: PATTERN -->  above a block: what this Perl pattern matches differs in each run
#
# Blanks count as one: a number that varies moves its column.
use strict;
use warnings;
use lib 'tests/kvm';
use File::Temp qw(tempdir);
use IO::Select;
use POSIX qw(setpgid);
use Quire;
use Time::HiRes qw(time);

use constant { PAGE => 'docs/tutorial.md', MARK => "--end-$$-", PATIENCE => 60 };

my $why = Quire::missing();
if ($why) {
	$why =~ s/\n.*//s;
	print "1..0 # SKIP $why\n";
	exit;
}

# The commands of the page: { line, command, output => [lines], varies => [patterns] }
sub commands_of {
	my ($page) = @_;
	my (@commands, @varies, $inside);
	open my $file, '<', $page or die "$page: $!";
	while (my $line = <$file>) {
		chomp $line;
		if ($line eq '```console') {
			$inside = 1;
		} elsif ($line eq '```') {
			($inside, @varies) = (0);
		} elsif ($line =~ /^<!-- varies: (.*) -->$/) {
			push @varies, qr/$1/;
		} elsif ($inside && $line =~ /^\$ (.*)/) {
			my %new = (line => $., command => $1, output => [], varies => [@varies]);
			push @commands, \%new;
		} elsif ($inside && $line =~ /^> (.*)/ && !@{$commands[-1]{output}}) {
			$commands[-1]{command} .= "\n$1";
		} elsif ($inside) {
			$line = "$line " . <$file> =~ s/^\s+|\n//gr while $line =~ s/ \\$//;
			push @{$commands[-1]{output}}, $line;
		}
	}
	return @commands;
}

# A shell that is asked one thing after the other: its pid, and its input and output.
sub start_shell {
	my ($dir) = @_;
	my $isolate = system('unshare --net true 2>/dev/null') ? '' : 'unshare --net';
	pipe my $in, my $to or die "pipe: $!";
	pipe my $from, my $out or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setpgid 0, 0;
		open STDIN, '<&', $in;
		open STDOUT, '>&', $out;
		open STDERR, '>&', $out;
		$ENV{TMPDIR} = $dir;
		exec split(' ', "$isolate bash") or die "bash: $!";
	}
	close $in;
	close $out;
	$to->autoflush(1);
	return { pid => $pid, to => $to, from => $from };
}

# What a command printed; undef and why if there was no end to it.
sub ask {
	my ($shell, $command) = @_;
	my ($said, $until) = ('', time + PATIENCE);
	my $mark = '{ status=$?; echo; echo ' . MARK . '; (exit $status); }';
	print {$shell->{to}} "{ $command\n} </dev/null\n$mark\n";
	until ($said =~ s/\n@{[MARK]}\n\z//) {
		IO::Select->new($shell->{from})->can_read($until - time)
			or return (undef, "it takes too long: $said");
		sysread $shell->{from}, $said, 65536, length $said
			or return (undef, "the shell ended: $said");
	}
	return $said;
}

# A line without what varies.
sub plain {
	my ($line, @varies) = @_;
	$line =~ s/$_/*/g for @varies;
	return $line =~ s/\s+/ /gr =~ s/ $//r;
}

# Do the lines match those of the page, where ... matches any?
sub matches {
	my ($want, $got) = @_;
	my $pattern = join '', map { $_ eq '...' ? '(?:.*\n)*?' : "\Q$_\E\\n" } @$want;
	return join('', map { "$_\n" } @$got) =~ /\A$pattern\z/;
}

# Guests in the background outlive the shell.
sub end_guests {
	my ($shell, @commands) = @_;
	for my $name (map { $_->{command} =~ /--name=(\S+)/g } @commands) {
		system "nsenter --net=/proc/$shell->{pid}/ns/net \\
			$Quire::quire kill $name 2>/dev/null";
	}
}

my $dir = tempdir(CLEANUP => 1);
my $build = $ENV{QUIRE_BUILD} // 'build';
my $shell = start_shell($dir);
my $n = 0;
my $failed = 0;
local $SIG{PIPE} = 'IGNORE';

my @commands = commands_of(PAGE);

for my $c (@commands) {
	my $command = $c->{command} =~ s{\$PWD/build\b}{\$PWD/$build}gr;
	my ($said, $error) = ask($shell, $command);
	my @got = map { plain($_, @{$c->{varies}}) } split /\n/, $said // '';
	my @want = map { plain($_, @{$c->{varies}}) } @{$c->{output}};
	my $fine = defined $said && matches(\@want, \@got);
	my $name = $c->{command} =~ s/\n.*//sr =~ s/#/\\#/gr;
	printf "%sok %d - line %d: %s\n", $fine ? '' : 'not ', ++$n, $c->{line}, $name;
	next if $fine;
	$failed = 1;
	@got = split /\n/, $error if !defined $said;
	print map { "# $_\n" } 'the page:', @want, 'the command:', @got;
	last if !defined $said;
}
end_guests($shell, @commands) if $failed;
print "1..$n\n";
close $shell->{to};
kill 'TERM', -$shell->{pid} if $failed;
waitpid $shell->{pid}, 0;
exit $failed;
