#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Reclaim under pressure: a guest that uses 64 MiB, with less and less memory (pressure_turn.pl).
#
#   slowdown   operations a second with all memory, divided by those with 1/RATIO of it; how many
#              loads there were in 1000 operations; and the longest that an operation took: for
#              each pattern and policy
#   peer       with half of the memory: quire against QEMU in a memory cgroup that swaps to a zram
#              device, or to a file.  What zram takes counts as held, so that both sides have the
#              same memory in all; held and away show that they had
#
# BENCH_POLICIES, BENCH_PATTERNS and BENCH_RATIOS say what of it; BENCH_RUNS how often (3).
set -u
. "$(dirname "$0")/common.bash"
runs=${BENCH_RUNS:-3}
policies=${BENCH_POLICIES:-gen clock lru lfu fifo random}
patterns=${BENCH_PATTERNS:-zipf scan phases}
ratios=${BENCH_RATIOS:-0.5 1 1.5 2 2.5}
machine
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# Who else runs here should not be what is measured: all at real-time priority, if that is allowed.
first=
chrt -r 10 true 2>/dev/null && first='chrt -r 10'

pages=16384
words="pages=$pages packs=100 fill=1 writes=50"

of_ratio() {	# the pages that a guest has
	awk -v r="$1" -v p=$pages 'BEGIN { printf "%d", p / r }'
}

# turn FILE WHO PAGES PATTERN OPTION...: its numbers go to FILE.ops, FILE.longest and so on; a guest
# that was killed has done nothing
turn() {
	local file=$dir/$1 who=$2 has=$3 pattern=$4 numbers number

	shift 4
	"$warm" 256
	numbers=$(timeout 120 $first perl "$(dirname "$0")/pressure_turn.pl" "$who" "$has" "$@" -- \
		5 "pattern=$pattern" $words 2>>"$dir/err") ||
		numbers='ops_s=0 longest_us=0'
	for number in $numbers; do
		echo "${number#*=}" >>"$file.${number%%=*}"
	done
}

of() {	# FILE.NUMBER: the median
	median <"$dir/$1"
}

# ---- slowdown ----

for pattern in $patterns; do
	for ((i = 0; i < runs; i++)); do
		turn "$pattern" quire 0 "$pattern" --merge=off
		for policy in $policies; do
			for r in $ratios; do
				turn "$pattern-$policy-$r" quire "$(of_ratio "$r")" "$pattern" \
					--merge=off "--reclaim=$policy"
			done
		done
	done
	base=$(of "$pattern.ops_s")
	for policy in $policies; do
		printf 'slowdown pattern=%s policy=%s' "$pattern" "$policy"
		for r in $ratios; do
			ops=$(of "$pattern-$policy-$r.ops_s")
			printf ' at_%s=%s (loads=%s longest_us=%s)' "$r" \
				"$( ((ops)) && ratio "$base" "$ops" || echo killed)" \
				"$(of "$pattern-$policy-$r.loads")" \
				"$(of "$pattern-$policy-$r.longest_us")"
		done
		echo
	done
done

# ---- peer ----

why=
[ "$(id -u)" -eq 0 ] || why='only root may make cgroups and swap'
command -v qemu-system-x86_64 >/dev/null || why='no qemu-system-x86_64'
grep -qs memory /sys/fs/cgroup/cgroup.controllers || [ -d /sys/fs/cgroup/memory ] ||
	why='no memory cgroups'
command -v mkswap >/dev/null || why='no mkswap'
if [ -n "$why" ]; then
	echo "peer: not measured: $why"
	exit 0
fi

peer() {	# pattern, device: zram or file
	local file=$2-$1 has=$((pages / 2))
	for ((i = 0; i < runs; i++)); do
		turn "quire-$file" quire "$has" "$1" --merge=off
		turn "$file" "$2" "$has" "$1"
	done
	printf 'peer pattern=%s swap=%s quire_ops_s=%s (%s) qemu_ops_s=%s (%s) ratio=%s aim>=1.5' \
		"$1" "$2" "$(of "quire-$file.ops_s")" "$(spread <"$dir/quire-$file.ops_s")" \
		"$(of "$file.ops_s")" "$(spread <"$dir/$file.ops_s")" \
		"$(ratio "$(of "quire-$file.ops_s")" "$(of "$file.ops_s")")"
	printf ' quire_longest_us=%s qemu_longest_us=%s ratio=%s aim<=0.5\n' \
		"$(of "quire-$file.longest_us")" "$(of "$file.longest_us")" \
		"$(ratio "$(of "quire-$file.longest_us")" "$(of "$file.longest_us")")"
	for who in "quire-$file" "$file"; do
		printf '  held=%s away=%s%s\n' "$(of "$who.held")" "$(of "$who.away")" \
			"$([ ! -e "$dir/$who.vcpu_us" ] || echo " loads=$(of "$who.loads")" \
				"vcpu_us=$(of "$who.vcpu_us") cpu_us=$(of "$who.cpu_us")")"
	done
}

for pattern in $patterns; do
	peer "$pattern" file
	if [ -e /sys/class/zram-control ]; then
		peer "$pattern" zram
	else
		echo "peer pattern=$pattern swap=zram: not measured: no zram"
	fi
done
