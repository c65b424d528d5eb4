#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The balloon: quire against QEMU's virtio-balloon with the same guest image, in turns.  1 GiB of a
# guest of 1.5 GiB; the guest takes the times itself.
#
#   inflate, deflate   lists of 256 PFNs of 4 KiB, all of which were touched, or none; GiB/s
#   stall              the longest that the guest's own work waits while 1 GiB is inflated, us
#   report             free blocks as ranges, against QEMU's ranges and against QEMU's lists
set -u
. "$(dirname "$0")/common.bash"
runs=${BENCH_RUNS:-3}
machine
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# Who else runs here should not be what is measured: both sides at real-time priority, if that is
# allowed.
first=
chrt -r 10 true 2>/dev/null && first='chrt -r 10'

pages=262144
plain=features=0xffffffffffffffdf	# without REPORTING

# one FILE WHO ARG...: a turn; its numbers go to FILE.in, FILE.out, ... in us
one() {
	local file=$1 name value

	shift
	"$warm" 2048
	timeout 120 $first perl "$(dirname "$0")/balloon_turn.pl" "$1" 1536 "${@:2}" |
		tr ' ' '\n' | while IFS== read -r name value; do
			echo "$value" >>"$dir/$file.${name%_us}"
		done
}

both() {
	local file=$1

	shift
	one "quire-$file" quire "$@"
	one "qemu-$file" qemu "$@"
}

rates() {	# the time for 1 GiB in us, a line each
	awk '$1 { printf "%.3f\n", 1e6 / $1 }' "$1"
}

compare() {	# what, file and number of quire's, of QEMU's, aim
	local q p
	q=$(rates "$dir/$2" | median)
	p=$(rates "$dir/$3" | median)
	printf '%s quire_gib_s=%s (%s) qemu_gib_s=%s (%s) ratio=%s%s\n' "$1" "$q" \
		"$(rates "$dir/$2" | spread)" \
		"$p" "$(rates "$dir/$3" | spread)" "$(ratio "$q" "$p")" "${4:+ aim>=$4}"
}

alone() {	# what, file and number
	printf '%s quire_gib_s=%s (%s)\n' "$1" "$(rates "$dir/$2" | median)" \
		"$(rates "$dir/$2" | spread)"
}

for ((i = 0; i < runs; i++)); do
	both stall inflate $pages steps=1 touch=2000 dirty=$pages $plain
	both touched inflate $pages steps=2 dirty=$pages $plain
	both untouched inflate $pages steps=2 $plain
	both use inflate $pages steps=2 reuse=1 $plain
	both report report $pages
	one never-touched quire inflate $pages steps=2 dirty=$pages $plain -- --hugepages=never
	one never-report quire report $pages -- --hugepages=never
done
compare 'inflate touched' quire-touched.in qemu-touched.in 2
compare 'deflate touched' quire-touched.out qemu-touched.out
compare 'inflate untouched' quire-untouched.in qemu-untouched.in 2
compare 'deflate untouched' quire-untouched.out qemu-untouched.out
compare 'deflate and write, verify' quire-use.out qemu-use.out
compare 'report against ranges' quire-report.report qemu-report.report
compare 'report against lists' quire-report.report qemu-touched.in 50
alone 'inflate touched, hugepages=never' never-touched.in
alone 'report, hugepages=never' never-report.report
q=$(median <"$dir/quire-stall.stall") p=$(median <"$dir/qemu-stall.stall")
printf 'stall quire_us=%s (%s) qemu_us=%s (%s) ratio=%s aim<=0.1\n' "$q" \
	"$(spread <"$dir/quire-stall.stall")" \
	"$p" "$(spread <"$dir/qemu-stall.stall")" "$(ratio "$q" "$p")"
