#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The same guests in both modes of paging, in turns: computing, first touch, loads of CR3, changes
# of page tables, copy-on-write inside the guest, merging, and writes to merged pages.  Beside each
# time are the exits to quire that one operation takes, which explain the difference.
set -u
. "$(dirname "$0")/common.bash"
machine
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

modes='ept shadow'

# The exits of a run, as its statistics have them.
exits() {
	sed -n 's/^ *"exits": \([0-9]*\),$/\1/p' "$1" | paste -sd+ | bc
}

# note WHAT MODE OPERATIONS NS: one more result, with the exits of the run
note() {
	echo "$4" >>"$dir/$1.$2"
	awk -v e="$(exits "$dir/stats")" -v n="$3" 'BEGIN { printf "%.3f\n", e / n }' \
		>>"$dir/$1.$2.exits"
}

# The number that the guest printed by that name.
printed() {
	sed -n "s/.*\b$1=\([0-9.]*\).*/\1/p" "$dir/out" | median
}

guest() {	# mode, words
	timeout 300 "$quire" run --paging="$1" --stats="$dir/stats" -m "${memory:-64M}" "$quill" \
		"${@:2}" >"$dir/out" 2>&1 || { cat "$dir/out" >&2; exit 1; }
}

tables() {	# kind, mode
	guest "$2" tables "$1"
	note "$1" "$2" "$(printed ops)" "$(printed ns_per_op)"
}

touch_pages() {	# what, mode, pages
	memory=512M guest "$2" touch "$3"
	note "$1" "$2" "$3" "$(printed ns_per_page)"
}

# Two guests have the same 8000 pages: until they are merged, and then 2000 writes in each.
merge() {	# mode
	local name=paging-$$ start end

	timeout 300 "$quire" run -n 2 --name=$name --paging="$1" --stats="$dir/stats" -m 64M \
		--hugepages=never "$quill" hold 1 8000 seconds=4 writes=2000 \
		>"$dir/out" 2>&1 &
	until [ "$(grep -c ': ready' "$dir/out")" -eq 2 ]; do
		sleep 0.05
	done
	start=${EPOCHREALTIME/./}
	"$quire" merge now $name-1 $name-2 >/dev/null
	end=${EPOCHREALTIME/./}
	wait $!
	note merge "$1" 16000 $(((end - start) / 16))
	note unshare "$1" 4000 "$(printed ns_per_write)"
}

compare() {	# what, unit
	local e s

	e=$(median <"$dir/$1.ept")
	s=$(median <"$dir/$1.shadow")
	printf 'paging %-9s ept_ns=%s (%s) shadow_ns=%s (%s) ratio=%s' "$1" "$e" \
		"$(spread <"$dir/$1.ept")" "$s" "$(spread <"$dir/$1.shadow")" "$(ratio "$s" "$e")"
	[ "$1" = merge ] || printf ' exits=%s,%s' "$(median <"$dir/$1.ept.exits")" \
		"$(median <"$dir/$1.shadow.exits")"
	printf ' per=%s\n' "$2"
}

for ((i = 0; i < runs; i++)); do
	for mode in $modes; do
		for kind in compute switch edit churn batch fork; do
			tables $kind "$mode"
		done
		touch_pages touch "$mode" 65536
		merge "$mode"
	done
done
compare compute access
compare touch page
compare switch load_of_CR3
compare edit load_of_CR3
compare churn page
compare batch page
compare fork page
compare merge page
compare unshare write
