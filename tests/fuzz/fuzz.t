#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs each fuzzer for $FUZZ_SECONDS from a printed seed: one assertion a fuzzer.  What
# makes one fail is kept, and its path printed.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/tap.bash
build=${QUIRE_FUZZ_BUILD:-build-fuzz}
seconds=${FUZZ_SECONDS:-10}
seed=${QUIRE_SEED:-$(( ($(date +%s) ^ $$) ))}
seed=$(( (seed & 0x7fffffff) + 1 ))	# libFuzzer takes 31 bits, and 0 for "any"

shopt -s nullglob
sources=(tests/fuzz/*_fuzz.c)
if [ "${#sources[@]}" -eq 0 ]; then
	skip_all 'no fuzzers'
fi
if ! echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n && 0; }' |
		"${FUZZ_CC:-clang}" -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null; then
	skip_all 'no clang with libFuzzer; make deps installs it'
fi

out=$(mktemp -d)
echo "# seed $seed (repeat with QUIRE_SEED=$((seed - 1))), $seconds s each"
for source in "${sources[@]}"; do
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
	inputs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$out/$name/log")
	[ "$status" -eq 0 ] && [ "${inputs:-0}" -gt 0 ]
	result $? "$name: exit status $status after ${inputs:-no} inputs" && continue
	tail -n 40 "$out/$name/log" | sed 's/^/# /'
	echo "# what was being tried is in $out/$name"
done
[ "$failed" -eq 0 ] && rm -rf "$out"

done_testing
