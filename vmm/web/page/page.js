// SPDX-License-Identifier: MIT
//
// The page: a picture of what /events says (live.h).  It keeps no numbers of its own, but for the
// points of the chart and the state of each page as it was told last.
'use strict';

const PAGE = 4096, POINTS = 240, REST_MS = 150;
const $ = id => document.getElementById(id);

let palette = [], states = [], rates = [], points = [];
const vms = new Map();		// pid => { card, map... }

// ---- small things ----

function element(tag, className, text) {
	const e = document.createElement(tag);

	if (className) e.className = className;
	if (text !== undefined) e.textContent = text;
	return e;
}

function size(bytes) {
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
	let i = 0;

	for (; bytes >= 1024 && i < units.length - 1; i++) bytes /= 1024;
	const round = bytes >= 100 || Number.isInteger(bytes);

	return `${round ? Math.round(bytes) : bytes.toFixed(1)} ${units[i]}`;
}

const hex = n => `0x${n.toString(16)}`;
const colour = i => palette[2 * i];
const pagesOf = (point, i) => point[`state_${states[i]}_pages`] || 0;

function setText(e, text) { if (e.textContent !== text) e.textContent = text; }

// ---- the token: it comes behind the #, which no server sees ----

let token = null;

function takeToken() {
	const found = location.hash.match(/token=([0-9a-f]+)/);

	if (found) {
		sessionStorage.setItem('token', found[1]);
		history.replaceState(null, '', location.pathname);
	}
	token = sessionStorage.getItem('token');
	setText($('token'), token ? '' : 'no token: for looking only');
}

function complain(text) {
	$('status').classList.toggle('alarm', !!text);
	if (text) setText($('status'), text);
}

async function act(vm, what, more) {
	const query = new URLSearchParams({ vm: vm.name, pid: vm.pid, do: what, ...more });

	try {
		const answer = await fetch(`/act?${query}`, {
			method: 'POST',
			headers: { Authorization: `Bearer ${token}` },
		});
		setText(vm.said, answer.ok ? '' : (await answer.text()).trim());
	} catch (error) {
		setText(vm.said, `${what}: no answer`);
	}
}

// Ask before something is done that cannot be undone, or for a size.  Returns the size if there is
// one, or the words of the button; null is no.
function ask(text, yes, { also, value } = {}) {
	const dialog = $('ask'), input = $('ask-size');

	setText($('ask-text'), text);
	setText($('ask-yes'), yes);
	setText($('ask-also'), also ?? '');
	$('ask-also').hidden = also === undefined;
	input.parentElement.hidden = value === undefined;
	input.value = value ?? '';
	return new Promise(resolve => {
		$('ask-yes').onclick = () => { dialog.close(); resolve(input.value || yes); };
		$('ask-also').onclick = () => { dialog.close(); resolve(also); };
		$('ask-no').onclick = () => dialog.close();
		dialog.onclose = () => resolve(null);
		dialog.showModal();
	});
}

// ---- the machine ----

const ledgerRows = [
	['memory', m => size(m.memory_bytes)], ['free', m => size(m.free_bytes)],
	['credits', m => size(m.credit_bytes)], ['store', m => size(m.store_bytes)],
	['overhead', m => size(m.overhead_bytes)], ['guests', m => m.vms],
	['committed', m => `${size(m.committed_bytes)} of ${size(m.commit_limit_bytes)}`],
	['overcommit mode', m => m.overcommit_mode],
	['swap held', m => `${size(m.swap_held_bytes)} of ${size(m.swap_bytes)}`],
	['low watermark', m => size(m.low_bytes)], ['refusals', m => m.refusals],
	['OOM kills', m => m.oom_kills],
];
const parts = ['credit', 'store', 'overhead', 'free'];	// of memory_bytes

function drawBar(bar, shares) {
	while (bar.children.length < shares.length) bar.append(element('span'));
	shares.forEach(([amount, rgb, title], i) => {
		bar.children[i].style.flex = `${amount} 0 0`;
		bar.children[i].style.background = rgb;
		bar.children[i].title = title;
	});
}

function drawMachine(m) {
	const list = $('ledger');

	if (!list.children.length)
		for (const [name] of ledgerRows) {
			const row = element('div');
			row.append(element('dt', '', name), element('dd'));
			list.append(row);
		}
	ledgerRows.forEach(([, value], i) => setText(list.children[i].lastChild, String(value(m))));
	const rgb = [colour(1), colour(2), colour(5), 'transparent'];
	drawBar($('bar'), parts.map((part, i) =>
		[m[`${part}_bytes`], rgb[i], `${part}: ${size(m[`${part}_bytes`])}`]));
}

// ---- the chart ----

