#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make demo: what quire does, on real guests, in about half a minute.  A section a subject: what
# there is to see, then each command as you can type it yourself, and what it prints.
#
# All runs have private machines, so nothing here depends on a machine that somebody runs, or
# disturbs it.  At the end, also after Ctrl-C, the guests that were started here are ended.
set -u
cd "$(dirname "$0")/.." || exit 1

build=${QUIRE_BUILD:-build}
quire=$build/quire
quill=$build/guest/quill.elf
export QUIRE_MACHINE=own
dir=$(mktemp -d)
guest= # name of the one in the background
run=0  # pid of a run in the background
failed=0
bold=
plain=
colours=()
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
	bold=$'\e[1m'
	plain=$'\e[m'
	colours=(--color=always)
fi

finish() {
	[ "$run" -ne 0 ] && kill "$run" 2>/dev/null && wait "$run" 2>/dev/null
	[ -n "$guest" ] && "$quire" kill "$guest" 2>/dev/null
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT

# section TITLE TEXT
section() {
	printf '\n%s== %s%s\n\n' "$bold" "$1" "$plain"
	tr -s '[:space:]' ' ' <<<"$2" | fmt -w 90
	echo
}

typed() {
	echo "$bold\$ $*$plain"
}

# Nothing of this takes long; a guest that hangs must not hang the demo.
bounded() {
	timeout --foreground 60 "$@" </dev/null
}

indented() {
	sed 's/^/    /'
}

# expect STATUS COMMAND...: run it, and show what it prints
expect() {
	local want=$1 status

	shift
	typed "$*"
	bounded "$@" >"$dir/out" 2>&1
	status=$?
	indented <"$dir/out"
	[ "$status" -eq 0 ] || echo "    (exit status $status)"
	[ "$status" -eq "$want" ] || failed=1
}

show() {
	expect 0 "$@"
}

# As show, of a map, in colours where the terminal has them.
show_map() {
	typed "$quire map $1"
	bounded "$quire" map "${colours[@]}" "$1" >"$dir/map" || failed=1
	indented <"$dir/map"
}

# unused NAME: that name, or one like it if somebody has a guest of that name
unused() {
	if "$quire" ps "$1" >/dev/null 2>&1; then
		echo "$1-$$"
	else
		echo "$1"
	fi
}

# start NAME OPTION... IMAGE ARG...: returns when all its guests are ready, and they go on
start() {
	local name=$1

	shift
	typed "$quire run --wait-for=ready --name=$name $*"
	if ! bounded "$quire" run --wait-for=ready --name="$name" "$@" >"$dir/console" 2>&1; then
		failed=1
		indented <"$dir/console"
		return
	fi
	guest=$name
}

# end: the guests in the background end by themselves, and say that they verified their memory
end() {
	for _ in $(seq 300); do
		"$quire" ps "$guest" >/dev/null 2>&1 || break
		sleep 0.1
	done
	guest=
	echo '    (the guests verify what they wrote, and end)'
	grep verified "$dir/console" | indented | grep . || failed=1
}

boot() {
	section 'Boot' \
		'quill, the guest that comes with quire, boots, says what it found, and ends.'
	show "$quire" run "$quill" hello
}

memory() {
	local name

	name=$(unused demo)
	section 'Memory' \
		'A guest of 64 MiB fills 6000 of its 16384 pages. The map shows the state of
		every page: the guest has never touched the dots, so the host has no memory for
		them. The rest came in by blocks of 2 MiB, in a few page faults.'
	start "$name" -m 64M "$quill" hold 1 6000 seconds=4
	show_map "$name"

	section 'Address translation' \
		'An address of that guest, as its processor translates it: 4 references to page
		tables of the guest, and for each of these a walk of stage 2, the tables that
		quire owns.'
	show "$quire" walk "$name" 0x100000
	end
}

merging() {
	local name

	name=$(unused twin)
	section 'Merging' \
		'Two guests with 6000 pages each: 4000 of them are equal in both, 1500 are
		different, and 500 hold zeroes. After merging, both guests share one copy of
		what is equal, and zeroes need no memory at all.'
	start "$name" -n 2 -m 64M "$quill" hold 1 6000 own=1500 zero=500 order=scatter seconds=6
	show "$quire" merge now "$name"
	show_map "$name-1"
	end
}

balloon() {
	local name

	name=$(unused balloon)
	section 'Balloon' \
		'A guest of 128 MiB is asked to make do with 48: it puts pages into its balloon,
		and the machine has their memory at once. The guest goes on, and verifies its
		data.'
	start "$name" -m 128M "$quill" balloon seconds=4 touch=2000 dirty=20000
	show "$quire" balloon --wait "$name" 48M
	show "$quire" balloon
	end
}

overcommit() {
	section 'Overcommit' \
		'What a machine of 1 GiB promises, in the modes of vm.overcommit_memory. Mode 0
		refuses a guest that is larger than the machine, mode 1 refuses nothing, and
		mode 2 refuses what does not fit under its limit.'
	expect 120 "$quire" run --machine-memory=1G --overcommit=0 -m 2G "$quill" exit 0
	show "$quire" run --machine-memory=1G --overcommit=1 -m 2G "$quill" exit 0
	expect 120 "$quire" run --machine-memory=1G --overcommit=2 -m 1G "$quill" exit 0

	section 'Out of memory' \
		'Two guests of 64 MiB use all their memory, on a machine of 96 MiB that has
		promised it to both, and nothing may be compressed. It ends the one with the
		highest score; the other one does not notice.'
	expect 123 "$quire" run -n 2 --name="$(unused tight)" -m 64M --machine-memory=96M \
		--merge=off --reclaim=off "$quill" hold 1 12000 seconds=2
}

many() {
	local name

	name=$(unused many)
	section 'Many guests' \
		'Eight guests at a time, each of which writes and verifies its memory.'
	typed "$quire run -n 8 --name=$name -m 32M $quill stress 3 &"
	bounded "$quire" run -n 8 --name="$name" -m 32M "$quill" stress 3 >"$dir/console" 2>&1 &
	run=$!
	for _ in $(seq 100); do
		[ "$(grep -c 'stress: seed' "$dir/console")" -eq 8 ] && break
		sleep 0.1
	done
	show "$quire" ps "$name"
	wait "$run" || failed=1
	run=0
	grep verified "$dir/console" | indented
}

selftest() {
	section 'Self-test' \
		'The guest tries its own page tables, faults and memory, and says of each check
		whether what happened is what a processor does.'
	typed "$quire run $quill selftest"
	bounded "$quire" run "$quill" selftest >"$dir/out" 2>&1 || failed=1
	grep '^not ok' "$dir/out" | indented
	echo "    $(grep -c '^ok' "$dir/out") checks passed, $(grep -c '^not ok' "$dir/out") failed"
	grep -q '^ok' "$dir/out" || failed=1
}

stress() {
	section 'All of it together' \
		'A machine of 64 MiB promises its guests far more than that. They fill it, use it
		for some seconds, and verify every byte. What they have in common is merged, what
		they do not use is compressed, and what is left goes to swap files.'
	show "$quire" stress --memory=64M --guests=3 --seconds=4
}

if [ ! -w /dev/kvm ]; then
	echo "demo: needs /dev/kvm, and there is no access to it here" >&2
	exit 1
fi
boot
memory
merging
balloon
overcommit
many
selftest
stress

if [ "$failed" -ne 0 ]; then
	printf '\ndemo: something above went wrong\n'
	exit 1
fi
cat <<EOF

demo: all as it should be.  Next:
    docs/tutorial.md        half an hour with these commands, step by step
    $quire help        all commands, and their options
    make check              every test
EOF
