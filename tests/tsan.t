#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Keeper of docs/locking.md: gmem_test, pager and all, under ThreadSanitizer.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT INT TERM

if ! echo 'int main(void) { return 0; }' | ${CC:-gcc} -fsanitize=thread -x c -o "$dir/probe" - 2>/dev/null; then
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

echo 1..2
out="$dir/out"
if ! ${CC:-gcc} -std=gnu11 -O1 -g -pthread -fsanitize=thread -D_GNU_SOURCE -Iinclude \
	-o "$dir/gmem_test" mmu/*.c tests/tap.c tests/gmem_test.c >"$out" 2>&1; then
	sed 's/^/# /' "$out"
	echo "not ok 1 - gmem_test builds with ThreadSanitizer"
	exit 1
fi
echo "ok 1 - gmem_test builds with ThreadSanitizer"
$run "$dir/gmem_test" >"$out" 2>&1
status=$?
grep '^# seed' "$out"
if grep -q '^1\.\.0' "$out"; then
	echo "ok 2 # SKIP $(sed -n 's/^1..0 # SKIP //p' "$out")"
elif [ $status -eq 0 ]; then
	echo "ok 2 - threads in the window, the pager and the accessors race nowhere"
else
	grep -v '^ok' "$out" | head -60 | sed 's/^/# /'
	echo "not ok 2 - threads in the window, the pager and the accessors race nowhere"
	exit 1
fi
