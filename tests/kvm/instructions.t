#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Instructions that not every KVM knows at ring 0, executed there: what comes out does not depend on
# whether the processor, KVM or quire did it.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/kvm/shell.bash

run() { # BITS OUTPUT ARG...
	local image=$build/payload/linux$1_instructions.bzImage out=$2

	shift 2
	timeout 60 "$quire" run -m 64M --stats="$dir/stats" "$@" "$image" ${word:+"$word"} \
		>"$out" 2>"$dir/errors" </dev/null
	status=$?
}

# What a guest of so many bits prints.
absent=0x2
deviates absent-write && absent=0x0
expect() {
	cat <<-END
		smap 0x1 popcnt 0x1
		int3 exception 0x3
		fwait
		stac 0x40000
		clac 0x0
		popcnt 0x9
		movlps %1, %%xmm1 0x99aabbccddeeff00 0x1122334455667788
		movhps %1, %%xmm1 0x1122334455667788 0x1122334455667788
		movss %%xmm2, %%xmm1 0x1122334455667788 0x1122334455667788
		movss %1, %%xmm1 0x0 0x55667788
		movsd %1, %%xmm1 0x0 0x1122334455667788
		movlhps %%xmm2, %%xmm1 0x1122334455667788 0x1122334455667788
		movhlps %%xmm2, %%xmm1 0x1122334455667788 0x99aabbccddeeff00
		movd %1, %%xmm1 0x0 0x55667788
		movq %1, %%xmm1 0x0 0x1122334455667788
		movq %%xmm2, %%xmm1 0x0 0x1122334455667788
		movss %%xmm2, %0 0x0 0x1122334455667788
		word 0x55667788
		xorps %1, %%xmm1 0x99aabbccddeeff00 0x0
		pxor %%xmm2, %%xmm1 0x0 0x1122334455667788
		xorpd %%xmm1, %%xmm1 0x0 0x0
	END
	if [ "$1" = 64 ]; then
		cat <<-END
			cmpxchg16b of an absent page equal 0x1 0x0 0x0
			cmpxchg16b equal 0x0 0x66 0x55
			cmpxchg16b misaligned equal 0x1 0x0 0x66 exception 0xd error 0x0
			cmpxchg16b unmapped equal 0x1 0x0 0x0 exception 0xe error $absent
			cmpxchg16b not canonical equal 0x1 0x0 0x0 exception 0xd error 0x0
			popcnt over two pages 0x5
			popcnt unmapped, cr2 0x4000000010 exception 0xe error 0x0
			popcnt over turned pages 0xc
			movlps over turned pages 0x88 0x44556677
		END
	fi
	cat <<-END
		single step 0x0 dr6 0x4000 exception 0x1
		fwait, TS exception 0x7
		pxor, TS exception 0x7
	END
}

word=
for bits in 64 32; do
	run $bits "$dir/out"
	if [ $bits = 64 ] && [ $status -eq 121 ]; then
		skip_all "$(head -n 1 "$dir/errors")"
	fi
	expect $bits >"$dir/expected"
	# A processor without these has no such instruction.
	if grep '^smap ' "$dir/out" | grep -qv '^smap 0x1 popcnt 0x1$'; then
		skip "$bits bits: the processor lacks SMAP or POPCNT"
		continue
	fi
	check "$bits bits: each instruction does what it should" cmp "$dir/out" "$dir/expected" ||
		diff "$dir/out" "$dir/expected" | sed 's/^/# /'
	check "... to the end (status $status)" [ $status -eq 10 ]
done

sed -n '/"finished_instructions"/,/}/p' "$dir/stats" >"$dir/finished"
if ! grep -q '"pxor"' "$dir/finished"; then
	skip "this host's KVM knows all of them"
	done_testing
	exit
fi
for name in int3 fwait clac stac popcnt movss movsd movlps movhps movd movq xorps xorpd pxor; do
	grep -q "\"$name\": [1-9]" "$dir/finished" || missing="${missing:-} $name"
done
check "those that KVM does not know are counted by name${missing:-}" [ -z "${missing:-}" ]
run 64 "$dir/out" --cpu=-cx16
check 'cmpxchg16b that CPUID does not offer is #UD' \
	grep -q '^cmpxchg16b equal .* exception 0x6$' "$dir/out"
word=!
run 64 "$dir/out"
check "what nobody knows ends in a crash report (status $status)" [ $status -eq 122 ]
check '... that says where it is said what to do' \
	grep -q 'KVM cannot emulate the instruction .*docs/images.md says' "$dir/errors"
check '... and names the instruction' grep -q '=> .* fnstsw ax$' "$dir/errors"
done_testing
