#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Keeper of docs/locking.md: gmem_test, pager and all, gmem_balloon_test, credits_test,
# balloon_test, and keeper_storm_test, which has all threads of a VM and a machine but for vCPUs,
# under ThreadSanitizer.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT INT TERM

if ! echo 'int main(void) { return 0; }' |
	${CC:-gcc} -fsanitize=thread -x c -o "$dir/probe" - 2>/dev/null; then
	echo "1..0 # SKIP the compiler has no ThreadSanitizer"
	exit 0
fi
# Address space layouts with many random bits confuse the sanitizer's shadow.
run="setarch -R"
if ! $run "$dir/probe" 2>/dev/null; then
	run=
	if ! "$dir/probe" 2>/dev/null; then
		echo "1..0 # SKIP ThreadSanitizer does not run on this kernel"
		exit 0
	fi
fi

echo 1..10
mmu='mmu/*/*.c mmu/*/*/*.c'
out="$dir/out"
n=0
failed=0

# race_free TEST DESCRIPTION SOURCE...: builds the test, runs it
race_free() {
	test=$1
	what=$2
	shift 2
	if ! ${CC:-gcc} -std=gnu11 -O1 -g -pthread -fsanitize=thread -D_GNU_SOURCE -I. -Iinclude \
		-o "$dir/test" "$@" tests/tap.c "tests/$test.c" >"$out" 2>&1; then
		sed 's/^/# /' "$out"
		echo "not ok $((n + 1)) - $test builds with ThreadSanitizer"
		echo "not ok $((n + 2)) - $what"
		n=$((n + 2))
		failed=1
		return
	fi
	echo "ok $((n + 1)) - $test builds with ThreadSanitizer"
	n=$((n + 2))
	$run "$dir/test" >"$out" 2>&1
	status=$?
	grep '^# seed' "$out"
	if grep -q '^1\.\.0' "$out"; then
		echo "ok $n # SKIP $(sed -n 's/^1..0 # SKIP //p' "$out")"
	elif [ $status -eq 0 ]; then
		echo "ok $n - $what"
	else
		grep -v '^ok' "$out" | head -60 | sed 's/^/# /'
		echo "not ok $n - $what"
		failed=1
	fi
}

race_free memory/gmem_test 'threads in the window, the pager and the accessors race nowhere' \
	$mmu
race_free memory/gmem_balloon_test 'who gives pages back, the pager and the guest race nowhere' \
	$mmu
race_free machine/credits_test 'threads that share credits race nowhere' mmu/machine/*.c \
	mmu/machine/store/*.c mmu/base/*.c
race_free dev/balloon_test 'a vCPU and the main loop race nowhere in a virtio device' \
	vmm/dev/virtio_*.c vmm/dev/balloon*.c vmm/dev/bus.c mmu/base/locks.c
race_free merge/keeper_storm_test 'keepers, pagers, accessors and a machine race nowhere' \
	$mmu
exit $failed
