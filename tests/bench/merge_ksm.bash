# SPDX-License-Identifier: MIT
#
# For merge.sh: ksmd, its guests, and what is measured of it.  Sourced; merge.sh says what $dir,
# $ksm, $peer, $delay, $limit and scenario() are.
#
# ksmd is one for the whole machine.  Its settings are put back, and all it merged is un-merged,
# by a process of its own that waits for this one to end, however it ends.  If somebody else uses
# KSM, nothing is touched and nothing of it measured.

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
