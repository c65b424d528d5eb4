#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Metrics over HTTP: what quire metrics prints, in the form that the scraper accepts, and nothing
# else at that address.  tests/kvm/metrics.t looks at the text itself.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Test::More;
use Web;

plan skip_all => $_ for grep { defined } missing();

my $m = machine('--metrics=127.0.0.1:0');
($m->{host}) = $m->{log} =~ m{metrics at http://(\S+)/metrics};
ok($m->{host}, 'the machine says where its metrics are');

my @prometheus = 'Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1';
my ($status, $body, $head) = get($m, '/metrics', @prometheus);
is($status, 200, 'Prometheus gets them');
like($head, qr{^Content-Type: application/openmetrics-text; version=1\.0\.0; charset=utf-8\r$}m,
	'... as OpenMetrics');
ok($body eq `$quire metrics --machine=$m->{address}`, '... as quire metrics prints them');
($status, $body, $head) = get($m, '/metrics');
like($head, qr{^Content-Type: text/plain; version=0\.0\.4; charset=utf-8\r$}m,
	'who asks for nothing else gets text 0.0.4');
ok($body eq `$quire metrics --text --machine=$m->{address}`, '... as --text prints it');
is((get($m, '/metrics', 'Host: quire.example:9470'))[0], 200,
	'the host may have a name, since nothing here is secret');
is((get($m, $_))[0], 404, "$_ is not there") for qw(/ /stats.json /events);
is((post($m, '/act'))[0], 404, 'and nothing can be done');

my $page = machine('--http=127.0.0.1:0');
is((get($page, '/metrics'))[0], 200, 'where the page is there are metrics too');

done_testing();
