#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# quire play --report and quire report: that what a scenario did is all in its folder, and that of
# many results none can spoil the others, whatever is in its file.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Guests;
use JSON::PP;
use Test::More;

chdir "$FindBin::Bin/../..";

sub is_xml {
	my ($file, $name) = @_;
	SKIP: {
		skip 'no xmllint; make deps installs it', 1
			if system('which xmllint >/dev/null 2>&1');
		is(system("xmllint --noout --nonet $file"), 0, $name);
	}
}

# A result as quire play writes it; what is different, in %with.
sub result {
	my ($name, %with) = @_;
	my @vms = map { { name => "g.$_", ram_pages => 4096, state_private_pages => 96,
		state_shared_pages => 2000, state_zero_pages => 2000, stall_some_ns => 0 } } 1, 2;
	my $machine = { memory_bytes => 64 << 20, free_bytes => 32 << 20, store_bytes => 8 << 20 };
	return { schema => 'quire.play/1', name => $name, file => "$name.yaml", seed => 7,
		host => 'h', began => '2026-01-01T00:00:00Z', verdict => 'pass', seconds => 2.5,
		checks => [ { kind => 'expect', text => 'a < b', line => 3, at_s => 1,
			ok => JSON::PP::true, value => '1 < 2' } ],
		events => [], guests => [ { name => 'g.1' }, { name => 'g.2' } ],
		samples => [ map { { t_s => $_, machine => $machine, vms => \@vms } } 0, 1, 2 ],
		maps => [], %with };
}

# In a folder below $dir.
sub put {
	my ($where, $result) = @_;
	my $path = $dir;
	for my $part (split m{/}, $where) {
		$path .= "/$part";
		mkdir $path;
	}
	return spew("$where/result.json", ref $result ? JSON::PP->new->encode($result) : $result);
}

# ---- many results ----

