#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A guest writes every second page of zeroes while it is merged.  Each of them is a mapping of its
# own, and so is each page between them: quire counts as many as the kernel has, and goes on where
# there are no more.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/kvm/shell.bash

image=$build/payload/pvh32_alternate.elf
vm=alternate-$$
others=300 # mappings of the rest of the process, at most

# The last one: a machine has a pid, too.
number() {
	sed -n 's/.*"'"$1"'": \([0-9]*\).*/\1/p' | tail -n 1
}

# guest MAPPINGS: run it with so many, and compare the counts until it ends.
guest() {
	timeout 100 "$quire" run --name="$vm" -m 64M --max-mappings="$1" --stats="$dir/stats" \
		"$image" 2>"$dir/errors" &
	run=$!
	started $run "$dir/errors" "$quire" stat "$vm"
	apart=0 most=0
	while "$quire" merge now "$vm" >/dev/null 2>&1 &&
		"$quire" stat --json "$vm" >"$dir/now" 2>/dev/null; do
		# A guest that runs changes its mappings between the two looks.
		"$quire" pause "$vm" >/dev/null 2>&1 || break
		"$quire" stat --json "$vm" >"$dir/now" 2>/dev/null || break
		maps=$(wc -l <"/proc/$(number pid <"$dir/now")/maps" 2>/dev/null) || break
		"$quire" resume "$vm" >/dev/null 2>&1
		ours=$(number mappings <"$dir/now")
		[ "${maps:-0}" -eq 0 ] || [ $((maps - ours)) -le $others ] || apart=$((maps - ours))
		[ "$ours" -le "$most" ] || most=$ours
	done
	wait $run
	status=$?
	cat "$dir/errors"
}

guest 60000
check "the guest goes on to its end (status $status)" [ $status -eq 11 ]
check "with many mappings ($most)" [ $most -gt 500 ]
check "which are as many as the kernel has, but for those of the process ($apart)" [ $apart -eq 0 ]
guest 200
check "and where there are few (status $status)" [ $status -eq 11 ]
check "there are never more ($most)" [ $most -le 200 ]
check "which are as many as the kernel has ($apart)" [ $apart -eq 0 ]
done_testing