function drawChart() {
	const canvas = $('chart'), scale = window.devicePixelRatio || 1;
	const w = canvas.width = canvas.clientWidth * scale, h = canvas.height = 140 * scale;
	const g = canvas.getContext('2d');
	const sum = p => states.reduce((n, _, i) => n + pagesOf(p, i), 0);
	const most = Math.max(1, ...points.map(sum)), step = w / (POINTS - 1);

	points.forEach((p, n) => {
		const x = w - (points.length - n) * step;
		let y = h;
		states.forEach((_, i) => {
			const high = pagesOf(p, i) / most * h;
			g.fillStyle = colour(i);
			g.fillRect(x, y - high, step + 1, high);
			y -= high;
		});
	});
	const now = points[points.length - 1];
	states.forEach((name, i) => {
		const row = $('legend').children[i];
		setText(row.lastChild, `${name} ${now ? size(pagesOf(now, i) * PAGE) : ''}`);
	});
}

function drawLegend() {
	$('legend').replaceChildren(...states.map((name, i) => {
		const row = element('li'), chip = element('span', 'chip');
		chip.style.background = colour(i);
		row.append(chip, element('span', '', name));
		return row;
	}));
}

// An observer that was started anew knows nothing of the past.
function keepPoints(known) {
	const old = points.filter(p => !known.length || p.at_ms < known[0].at_ms);

	points = [...old, ...known];
}

// ---- a guest ----

function addVm(pid, name) {
	const vm = { pid, name, nr: 0, index: null };
	const card = vm.card = element('article'), head = element('div', 'head');
	const buttons = element('div', 'buttons');
	const button = (text, title, run) => {
		const b = element('button', '', text);
		b.type = 'button';
		b.title = token ? title : 'needs the token that the machine printed when it started';
		b.disabled = !token;
		b.onclick = run;
		buttons.append(b);
		return b;
	};

	card.dataset.vm = name;
	vm.state = element('span', 'state');
	head.append(element('h2', '', name), vm.state);
	vm.bar = element('div', 'bar thin');
	vm.facts = element('ul', 'facts');
	vm.canvas = element('canvas');
	vm.noMap = element('p', 'no-map');
	vm.said = element('span', 'alarm');
	vm.pause = button('pause', 'keep it from running, or let it go on',
		() => act(vm, vm.paused ? 'resume' : 'pause'));
	vm.merge = button('merge now', 'look for equal pages in all of its memory',
		() => act(vm, 'merge now'));
	vm.balloon = button('balloon', 'how much memory it is to keep', async () => {
		const to = await ask(`How much of its ${size(vm.ram)} is ${name} to keep? ` +
			'A size, as 64M, or auto.', 'set', { value: 'auto' });
		if (to) act(vm, 'balloon', { size: to });
	});
	vm.kill = button('kill', 'end it, in order or at once', async () => {
		const how = await ask(`Kill ${name}?`, 'in order', { also: 'at once, by SIGKILL' });
		if (how) act(vm, how === 'in order' ? 'end' : 'kill');
	});
	vm.canvas.onmousemove = event => point(vm, event);
	vm.canvas.onmouseleave = hideTip;
	card.append(head, vm.bar, vm.canvas, vm.noMap, vm.facts, buttons, vm.said);
	$('vms').append(card);
	vms.set(pid, vm);
	return vm;
}

function drawVm(v) {
	const vm = vms.get(v.pid) || addVm(v.pid, v.name);

	vm.seen = true;
	vm.ram = v.ram_bytes;
	vm.paused = v.state === 'paused' || v.state === 'pausing';
	setText(vm.state, v.state + (v.ram_bytes ? `, ${size(v.ram_bytes)}` : ''));
	setText(vm.pause, vm.paused ? 'resume' : 'pause');
	setText(vm.noMap, v.no_map || '');
	vm.canvas.hidden = !!v.no_map;
	vm.merge.hidden = v.merge === 'off';
	vm.balloon.hidden = v.balloon === 'off';
	if (!v.ram_bytes) return;
	drawBar(vm.bar, states.map((name, i) =>
		[pagesOf(v, i), colour(i), `${name}: ${size(pagesOf(v, i) * PAGE)}`]));
	const facts = rates.map(r => [r, v[`${r}_per_second`]]).filter(([, n]) => n)
		.map(([r, n]) => `${r} ${n}/s`);
	if (v.stall_permille) facts.push(`stalled ${(v.stall_permille / 10).toFixed(1)} %`);
	facts.unshift(`domain ${v.domain}`);
	while (vm.facts.children.length > facts.length) vm.facts.lastChild.remove();
	while (vm.facts.children.length < facts.length) vm.facts.append(element('li'));
	facts.forEach((text, i) => setText(vm.facts.children[i], text));
}

function drawAll(look) {
	complain(look.away);
	if (look.machine) setText($('status'), `machine of pid ${look.machine.pid}`);
	if (look.machine) drawMachine(look.machine);
	if (look.all) points.push(look.all);
	points.splice(0, points.length - POINTS);
	drawChart();
	for (const vm of vms.values()) vm.seen = false;
	look.vms.forEach(drawVm);
	for (const [pid, vm] of vms)
		if (!vm.seen) {
			vm.card.remove();
			vms.delete(pid);
		}
	$('nobody').hidden = vms.size > 0;
	document.body.dataset.looks = 1 + Number(document.body.dataset.looks || 0);
}

