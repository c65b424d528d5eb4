#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make demo: what quire does, on real guests, in under half a minute.  A section a subject;
# each prints the command it runs, so that you can run it yourself.
set -u
cd "$(dirname "$0")/.." || exit 1

build=${QUIRE_BUILD:-build}
quire=$build/quire
quill=$build/guest/quill.elf
export QUIRE_MACHINE=own # not that of somebody's who works here
dir=$(mktemp -d)
run=0  # pid of a run
guest=  # name of one in the background
failed=0

finish() {
	[ "$run" -ne 0 ] && kill "$run" 2>/dev/null && wait "$run" 2>/dev/null
	[ -n "$guest" ] && "$quire" kill "$guest" 2>/dev/null
	rm -rf "$dir"
}
trap finish EXIT

section() {
	printf '\n---- %s\n\n' "$*"
}

# expect STATUS COMMAND...: run it, indented under its own text
expect() {
	local want=$1 status

	shift
	echo "\$ $*"
	timeout 60 "$@" >"$dir/out" 2>&1 </dev/null
	status=$?
	sed 's/^/    /' "$dir/out"
	[ "$status" -eq 0 ] || echo "    (exit status $status)"
	[ "$status" -eq "$want" ] || failed=1
}

show() {
	expect 0 "$@"
}

# counters FILE NAME...: the members of a --stats file
counters() {
	local file=$1 name

	shift
	for name; do
		sed -n "s/^ *\"\($name\)\": \([0-9]*\),*$/    \1 \2/p" "$file"
	done
}

section_boot() {
	section 'boot: a guest kernel, from its image to its last word'
	show "$quire" run "$quill" hello
}

section_selftest() {
	section 'selftest: the guest tries its own memory and page tables'
	echo "\$ $quire run $quill selftest"
	timeout 60 "$quire" run "$quill" selftest >"$dir/out" 2>&1 </dev/null || failed=1
	grep '^not ok' "$dir/out" | sed 's/^/    /'
	echo "    $(grep -c '^ok' "$dir/out") checks passed, $(grep -c '^not ok' "$dir/out") failed"
	grep -q '^ok' "$dir/out" || failed=1
}

section_memory() {
	section 'memory: what became of every page of a running guest'
	echo "\$ $quire run --name=demo-$$ -m 64M --stats=FILE $quill hold 1 6000 seconds=5 &"
	timeout 60 "$quire" run --name="demo-$$" -m 64M --stats="$dir/stats" "$quill" \
		hold 1 6000 seconds=5 >"$dir/console" 2>&1 </dev/null &
	run=$!
	for _ in $(seq 100); do
		"$quire" map "demo-$$" 2>/dev/null | grep -Eq 'private +[6-9][0-9]{3} ' && break
		sleep 0.1
	done
	show "$quire" map "demo-$$"

	section 'walk: an address of that guest, reference by reference'
	show "$quire" walk "demo-$$" 0x100000
	wait "$run" || failed=1
	run=0

	section 'stats: the same guest at its end'
	sed 's/^/    /' "$dir/console"
	counters "$dir/stats" ram_pages state_absent_pages state_private_pages large_leaves faults \
		faulted_in_pages exits run_ns
}

# background NAME OPTION... IMAGE ARG...: a run that goes on when all its guests are ready
background() {
	guest=$1
	shift
	echo "\$ $quire run --wait-for=ready --name=$guest $*"
	timeout 60 "$quire" run --wait-for=ready --name="$guest" "$@" >"$dir/console" 2>&1 </dev/null ||
		failed=1
}

# Wait for the end of its guests; each has verified its memory.
finished() {
	for _ in $(seq 300); do
		"$quire" ps "$guest" >"$dir/out" 2>&1 || break
		sleep 0.1
	done
	guest=
	grep verified "$dir/console" | sed 's/^/    /' | grep . || failed=1
}

section_merge() {
	section 'merge: two guests with 6000 equal pages each need them once'
	background "twin-$$" -n 2 -m 64M "$quill" hold 1 6000 seconds=8
	show "$quire" merge now "twin-$$"
	"$quire" map "twin-$$-1" >"$dir/map" 2>&1
	show "$quire" merge --who "twin-$$-1" \
		"$(sed -n 's/^ *0x\([0-9a-f]*\)000  s.*/0x\1/p' "$dir/map" | head -1)"
	sed 's/^/    /' "$dir/map" | grep -A9 'one glyph'
	finished
}

section_balloon() {
	section 'balloon: a guest of 128 MiB is asked to make do with 48'
	background "balloon-$$" -m 128M "$quill" balloon seconds=6 touch=2000 dirty=20000
	show "$quire" balloon --wait "balloon-$$" 48M
	show "$quire" balloon "balloon-$$"
	finished
}

section_overcommit() {
	section 'overcommit: what a machine of 1 GiB promises, in each mode'
	expect 120 "$quire" run --machine-memory=1G --overcommit=0 -m 2G "$quill" exit 0
	show "$quire" run --machine-memory=1G --overcommit=1 -m 2G "$quill" exit 0
	expect 120 "$quire" run --machine-memory=1G --overcommit=2 -m 1G "$quill" exit 0

	section 'many guests: eight at a time, each verifies its own memory'
	echo "\$ $quire run -n 8 --name=many-$$ -m 32M $quill stress 3 &"
	timeout 60 "$quire" run -n 8 --name="many-$$" -m 32M "$quill" stress 3 >"$dir/console" \
		2>&1 </dev/null &
	run=$!
	for _ in $(seq 50); do
		[ "$(grep -c 'stress: seed' "$dir/console")" -eq 8 ] && break
		sleep 0.1
	done
	show "$quire" ps
	wait "$run" || failed=1
	run=0
	grep verified "$dir/console" | sed 's/^/    /'

	section 'out of memory: two guests of 64 MiB that use it all, on 96 MiB'
	expect 123 "$quire" run -n 2 --name="tight-$$" -m 64M --machine-memory=96M --merge=off \
		"$quill" hold 1 12000 seconds=1
}

if [ ! -w /dev/kvm ]; then
	echo "demo: needs /dev/kvm, and there is no access to it here" >&2
	exit 1
fi
section_boot
section_selftest
section_memory
section_merge
section_balloon
section_overcommit

section summary
if [ "$failed" -ne 0 ]; then
	echo 'demo: something above went wrong'
	exit 1
fi
echo 'demo: all as it should be.  Next: make check; quire help; docs/cli.md'
