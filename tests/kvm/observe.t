#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quire map and quire walk on running guests, end to end: what they show is what the run's own
# counters say at its end, and the guest does not notice.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash
vm=observe-$$
run=0	# pid of the guest under observation

mkfifo "$dir/input"
exec 3<>"$dir/input"

# start OPTION... -- ARG...: run quill in the background and wait until it says something,
# which is when its control socket is there
start() {
	local options args

	split_words "$@"
	rm -f "$dir/stats"
	"$quire" run --name="$vm" --timeout=120 --stats="$dir/stats" "${options[@]}" \
		"$quill" "${args[@]}" >"$dir/console" 2>"$dir/run-err" <"$dir/input" &
	run=$!
	runs=("$run")
	started "$run" "$dir/run-err" "$quire" map "$vm"
}

# Wait for the guest to end by itself.
reap() {
	wait "$run"
	status=$?
	run=0
	runs=()
}

# legend NAME: pages of a state, from the text of a map
legend() {
	sed -n "s/^  .  $1 *\([0-9]*\) pages.*/\1/p" "$dir/map"
}

in_large() {
	sed -n 's/^  P   in 2 MiB *\([0-9]*\) pages.*/\1/p' "$dir/map"
}

stat() {
	sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p" "$dir/stats"
}

# Width and height of a PNG, from its header.
png_size() {
	od -A n -t u1 -j 16 -N 8 "$1" |
		awk '{ print $1 * 16777216 + $2 * 65536 + $3 * 256 + $4,
			$5 * 16777216 + $6 * 65536 + $7 * 256 + $8 }'
}

