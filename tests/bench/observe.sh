#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What it costs to be watched.  As many guests as there are processors work as fast as they can,
# beside OBSERVE_GUESTS others that hold memory.  Turn by turn nobody looks, or an observer does,
# once a second.  Printed are, as medians over pairs of turns:
#
#   throughput_ratio     operations of the working guests, with the observer and without
#   cost_percent         processor time of the observer, of the machine and of the guests that only
#                        hold memory, less what the last two take when nobody looks; in percent of
#                        one processor.  It says what throughput costs where that is noisy
#   observer_percent     ... of the observer alone
#
# An observer is a function observe_NAME, which starts it and sets `observer`, its process, and
# `client` to that which ends it, if that is another one.
set -u
. "$(dirname "$0")/common.bash"
unset QUIRE_MACHINE
guests=${OBSERVE_GUESTS:-20}
seconds=${OBSERVE_SECONDS:-5}
observers=${OBSERVE_WITH:-top page metrics}
address=@quire/observe-bench-$$
machine
dir=$(mktemp -d) || exit 1
finish() {
	kill "$server" 2>/dev/null # its guests end with it
	wait
	rm -rf "$dir"
}
trap finish EXIT

observe_nothing() {
	observer= client=
}

# A request to the machine's own observer, whose answer is thrown away.
http_get() {
	exec 3<>"/dev/tcp/${host%:*}/${host##*:}" || return
	printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" "$host" >&3
	exec cat <&3 >/dev/null
}

observe_page() {
	observer=$web
	http_get /events &
	client=$!
}

observe_metrics() {
	observer=$web
	while (http_get /metrics); do
		sleep 1
	done &
	client=$!
}

# On a terminal of its own, whose output nobody reads.
observe_top() {
	TERM=xterm-256color script -qfc "stty rows 24 cols 80; echo \$\$ >$dir/pid;
		exec $quire top --machine=$address" /dev/null >/dev/null 2>&1 </dev/null &
	until [ -s "$dir/pid" ]; do
		sleep 0.05
	done
	observer=$(cat "$dir/pid") client=$observer
	rm "$dir/pid"
}

# Nanoseconds of processor time of these processes so far.
cpu_ns() {
	local pid

	for pid; do
		cat "/proc/$pid/task/"*/schedstat
	done | awk '{ n += $1 } END { printf "%.0f\n", n }'
}

# One turn: a line with the operations of the working guests, the processor time of those that are
# there anyway and of the observer, and the time of the turn, all in nanoseconds.
turn() {
	local name=$1 i pids=() start own=0 others

	"observe_$name"
	start=${EPOCHREALTIME/./}
	others=$(cpu_ns "${held[@]}")
	[ -n "$observer" ] && own=$(cpu_ns "$observer")
	for ((i = 0; i < $(nproc); i++)); do
		"$quire" run --machine="$address" --name="work-$$-$i" -m 64M --timeout=120 \
			"$quill" stress "$seconds" >"$dir/work.$i" 2>&1 &
		pids+=($!)
	done
	wait "${pids[@]}"
	[ -n "$observer" ] && own=$(($(cpu_ns "$observer") - own)) &&
		kill "$client"
	sed -n 's/^stress: operations=\([0-9]*\) .*/\1/p' "$dir"/work.* |
		awk -v others=$(($(cpu_ns "${held[@]}") - others)) -v own=$own \
			-v time=$(((${EPOCHREALTIME/./} - start) * 1000)) \
			'{ n += $1 } END { print n, others, own, time }'
}

"$quire" machine --machine="$address" --memory=$((guests * 128 + 512))M --overcommit=1 \
	--http=127.0.0.1:0 \
	>"$dir/machine" 2>&1 &
server=$!
sleep 1
host=$(sed -n 's,.*page at http://\([^/]*\)/.*,\1,p' "$dir/machine")
read -r starter <"/proc/$server/task/$server/children"
read -r web <"/proc/$starter/task/$starter/children"
"$quire" run --machine="$address" -n "$guests" --name="held-$$" -m 64M --timeout=3600 \
	--wait-for=ready "$quill" hold 1 4000 own=500 zero=500 seconds=3600 >/dev/null 2>&1

"$quire" merge now "held-$$" >/dev/null
mapfile -t held < <(echo "$server"
	"$quire" ps --json --machine="$address" | sed -n 's/^ *"pid": \([0-9]*\),$/\1/p')

# compare WITH WITHOUT: what a pair of turns says
compare() {
	awk '{ printf "%.4f %.3f %.3f\n", $1 / $5, 100 * (($2 + $3) / $4 - $6 / $8),
			100 * $3 / $4 }' <<<"$*"
}

for ((run = 0; run < runs; run++)); do
	for name in $observers; do
		# Whoever is first has no advantage.
		if ((run % 2)); then
			without=$(turn nothing)
			with=$(turn "$name")
		else
			with=$(turn "$name")
			without=$(turn nothing)
		fi
		compare "$with" "$without" >>"$dir/$name.pairs"
	done
done

# column NUMBER FILE
column() {
	awk -v n="$1" '{ print $n }' "$2" >"$dir/column"
	printf '%.3f (%s)' "$(median <"$dir/column")" "$(spread <"$dir/column")"
}

for name in $observers; do
	echo "observe $name: throughput_ratio=$(column 1 "$dir/$name.pairs")" \
		"cost_percent=$(column 2 "$dir/$name.pairs")" \
		"observer_percent=$(column 3 "$dir/$name.pairs") guests=$((guests + $(nproc)))"
done
