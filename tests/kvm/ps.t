#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quire ps, stat, pause, resume and kill on running guests, end to end: a paused guest stands
# still and goes on unharmed, a killed one ends in order, and all that counts agrees.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash
prefix=ps-$$
unset runs
declare -A runs	# pid of each guest that runs, by name

# start NAME OPTION... -- ARG...: quill in the background; returns when it answers
start() {
	local name=$prefix-$1 options args

	shift
	split_words "$@"
	"$quire" run --name="$name" --timeout=120 --stats="$dir/$name.stats" "${options[@]}" \
		"$quill" "${args[@]}" >"$dir/$name.out" 2>"$dir/$name.err" </dev/null &
	runs[$name]=$!
	started $! "$dir/$name.err" "$quire" stat "$name"
}

# reap NAME: wait for its end; the status is in $status
reap() {
	wait "${runs[$prefix-$1]}"
	status=$?
	unset "runs[$prefix-$1]"
}

# member FILE NAME: a number or a string of the first VM in a quire.stats/1
member() {
	sed -n "/\"vms\": \[/,\$s/^ *\"$2\": \"*\([^\",]*\)\"*,*\$/\1/p" "$1" | head -n 1
}

# now NAME MEMBER: of a running guest
now() {
	"$quire" stat --json "$prefix-$1" >"$dir/now" && member "$dir/now" "$2"
}

# row NAME: its line in ps
row() {
	"$quire" ps "$prefix-$1" 2>/dev/null | tail -n 1
}

# await NAME MEMBER VALUE
await() {
	for _ in $(seq 200); do
		[ "$(now "$1" "$2")" = "$3" ] && return
		sleep 0.05
	done
	echo "$2 is $(now "$1" "$2") and not $3"
	return 1
}

# wait_still NAME PAGES: it has that many private pages, and no more are coming
wait_still() {
	local before=-1 pages

	for _ in $(seq 200); do
		pages=$(now "$1" state_private_pages)
		[ "$pages" = "$before" ] && [ "$pages" -ge "$2" ] && return
		before=$pages
		sleep 0.2
	done
}

# passes NAME MEMBER VALUE: the number comes to be larger
passes() {
	for _ in $(seq 200); do
		[ "$(now "$1" "$2")" -gt "$3" ] && return
		sleep 0.05
	done
	echo "$2 is $(now "$1" "$2") and not above $3"
	return 1
}

json_is_valid() {
	perl -MJSON::PP -e 'local $/; decode_json(<STDIN>)' <"$1"
}

# ---- several guests ----

# Without merging, which would change the numbers of a guest that only holds its pages.
start hold -m 64M --merge=off -- hold 7 3000 seconds=60
start busy -m 32M -- stress 60 pages=1000
start two -m 32M -c 2 -- idle 60
wait_still hold 3000

"$quire" ps --wide >"$dir/ps"
for vm in hold busy two; do
	check "ps lists $vm with its pid" grep -Eq " $prefix-$vm +running .* [0-9]+\$" "$dir/ps"
done
check 'ps shows a column for each state' grep -Eq 'RAM +RESIDENT +ABSENT +PRIVATE .*COMMIT' \
	"$dir/ps"
check 'without --wide no line has more than 80 columns' is "$("$quire" ps | grep -cE '.{81}')" 0
check 'ps shows the RAM' grep -Eq " $prefix-hold +running +64 MiB" "$dir/ps"
"$quire" ps --json >"$dir/ps.json"
"$quire" stat --json >"$dir/stat.json"
"$quire" stat --json "$prefix-two" >"$dir/two.json"
for file in ps stat two; do
	check "$file is valid JSON" json_is_valid "$dir/$file.json"
done
check 'stat of one VM has no other' is "$(grep -c '"run_ns"' "$dir/two.json")" 1
check 'stat knows the vCPUs' is "$(member "$dir/two.json" vcpus)" 2
check 'states add up to RAM' is \
	"$(($(now hold state_absent_pages) + $(now hold state_private_pages)))" 16384
