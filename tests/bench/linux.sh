#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Debian's kernel as a guest, from exec to init, under quire and under QEMU's microvm in turns
# (linux.pl): on this host if its KVM can run Linux guests, else in the bed (docs/testing.md).
#
# BENCH_RUNS (here 3 if not given) is how many boots of each kind; in the bed each turn has a bed of
# its own.  A boot is printed as it comes.  A bed that hangs is ended after BED_TIMEOUT seconds
# (900), and its boots that came before that count.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
BENCH_RUNS=${BENCH_RUNS:-3}
. tests/bench/common.bash

export QUIRE_BUILD=${QUIRE_BUILD:-build} QUIRE_BED=${QUIRE_BED:-build-bed}
missing=$(tools/bed/prepare.sh "$QUIRE_BED" 2>&1) || {
	echo "linux: $missing"
	exit 0
}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

in_bed() {
	local script=$PWD/$QUIRE_BED/bench-linux.sh turn

	cat >"$script" <<END
cd '$PWD'
export QUIRE_BUILD='$QUIRE_BUILD' QUIRE_BED='$QUIRE_BED' BENCH_RUNS=1
export BENCH_GUEST_MIB='${BENCH_GUEST_MIB:-}'
tests/bench/linux.pl 2>&1
END
	for ((turn = 0; turn < runs; turn++)); do
		BED_TIMEOUT=${BED_TIMEOUT:-900} BED_MEMORY=${BED_MEMORY:-4G} \
			tools/bed/run.sh "$QUIRE_BED" "$script" | sed -u 's/\r//g'
	done
}

if [ -d /sys/module/kvm_intel ] || [ -d /sys/module/kvm_amd ]; then
	machine
	tests/bench/linux.pl
else
	echo "# in the bed, by its clock; medians of $runs runs"
	in_bed
fi | tee "$log" | grep --line-buffered -E '^(#|boot|linux)'

ms() {		# image, monitor
	sed -n "s/^boot $1 $2 //p" "$log"
}

for image in bzImage bzImage-cloud vmlinux-cloud; do
	[ -n "$(ms $image quire)" ] && [ -n "$(ms $image qemu)" ] || continue
	quire_ms=$(ms $image quire | median)
	qemu_ms=$(ms $image qemu | median)
	echo "linux image=$image runs=$(ms $image qemu | wc -l)" \
		"quire_ms=$quire_ms ($(ms $image quire | spread))" \
		"qemu_microvm_ms=$qemu_ms ($(ms $image qemu | spread))" \
		"ratio=$(ratio "$qemu_ms" "$quire_ms")"
done