put('all/a', result('one'));
put('all/b/deep', result('two'));
{
	my ($status, $out, $err) = outcome("$quire report $dir/all --html=$dir/all.html");
	is($status, 0, 'all passed: its status');
	like($out, qr/^one +pass +1\/1 +2\.5 s +2 +64 MiB +32 MiB +23\.2 MiB +h$/m, '... a row');
	like($out, qr/^two +pass /m, '... also of what is deeper');
	like($out, qr/^2 of 2 passed$/m, '... and the sum');
	is($err, '', '... no complaint');
	my $page = slurp("$dir/all.html");
	is(() = $page =~ /<svg /g, 2, 'the page has a chart of each');
	unlike($page, qr/nan|(?:src|href)="(?!#)/, '... of numbers, and asks for nothing else');
	my $json = decode_json((outcome("$quire report --json $dir/all"))[1]);
	is($json->{schema}, 'quire.report/1', 'JSON: its schema');
	is_deeply([ map { "$_->{name} $_->{verdict} $_->{most_saved_bytes}" }
			@{$json->{results}} ],
		[ 'one pass 24379392', 'two pass 24379392' ], '... and results');
}
put('all/c', result('three', verdict => 'fail', reason => 'line 3: a < b', checks => [
	{ kind => 'expect', text => 'a < b', line => 3, at_s => 1, ok => JSON::PP::false,
	value => '5 < 2' } ]));
{
	my ($status, $out) = outcome("$quire report $dir/all --html=$dir/all.html");
	is($status, 1, 'one failed: its status');
	like($out, qr/^three +fail +0\/1 /m, '... its row');
	like($out, qr{^\Q$dir\E/all/c/result.json: line 3: a < b$}m, '... and why');
	like(slurp("$dir/all.html"), qr/<details id="r2" open>/, '... shown at once on the page');
}

# ---- where nothing was ----

put('void', result('void', samples => [ map { { t_s => $_, vms => [] } } 0, 1 ]));
{
	my ($status) = outcome("$quire report $dir/void --html=$dir/void.html");
	is($status, 0, 'a scenario without guests: its status');
	my @label = slurp("$dir/void.html") =~ />([\d.]+ \w+B)</g;
	my %different = map { $_ => 1 } @label;
	is(keys %different, 5, '... the axis has five labels, no two alike') or diag "@label";
}

# ---- files that are none ----

my $bad = '<script>alert(1)</script>';
my %broken = (
	empty => [ '', qr/is no JSON/ ],
	cut => [ '{"schema": "quire.play/1", "name": "x', qr/is no JSON: line 1/ ],
	other => [ '{"schema": "quire.stats/1"}', qr/is no result of quire play/ ],
	list => [ '[1, 2]', qr/is no result of quire play/ ],
	bare => [ '{"schema": "quire.play/1"}', qr/has no verdict/ ],
	typed => [ '{"schema": "quire.play/1", "verdict": "pass", "checks": 5, "samples": {}}',
		qr/is incomplete/ ],
	word => [ result('x', verdict => $bad), qr/has no verdict/ ],
	depth => [ '[' x 100000, qr/is no JSON.*depth/ ],
	bytes => [ "{\"schema\": \"\xff\xfe\"}", qr/is no JSON/ ],
);
put("bad/$_", $broken{$_}[0]) for keys %broken;
mkdir "$dir/bad/pipe";
system('mkfifo', "$dir/bad/pipe/result.json");
mkdir "$dir/bad/dir";
mkdir "$dir/bad/dir/result.json";
symlink '/nowhere', "$dir/bad/result.json";
symlink '..', "$dir/bad/loop";
mkdir "$dir/none";
put('bad/good', result('good'));
{
	my ($status, $out) = outcome("$quire report $dir/bad $dir/none /nowhere/x");
	is($status, 1, 'files that are no results: its status');
	like($out, qr/^good +pass /m, '... what is one is read all the same');
	like($out, qr{^\Q$dir\E/bad/$_/result.json: $broken{$_}[1].*$}m, "... $_ has its line")
		for sort keys %broken;
	like($out, qr{^\Q$dir\E/bad/(?:pipe|dir)/result.json: is no regular file$}m,
		'... nothing is waited for') for 1;
	like($out, qr{^\Q$dir\E/bad/result.json: cannot be read: }m, '... a link to nowhere');
	like($out, qr{^\Q$dir\E/none: has no result.json; did its scenario}m, '... none at all');
	like($out, qr{^/nowhere/x: cannot be read: No such file}m, '... and no such folder');
	is(() = $out =~ /^/mg, 3 + keys(%broken) + 5, '... each has one line');
	like($out, qr/^1 of \d+ passed\n\z/m, '... and is counted');
}
# What can be shown is only shown.
put('odd', result("\e[31m$bad", reason => $bad, host => "h\n2", seconds => 1e300, seed => -5,
	checks => [ 5, 'x', { text => $bad, value => "'\"$bad", line => -1e300, at_s => 'x' } ],
	events => [ { text => $bad }, [] ], guests => 3,
	samples => [ 5, {}, { t_s => 1e308, vms => 'x', machine => [] },
		{ t_s => -1e308, vms => [ { name => $bad,
			state_private_pages => 1e308, stall_some_ns => 1e308 } ] } ],
	maps => [ 1,
		{ vm => $bad, map => { runs => [ { gfn => 0, pages => 1e18, state => 'zero' } ] } },
		{ vm => $bad, t_s => 1, map => { runs => [ 7, { gfn => 5, pages => 9,
			state => $bad }, { gfn => 0, pages => 3, state => 'zero' } ] } } ]));
{
	my ($status, $out) = outcome("$quire report $dir/odd --html=$dir/odd.html");
	is($status, 1, 'a file of odd values: its status');
	unlike($out, qr/[^ -~\n]/, '... nothing of it commands a terminal');
	my $page = slurp("$dir/odd.html");
	unlike($page, qr/<script|\binf\b|\bnan\b/i, '... nor a browser');
}

# ---- wrong words ----
for my $case ([ 'say where', '' ], [ 'cannot write', "--html=/nowhere/x $dir/all" ]) {
	my ($like, $words) = @$case;
	my ($status, undef, $err) = outcome("$quire report $words");
	is($status, $words ? 121 : 2, "quire report $words: its status");
	like($err, qr/\Aquire report: .*$like.*\n\z/, '... and one line');
}

# ---- a scenario's folder ----
SKIP: {
	my $why = no_guest();
	skip $why, 14 if $why;
	my $file = spew('small.yaml', <<'END');
name: small
about: two & two <guests>
machine: { memory: 128M }
guests:
  - { name: g, count: 2, memory: 16M, args: [hold, $seed, "1000", seconds=1000], exit: 0 }
timeline:
  - { expect: "count(vm.g.*) == 2 and vm.g.*.state_shared_pages >= 900", eventually: 60s }
  - map: g
  - end: g
END
	mkdir "$dir/folder";
	my @others = qw(map.svg map-x-g.1.svg map-2-g.1.png map-3.svg map-3-G.svg);
	spew("folder/$_", 'old') for qw(result.json map-9-g.1.svg map-10-web_3.svg), @others;
	my ($status, $out, $err) = outcome("$quire play --tap --report=$dir/folder $file");
	is($status, 0, 'a scenario with a report') or diag $out . $err;
	my $result = eval { decode_json(slurp("$dir/folder/result.json")) } // {};
	is($result->{verdict}, 'pass', '... its result is there');
	is(join(' ', map { s{.*/}{}r } glob "$dir/folder/map-*-*.svg"),
		'map-1-g.1.svg map-2-g.2.svg map-3-G.svg map-x-g.1.svg', '... its maps alone are');
	is_deeply([ map { slurp("$dir/folder/$_") } @others ], [ ('old') x @others ],
		'... and files of others stay');
	is_xml("$dir/folder/$_.svg", "... $_.svg") for
		qw(memory merging stalls map-1-g.1 map-2-g.2);
	is(() = slurp("$dir/folder/memory.svg") =~ /<polygon points="[\d., ]+"/g, 8,
		'... with an area for each state');
	my $page = slurp("$dir/folder/index.html");
	is(() = $page =~ /<svg /g, 5, '... a page with all pictures');
	like($page, qr/two &#38; two &#60;guests&#62;/, '... and what it is about');
	($status, $out) = outcome("$quire report $dir/folder");
	like($out, qr/^small +pass +(\d+)\/\1 /m, '... which quire report reads');
	($status, $out, $err) = outcome("$quire play --report=/proc/x $file");
	is("$status $err", "121 quire play: cannot make /proc/x: No such file or directory\n",
		'... a folder that cannot be made is an error before anything starts');
}

# ---- in a browser ----
SKIP: {
	skip 'no chromium; make deps installs it', 2 if system('which chromium >/dev/null 2>&1');
	skip 'a browser takes a minute for a page on this processor', 2 if deviates('slow');
	for my $way (qw(light dark)) {
		my $scheme = $way eq 'dark' ? 0 : 1;
		my $shot = "$dir/$way.png";
		system("HOME=$dir timeout 100 chromium --headless --no-sandbox --disable-gpu " .
			"--blink-settings=preferredColorScheme=$scheme --window-size=900,700 " .
			"--screenshot=$shot file://$dir/all.html >/dev/null 2>&1");
		like(slurp($shot), qr/\A\x89PNG/, "a browser shows it, $way");
	}
}
done_testing;
