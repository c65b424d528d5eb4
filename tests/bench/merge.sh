#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Merging of equal pages: quire against ksmd, the kernel's, at its highest useful setting, in the
# same run.  ksmd's guests are bare ones (ksm_peer.c) with the same contents.
#
#   a  two guests of 512 MiB with equal random pages
#   b  four guests of 256 MiB; one page in four is in all of them, none beside another
#   c  two guests of 512 MiB; 90 % are zeroes, scattered, the rest unique
#   d  a, when all is merged and idle: the CPU time of going on looking, at full speed and at the
#      pace at which new equal pages are found within $delay s (ksmd's two passes); and how long
#      that takes then
#   e  a, and one guest writes 1 % of its pages a second: new content (they stay apart), or what
#      was there (to be merged again)
#   f  a: what the first write to a merged page costs the guest
#   g  a: metadata a page
#
#   merge.sh [SCENARIO...]		a b c idle (d to g), default all
#
# quire's guests have 4 KiB pages as ksmd's; QUIRE_HUGE=auto: 2 MiB blocks, split where it pays.
#
# BENCH_RUNS (here 3 if not given), MERGE_MIB: the size of a guest of a, for a quick try (512),
# MERGE_THP=1: ksmd's guests in transparent huge pages, which it splits.
#
# ksmd is one for the whole machine.  Its settings are put back, and all it merged is un-merged,
# by a process of its own that waits for this one to end, however it ends.  If somebody else uses
# KSM, nothing is touched and nothing of it measured.
set -u
BENCH_RUNS=${BENCH_RUNS:-3}
. "$(dirname "$0")/common.bash"
peer=${QUIRE_BUILD:-build}/tests/bench/ksm_peer
blocks=${QUIRE_BUILD:-build}/tests/bench/blocks
ksm=${KSM_DIRECTORY:-/sys/kernel/mm/ksm}
mib=${MERGE_MIB:-512}
delay=10
limit=120		# seconds that a merge may take
what=${*:-a b c idle}
machine
echo "# load average before: $(cut -d' ' -f1 /proc/loadavg)"
dir=$(mktemp -d) || exit 1

# ---- Time ----

mkfifo "$dir/never" && exec {never}<>"$dir/never"
nap() {			# seconds, without a process
	read -r -t "$1" -u "$never" _
}

now() {			# microseconds
	echo "${EPOCHREALTIME/./}"
}

# Nanoseconds that a process and all its threads were on a processor
cpu_ns() {		# pid
	if [ -r "/proc/$1/schedstat" ]; then
		cat "/proc/$1/task/"*/schedstat | awk '{ ns += $1 } END { printf "%.0f\n", ns }'
	else
		awk -v hz="$(getconf CLK_TCK)" \
			'{ sub(/.*\) /, ""); printf "%.0f\n", ($12 + $13) * 1e9 / hz }' \
			"/proc/$1/stat"
	fi
}

# ---- ksmd: its settings, and putting them back ----

ksmd=
for stat in /proc/[0-9]*/stat; do
	read -r pid name _ <"$stat" 2>/dev/null && [ "$name" = '(ksmd)' ] && ksmd=$pid && break
done

# Those that can be written, in the order in which they must be put back: sizes cannot be changed
# while an advisor is at work, and `run` comes last.
settings() {
	local f
	for f in "$ksm"/*; do
		case ${f##*/} in
		run | advisor_mode) ;;
		*) (($(stat -c 0%a "$f") & 0200)) && echo "${f##*/}" ;;
		esac
	done
	[ -e "$ksm/advisor_mode" ] && echo advisor_mode
	echo run
}

setting() {		# name: its value; of a choice, the one in brackets
	sed 's/.*\[\(.*\)\].*/\1/' "$ksm/$1"
}

count() {		# name: a counter, into $REPLY without a process
	read -r REPLY <"$ksm/$1"
}

