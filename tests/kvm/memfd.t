#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Without CAP_SYS_ADMIN RAM is a memfd, which may get huge pages as the host likes: so what comes
# home comes through an exact mapping.  In the sandbox too.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/kvm/shell.bash

vm=memfd-$$
if ! setpriv --bounding-set=-sys_admin true 2>"$dir/errors"; then
	echo "1..0 # SKIP $(head -n 1 "$dir/errors")"
	exit
fi
timeout 60 setpriv --bounding-set=-sys_admin "$quire" run --name="$vm" -m 64M \
	--stats="$dir/stats" "$build/guest/quill.elf" stress 4 >"$dir/out" 2>"$dir/errors" &
run=$!

# A VM process has it open: a child of the launcher, which is a child of timeout.
has_memfd() {
	local launcher vm

	launcher=$(cat "/proc/$run/task/$run/children")
	for vm in $(cat "/proc/${launcher% }/task/${launcher% }/children"); do
		readlink "/proc/$vm"/fd/*
	done | grep -q '^/memfd:quire-ram'
}

started $run "$dir/errors" "$quire" stat "$vm"
check "RAM is a memfd" has_memfd
while "$quire" merge now "$vm" >/dev/null 2>&1; do
	sleep 0.1
done
wait $run
status=$?
cat "$dir/errors"
check "the guest found every byte as it left it (status $status)" [ $status -eq 0 ]
unshared=$(sed -n 's,.*"pages_unshared": \([0-9]*\).*,\1,p' "$dir/stats" | head -n 1)
check "and $unshared of its pages came home" [ "${unshared:-0}" -gt 100 ]
done_testing
