#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The page, in Chromium: what it shows is compared with `quire stat` and `quire map`, the mouse
# rests on a page, and buttons do what they say.  Pictures are left in the build's folder.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time sleep);
use Browser;
use Web;

plan skip_all => $_ for grep { defined } missing();
plan skip_all => 'no Chromium' if !Browser::program();
plan skip_all => 'no access to /dev/kvm' if !-r '/dev/kvm' || !-w '/dev/kvm';

my $m = machine('--http=127.0.0.1:0', '--memory=4G', '--overcommit=1');
my $name = "page$$";
guests($m, $name, 3, "--machine=$m->{address}", '-m', '64M', $quill, 'hold', '1', '6000',
	'seconds=600', 'own=1500', 'zero=500');

sub stat_of {
	my ($vm) = grep { $_->{name} eq $_[0] }
		@{decode_json((get($m, '/stats.json'))[1])->{vms}};
	return $vm;
}
my $vm = "$name-2";
my $card = "article[data-vm=\"$vm\"]";
sub in_card { return "document.querySelector('$card')" . $_[0] }
sub in_page { return "document.getElementById('$_[0]')" . $_[1] }

# ---- what it shows ----

my $b = Browser->new(1280, 1000);
$b->go("http://$m->{host}/#token=$m->{token}");
ok($b->await("document.querySelectorAll('article').length === 3"), 'the page has each guest');
is($b->value('location.hash'), '', 'the token is not in the address any more');
ok($b->await(in_card('.querySelector("canvas").dataset.drawn > 0')), '... its map');
ok($b->await('document.querySelectorAll("#ledger dd").length > 8'), '... and the ledger');
is($b->value('document.querySelector("#ledger dd").textContent'), '4 GiB', '... of the machine');
system "$quire merge now $name >/dev/null 2>&1";
cmp_ok(stat_of($vm)->{state_shared_pages}, '>', 1000, 'the guests merge');
system "$quire pause $name >/dev/null 2>&1";
ok($b->await(in_card('.querySelector(".state").textContent.startsWith("paused")')),
	'a guest that was paused elsewhere is paused here');

