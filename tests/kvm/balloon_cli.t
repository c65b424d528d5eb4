#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Balloons from end to end: quire run's options, quire balloon on real guests, what becomes of their
# machine's memory, and a machine too small for two guests, of which one is idle.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash
machine=$dir/machine

# start_machine SIZE
start_machine() {
	"$quire" machine --machine="$machine" --memory="$1" 2>>"$dir/machine-log" &
	machine_pid=$!
	runs+=("$machine_pid")
	for _ in $(seq 200); do
		"$quire" stat --machine="$machine" >/dev/null 2>&1 && return
		sleep 0.05
	done
	bail_out "no machine: $(cat "$dir/machine-log")"
}

# start NAME TEXT OPTION... -- ARG...: a guest of 64 MiB that goes on when it has printed TEXT
start() {
	local name=$1 text=$2 options args

	shift 2
	split_words "$@"
	timeout 60 "$quire" run --wait-for="$text" --machine="$machine" --name="$name" \
		--merge=off --timeout=120 -m 64M --stats="$dir/$name.stats" "${options[@]}" \
		"$quill" "${args[@]}" >"$dir/$name" 2>&1 </dev/null && return
	echo "Bail out! the guest does not run: $(head -n 1 "$dir/$name")"
	exit 1
}

# member NAME [VM]: of the machine, or of a VM
member() {
	local part=machine

	[ $# -gt 1 ] && part=vms
	"$quire" stat --json --machine="$machine" ${2:+"$2"} | sed -n "/\"$part\"/,\$p" |
		sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -n 1
}

# has NAME VALUE [VM]: a member is that
has() {
	is "$(member "$1" "${@:3}")" "$2"
}

balloon() {
	"$quire" balloon --machine="$machine" "$@"
}

# eventually COMMAND...: it succeeds within some seconds
eventually() {
	for _ in $(seq 200); do
		"$@" >"$dir/eventually" 2>&1 && return
		sleep 0.05
	done
	cat "$dir/eventually"
	return 1
}

why_says() {
	balloon --why "$1" | tee "$dir/out" | grep -qE "$2" || { cat "$dir/out"; return 1; }
}

shows() {
	balloon "$1" | tee "$dir/out" | grep -qE "$2" || { cat "$dir/out"; return 1; }
}

# Pages that a guest of 64 MiB with a driver, and without free page reporting, has touched: all.
touched=(balloon seconds=100 touch=500 dirty=14848 features=7)

# ---- quire run ----

for option in --balloon=maybe --balloon= --balloon-min= --balloon-min=x --balloon-min=65M \
	--shares=0 \
	--shares=many --shares=1000001 --shares=-1; do
	check "run $option is refused" fails 2 "$quire" run -m 64M "$option" "$quill" hello
done
check 'all of RAM is a minimum' "$quire" run -m 16M --balloon-min=16M "$quill" hello
check 'so is nothing' "$quire" run -m 16M --balloon-min=0 --shares=1 "$quill" hello

start_machine 1G
start driver 'balloon: ready' -- "${touched[@]}"
start strict 'balloon: ready' --balloon=manual --sandbox=on --irqchip=on --balloon-min=10M \
	--shares=7 -- "${touched[@]}"
start none 'hold: ready' -- hold 1 1000 seconds=100
start off 'hold: ready' --balloon=off -- hold 1 1000 seconds=100

# ---- a size by hand ----

# inflate VM SIZE ACTUAL: the machine's free memory rises by just what leaves the VM, which is all
# but a few pages that were in use just then (balloon_kept_pages); committed is as it was
inflate() {
	local free private actual committed freed

	free=$(member free_bytes)
	committed=$(member committed_bytes)
	private=$(member state_private_pages "$1")
	actual=$(member balloon_actual_pages "$1")
	balloon --wait=60 "$1" "$2" || return
	freed=$((($(member free_bytes) - free) / 4096))
	echo "freed $freed pages, kept $(member balloon_kept_pages "$1")"
	is "$freed" $((private - $(member state_private_pages "$1"))) &&
		[ "$freed" -le $(($3 - actual)) ] && [ "$freed" -ge $((($3 - actual) * 9 / 10)) ] &&
		is "$(member balloon_actual_pages "$1")" "$3" && is "$(member committed_bytes)" \
		"$committed"
}

check 'a guest is made smaller, and the machine has the pages at once' inflate driver 40M 6144
check '... more so' inflate driver 30M 8704
check '... and another, in manual mode, with an interrupt controller' inflate strict 20M 11264
check 'quire balloon shows it' shows driver \
	'^VM driver: the guest has 30 MiB of 64 MiB, and is to have 30 MiB$'
check '... whose target it was' shows driver '^  the target is +set by hand$'
check '... what the guest says' shows driver '^  available memory +[0-9.]+ MiB'
check '... shares and minimum' shows driver '^  the guest keeps +16 MiB'
check '... as they were given' shows strict '^  shares +7$'
check 'the decision has its reason' why_says driver ' manual: balloon .* set by hand'
check 'all guests are in a table' says \
	'(NAME +MODE|driver +manual +64 MiB +30 MiB|strict +manual|none +auto|off +off).*' \
	balloon
check 'it grows again' balloon --wait=60 driver 64M
check '... to its full size' is "$(member balloon_actual_pages driver)" 0
check 'a size in between' balloon --wait=60 driver 50M

check 'more than RAM' fails 2 balloon driver 65M
check 'less than the minimum' fails 2 balloon driver 15M
check '... which was set here' fails 2 balloon strict 9M
check 'no size at all' fails 2 balloon driver small
check 'no such VM' fails 121 balloon nobody 40M
check 'a guest without a driver is said to be one' fails 1 balloon none 40M
check '... at once, also if its size is waited for' fails 1 balloon --wait=100 none 40M
check '... in these words' grep -q 'has no balloon driver; the target waits for one' "$dir/err"
check '... and its target waits' eventually has balloon_target_pages 6144 none
check 'a guest without a balloon' fails 121 balloon off 40M
check '... is said to be one' grep -q 'was started with --balloon=off' "$dir/err"
check '... of which nothing is shown' fails 121 balloon off
check '... and no reasons' fails 121 balloon --why off
check 'a paused guest does not follow' "$quire" pause driver
check '... in the time it has' fails 1 balloon --wait=0.3 driver 40M
check '... but when it goes on' "$quire" resume driver
check '... it does' eventually has balloon_actual_pages 6144 driver
check 'back to the policy' says \
	'VM driver: .* by policy; target [0-9]+ pages in the balloon, now [0-9]+' \
	balloon driver auto
check '... which lets go, as there is plenty' eventually why_says driver \
	'plenty: balloon .* the machine has plenty'
check 'a guest in manual mode can have it too' balloon strict auto
check '... and back' balloon --wait=60 strict 20M

# ---- the machine dies ----

check 'by hand' balloon --wait=60 driver 40M
kill -KILL "$machine_pid"
wait "$machine_pid" 2>/dev/null
check 'without a machine the target stays' is 6144 "$("$quire" stat --json driver |
	sed -n 's/^ *"balloon_target_pages": \([0-9]*\),$/\1/p')"
