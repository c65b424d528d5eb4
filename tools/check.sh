#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tools/check.sh PROVE [PROVE_OPTION...] -- TEST...
#
# Runs the tests under prove, CHECK_JOBS of them side by side, and says between prove's list of
# tests and its summary which checks were skipped and why.  Each test may take $TEST_TIMEOUT
# seconds.
#
# Each test runs in a network and a process namespace of its own.  Abstract sockets live in the
# first, so no test can find or hit the machines and guests of another; and when a test ends,
# the kernel ends whatever it has left behind.  Where that is not permitted, the tests run one
# after another.
#
# TEST@MODE is TEST with QUIRE_PAGING=MODE: its guests run on the tables that --paging=MODE means.
#
# tools/check.sh --one TEST     what prove executes for each: binaries and scripts alike
# tools/check.sh --inside TEST  the first process of a namespace: runs the test and reaps orphans
set -u -o pipefail

alone=(unshare --net --pid --fork --kill-child --mount-proc)

limited() {
	timeout -k 5 "${TEST_TIMEOUT:-300}" "$@"
}

case $1 in
--one)
	test=${2%@*}
	[ "$test" = "$2" ] || export QUIRE_PAGING=${2#*@}
	if [ -n "${QUIRE_ALONE-}" ]; then
		"${alone[@]}" "$0" --inside "$test"
	else
		limited "$test"
	fi | tee "$QUIRE_TAP/${2//\//%}"
	exit "${PIPESTATUS[0]}" ;;
--inside)
	shift
	limited "$@"	# no exec: this shell stays, to reap what the test orphans
	exit $? ;;
esac

prove=$1
shift
options=()
while [ "$1" != -- ]; do
	options+=("$1")
	shift
done
shift

QUIRE_TAP=$(mktemp -d)
trap 'rm -rf "$QUIRE_TAP"' EXIT
if "${alone[@]}" true 2>/dev/null; then
	QUIRE_ALONE=yes
	jobs=${CHECK_JOBS:-1}
else
	QUIRE_ALONE=
	jobs=1
	echo 'One test after another: namespaces to keep them apart are not permitted here.'
fi
export QUIRE_TAP QUIRE_ALONE
unset MAKEFLAGS MFLAGS MAKELEVEL	# a test may run make

# "path: reason" of every skip, equal reasons of one test counted together.
skips() {
	(cd "$QUIRE_TAP" && grep -H '# SKIP' -- * 2>/dev/null) |
		sed -E 's,%,/,g; s/^([^:]*):[^#]*# SKIP */\1: /' | sort | uniq -c |
		sed -E 's/^ *1 /  /; s/^ *([0-9]+) (.*)$/  \2 (\1 times)/'
}

"$prove" -j "$jobs" --exec "$0 --one" "${options[@]}" "$@" 2>&1 | {
	told=
	while IFS= read -r line; do
		case $line in
		'All tests successful'*|'Test Summary Report'*|Files=*)
			if [ -z "$told" ]; then
				told=yes
				list=$(skips)
				[ -n "$list" ] && printf 'Skipped:\n%s\n\n' "$list"
			fi ;;
		esac
		printf '%s\n' "$line"
	done
}