"$quire" map "$prefix-hold" >"$dir/map"
check 'stat agrees with map' is "$(now hold state_private_pages)" \
	"$(sed -n 's/^  p  private *\([0-9]*\) pages.*/\1/p' "$dir/map")"
check 'what a busy guest costs is seen' test "$(now busy vcpu_cpu_ns)" -gt 1000000
check '... the process at least as much as its vCPUs' \
	test "$(now busy cpu_ns)" -ge "$(member "$dir/now" vcpu_cpu_ns)"

# ---- pause and resume ----

for vm in busy two; do
	check "$vm: pause" "$quire" pause "$prefix-$vm"
	check "$vm: it is paused" is "$(now $vm state)" paused
	before=$(now $vm vcpu_cpu_ns)
	exits=$(now $vm exits)
	sleep 0.5
	check "$vm: its vCPUs use no time" is "$(now $vm vcpu_cpu_ns)" "$before"
	check "$vm: it makes no exits" is "$(now $vm exits)" "$exits"
	check "$vm: pause again" "$quire" pause "$prefix-$vm"
	check "$vm: a walk is answered" "$quire" walk "$prefix-$vm" 0x100000
	check "$vm: a map is answered" "$quire" map "$prefix-$vm"
	check "$vm: it is still paused after these" is "$(now $vm state)" paused
	check "$vm: ps says so" grep -q paused <<<"$(row $vm)"
done
check 'walk of the second vCPU of a paused guest' \
	is "$("$quire" walk --cpu=1 "$prefix-two" 0 >/dev/null 2>"$dir/err"; cat "$dir/err")" ''
# A walk has the vCPU's own thread read its registers, so that costs it a little time.
before=$(now busy vcpu_cpu_ns)
check 'resume of both' "$quire" resume "$prefix-busy" "$prefix-two"
check 'busy: it runs' is "$(now busy state)" running
check 'busy: its vCPU goes on' passes busy vcpu_cpu_ns $((before + 50000000))
check 'resume of a guest that runs' "$quire" resume "$prefix-busy"

# A guest that is paused and resumed at random never notices: it verifies every byte.
start shaken -m 32M -c 2 -- stress 3 seed=$RANDOM pages=2000
while kill -0 "${runs[$prefix-shaken]}" 2>/dev/null; do
	"$quire" pause "$prefix-shaken" 2>/dev/null
	sleep "0.0$((RANDOM % 10))"
	"$quire" resume "$prefix-shaken" 2>/dev/null
	sleep "0.0$((RANDOM % 10))"
done
reap shaken
check 'a guest that is paused all the time verifies its memory' is "$status" 0

# ---- the end of a paused guest ----

start timeout -m 16M --timeout=5 -- idle 60
"$quire" pause "$prefix-timeout"
reap timeout
check 'a paused guest obeys --timeout' is "$status" 124
start signal -m 16M -- idle 60
"$quire" pause "$prefix-signal"
kill -HUP "${runs[$prefix-signal]}"
reap signal
check '... and signals' is "$status" 129
start kill -m 16M -c 2 -- idle 60
"$quire" pause "$prefix-kill"
check '... and quire kill' "$quire" kill "$prefix-kill"
reap kill
check '... with the status of SIGTERM' is "$status" 143
check '... and one line that says why' is "$(cat "$dir/$prefix-kill.err")" \
	'quire: stopped by quire kill'
check '... its last counters are valid JSON' json_is_valid "$dir/$prefix-kill.stats"
check '... and say that it has ended' is "$(member "$dir/$prefix-kill.stats" state)" ended

# ---- kill; the last numbers ----

before=$(now hold state_private_pages)
check 'kill of several, one of which is not there' \
	is "$("$quire" kill "$prefix-hold" "$prefix-none" "$prefix-busy" "$prefix-two" \
		2>"$dir/err"; echo $?)" 121
check '... says which' grep -q "no VM named $prefix-none" "$dir/err"
check '... in one line' is "$(wc -l <"$dir/err")" 1
for vm in hold busy two; do
	check "$vm: is gone when kill returns" is "$(row $vm)" ''
	reap $vm
	check "$vm: ended as by SIGTERM" is "$status" 143
