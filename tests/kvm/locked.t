#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Pages are shared under a guest that works on them with locked instructions all the time.  KVM's
# emulator does not try such an instruction again, so none may ever meet a page that is not there.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/kvm/shell.bash

image=$build/payload/pvh32_locked.elf
vm=locked-$$

number() { # NAME
	sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" | head -n 1
}

merged() {
	number merged_pages
}

mkfifo "$dir/input"
exec 3<>"$dir/input"
timeout 250 "$quire" run --name="$vm" --hugepages=never --stats="$dir/stats" "$image" \
	2>"$dir/errors" <"$dir/input" &
run=$!
started $run "$dir/errors" "$quire" stat "$vm"
passes=0
seconds=6
deviates slow && seconds=2
until [ $SECONDS -ge $seconds ] && [ $passes -gt 1 ] &&
	[ "$("$quire" stat --json "$vm" | merged)" -gt 1000 ]; do
	"$quire" merge now "$vm" >/dev/null 2>&1 || break
	passes=$((passes + 1))
done
echo >&3
wait $run
status=$?
cat "$dir/errors"
check "the guest counted right to its end (status $status)" [ $status -eq 11 ]
check "while it was merged $passes times" [ $passes -gt 1 ]
merged=$(merged <"$dir/stats")
check "and $merged pages were shared under it" [ "${merged:-0}" -gt 1000 ]
check 'no access of the guest failed' [ "$(number efaults <"$dir/stats")" = 0 ]
check 'or came as one to a device' [ "$(number mmio_on_ram_accesses <"$dir/stats")" = 0 ]
done_testing
