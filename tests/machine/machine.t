#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quire machine as a program: where it listens, what it says, how it is changed, how it ends.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/tap.bash

# gives STATUS PATTERN ARG...: quire machine ARG... exits with STATUS and says PATTERN in one line
gives() {
	local status=$1 pattern=$2 got

	shift 2
	"$quire" machine "$@" >"$dir/out" 2>&1
	got=$?
	cat "$dir/out"
	[ "$got" -eq "$status" ] && [ "$(wc -l <"$dir/out")" -eq 1 ] && grep -q -e "$pattern" \
		"$dir/out"
}

start() {
	"$quire" machine --machine="$dir/socket" "$@" 2>"$dir/log" &
	machine=$!
	runs=("$machine")
	for _ in $(seq 500); do
		grep -q ' machine: ready' "$dir/log" && return 0
		sleep 0.02
	done
	cat "$dir/log"
	return 1
}

# Every line of the log has its time in front, and sizes in one unit.
log_is_uniform() {
	local day='[0-9]{4}-[01][0-9]-[0-3][0-9]' time='[0-2][0-9](:[0-6][0-9]){2}\.[0-9]{3}'

	! grep -vE "^${day}T${time}Z machine: " "$dir/log" &&
		! grep -E ' pages|[KGT]iB' "$dir/log"
}

ends_with() {
	local status

	wait "$machine" 2>/dev/null
	status=$?
	runs=()
	is "$status" "$1"
}

check 'it starts and says where it is' start --memory=1G --overcommit=2 --overcommit-ratio=80
check 'with its CommitLimit' grep -q 'CommitLimit 819.2 MiB' "$dir/log"
check 'a second one on its path is told so' gives 121 'already' --machine="$dir/socket" --memory=1G
check 'its swap can be changed' gives 0 'CommitLimit 1843.2' set --machine="$dir/socket" --swap=1G
check 'and its limit' gives 0 'CommitLimit 1124.0' set --machine="$dir/socket" \
	--overcommit-bytes=100M
check 'and one reserve without the others' gives 0 'CommitLimit 1124.0' set \
	--machine="$dir/socket" --admin-reserve=0
check 'each of these is a line of its log, in MiB' grep \
	-q 'Z machine: set: memory 1024.0 MiB, swap 1024.0 MiB' "$dir/log"
check '... with the time in front' log_is_uniform
check 'but not to next to no memory' gives 2 'at least 4M' set --machine="$dir/socket" --memory=4K
check 'a mode that does not exist is named' gives 2 "'3'" set --machine="$dir/socket" --overcommit=3
kill -TERM "$machine"
check 'SIGTERM ends it with status 0' ends_with 0
check 'and nothing is left' test -z "$(find "$dir" -type s)"
check 'it starts again' start --memory=64M
kill -9 "$machine"
check 'killed it leaves its socket' ends_with 137
check 'which the next takes over' start --memory=64M
kill -INT "$machine"
check 'SIGINT ends it too' ends_with 0
check 'without a machine there is nothing to set' gives 121 'no machine' set \
	--machine="$dir/socket" --swap=1G
check 'a machine has memory' gives 2 '--memory' --machine="$dir/socket"
check 'one limit at a time' gives 2 'choose one' --memory=1G --overcommit-ratio=1 \
	--overcommit-bytes=1
check 'nothing to set is an error' gives 2 'nothing to set' set

done_testing