# Each pixel against quire map, once both speak of the same moment.
my $colours = <<"E";
(() => {
	const vm = [...vms.values()].find(v => v.name === '$vm'), n = {};
	const { width, height } = vm.canvas;
	const data = vm.canvas.getContext('2d').getImageData(0, 0, width, height).data;
	const names = new Map(palette.map((rgb, i) => [rgb, states[i >> 1]]));
	for (let i = 0; i < data.length; i += 4) {
		const hex = k => data[i + k].toString(16).padStart(2, '0');
		const name = names.get('#' + hex(0) + hex(1) + hex(2));
		n[name] = (n[name] || 0) + 1;
	}
	return n;
})()
E
my ($map, $pixels, @differ);
patience(sub {
	($map, $pixels) = (decode_json(scalar `$quire map --json $vm`), $b->value($colours));
	@differ = grep { ($pixels->{$_} // 0) != $map->{"state_${_}_pages"} }
		qw(absent private shared zero ballooned);
	return !@differ;
});
is("@differ", '', 'as many pixels in the colour of each state as quire map counts pages');
my ($width, $height) = map { $b->value(in_card(".querySelector('canvas').$_")) } qw(width height);
is($width * $height, 16384, 'a pixel a page');

# ---- the mouse ----

my ($run) = grep { $_->{state} eq 'shared' } @{$map->{runs}};
my $gfn = $run->{gfn};
$b->mouse(move => "'$card canvas'", ($gfn % $width + 0.5) / $width,
	(int($gfn / $width) + 0.5) / $height);
ok($b->await('!' . in_page('tip', '.hidden')), 'the mouse rests on a shared page');
ok($b->await(in_page('tip', ".textContent.includes('$name-1: ')")), '... it has owners');
my $tip = $b->value(in_page('tip', '.textContent'));
my ($number, $at) = map { sprintf '%x', $_ } $gfn, $gfn << 12;
like($tip, qr/^\Q$vm\E: page 0x$number, at 0x$at\nshared\n/, '... its number, address and state');
my %who = `$quire merge --who $vm $gfn 2>/dev/null` =~ /^(\S+)((?: \S+)+)$/mg;
is_deeply({ $tip =~ /^(\S+): (\d+) pages?$/mg },
	{ map { $_ => scalar(my @pages = split ' ', $who{$_}) } keys %who },
	'... and its owners, as quire merge --who has them');
$b->screenshot("$build/page-light.png");

# ---- buttons ----

my $pause = "'$card .buttons button'";
is($b->value(in_card('.querySelector(".buttons button").textContent')), 'resume', 'a button');
$b->mouse(click => $pause);
ok(patience(sub { stat_of($vm)->{state} eq 'running' }), '... lets the guest go on');
ok($b->await(in_card('.querySelector(".buttons button").textContent') . ' === "pause"'),
	'... and means the opposite then');
$b->mouse(click => "'$card .buttons button:nth-child(3)'");
ok($b->await(in_page('ask', '.open')), 'the balloon asks for a size');
$b->value(in_page('ask-size', '.value = "1T"'));
$b->mouse(click => "'#ask-yes'");
ok($b->await(in_card('.lastChild.textContent.includes("cannot")')), '... a bad one is not taken');
sub want_kill { $b->mouse(click => "'$card .buttons button:nth-child(4)'") }
want_kill();
ok($b->await(in_page('ask', '.open')), 'kill asks first');
is($b->value(in_page('ask-text', '.textContent') . ' + ' . in_page('ask-yes', '.textContent')),
	"Kill $vm?in order", '... whether, and how');
$b->mouse(click => "'#ask-no'");
ok($b->await('!' . in_page('ask', '.open')) && stat_of($vm), '... and no means no');
want_kill();
$b->await(in_page('ask', '.open'));
$b->mouse(click => "'#ask-yes'");
ok(patience(sub { !stat_of($vm) }), '... the guest ends if it is yes');
ok($b->await("!document.querySelector('$card')"), '... and is gone from the page');


# ---- an observer that is killed, a guest that does not answer ----

my $looks = 'Number(document.body.dataset.looks)';
my ($seen, $was) = ($b->value($looks), observer_of($m));
my $points = $b->value('points.length');
kill 'KILL', $was;
ok($b->await(in_page('status', '.classList.contains("alarm")')), 'the observer is gone');
ok($b->await("$looks > $seen + 1"), '... and the page goes on with the next');
ok($b->await('!' . in_page('status', '.classList.contains("alarm")')), '... as before');
cmp_ok($b->value('points.length'), '>', $points, '... and has not forgotten what was');
my $silent = "$name-3";
my $pid = stat_of($silent)->{pid};
my $other = "article[data-vm=\"$silent\"]";
kill 'STOP', $pid;
ok($b->await("document.querySelector('$other .state').textContent.startsWith('silent')"),
	'a guest does not answer');
$b->mouse(click => "'$other .buttons button:nth-child(4)'");
ok($b->await(in_page('ask', '.open')), '... kill asks');
$b->screenshot("$build/page-kill.png");
$b->mouse(click => "'#ask-also'");
ok(patience(sub { !kill 0, $pid }), '... and by SIGKILL, with the same token, it ends');
ok($b->await("!document.querySelector('$other')"), '... and is gone from the page');

# ---- a guest whose map is too large ----

guests($m, "large$$", 1, "--machine=$m->{address}", '-m', '160G', $quill, 'hold', '1', '100',
	'seconds=600');
my $large = "article[data-vm=\"large$$\"]";
ok($b->await("document.querySelector('$large .no-map')?.textContent.startsWith('no map: ')"),
	'a guest whose map would take too much says so');
ok($b->value("document.querySelector('$large canvas').hidden"), '... in its place');
ok(!$b->value("document.querySelector('article[data-vm=\"$name-1\"] canvas').hidden"),
	'... and others have theirs');
$b->screenshot("$build/page-large.png");
system "$quire kill large$$ >/dev/null 2>&1";

# ---- dark, without a token, and when all is gone ----

$b->call('Emulation.setEmulatedMedia', features =>
	[{ name => 'prefers-color-scheme', value => 'dark' }]);
ok($b->await('document.documentElement.classList.contains("dark")'), 'dark, if that is preferred');
$b->screenshot("$build/page-dark.png");
my $contrast = $b->value(<<'E');
(() => {
	const light = rgb => rgb.match(/\d+/g).slice(0, 3).map(c => c / 255)
		.map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
	const ratio = dark => {
		document.documentElement.classList.toggle('dark', dark);
		const [a, b] = ['color', 'backgroundColor'].map(what =>
			light(getComputedStyle(document.body)[what])).sort();
		return (b + .05) / (a + .05);
	};
	return Math.min(ratio(false), ratio(true));
})()
E
cmp_ok($contrast, '>', 7, 'text can be read in both');
is((grep { !m{^(data:|http://\Q$m->{host}\E/)} } $b->requests), 0, 'nobody else was asked');
my $cut = qr/net::ERR_(INCOMPLETE_CHUNKED_ENCODING|CONNECTION_RESET)$/;
is_deeply([grep { !/ 409 / && !/$cut/ } $b->complaints], [],
	'nothing went wrong in the page, but that the observer was gone');
$b->value('sessionStorage.clear()');
$b->go("http://$m->{host}/");
ok($b->await("document.querySelectorAll('article').length === 1"), 'without a token one may look');
is($b->value('document.querySelectorAll(".buttons button:not(:disabled)").length'), 0, '... only');
kill 'TERM', $m->{pid};
ok($b->await(in_page('status', '.classList.contains("alarm")')),
	'when the machine is gone, the page says so');

done_testing();