# is_square "WIDTH HEIGHT" SIDE: a picture of SIDE x SIDE pixels with something written around it
is_square() {
	local width=${1% *} height=${1#* }

	echo "$width x $height pixels"
	[ "$width" -gt "$2" ] && [ "$width" -lt $(($2 + 200)) ] && [ "$height" -gt "$2" ] &&
		[ "$height" -lt $(($2 + 300)) ]
}

# ---- a guest that holds what it filled: nothing moves any more ----

# wait_still: the map no longer changes
wait_still() {
	local before=

	for _ in $(seq 200); do
		"$quire" map "$vm" >"$dir/map" 2>&1
		[ "$(tail -n 8 "$dir/map")" = "$before" ] && [ "$(legend private)" -ge "$1" ] &&
			return
		before=$(tail -n 8 "$dir/map")
		sleep 0.2
	done
}

for huge in auto never; do
	start -m 64M --merge=off --hugepages=$huge -- hold 7 3000 seconds=100
	wait_still 3000
	check "$huge: absent and private are all of RAM" \
		is $(($(legend absent) + $(legend private))) 16384
	check "$huge: at least what the guest filled is private" test "$(legend private)" -ge 3000
	check "$huge: a row for each 2 MiB" is "$(grep -c '^0x00' "$dir/map")" 32
	if [ "$huge" = never ]; then
		check "never: no 2 MiB leaves" is "$(in_large)" 0
	else
		check "auto: 2 MiB leaves hold whole blocks" is $(($(in_large) % 512)) 0
	fi
	check "$huge: an image is written" "$quire" map --png="$dir/map.png" "$vm"
	check "$huge: ... about as wide as it is high" is_square "$(png_size "$dir/map.png")" 768
	check "$huge: ... as large as --scale says" "$quire" map --png="$dir/map.png" --scale=8 \
		"$vm"
	check "$huge: ... which is 8 pixels for each of 128 x 128 pages" is_square \
		"$(png_size "$dir/map.png")" 1024
	"$quire" map "$vm" >"$dir/map"
	private=$(legend private)
	echo >&3
	reap
	check "$huge: the guest ends well under observation" is "$status" 0
	check "$huge: the map's count is the run's own at its end (quill only verifies)" \
		is "$private" "$(stat state_private_pages)"
done

# ---- walks ----

start -m 32M -- idle 100
check 'a walk of the page that quill is loaded at is allowed' "$quire" walk "$vm" 0x100000
"$quire" walk "$vm" 0x100000 >"$dir/walk"
check 'its outcome is an address in RAM' grep -q ' -> gpa 0x[0-9a-f]* -> machine 0x' "$dir/walk"
check 'the page it reaches is private' grep -q '^  page: private' "$dir/walk"
check 'it has stage-1 and stage-2 references' \
	is "$(grep -c '^ *[0-9]* .* EPT PML4E ' "$dir/walk")" \
	   "$(($(grep -c '^ *[0-9]*  P[MDT][^ ]*  *gva' "$dir/walk") + 1))"
check 'an address that is not mapped is a page fault, exit status 1' \
	is "$("$quire" walk --user "$vm" 0x7ffffffff000 >"$dir/walk"; echo $?)" 1
check '... and says so' grep -q '#PF with error code 0x4' "$dir/walk"
check 'an address that is not canonical is none' \
	is "$("$quire" walk "$vm" 0x800000000000 >/dev/null; echo $?)" 1

# quill maps all of RAM from 512 GiB on (guest/layout.h); it has not touched the end.
untouched=0x8001f00000
check 'a read of an absent page would succeed' "$quire" walk "$vm" $untouched
"$quire" walk "$vm" $untouched >"$dir/walk"
check '... because quire answers' grep \
	-q '^  stage 2: not present (absent): a read brings in a page of zeroes$' "$dir/walk"
check '... where the walk ends' grep -q '<-- quire is asked here$' "$dir/walk"
check 'so would a write' "$quire" walk --write "$vm" $untouched
check '... which gets a page of its own' grep -q '(absent): a write brings in a page of its own' \
	<("$quire" walk --write "$vm" $untouched)
check 'a fetch from there is a fault' is \
	"$("$quire" walk --fetch "$vm" $untouched >/dev/null; echo $?)" 1
for _ in $(seq 50); do
	"$quire" walk "$vm" 0x100000 >>"$dir/walks" || break
done
check '50 walks in a row' is "$(grep -c ' -> machine ' "$dir/walks")" 50
check 'a range is cut to what was asked for' \
	is "$("$quire" map --range=1M+64K "$vm" | sed -n 's/^     RAM *\([0-9]*\) pages.*/\1/p')" 16
check '... and to the end of RAM' \
	is "$("$quire" map --range=31M-99M "$vm" | sed -n 's/^     RAM *\([0-9]*\) pages.*/\1/p')" \
	256

# ---- by name ----

# linked ADDRESS BYTES: what the ELF file has there, in hexadecimal digits; both multiples of 16
linked() {
	objdump -s --start-address="$1" --stop-address="$(($1 + $2))" "$quill" |
		sed -n 's/^ [0-9a-f]* \(.\{35\}\).*/\1/p' | tr -d ' \n'
}

at=0x$(nm "$quill" | sed -n 's/ . long_mode$//p')
check 'a symbol of the image is an address' "$quire" walk --symbols="$quill" "$vm" long_mode
up=$((16 - at % 16))
"$quire" walk --symbols="$quill" --bytes=32 --json "$vm" long_mode+$up >"$dir/walk"
check '... at which it was linked' \
	grep -q "\"gva\": \"$(printf '%#x' $((at + up)))\"" "$dir/walk"
check '... and where the bytes of the image are' \
	grep -q "\"bytes\": \"$(linked $((at + up)) 32)\"" "$dir/walk"
nm "$quill" >"$dir/map.txt"
check 'lines of nm do as well' grep -q "^long_mode is gva $(printf '%#x' "$at")\$" \
	<("$quire" walk --symbols="$dir/map.txt" "$vm" long_mode)
check 'bytes that are not there are not shown' grep -q '^  0 of 9 bytes are there$' \
	<("$quire" walk --bytes=9 "$vm" 0x7ffffffff000)
check 'walk: a symbol that does not exist' fails 2 "$quire" walk --symbols="$quill" "$vm" nonesuch
check 'walk: symbols of nothing' fails 2 "$quire" walk --symbols=/dev/null "$vm" 0
check 'walk: symbols nowhere' fails 121 "$quire" walk --symbols=/nonexistent "$vm" 0
check 'walk: too many bytes' fails 2 "$quire" walk --bytes=4097 "$vm" 0

# ---- disassembly ----

# code FILE: addresses and bytes of a listing of ours; objdump_code ADDRESS END: objdump's
code() {
	sed -n 's/^ *\(=> \)\{0,1\}0*\([0-9a-f]*\)  \(\([0-9a-f]\{2\} \)*\) .*/\2 \3/p' "$1"
}

objdump_code() {
	objdump -d -w --start-address="$1" --stop-address="$2" "$quill" |
		sed -n 's/^ *\([0-9a-f]*\):\t\(\([0-9a-f]\{2\} \)*\) *\t.*/\1 \2/p'
}

start=0x$(nm "$quill" | sed -n 's/ . trap_ud$//p')
end=$((start + 120))
"$quire" dis --symbols="$quill" "$vm" trap_ud 20 >"$dir/dis"
check 'code is disassembled by name: 20 instructions' is "$(code "$dir/dis" | wc -l)" 20
check '... at the addresses and of the bytes that objdump says' \
	is "$(code "$dir/dis")" "$(objdump_code "$start" "$end" | head -n 20)"
check '... with the names of symbols' grep -qx 'trap_ud:' "$dir/dis"
check '... and of what jumps go to' grep -q ' <call>$' "$dir/dis"
"$quire" dis "$vm" >"$dir/dis"
check 'without an address it begins where the vCPU is' grep -q '^  => ' <(head -n 1 "$dir/dis")
check '... and has 16 instructions' is "$(wc -l <"$dir/dis")" 16
check 'no memory, exit status 1' is "$("$quire" dis "$vm" 0x7ffffffff000 >"$dir/dis"; echo $?)" 1
check '... is said' grep -q '^ *00007ffffffff000  (no memory there)$' "$dir/dis"
check 'dis: no such vCPU' fails 2 "$quire" dis --cpu=9 "$vm"
check 'dis: an address that is none' fails 2 "$quire" dis "$vm" main
check 'dis: no instructions at all' fails 2 "$quire" dis "$vm" 0 0
check 'dis: no VM named' fails 2 "$quire" dis
check 'dis: no such VM' fails 121 "$quire" dis no-such-vm

# coloured COMMAND...: what it prints, on a terminal of its own, has colours
coloured() {
	TERM=xterm script -qec "$*" /dev/null </dev/null | grep -q $'\x1b\\[38;5;'
}

not() {
	! "$@"
}

check 'a map in a file has no colours' not grep -q $'\x1b' <("$quire" map "$vm")
check '... unless they are asked for' grep -q $'\x1b\\[38;5;' <("$quire" map --color=always "$vm")
check 'a map on a terminal has colours' coloured "$quire" map "$vm"
check '... unless NO_COLOR is set' not coloured env NO_COLOR=1 "$quire" map "$vm"
check '... but not to nothing' coloured env NO_COLOR= "$quire" map "$vm"
check '... unless it is a dumb one' not coloured env TERM=dumb "$quire" map "$vm"
check '... unless they are not wanted' not coloured "$quire" map --color=never "$vm"
check "its launcher's pid names the VM too" "$quire" map "$run"
check '... also for stat' "$quire" stat "$run"
check '... and for balloon' "$quire" balloon "$run"
# ps asks a VM for a second only, and then has no pid of it.
by_pid() {
	for _ in $(seq 20); do
		"$quire" walk "$("$quire" ps "$vm" | awk 'END { print $NF }')" 0x100000 && return
	done
	return 1
}
check '... and so does its own pid' by_pid

# ---- errors: one line, and a status that a script can use ----

check 'map: no such VM' fails 121 "$quire" map no-such-vm
check 'map: nearly a VM' fails 121 "$quire" map "x$vm"
check '... whose name is said' grep -q "did you mean .*$vm" "$dir/err"
check 'walk: no such VM' fails 121 "$quire" walk no-such-vm 0
check 'walk: no such vCPU' fails 2 "$quire" walk --cpu=9 "$vm" 0
check '... and there is one' grep -q "VM $vm has no vCPU 9, only vCPU 0\$" "$dir/err"
check 'map: no VM named' fails 2 "$quire" map
check 'map: an option that does not exist' fails 2 "$quire" map --colour "$vm"
check 'map: a range that is none' fails 2 "$quire" map --range=5 "$vm"
check 'map: a range beyond RAM' fails 2 "$quire" map --range=1T+1M "$vm"
check 'map: --scale without an image' fails 2 "$quire" map --scale=2 "$vm"
check 'map: no scale at all' fails 2 "$quire" map --png="$dir/map.png" --scale=0 "$vm"
check 'map: a colour that is none' fails 2 "$quire" map --color=red "$vm"
check 'map: an image nowhere' fails 121 "$quire" map --png=/nonexistent/map.png "$vm"
ln -s /dev/full "$dir/full.png"	# a link, so that a mistake removes that and not the device
check 'map: an image on a full disk' fails 121 "$quire" map --png="$dir/full.png" "$vm"
check '... which stays' test -c "$dir/full.png"
check 'walk: an address that is none' fails 2 "$quire" walk "$vm" main
check 'walk: two accesses at once' fails 2 "$quire" walk --write --fetch "$vm" 0
check 'a second VM of that name is refused' fails 2 \
	"$quire" run --name="$vm" "$quill" hello
check '... and the first still answers' "$quire" map "$vm"

kill -KILL "$run"
wait "$run" 2>/dev/null
run=0
runs=()
check 'a killed VM leaves nothing behind' fails 121 "$quire" map "$vm"

done_testing
