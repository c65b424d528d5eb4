#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Merging of equal pages: quire against ksmd, the kernel's, at its highest useful setting, in the
# same run.  ksmd's guests are bare ones (ksm_peer.c) with the same contents.
#
#   a  two guests of 512 MiB with equal random pages
#   b  four guests of 256 MiB; one page in four is in all of them, none beside another
#   c  two guests of 512 MiB; 90 % are zeroes, scattered, the rest unique
#   d  a, when all is merged and idle: the CPU time of going on looking, at full speed and at the
#      pace at which new equal pages are found within $delay s (ksmd's two passes); and how long
#      that takes then
#   e  a, and one guest writes 1 % of its pages a second: new content (they stay apart), or what
#      was there (to be merged again)
#   f  a: what the first write to a merged page costs the guest
#   g  a: metadata a page
#
#   merge.sh [SCENARIO...]		a b c idle (d to g), default all
#
# quire's guests have 4 KiB pages as ksmd's; QUIRE_HUGE=auto: 2 MiB blocks, split where it pays.
#
# BENCH_RUNS (here 3 if not given), MERGE_MIB: the size of a guest of a, for a quick try (512),
# MERGE_THP=1: ksmd's guests in transparent huge pages, which it splits.
#
# merge_ksm.bash has ksmd's side, and merge_quire.bash quire's.
set -u
BENCH_RUNS=${BENCH_RUNS:-3}
. "$(dirname "$0")/common.bash"
peer=${QUIRE_BUILD:-build}/tests/bench/ksm_peer
blocks=${QUIRE_BUILD:-build}/tests/bench/blocks
ksm=${KSM_DIRECTORY:-/sys/kernel/mm/ksm}
mib=${MERGE_MIB:-512}
delay=10
limit=120		# seconds that a merge may take
what=${*:-a b c idle}
machine
echo "# load average before: $(cut -d' ' -f1 /proc/loadavg)"
dir=$(mktemp -d) || exit 1

# ---- Time ----

mkfifo "$dir/never" && exec {never}<>"$dir/never"
nap() {			# seconds, without a process
	read -r -t "$1" -u "$never" _
}

now() {			# microseconds
	echo "${EPOCHREALTIME/./}"
}

# Nanoseconds that a process and all its threads were on a processor
cpu_ns() {		# pid
	if [ -r "/proc/$1/schedstat" ]; then
		cat "/proc/$1/task/"*/schedstat | awk '{ ns += $1 } END { printf "%.0f\n", ns }'
	else
		awk -v hz="$(getconf CLK_TCK)" \
			'{ sub(/.*\) /, ""); printf "%.0f\n", ($12 + $13) * 1e9 / hz }' \
			"/proc/$1/stat"
	fi
}

# ---- What there is to merge, for both sides ----

# guests, pages of each, want (pages saved when all is merged), content: of guest i, for quill's
# hold and ksm_peer alike
scenario() {
	case $1 in
	a | idle)
		guests=2 pages=$((mib * 256))
		want=$pages
		content() { echo "1 $pages"; }
		;;
	b)
		guests=4 pages=$((mib * 128))
		want=$((3 * pages / 4))
		content() { echo "1 $pages salt=$1 common=4"; }
		;;
	c)
		guests=2 pages=$((mib * 256))
		want=$((guests * (pages * 9 / 10)))
		content() { echo "1 $pages zero=$((pages * 9 / 10)) order=shuffle salt=$1"; }
		;;
	esac
}

# merged, microseconds, CPU nanoseconds: a line, and the figures kept for the medians.  ksmd is
# nice: where its cpu_percent is far below 100 something else was running, and only cpu_* are worth
# reading.
result() {		# side, key, merged, us, ns
	local rest
	rest=$(awk -v m="$3" -v us="$4" -v ns="$5" 'BEGIN { if (!m) m = 1e-9
		printf "seconds=%.3f merges_per_s=%.0f cpu_s=%.3f cpu_us_per_merge=%.3f " \
			"cpu_percent=%.0f",
			us / 1e6, m * 1e6 / us, ns / 1e9, ns / 1e3 / m, ns / us / 10 }')
	echo "$1: merged=$3 $rest of=$want $2"
	echo "merged=$3 $rest" >>"$dir/$1.$2"
}

# Medians of each member of a file of NAME=VALUE lines
medians() {		# file
	local name
	for name in $(head -1 "$1" | grep -o '[a-z_0-9]*='); do
		printf '%s%s ' "$name" "$(grep -o "\b${name}[-0-9.]*" "$1" | cut -d= -f2 | median)"
	done
}

summary() {		# side, key
	[ -s "$dir/$1.$2" ] && echo "$1: $(medians "$dir/$1.$2")median of $(wc -l <"$dir/$1.$2") $2"
}

# ---- All of it ----

. "$(dirname "$0")/merge_ksm.bash"
. "$(dirname "$0")/merge_quire.bash"

finish() {
	local status=$?
	trap '' HUP INT TERM
	guests_end
	quire_end
	if [ -n "$guard" ]; then
		exec {guard_fd}>&-
		wait "$guard" && echo '# ksmd: its settings are as before' || status=1
	fi
	rm -rf "$dir"
	exit $status
}

trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

with_ksm=
with_quire=
ksm_begin && with_ksm=1
quire_begin && with_quire=1

for ((i = 0; i < runs; i++)); do
	for name in $what; do
		if [ -n "$with_ksm" ]; then
			[ "$name" = idle ] && ksm_idle || ksm_scenario "$name"
		fi
		[ -n "$with_quire" ] && quire_scenario "$name"
	done
done

echo '# medians'
for file in "$dir"/ksmd.* "$dir"/quire.scenario*; do
	[ -e "$file" ] && file=${file##*/} && summary "${file%%.*}" "${file#*.}"
done

figure() {		# file, member: its median, or nothing
	[ -s "$1" ] && medians "$1" | grep -o "\b$2=[-0-9.]*" | cut -d= -f2
}

compare() {		# scenario, member, aim in words, 1 if more is better
	local q k best="" file
	q=$(figure "$dir/quire.scenario=$1" "$2")
	for file in "$dir/ksmd.scenario=$1"*; do
		k=$(figure "$file" "$2")
		[ -n "$k" ] && best=$(awk -v a="${best:-$k}" -v b="$k" -v more="$4" \
			'BEGIN { print (a > b) == more ? a : b }')
	done
	[ -n "$q" ] && [ -n "$best" ] &&
		echo "merge scenario=$1 $2: quire=$q ksmd=$best ratio=$(ratio "$q" "$best") aim$3"
}

compare a merges_per_s '>=5' 1
compare a cpu_us_per_merge '<=0.2' 0
compare b merges_per_s '>=1.5' 1
compare c merges_per_s '>=5' 1
q=$(figure "$dir/quire.scenario=d" cpu_ms_per_s)
k=$(figure "$dir/ksmd.scenario=d pace=${delay}s" cpu_ms_per_s)
[ -n "$q" ] && [ -n "$k" ] &&
	echo "merge scenario=d cpu_ms_per_s: quire=$q ksmd=$k ratio=$(ratio "$q" "$k") aim<=0.02"
exit 0