# "NAME VALUE" lines to what they say; 1 and a text if that is not how it is then.
put_back() {
	local name value status=0
	echo 0 >"$ksm/run"
	echo 2 >"$ksm/run"
	while read -r name value; do
		[ "$(setting "$name")" = "$value" ] || echo "$value" >"$ksm/$name"
	done <"$1"
	while read -r name value; do
		[ "$(setting "$name")" = "$value" ] && continue
		echo "merge: ksm/$name is $(setting "$name"), was $value" >&2
		status=1
	done <"$1"
	return $status
}

guard=
guard_fd=
server=			# quire's machine
launchers=()		# and its guests
names=()
ksm_begin() {
	local name
	if [ -z "$ksmd" ] || [ ! -w "$ksm/run" ]; then
		echo '# ksmd: there is none, or only root may use it: not measured'
		return 1
	fi
	count pages_shared
	if [ "$(setting run)" -ne 0 ] || [ "$REPLY" -ne 0 ]; then
		echo '# ksmd: somebody else uses it: not measured'
		return 1
	fi
	for name in $(settings); do
		echo "$name $(setting "$name")"
	done >"$dir/settings"
	mkfifo "$dir/guard"
	(
		trap '' HUP INT TERM QUIT
		cat "$dir/guard" >/dev/null
		put_back "$dir/settings"
		status=$?
		rm -rf "$dir"
		exit $status
	) {never}>&- &
	guard=$!
	exec {guard_fd}>"$dir/guard"
	[ -e "$ksm/advisor_mode" ] && echo none >"$ksm/advisor_mode"
	return 0
}

finish() {
	local status=$?
	trap '' HUP INT TERM
	guests_end
	quire_end
	if [ -n "$guard" ]; then
		exec {guard_fd}>&-
		wait "$guard" && echo '# ksmd: its settings are as before' || status=1
	fi
	rm -rf "$dir"
	exit $status
}
ksm_stop() {
	echo 0 >"$ksm/run"
}

# Nothing merged, nothing remembered
ksm_clear() {
	echo 0 >"$ksm/run"
	echo 2 >"$ksm/run"
	echo 0 >"$ksm/run"
}

ksm_full_speed() {
	echo 1000000 >"$ksm/pages_to_scan"
	echo 0 >"$ksm/sleep_millisecs"
}

# New equal pages need two passes: the first takes the checksum, the second finds the other.  So
# two passes in $delay seconds; a step takes its sleep, a tick more and the scanning.
ksm_pace() {		# pages in all
	echo 100 >"$ksm/sleep_millisecs"
	echo $(($1 * 2 * 105 / (delay * 1000) + 1)) >"$ksm/pages_to_scan"
}

ksm_smart() {		# 1 or 0
	[ ! -e "$ksm/smart_scan" ] || echo "$1" >"$ksm/smart_scan"
}

# Pages saved, into $REPLY; not counting what there was of others before.
zero_base=0
merged() {
	local zero=0
	[ -e "$ksm/ksm_zero_pages" ] && count ksm_zero_pages && zero=$((REPLY - zero_base))
	count pages_sharing
	REPLY=$((REPLY + zero))
}

# Wait until that many are merged, at most so many seconds.  Microseconds into $REPLY.
await_merged() {	# pages, seconds
	local start us want=$1 most=$(($2 * 1000000))
	start=${EPOCHREALTIME/./}
	while :; do
		merged
		us=$((${EPOCHREALTIME/./} - start))
		[ "$REPLY" -ge "$want" ] && break
		[ "$us" -lt "$most" ] || break
		nap 0.005
	done
	REPLY=$us
}

# ---- ksmd's guests ----

pids=()
in=()
out=()

ask() {			# guest, command; the answer into $REPLY
	echo "$2" >&"${in[$1]}"
	hear "$1"
}

hear() {
	read -r -t 120 -u "${out[$1]}" REPLY && return
	echo "merge: guest $1 does not answer" >&2
	exit 1
}

