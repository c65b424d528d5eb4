#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make demo-linux: Linux guests under quire, and under QEMU with KSM (tools/demo-linux.pl), on this
# host if its KVM can run them, else in the bed (docs/testing.md), each side in one of its own.
# GUESTS is how many (20; in the bed 3), GUEST_MIB the RAM of each (256).
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1

build=${QUIRE_BUILD:-build}
bed=${QUIRE_BED:-build-bed}
png=$build/demo-linux.png
log=$bed/demo-linux.log
mib=${GUEST_MIB:-256}

# side quire|qemu: what it prints but for rows and the picture; all of it goes into the log
side() {
	if [ -z "$in_bed" ]; then
		QUIRE_BUILD=$build QUIRE_BED=$bed QUIRE_GUESTS=$guests QUIRE_GUEST_MIB=$mib \
			tools/demo-linux.pl "$1" "$png" | tee -a "$log" | sed -u '/^row /d'
		return
	fi
	cat >"$script" <<END
cd '$PWD'
export QUIRE_MACHINE=own QUIRE_BUILD=$build QUIRE_BED=$bed
export QUIRE_GUESTS=$guests QUIRE_GUEST_MIB=$mib
tools/demo-linux.pl $1 /tmp/demo-linux.png 2>&1
echo "demo-linux: $1 status \$?"
if [ $1 = quire ]; then
	echo "demo-linux: picture"
	base64 /tmp/demo-linux.png
	echo "demo-linux: end"
fi
END
	BED_TIMEOUT=${BED_TIMEOUT:-1800} BED_MEMORY=${BED_MEMORY:-8G} \
		tools/bed/run.sh "$bed" "$script" | sed -u 's/\r//g' | tee -a "$log" |
		sed -un '/^== /,/^demo-linux: [a-z]* status/p' |
		sed -u '/^demo-linux: /d; /^row /d; /^\[ *[0-9.]*\] /d'
	grep -qx "demo-linux: $1 status 0" "$log"
}

table() {
	echo
	echo '== Memory: what was promised, and what is needed'
	echo
	printf '%-15s %6s %12s %12s %12s %12s\n' '' GUESTS PROMISED NEEDED 'PER GUEST' \
		'HOST LESS'
	sed -n 's/^row \(.*\): \([-0-9]*\) \([-0-9]*\)$/\1\t\2\t\3/p' "$log" |
		awk -F '\t' -v n="$guests" -v mib="$mib" '{
			printf "%-15s %6d %8d MiB %8.1f MiB %8.1f MiB %8.1f MiB\n", $1, n,
				n * mib, $2 / 2^20, $2 / 2^20 / n, $3 / 2^20 / n }'
	echo
	echo 'NEEDED: private memory of all processes, RAM files and stores.'
	echo 'HOST LESS: how much less memory the host has available, per guest.'
}

tools/bed/prepare.sh "$bed" || exit 1
: >"$log"
if [ -d /sys/module/kvm_intel ] || [ -d /sys/module/kvm_amd ]; then
	in_bed=
	guests=${GUESTS:-20}
else
	in_bed=1
	guests=${GUESTS:-3}
	script=$PWD/$bed/demo-linux.sh
	echo "This host's KVM cannot run Linux guests, or there is none.  So this is the bed: QEMU"
	echo "emulates a machine with an AMD processor, and all of it runs in that.  It takes some"
	echo "minutes."
fi

side quire
ours=$?
if [ -n "$in_bed" ]; then
	# Nothing of the bed stays, so the picture comes as text.
	sed -n '/^demo-linux: picture/,/^demo-linux: end/{/^demo-linux/!p}' "$log" |
		base64 -d >"$png" 2>/dev/null
fi
[ $ours -eq 0 ] && side qemu
theirs=$?
table
[ $ours -eq 0 ] && [ $theirs -eq 0 ] || {
	echo "It did not come to its end: $log has all of it."
	exit 1
}
echo
echo "The picture is $png."
