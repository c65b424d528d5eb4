#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The guest's own opinion: quill's selftest under quire, with and without huge pages, on shadow
# tables, with the interrupt controller, and under QEMU's microvm, by KVM and by its own emulation.
# All must pass, and say the same.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash

# The checks that a processor fails which deviates.  On shadow tables those about reserved bits pass
# there too.
of_qemu='reserved|#SS'
deviations='^$'
deviates reserved-bits && deviations=$of_qemu
deviates string-steps && deviations+='|steps of a string'

# The results alone: numbers of pages and times differ by nature, and what a host does not offer.
results() {
	grep -aE '^(not )?ok ' "$1" | grep -avE "$deviations" |
		sed 's/ # SKIP.*//; s/[0-9]* of [0-9]* free pages//; s/[[:space:]]*$//'
}

# passes FILE STATUS: nothing failed but what may, and the guest's status says whether that did.
passes() {
	local failed wrong
	failed=$(grep -a '^not ok' "$1")
	wrong=$(grep -avE "$deviations" <<<"$failed")
	[ -z "$wrong" ] && [ "$2" -eq $([ -z "$failed" ]; echo $?) ] && return
	printf '# status %s\n%s\n' "$2" "$wrong" | sed 's/^not/# not/'
	return 1
}

same() {	# file
	diff <(results "$dir/auto") <(results "$1") >"$dir/diff"
}

under_quire() {	# file, option...
	local out=$1
	shift
	timeout 60 "$quire" run -m 64M "$@" "$quill" selftest >"$out" 2>"$out.err"
	passes "$out" $?
}

under_quire "$dir/auto"
result $? "selftest passes under quire"
[ "$(results "$dir/auto" | wc -l)" -gt 200 ]
result $? "with a good number of checks"
for option in --hugepages=never --irqchip=on --paging=shadow; do
	under_quire "$dir/other" $option
	result $? "selftest passes with $option"
	same "$dir/other"
	result $? "and says the same"
	sed 's/^/# /' "$dir/diff"
done

under_qemu() {	# file, option...
	local out=$1 status
	shift
	timeout 100 "$qemu" -M microvm "$@" -m 64 -nodefaults -no-user-config -no-reboot \
		-display none -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 \
		-kernel "$quill" -append selftest >"$out" 2>"$out.err" </dev/null
	status=$?
	# isa-debug-exit turns status N into 2 N + 1.
	[ $((status % 2)) -eq 1 ] && passes "$out" $((status / 2))
}

qemu=$(command -v qemu-system-x86_64)
if [ -z "$qemu" ]; then
	skip 'no qemu-system-x86_64'
	done_testing
fi
under_qemu "$dir/qemu" -accel kvm
result $? "selftest passes under QEMU"
same "$dir/qemu"
result $? "and says the same"
sed 's/^/# /' "$dir/diff" "$dir/qemu.err"

if deviates slow; then
	skip 'an emulator in an emulator is too slow'
	done_testing
fi
deviations=$of_qemu
under_qemu "$dir/tcg" -accel tcg -cpu max
result $? "selftest passes under QEMU without KVM, but for what that does not do"
same "$dir/tcg"
result $? "and says the same"
sed 's/^/# /' "$dir/diff"

done_testing