done
check 'what stat showed is what --stats wrote' is \
	"$(member "$dir/$prefix-hold.stats" state_private_pages)" "$before"
"$quire" stat --json >"$dir/stat.json"
check 'every member of --stats of a run is one of stat' is "$(
	grep -o '^      "[a-z_]*"' "$dir/$prefix-busy.stats" | sort -u |
		grep -vxF -f <(grep -o '^      "[a-z_]*"' "$dir/two.json") | tr -d ' \n')" \
		'"exit_status"'

# ---- copies ----

start copies -n 2 -m 16M -- idle 60
copies=$prefix-copies
for _ in $(seq 200); do
	"$quire" stat "$copies-2" >"$dir/out" 2>&1 && break
	sleep 0.05
done
for vm in "$copies" "${runs[$copies]}"; do
	check "$vm: means all copies" is "$("$quire" ps "$vm" | grep -c "$copies-[12]")" 2
	for command in map walk 'merge --who'; do
		address=
		[ "$command" = map ] || address=0
		# shellcheck disable=SC2086
		check "$command $vm: says which copies there are" \
			fails 2 "$quire" $command "$vm" $address
		check '... both' grep -q "$copies-1, $copies-2\$" "$dir/err"
	done
done
check 'kill of the process that runs copies' "$quire" kill "${runs[$copies]}"
check '... ends all of them' is "$("$quire" ps | grep -c "$copies")" 0
reap copies
check '... and with them the run' is "$status" 143
"$quire" run -n 200 --name="$copies" -m 4M "$quill" idle 60 >"$dir/out" 2>"$dir/err" </dev/null &
runs[$copies]=$!
started $! "$dir/err" grep -q "@quire/vm/$copies-1\$" /proc/net/unix
check 'kill of a run that is still starting copies' "$quire" kill "${runs[$copies]}"
check '... leaves none behind' fails 121 "$quire" ps "$copies"
reap copies
check '... ends it' is "$status" 143
check 'a name of digits only is refused' fails 2 "$quire" run --name=123 "$quill" hello

# ---- a machine ----

machine=$prefix-machine
# In the background timeout would send SIGCONT after SIGTERM, and LeakSanitizer would wait for ever
# for the process that it has just stopped to look at.
timeout --foreground 60 "$quire" machine --machine="@quire/machine/$machine" --memory=512M \
	2>"$dir/machine.err" &
runs[$machine]=$!
for _ in $(seq 100); do
	"$quire" stat --machine="@quire/machine/$machine" >"$dir/machine" 2>/dev/null && break
	sleep 0.05
done
check 'stat of a machine shows ledger and budget' \
	grep -Eq 'memory +512 MiB' "$dir/machine"
"$quire" stat --machine="@quire/machine/$machine" --json >"$dir/machine.json"
check '... as valid JSON' json_is_valid "$dir/machine.json"
check '... without VMs' grep -q '"vms": \[\]' "$dir/machine.json"
check 'meminfo has its memory' is "$("$quire" stat --machine="@quire/machine/$machine" --meminfo |
	sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p')" 524288

# A quire run that joins machines appears on its books.
if "$quire" help run | grep -q -- --machine; then
	start joined -m 32M --machine="@quire/machine/$machine" -- idle 60
	check 'ps joins a VM with its machine' grep \
		-Eq "^ *1 .* $prefix-joined +running" <("$quire" ps --wide)
	check '... and its commitment is above its RAM' test "$(now joined commit_bytes)" -gt \
		33554432
	committed=$("$quire" stat --json --machine="@quire/machine/$machine" |
		sed -n 's/^ *"committed_bytes": \([0-9]*\),$/\1/p')
	check '... which the machine has committed' await joined commit_bytes "$committed"
	check '... its resident pages are within its credits' test \
		"$(now joined resident_bytes)" -le "$(member "$dir/now" credit_bytes)"
	check '... and are what its RAM file has' is "$(now joined resident_bytes)" \
		"$(member "$dir/now" ram_file_bytes)"
	"$quire" kill "$prefix-joined"
	reap joined
	check '... killed, it ends with the status of SIGTERM' is "$status" 143
fi

done_testing
