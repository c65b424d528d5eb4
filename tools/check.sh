#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tools/check.sh PROVE [PROVE_OPTION...] -- TEST...
#
# Runs the tests under prove and, between its list of tests and its summary, says which
# checks were skipped and why.  Each test may take $TEST_TIMEOUT seconds.
#
# tools/check.sh --one TEST is what prove executes for each: binaries and scripts alike.
set -u -o pipefail

if [ "$1" = --one ]; then
	shift
	# timeout signals the whole process group of the test, so nothing it started stays.
	timeout -k 5 "${TEST_TIMEOUT:-300}" "$@" | tee "$QUIRE_TAP/${1//\//%}"
	exit "${PIPESTATUS[0]}"
fi

prove=$1
shift
options=()
while [ "$1" != -- ]; do
	options+=("$1")
	shift
done
shift

QUIRE_TAP=$(mktemp -d)
export QUIRE_TAP
trap 'rm -rf "$QUIRE_TAP"' EXIT

# "path: reason" of every skip, equal reasons of one test counted together.
skips() {
	(cd "$QUIRE_TAP" && grep -H '# SKIP' -- * 2>/dev/null) |
		sed -E 's,%,/,g; s/^([^:]*):[^#]*# SKIP */\1: /' | sort | uniq -c |
		sed -E 's/^ *1 /  /; s/^ *([0-9]+) (.*)$/  \2 (\1 times)/'
}

"$prove" --exec "$0 --one" "${options[@]}" "$@" 2>&1 | {
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
