# SPDX-License-Identifier: MIT
#
# For merge.sh: quire's machine, its guests, and what is measured of them.  Sourced; merge.sh says
# what $dir, $quire, $quill, $blocks, $delay, $limit and scenario() are.
#
# All that is known of quire here: how a guest is started and told what to hold, how merging is
# switched on and waited for, and which counters say what was gained.  The guests are those of
# merge.sh; the lines are those of ksmd with `quire:` before them.

address=@quire-bench/merge-$$
server=			# quire's machine
launchers=()		# and its guests
names=()

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