check '... and no other can be set' fails 121 "$quire" balloon driver 50M
start_machine 1G
check 'the next machine takes the guest over' eventually balloon driver
check '... with its target' eventually shows driver '^  the target is +set by hand$'
check '... as it was' is "$(member balloon_target_pages driver)" 6144
check '... its shares and minimum' eventually shows strict '^  shares +7$'
check '... and sets another' balloon --wait=60 driver 50M

check 'guests with a balloon end in order' "$quire" kill driver strict none off
for vm in driver strict; do
	check "$vm: no line says that anything was wrong" is "$(grep -c wrong "$dir/$vm")" 0
done
kill "$machine_pid"
wait

# ---- too small for two ----

: >"$dir/machine-log"
start_machine 76M
# Without reclaim, which may be faster than the first word of the balloon.
start idle 'balloon: ready' --reclaim=off -- balloon seconds=100 touch=500 dirty=10000 features=7
start busy 'balloon: ready' --reclaim=off -- balloon seconds=4 touch=13000 features=7
check 'a busy guest gets what an idle one has to spare' \
	eventually grep -q '"exit_status": 0,' "$dir/busy.stats"
check '... and lost nothing' grep -q '^balloon: verified=13000 ' "$dir/busy"
check 'the idle one was squeezed' grep -qE "'idle': balloon: reclaim: balloon 0\.0 -> " \
	"$dir/machine-log"
check '... which its log says' why_says idle 'reclaim: balloon .* lowest shares per page'
check '... and lives' "$quire" kill idle
check '... having lost nothing' is "$(grep -c wrong "$dir/idle")" 0
none 'every line of the log has its time in front' \
	"$(grep -vE '^[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z machine: ' "$dir/machine-log")"
none '... and sizes in one unit' \
	"$(grep -E ' pages|[0-9] (credits|overhead)|[KGT]iB' "$dir/machine-log")"
check '... also for what a guest gives back' eventually grep -qE \
	"'busy': gone, its promise of [0-9.]+ MiB, credits of <?[0-9.]+ MiB, overhead of" \
	"$dir/machine-log"
check 'nobody was killed' is "$(grep -c 'out of memory' "$dir/machine-log")" 0

done_testing
