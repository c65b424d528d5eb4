#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The guest's own opinion: quill's selftest under quire, with and without huge pages, on shadow
# tables, with the interrupt controller, and under QEMU's microvm.  All must pass, and say the same.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash

# The checks that a processor fails which deviates.  On shadow tables they pass there too.
deviations='^$'
deviates reserved-bits && deviations='reserved'

# The results alone: numbers of pages and times differ by nature.
results() {
	grep -aE '^(not )?ok ' "$1" | grep -avE "$deviations" | sed 's/[[:space:]]*$//'
}

under_quire() {	# file, option...
	local out=$1 status
	shift
	timeout 60 "$quire" run -m 64M "$@" "$quill" selftest >"$out" 2>"$out.err"
	status=$?
	grep -a '^not ok' "$out" | grep -qaE "$deviations" &&
		! grep -a '^not ok' "$out" | grep -qavE "$deviations" && status=$((status - 1))
	return $status
}

under_quire "$dir/auto"
result $? "selftest passes under quire"
[ "$(results "$dir/auto" | wc -l)" -gt 50 ]
result $? "with a good number of checks"
for option in --hugepages=never --irqchip=on --paging=shadow; do
	under_quire "$dir/other" $option
	result $? "selftest passes with $option"
	diff <(results "$dir/auto") <(results "$dir/other") >"$dir/diff"
	result $? "and says the same"
	sed 's/^/# /' "$dir/diff"
done

qemu=$(command -v qemu-system-x86_64)
if [ -z "$qemu" ]; then
	skip 'no qemu-system-x86_64'
	done_testing
fi
# isa-debug-exit turns status 0 into 1.
timeout 100 "$qemu" -M microvm -accel kvm -m 64 -nodefaults -no-user-config -no-reboot \
	-display none -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 \
	-kernel "$quill" -append selftest >"$dir/qemu" 2>"$dir/qemu.err" </dev/null
status=$?
[ "$deviations" != '^$' ] && status=$((status - 2))
[ $status -eq 1 ] && diff <(results "$dir/auto") <(results "$dir/qemu") >"$dir/diff"
result $? "selftest passes under QEMU (status $status) and says the same"
sed 's/^/# /' "$dir/diff" "$dir/qemu.err"

done_testing
