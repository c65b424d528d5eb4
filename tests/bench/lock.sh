#!/bin/bash
# SPDX-License-Identifier: MIT
#
# How long a guest's page fault waits for the lock of guest memory while the keeper merges at full
# speed: quill's `stress` writes at random to memory that is merged again and again, so that it
# faults all the time.  Times come from `quire stat --json`, by powers of two: what is printed is
# the bound below which a half, or 99 of 100, of the times are, and the longest.
set -u
. "$(dirname "$0")/common.bash"
runs=${BENCH_RUNS:-3}
machine
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
seconds=5

# Who else runs here should not be what is measured: real-time priority, if that is allowed.
first=
chrt -r 10 true 2>/dev/null && first='chrt -r 10'

show() {	# what
	python3 -c '
import json, sys
vm = json.load(sys.stdin)["vms"][0]
def below(times, percent):
    counts = sorted((int(k.split("_")[1]), n) for k, n in times.items() if k.startswith("below"))
    left = sum(n for _, n in counts) * percent / 100
    for bound, n in counts:
        left -= n
        if left <= 0:
            return bound
    return 0
for name in "pager_waits", "pager_holds", "merge_holds":
    times = vm[name]
    print("lock %s: %s half_below_us=%.1f p99_below_us=%.0f longest_us=%.0f" % (sys.argv[1], name,
          below(times, 50) / 1e3, below(times, 99) / 1e3, times.get("longest_ns", 0) / 1e3))
print("lock %s: faults=%d merged=%d zeroed=%d" % (sys.argv[1], vm["faults"], vm["merged_pages"],
      vm["zeroed_pages"]))' "$1"
}

# one WHAT HUGEPAGES
one() {
	local pid
	$first "$quire" run --machine=own --name=lock-bench -m 512M --merge=on --hugepages="$2" \
		--timeout=120 "$quill" stress "$seconds" >"$dir/out" 2>&1 &
	pid=$!
	sleep 2
	while "$quire" stat --json lock-bench >"$dir/stat.new" 2>/dev/null; do
		mv "$dir/stat.new" "$dir/stat"
		timeout 20 "$quire" merge now lock-bench >"$dir/merge" 2>&1
	done
	wait "$pid" || sed 's/^/# /' "$dir/out"
	show "$1" <"$dir/stat"
}

for ((i = 0; i < runs; i++)); do
	one hugepages=auto auto
	one hugepages=never never
done
