#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs each fuzzer for $FUZZ_SECONDS from a printed seed: one assertion a fuzzer.  What
# makes one fail is kept, and its path printed.
set -u
cd "$(dirname "$0")/../.." || exit 1

build=${QUIRE_FUZZ_BUILD:-build-fuzz}
seconds=${FUZZ_SECONDS:-10}
seed=${QUIRE_SEED:-$(( ($(date +%s) ^ $$) ))}
seed=$(( (seed & 0x7fffffff) + 1 ))	# libFuzzer takes 31 bits, and 0 for "any"

shopt -s nullglob
sources=(tests/fuzz/*_fuzz.c)
if [ "${#sources[@]}" -eq 0 ]; then
	echo '1..0 # SKIP no fuzzers'
	exit 0
fi
if ! echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n && 0; }' |
		"${FUZZ_CC:-clang}" -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null; then
	echo '1..0 # SKIP no clang with libFuzzer; make deps installs it'
	exit 0
fi

out=$(mktemp -d)
echo "1..${#sources[@]}"
echo "# seed $seed (repeat with QUIRE_SEED=$((seed - 1))), $seconds s each"
failed=0
n=0
for source in "${sources[@]}"; do
	n=$((n + 1))
	name=$(basename "$source" .c)
	fuzzer=$build/tests/fuzz/$name
	corpus=tests/fuzz/corpus/${name%_fuzz}
	seeds=()
	[ -d "$corpus" ] && seeds=("$corpus")
	mkdir -p "$out/$name/corpus"
	timeout -k 5 $((seconds + 60)) "$fuzzer" -seed="$seed" -max_total_time="$seconds" \
		-rss_limit_mb=1024 -timeout=10 -artifact_prefix="$out/$name/" \
		"$out/$name/corpus" "${seeds[@]}" >"$out/$name/log" 2>&1
	status=$?
	runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$out/$name/log")
	if [ "$status" -eq 0 ] && [ "${runs:-0}" -gt 0 ]; then
		echo "ok $n - $name: $runs inputs"
		continue
	fi
	failed=1
	echo "not ok $n - $name: exit status $status after ${runs:-no} inputs"
	tail -n 40 "$out/$name/log" | sed 's/^/# /'
	echo "# what was being tried is in $out/$name"
done
[ "$failed" -eq 0 ] && rm -rf "$out"
exit "$failed"
