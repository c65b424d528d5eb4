#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make demo-linux: Linux guests (tools/demo-linux.pl), on this host if its KVM can run them, else
# in the bed (docs/testing.md).  GUESTS is how many (20; in the bed 3), GUEST_MIB the RAM of each
# (256).
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1

build=${QUIRE_BUILD:-build}
bed=${QUIRE_BED:-build-bed}
png=$build/demo-linux.png

tools/bed/prepare.sh "$bed" || exit 1
if [ -d /sys/module/kvm_intel ] || [ -d /sys/module/kvm_amd ]; then
	QUIRE_BUILD=$build QUIRE_BED=$bed QUIRE_GUESTS=${GUESTS:-20} \
		QUIRE_GUEST_MIB=${GUEST_MIB:-256} tools/demo-linux.pl "$png" || exit 1
	echo "The picture is $png."
	exit
fi

echo "This host's KVM cannot run Linux guests, or there is none.  So this is the bed: QEMU emulates"
echo "a machine with an AMD processor, and quire runs in that.  It takes some minutes."
script=$PWD/$bed/demo-linux.sh
cat >"$script" <<END
cd '$PWD'
export QUIRE_MACHINE=own QUIRE_BUILD=$build QUIRE_BED=$bed
export QUIRE_GUESTS=${GUESTS:-3} QUIRE_GUEST_MIB=${GUEST_MIB:-256}
tools/demo-linux.pl /tmp/demo-linux.png 2>&1
echo "demo-linux: status \$?"
echo "demo-linux: picture"
base64 /tmp/demo-linux.png
echo "demo-linux: end"
END
# Nothing of the bed stays, so the picture comes as text.
BED_TIMEOUT=${BED_TIMEOUT:-3600} BED_MEMORY=${BED_MEMORY:-8G} tools/bed/run.sh "$bed" "$script" |
	sed -u 's/\r//g' | tee "$bed/demo-linux.log" |
	sed -un '/^== /,/^demo-linux: status/p' | sed -u '/^demo-linux: /d'
sed -n '/^demo-linux: picture/,/^demo-linux: end/{/^demo-linux/!p}' "$bed/demo-linux.log" |
	base64 -d >"$png" 2>/dev/null
grep -qx 'demo-linux: status 0' "$bed/demo-linux.log" || {
	echo "It did not come to its end: $bed/demo-linux.log has all of it."
	exit 1
}
echo
echo "The picture is $png."