guest_start() {		# arguments of ksm_peer
	local n=${#pids[@]} i o
	mkfifo "$dir/in.$n" "$dir/out.$n"
	(
		[ -n "$guard_fd" ] && exec {guard_fd}>&-
		exec "$peer" "$@" <"$dir/in.$n" >"$dir/out.$n"
	) &
	pids+=($!)
	exec {i}>"$dir/in.$n" {o}<"$dir/out.$n"
	in+=("$i")
	out+=("$o")
	rm "$dir/in.$n" "$dir/out.$n"
}

guests_end() {
	local i fd
	for i in "${!pids[@]}"; do
		kill "${pids[i]}" 2>/dev/null
		wait "${pids[i]}" 2>/dev/null
		fd=${in[i]} && exec {fd}>&-
		fd=${out[i]} && exec {fd}<&-
	done
	pids=() in=() out=()
}

# ---- What there is to merge, for both sides ----

# guests, pages of each, want (pages saved when all is merged), content: of guest i, for quill's
# hold and ksm_peer alike
scenario() {
	case $1 in
	a | idle)
		guests=2 pages=$((mib * 256))
		want=$pages
		content() { echo "1 $pages"; }
		;;
	b)
		guests=4 pages=$((mib * 128))
		want=$((3 * pages / 4))
		content() { echo "1 $pages salt=$1 common=4"; }
		;;
	c)
		guests=2 pages=$((mib * 256))
		want=$((guests * (pages * 9 / 10)))
		content() { echo "1 $pages zero=$((pages * 9 / 10)) order=shuffle salt=$1"; }
		;;
	esac
}

# merged, microseconds, CPU nanoseconds: a line, and the figures kept for the medians.  ksmd is
# nice: where its cpu_percent is far below 100 something else was running, and only cpu_* are worth
# reading.
result() {		# side, key, merged, us, ns
	local rest
	rest=$(awk -v m="$3" -v us="$4" -v ns="$5" 'BEGIN { if (!m) m = 1e-9
		printf "seconds=%.3f merges_per_s=%.0f cpu_s=%.3f cpu_us_per_merge=%.3f " \
			"cpu_percent=%.0f",
			us / 1e6, m * 1e6 / us, ns / 1e9, ns / 1e3 / m, ns / us / 10 }')
	echo "$1: merged=$3 $rest of=$want $2"
	echo "merged=$3 $rest" >>"$dir/$1.$2"
}

# Medians of each member of a file of NAME=VALUE lines
medians() {		# file
	local name
	for name in $(head -1 "$1" | grep -o '[a-z_0-9]*='); do
		printf '%s%s ' "$name" "$(grep -o "\b${name}[-0-9.]*" "$1" | cut -d= -f2 | median)"
	done
}

summary() {		# side, key
	[ -s "$dir/$1.$2" ] && echo "$1: $(medians "$dir/$1.$2")median of $(wc -l <"$dir/$1.$2") $2"
}

# ---- ksmd's side ----

ksm_start() {		# scenario, smart_scan
	local i
	scenario "$1"
	"$warm" $((guests * pages * 2 / 256))
	ksm_clear
	zero_base=0
	merged
	zero_base=$REPLY
	ksm_full_speed
	ksm_smart "$2"
	[ -e "$ksm/use_zero_pages" ] && { [ "$1" = c ] && echo 1 || echo 0; } >"$ksm/use_zero_pages"
	for ((i = 1; i <= guests; i++)); do
		# shellcheck disable=SC2046
		guest_start $(content $i) ${MERGE_THP:+thp=1}
	done
	for ((i = 0; i < guests; i++)); do
		hear $i
	done
}

ksm_end() {
	ksm_stop
	guests_end
	ksm_clear
}

# Others whose memory ksmd has found meanwhile: QEMU offers its guests' by default.
ksm_others() {
	local file pid
	for file in $(grep -ls '^ksm_rmap_items [1-9]' /proc/[0-9]*/ksm_stat); do
		pid=${file#/proc/} pid=${pid%%/*}
		case " ${pids[*]} " in
		*" $pid "*) ;;
		*) echo "# ksmd: also at work for process $pid," \
			"$(cat "/proc/$pid/comm" 2>/dev/null): not exact" ;;
		esac
	done
}

