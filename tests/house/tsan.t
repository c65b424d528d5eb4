#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Keeper of docs/locking.md: gmem_test, pager and all, swapped_test, gmem_balloon_test,
# waiting_test, waiting_machine_test, credits_test, balloon_test, flush_test with a thread for each
# processor, and keeper_storm_test, which has all threads of a VM and a machine but for vCPUs, under
# ThreadSanitizer.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/tap.bash
build=${QUIRE_TSAN_BUILD:-build-tsan}

if ! echo 'int main(void) { return 0; }' |
		${CC:-gcc} -fsanitize=thread -x c -o "$dir/probe" - 2>/dev/null; then
	skip_all 'the compiler has no ThreadSanitizer'
fi
# Address space layouts with many random bits confuse the sanitizer's shadow.
run=(setarch -R)
if ! "${run[@]}" "$dir/probe" 2>/dev/null; then
	run=()
	if ! "$dir/probe" 2>/dev/null; then
		skip_all 'ThreadSanitizer does not run on this kernel'
	fi
fi

# race_free TEST DESCRIPTION
race_free() {
	local status

	"${run[@]}" "$build/tests/$1" >"$dir/out" 2>&1
	status=$?
	grep '^# seed' "$dir/out"
	if grep -q '^1\.\.0' "$dir/out"; then
		skip "$(sed -n 's/^1..0 # SKIP //p' "$dir/out")"
	else
		result $status "$2" || grep -v '^ok' "$dir/out" | head -60 | sed 's/^/# /'
	fi
}

race_free memory/gmem_test 'threads in the window, the pager and the accessors race nowhere'
race_free memory/swapped_test 'threads, a device and the swap file race nowhere'
race_free memory/gmem_balloon_test 'who gives pages back, the pager and the guest race nowhere'
race_free memory/waiting_test 'accesses that wait for credits race with nobody'
race_free memory/waiting_machine_test 'and with those that a machine grants, either'
race_free machine/credits_test 'threads that share credits race nowhere'
race_free dev/balloon_test 'a vCPU and the main loop race nowhere in a virtio device'
race_free monitor/flush_test 'processors that flush shadow tables race nowhere'
race_free merge/keeper_storm_test 'keepers, pagers, accessors and a machine race nowhere'

done_testing