// ---- its map: a pixel a page ----

function prepare(vm, pages) {
	const columns = 1 << Math.ceil(Math.log2(Math.sqrt(pages)));

	vm.nr = pages;
	vm.columns = columns;
	vm.index = new Int8Array(pages).fill(-1);
	vm.canvas.width = columns;
	vm.canvas.height = Math.ceil(pages / columns);
	vm.canvas.style.aspectRatio = `${columns} / ${vm.canvas.height}`;
	vm.image = vm.canvas.getContext('2d').createImageData(columns, vm.canvas.height);
}

function drawMap(map) {
	const vm = vms.get(map.pid);

	if (!vm) return;
	if (vm.nr !== map.pages) prepare(vm, map.pages);
	const words = new Uint32Array(vm.image.data.buffer), runs = map.runs;
	let at = map.from;
	for (let i = 0; i < runs.length; i += 2) {
		if (runs[i] >= 0) {
			vm.index.fill(runs[i], at, at + runs[i + 1]);
			words.fill(words_of[runs[i]], at, at + runs[i + 1]);
		}
		at += runs[i + 1];
	}
	vm.canvas.getContext('2d').putImageData(vm.image, 0, 0);
	vm.canvas.dataset.drawn = 1 + Number(vm.canvas.dataset.drawn || 0);
}

let words_of = [];		// a colour as a pixel of an image: 0xAABBGGRR

function pixel(rgb) {
	const n = parseInt(rgb.slice(1), 16);

	return (0xff000000 | (n & 0xff) << 16 | n & 0xff00 | n >> 16) >>> 0;
}

// ---- a page under the mouse ----

let resting = null, shown = null;

function hideTip() {
	clearTimeout(resting);
	shown = null;
	$('tip').hidden = true;
}

function point(vm, event) {
	const box = vm.canvas.getBoundingClientRect(), tip = $('tip');
	const x = Math.floor((event.clientX - box.left) / box.width * vm.columns);
	const y = Math.floor((event.clientY - box.top) / box.height * vm.canvas.height);
	const gfn = y * vm.columns + x;

	if (!vm.index || !(vm.index[gfn] >= 0)) return hideTip();
	tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - 300)}px`;
	tip.style.top = `${Math.min(event.clientY + 14, window.innerHeight - 100)}px`;
	if (shown && shown.vm === vm && shown.gfn === gfn) return;
	shown = { vm, gfn };
	describe('');
	tip.hidden = false;
	clearTimeout(resting);
	resting = setTimeout(fetchOwners, REST_MS);
}

function describe(more) {
	const { vm, gfn } = shown, index = vm.index[gfn];

	setText($('tip'), `${vm.name}: page ${hex(gfn)}, at ${hex(gfn * PAGE)}\n` +
		states[index >> 1] + (index & 1 ? ', in a leaf of 2 MiB' : '') + more);
}

async function fetchOwners() {
	const asked = shown;

	if (!asked || states[asked.vm.index[asked.gfn] >> 1] !== 'shared') return;
	const query = new URLSearchParams({ vm: asked.vm.name, gfn: hex(asked.gfn) });
	const answer = await fetch(`/owners?${query}`).catch(() => null);
	if (!answer || !answer.ok || shown !== asked) return;
	const owners = (await answer.json()).owners || [];
	if (shown !== asked) return;
	describe(owners.map(o => `\n${o.name}: ${o.pages === undefined ? 'does not answer' :
		`${o.pages} page${o.pages === 1 ? '' : 's'}`}`).join(''));
}

// ---- dark and light ----

function setTheme(dark) { document.documentElement.classList.toggle('dark', dark); }

function chooseTheme() {
	const query = window.matchMedia('(prefers-color-scheme: dark)');
	const kept = localStorage.getItem('theme');

	setTheme(kept ? kept === 'dark' : query.matches);
	query.onchange = () => { if (!localStorage.getItem('theme')) setTheme(query.matches); };
	$('theme').onclick = () => {
		const dark = !document.documentElement.classList.contains('dark');
		localStorage.setItem('theme', dark ? 'dark' : 'light');
		setTheme(dark);
	};
}

// ---- life: only while somebody looks ----

let events = null;

function listen() {
	const on = (name, take) => events.addEventListener(name, e => take(JSON.parse(e.data)));

	events = new EventSource('/events');
	on('hello', hello => {
		({ palette, states, rates } = hello);
		keepPoints(hello.points);
		words_of = palette.map(pixel);
		drawLegend();
	});
	on('look', drawAll);
	on('map', drawMap);
	events.onerror = () => complain('the observer does not answer; trying again');
}

function listenWhileSeen() {
	if (document.hidden && events) {
		events.close();
		events = null;
	} else if (!document.hidden && !events) {
		listen();
	}
}

takeToken();
chooseTheme();
document.addEventListener('visibilitychange', listenWhileSeen);
window.addEventListener('resize', drawChart);
listenWhileSeen();