ksm_merge() {		# scenario, smart_scan: from nothing to all
	local start_ns us ns saved
	start_ns=$(cpu_ns "$ksmd")
	echo 1 >"$ksm/run"
	await_merged "$want" $limit
	us=$REPLY
	ns=$(($(cpu_ns "$ksmd") - start_ns))
	merged
	saved=$REPLY
	ksm_others
	result ksmd "scenario=$1 smart_scan=$2" "$saved" "$us" "$ns"
}

ksm_scenario() {	# scenario
	local smart
	for smart in 1 0; do
		[ "$smart" -eq 0 ] && [ ! -e "$ksm/smart_scan" ] && continue
		ksm_start "$1" $smart
		ksm_merge "$1" $smart
		ksm_end
	done
}

# CPU time, passes and what is merged, over some seconds in which something else may go on
ksm_watch() {		# key, command that takes the time...
	local key=$1 ns us scanned broken
	shift
	ns=$(cpu_ns "$ksmd")
	us=$(now)
	count pages_scanned
	scanned=$REPLY
	broken=$(awk '/^cow_ksm/ { print $2 }' /proc/vmstat)
	"$@"
	us=$(($(now) - us))
	ns=$(($(cpu_ns "$ksmd") - ns))
	count pages_scanned
	scanned=$((REPLY - scanned))
	broken=$(($(awk '/^cow_ksm/ { print $2 }' /proc/vmstat) - broken))
	merged
	awk -v ns=$ns -v us=$us -v n=$scanned -v all=$((guests * pages)) -v m="$REPLY" \
		-v b=$broken 'BEGIN {
		printf "seconds=%.2f cpu_ms_per_s=%.3f passes_per_s=%.3f " \
			"cpu_ms_per_pass=%.1f merged=%d cow_breaks=%d\n",
			us / 1e6, ns * 1e-3 / us * 1e3, n * 1e6 / us / all,
			n ? ns / 1e6 * all / n : 0, m, b }' \
		>>"$dir/ksmd.$key"
	echo "ksmd: $(tail -1 "$dir/ksmd.$key") $key"
}

# Seconds until 500 pages that have become equal in both guests are merged, and how many were not.
# The guests look at the pages' flags: pages_sharing goes down only when a page is scanned again.
ksm_detect() {		# key, seconds to wait at most, seconds by which the second guest is late
	local i start us first second
	for i in 0 1; do
		ask $i "at $at"
		ask $i 'write 500 shuffle new guest'
		[ $i -eq 0 ] && [ "$3" -gt 0 ] && nap "$3"
	done
	at=$((at + 500))
	start=$(now)
	while :; do
		ask 0 'merged 500' && first=${REPLY#*: }
		ask 1 'merged 500' && second=${REPLY#*: }
		us=$(($(now) - start))
		[ $((first + second)) -eq 1000 ] && break
		[ $us -lt $(($2 * 1000000)) ] || break
		nap 0.02
	done
	awk -v us=$us -v n=$((1000 - first - second)) 'BEGIN {
		printf "detect_s=%.2f not_merged=%d\n", us / 1e6, n / 2 }' >>"$dir/ksmd.$1"
	echo "ksmd: $(tail -1 "$dir/ksmd.$1") $1"
}

at=0			# number of the next write; each is to a page of its own
ksm_write() {		# key, pages, command
	ask 0 "at $at"
	at=$((at + $2))
	ask 0 "$3"
	echo "${REPLY#*: }" >>"$dir/ksmd.$1"
	echo "ksmd: ${REPLY#*: } $1"
}

ksm_churn() {		# key, new or same
	ksm_write "$1 writes" $((pages / 100 * 8)) "churn $((pages / 100)) 8 $2"
}

# rmap items by what general_profit leaves of what is saved, and by the guests' own count; with the
# stable nodes, of 64 bytes too, which that formula leaves out
ksm_metadata() {
	local bytes nodes pid items=0
	merged
	bytes=$((REPLY * 4096))
	count general_profit
	bytes=$((bytes - REPLY))
	count pages_shared
	nodes=$REPLY
	for pid in "${pids[@]}"; do
		items=$((items + $(awk '/^ksm_rmap_items/ { print $2 }' "/proc/$pid/ksm_stat" \
			2>/dev/null) + 0))
	done
	awk -v b=$bytes -v n=$((guests * pages)) -v i=$items -v s="$nodes" 'BEGIN {
		printf "metadata_bytes=%d per_guest_page=%.2f rmap_items=%d " \
			"with_stable_nodes=%.2f\n",
			b, b / n, i, (b + 64 * s) / n }' >>"$dir/ksmd.scenario=g"
	echo "ksmd: $(tail -1 "$dir/ksmd.scenario=g") scenario=g"
}

