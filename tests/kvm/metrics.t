#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quire metrics: read by a parser that knows nothing of quire, and compared with quire stat --json.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash

if ! /usr/bin/python3 -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
	skip_all 'no python3-prometheus-client; make deps installs it'
fi

address=@metrics-test-$$
"$quire" machine --machine="$address" --memory=512M --swap=64M --overcommit=1 \
	>"$dir/machine" 2>"$dir/machine-err" &
runs+=($!)
for _ in $(seq 400); do
	"$quire" stat --machine="$address" >/dev/null 2>&1 && break
	sleep 0.05
done

# guest NAME OPTION...: one that has touched, merged and compressed
guest() {
	local name=$1

	shift
	"$quire" run --machine="$address" --name="$name" --domain=some --timeout=100 -m 32M "$@" \
		"$quill" hold 1 3000 seconds=100 own=500 zero=500 \
		>"$dir/$name" 2>"$dir/$name-err" </dev/null &
	runs+=($!)
	started $! "$dir/$name-err" grep -q 'hold: ready' "$dir/$name"
}

guest "metrics-$$-a" --paging=ept
guest "metrics-$$-b" --paging=shadow
"$quire" merge now "metrics-$$-a" "metrics-$$-b" >"$dir/merge" 2>&1
"$quire" pause "metrics-$$-a" "metrics-$$-b"

"$quire" stat --json --machine="$address" >"$dir/before"
check 'OpenMetrics text' eval '"$quire" metrics --machine="$address" >"$dir/open"'
check 'text of format 0.0.4' eval '"$quire" metrics --text --machine="$address" >"$dir/text"'
"$quire" stat --json --machine="$address" >"$dir/after"

# What the checker says is part of this test.
while IFS= read -r line; do
	case $line in
	'ok - '*) check "${line#ok - }" true ;;
	'not ok - '*) check "${line#not ok - }" false ;;
	*) echo "$line" ;;
	esac
done < <(/usr/bin/python3 tests/kvm/metrics_check.py "$dir/open" "$dir/text" "$dir/before" \
	"$dir/after" 2>"$dir/checker"; echo "${?/#0/ok - the checker came to its end}")
[ -s "$dir/checker" ] && sed 's/^/# /' "$dir/checker"

check 'nobody there is an error' bash -c \
	'"$1" metrics --machine=@nobody-is-here; [ $? = 121 ]' - "$quire"
check 'a word too many is wrong usage' bash -c '"$1" metrics web; [ $? = 2 ]' - "$quire"
done_testing
