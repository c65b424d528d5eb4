#!/bin/bash
# SPDX-License-Identifier: MIT
#
# part.sh RESULTS INDEX COUNT SCENARIO...
#
# Plays every COUNT-th of the scenarios, from the INDEX-th on, counted from 0.  The result of each
# goes into a folder of RESULTS, with its TAP in scenario.tap.  QUIRE says where the program is.
# Exit status: 0 all passed, 1 one did not, 2 wrong usage.
set -u -o pipefail

quire=${QUIRE:-quire}
if [ $# -lt 4 ] || ! [[ $2 =~ ^[0-9]+$ && $3 =~ ^[1-9][0-9]*$ ]]; then
	echo "usage: part.sh RESULTS INDEX COUNT SCENARIO..." >&2
	exit 2
fi
results=$1 index=$2 count=$3
shift 3

status=0 place=0
for scenario; do
	if [ $((place++ % count)) -eq "$index" ]; then
		folder=$results/$(basename "$scenario" .yaml)
		mkdir -p "$folder" || exit 1
		"$quire" play --tap --report="$folder" "$scenario" | tee "$folder/scenario.tap" ||
			status=1
	fi
done
exit $status