# Without smart scan, but for a look at what it does: it takes a page that did not merge in one of
# nine passes only, and two that became equal at different times may never be taken in the same.
ksm_idle() {
	local order pace smart seconds
	at=0
	ksm_start idle 0
	ksm_merge idle 0
	ksm_metadata
	for pace in full "${delay}s"; do
		seconds=5
		if [ $pace != full ]; then
			seconds=$((2 * delay))
			ksm_pace $((guests * pages))
		fi
		ksm_watch "scenario=d pace=$pace" nap $seconds
		ksm_detect "scenario=d pace=$pace detect" $((delay * 3)) 0
		for order in same new; do
			ksm_watch "scenario=e pace=$pace churn=$order" \
				ksm_churn "scenario=e pace=$pace churn=$order" $order
		done
	done
	ksm_full_speed
	for smart in 0 1; do
		ksm_smart $smart
		ksm_detect "scenario=d pace=full detect late smart_scan=$smart" $delay 3
	done
	ksm_smart 0
	for order in shuffle seq; do
		ksm_write "scenario=f order=$order ksmd=runs" 1000 "write 1000 $order new guest"
	done
	ksm_stop
	for order in shuffle seq; do
		ksm_write "scenario=f order=$order ksmd=stopped" 1000 "write 1000 $order new guest"
	done
	ksm_write 'scenario=f order=shuffle ksmd=stopped host' 1000 'write 1000 shuffle new host'
	ksm_end
}

# ---- quire's side ----
#
# All that is known of quire here: how a guest is started and told what to hold, how merging is
# switched on and waited for, and which counters say what was gained.  The guests are those of
# scenario(); the lines are those of ksmd with `quire:` before them.

address=@quire-bench/merge-$$

quire_begin() {
	local i
	if ! "$quire" merge --help >/dev/null 2>&1; then
		echo '# quire: this one has no merge command: not measured'
		return 1
	fi
	timeout 3600 "$quire" machine --machine="$address" --memory=8G --overcommit=1 2>/dev/null &
	server=$!
	for ((i = 0; i < 200; i++)); do
		"$quire" stat --machine="$address" >/dev/null 2>&1 && return 0
		nap 0.02
	done
	echo '# quire: its machine does not start: not measured'
	return 1
}

quire_end() {
	quire_dismiss
	[ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
	server=
}

quire_dismiss() {
	local pid
	for pid in "${launchers[@]}"; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	launchers=() names=()
}

# The same contents in the words of quill's fill; "own" pages are like no other of any guest
quill_content() {	# scenario
	case $1 in
	a | idle) echo "1 $pages" ;;
	b) echo "1 $pages own=$((pages * 3 / 4)) order=scatter" ;;
	c) echo "1 $pages zero=$((pages * 9 / 10)) own=$((pages - pages * 9 / 10)) order=shuffle" ;;
	esac
}

# Sum of members of the machine and of all VMs
quire_sum() {		# member...
	"$quire" stat --machine="$address" --json | python3 -c '
import json, sys
all = json.load(sys.stdin)
print(sum(of.get(name, 0) for of in [all["machine"]] + all["vms"] for name in sys.argv[1:]))' "$@"
}

# Pages that cost nothing any more, as ksmd's pages_sharing + ksm_zero_pages
quire_saved() {
	echo $(($(quire_sum store_references state_zero_pages) - $(quire_sum store_bytes) / 4096))
}

# The process; not $server, which is timeout
quire_pid() {
	"$quire" stat --machine="$address" --json |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["machine"]["pid"])'
}

