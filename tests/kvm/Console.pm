# SPDX-License-Identifier: MIT
#
# What guests have in common whose console is a pipe ({console}), read into {out}.
package Console;
use strict;
use warnings;
use Time::HiRes qw(time);

# Read the console until it matches, for at most so many seconds (100); the match, or nothing.
sub wait_for {
	my ($self, $like, $seconds) = @_;
	my $end = time + ($seconds // 100);
	until ($self->{out} =~ $like) {
		vec(my $bits = '', fileno $self->{console}, 1) = 1;
		my $left = $end - time;
		return if $left <= 0 || !select $bits, undef, undef, $left;
		return if !sysread $self->{console}, $self->{out}, 65536, length $self->{out};
	}
	$self->{out} =~ $like;
	return $1 // $&;
}

1;