# The keepers' and the machine's CPU time
quire_cpu_ns() {
	echo $(($(quire_sum keeper_cpu_ns) + $(cpu_ns "$(quire_pid)")))
}

quire_start() {		# scenario, [guests, workload... instead of hold for so many of them]
	local i workload which=$1 others=${2:-0}
	scenario "$1"
	shift $(($# > 1 ? 2 : 1))
	"$warm" $((guests * pages * 2 / 256))
	for ((i = 1; i <= guests; i++)); do
		rm -f "$dir/quire.$i"	# what the last one said
		workload=(hold seconds=500)
		[ $i -le "$others" ] && workload=("$@")
		# shellcheck disable=SC2046
		timeout 600 "$quire" run --machine="$address" --name="merge-$i" --domain=bench \
			--merge=off \
			--balloon=off --hugepages=${QUIRE_HUGE:-never} -m $((pages / 256 + 64))M \
			"$quill" \
			"${workload[0]}" $(quill_content "$which") "${workload[@]:1}" \
			>"$dir/quire.$i" 2>&1 </dev/null &
		launchers+=($!)
		names+=("merge-$i")
	done
	for ((i = 1; i <= guests; i++)); do
		until grep -qs ready "$dir/quire.$i"; do
			kill -0 "${launchers[i - 1]}" 2>/dev/null || {
				cat "$dir/quire.$i" >&2
				return 1
			}
			nap 0.02
		done
	done
	# quill's hold waits by looking at the clock; ksmd's guests take no CPU time either.
	[ $# -gt 0 ] || "$quire" pause "${names[@]}"
}

# Until the kernel counts as many pages less as are to be saved, as for ksmd; `now` itself returns
# only after a pass that gained nothing.  CPU is all of both.
quire_merge() {		# key
	local ns us pid goal watcher
	pid=$(quire_pid)
	goal=$(($("$blocks" "$pid") - want))
	ns=$(quire_cpu_ns)
	"$blocks" "$pid" $goal $limit >"$dir/quire.goal" &
	watcher=$!
	us=$(now)
	"$quire" merge on "${names[@]}"
	"$quire" merge now "${names[@]}" >"$dir/quire.now"
	kill $watcher 2>/dev/null
	wait $watcher 2>/dev/null
	[ -s "$dir/quire.goal" ] || now >"$dir/quire.goal"
	us=$(($(cat "$dir/quire.goal") - us))
	result quire "$1" "$(quire_saved)" "$us" $(($(quire_cpu_ns) - ns))
}

quire_watch() {		# key, command that takes the time...
	local key=$1 ns us
	shift
	ns=$(quire_cpu_ns)
	us=$(now)
	"$@"
	us=$(($(now) - us))
	ns=$(($(quire_cpu_ns) - ns))
	awk -v ns=$ns -v us=$us -v m="$(quire_saved)" 'BEGIN {
		printf "seconds=%.2f cpu_ms_per_s=%.3f merged=%d\n", us / 1e6, ns / us, m }' \
		>>"$dir/quire.$key"
	echo "quire: $(tail -1 "$dir/quire.$key") $key"
}

# Seconds until 500 pages, that change in both guests and are equal again, are merged once more.
# churn's writes wait while the guest is paused, and come all at once when it goes on.
quire_detect() {		# key
	local i
	if quire_start idle 2 churn rate=25 seconds=20 settle=400; then
		"$quire" pause "${names[@]}"
		quire_merge "$1 begins"
		nap $((2 * delay))
		"$quire" resume "${names[@]}"
		for ((i = 1; i <= guests; i++)); do
			until grep -q writes= "$dir/quire.$i"; do nap 0.01; done
		done
		"$quire" pause "${names[@]}"
		python3 - "$quire" "$address" $((delay + 5)) >>"$dir/quire.$1" <<'END'
import json, subprocess, sys, time
def private():
    stat = subprocess.run([sys.argv[1], "stat", "--machine=" + sys.argv[2], "--json"],
                          capture_output=True)
    return sum(vm["state_private_pages"] for vm in json.loads(stat.stdout)["vms"])
start = last = time.monotonic()
first = least = private()
while time.monotonic() < start + float(sys.argv[3]):
    time.sleep(0.05)
    now = private()
    if now < least:
        least, last = now, time.monotonic()
print("detect_s=%.2f merged_again=%d" % (last - start, first - least))
END
		echo "quire: $(tail -1 "$dir/quire.$1") $1"
	fi
	quire_dismiss
}

quire_metadata() {
	local bytes
	bytes=$(quire_sum keeper_metadata_bytes merge_metadata_bytes)
	awk -v b="$bytes" -v n=$((guests * pages)) 'BEGIN {
		printf "metadata_bytes=%d per_guest_page=%.2f\n", b, b / n }' \
		>>"$dir/quire.scenario=g"
	echo "quire: $(tail -1 "$dir/quire.scenario=g") scenario=g"
}

# How long the keepers held the lock of guest memory for a run
quire_holds() {		# scenario
	"$quire" stat --machine="$address" --json | python3 -c '
import json, sys, collections
sum = collections.Counter()
for vm in json.load(sys.stdin)["vms"]:
    sum.update({int(k.split("_")[1]): n for k, n in vm["merge_holds"].items()
        if k.startswith("below_")})
holds = ", ".join("<%.0f: %d" % (ns / 1000, sum[ns]) for ns in sorted(sum))
print("quire: lock holds, us:", holds, "scenario=" + sys.argv[1])' "$1"
}

quire_scenario() {	# a b c idle
	if quire_start "$1"; then
		quire_merge "scenario=$1"
		quire_holds "$1"
		if [ "$1" = idle ]; then
			quire_metadata
			quire_watch "scenario=d" nap $((2 * delay))
		fi
	fi
	quire_dismiss
	[ "$1" = idle ] || return
	quire_detect 'scenario=d detect'
	# e and f: the guest that writes says itself what its writes took.
	if quire_start idle 1 churn "rate=$((pages / 100))" seconds=500; then
		quire_merge 'scenario=e begins'
		quire_watch 'scenario=e churn=new' nap 8
	fi
	quire_dismiss
}

# ---- All of it ----

trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

with_ksm=
with_quire=
ksm_begin && with_ksm=1
quire_begin && with_quire=1

for ((i = 0; i < runs; i++)); do
	for name in $what; do
		if [ -n "$with_ksm" ]; then
			[ "$name" = idle ] && ksm_idle || ksm_scenario "$name"
		fi
		[ -n "$with_quire" ] && quire_scenario "$name"
	done
done

echo '# medians'
for file in "$dir"/ksmd.* "$dir"/quire.scenario*; do
	[ -e "$file" ] && file=${file##*/} && summary "${file%%.*}" "${file#*.}"
done

figure() {		# file, member: its median, or nothing
	[ -s "$1" ] && medians "$1" | grep -o "\b$2=[-0-9.]*" | cut -d= -f2
}

compare() {		# scenario, member, aim in words, 1 if more is better
	local q k best="" file
	q=$(figure "$dir/quire.scenario=$1" "$2")
	for file in "$dir/ksmd.scenario=$1"*; do
		k=$(figure "$file" "$2")
		[ -n "$k" ] && best=$(awk -v a="${best:-$k}" -v b="$k" -v more="$4" \
			'BEGIN { print (a > b) == more ? a : b }')
	done
	[ -n "$q" ] && [ -n "$best" ] &&
		echo "merge scenario=$1 $2: quire=$q ksmd=$best ratio=$(ratio "$q" "$best") aim$3"
}

compare a merges_per_s '>=5' 1
compare a cpu_us_per_merge '<=0.2' 0
compare b merges_per_s '>=1.5' 1
compare c merges_per_s '>=5' 1
q=$(figure "$dir/quire.scenario=d" cpu_ms_per_s)
k=$(figure "$dir/ksmd.scenario=d pace=${delay}s" cpu_ms_per_s)
[ -n "$q" ] && [ -n "$k" ] &&
	echo "merge scenario=d cpu_ms_per_s: quire=$q ksmd=$k ratio=$(ratio "$q" "$k") aim<=0.02"
exit 0
