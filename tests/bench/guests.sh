#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Many guests.
#
#   rate     guests per second, from the start of the command to the end of the last:
#            `quire run -n 100` against QEMU's microvm, 10 of them, two at a time; 16 MiB each, the
#            same image, which ends at once
#   first    from exec to the guest's first instruction, as quill's hello prints it; and to the
#            first byte of its output, under quire and under QEMU
#   private  memory that a VM process has for itself: PSS less that of guest RAM, of 20 guests that
#            a single quire run started, and of one that is alone; its page tables in the kernel,
#            which no PSS counts, apart.  Needs root
#   touch    first touch of 512 MiB by a guest that is the only one, and with 99 others, paused, on
#            the same machine, taking turns; the guest measures itself
#   idle     500 guests that wait, once they have settled: processor time of all their threads in
#            percent of one processor, and how long it takes to ask them all
set -u
. "$(dirname "$0")/common.bash"
machine
dir=$(mktemp -d) || exit 1
launcher=
server=
finish() {
	[ -n "$launcher" ] && kill "$launcher" 2>/dev/null && wait "$launcher"
	[ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server"
	rm -rf "$dir"
}
trap finish EXIT
qemu=$(command -v qemu-system-x86_64)
address=@quire-bench/guests-$$

run_qemu() {	# MiB, command line
	timeout 60 "$qemu" -M microvm -accel kvm -m "$1" -nodefaults -no-user-config -no-reboot \
		-display none \
		-serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel "$quill" \
		-append "$2"
}

# Microseconds from exec to the first byte of output
first_us() {
	local start=$EPOCHREALTIME end
	end=$("$@" 2>/dev/null </dev/null | {
		IFS= read -r -N 1 _
		echo "$EPOCHREALTIME"
		cat >/dev/null
	})
	echo $((${end/./} - ${start/./}))
}

# others COUNT NAME: so many guests, which wait for input that never comes, paused
others() {
	local i names=()
	: >"$dir/others"
	timeout 120 "$quire" run --machine="$address" -n "$1" -m 16M --name="$2" "$quill" echo \
		>"$dir/others" 2>&1 </dev/null &
	launcher=$!
	for ((i = 0; i < 500; i++)); do
		[ "$(grep -c ready "$dir/others")" -eq "$1" ] && break
		sleep 0.02
	done
	if [ "$1" -eq 1 ]; then
		names=("$2")
	else
		for ((i = 1; i <= $1; i++)); do
			names+=("$2-$i")
		done
	fi
	# They poll for input, all of them, so it takes a while until each was on a processor.
	for ((i = 0; i < 50; i++)); do
		"$quire" pause "${names[@]}" 2>/dev/null && return
	done
	echo 'guests: the others cannot be paused'
	exit 1
}

dismiss() {
	kill "$launcher" && wait "$launcher" 2>/dev/null
	launcher=
}

# ---- rate, first ----

ten_qemus() {
	local i
	for i in 1 2; do
		(for _ in 1 2 3 4 5; do run_qemu 16 'exit 0'; done) &
	done
	wait
}

for ((i = 0; i < runs; i++)); do
	"$warm" 2048
	elapsed_us "$quire" run -n 100 -m 16M "$quill" exit 0 |
		awk '{ print 100e6 / $1 }' >>"$dir/rate"
	"$quire" run "$quill" hello | sed -n 's/^time: setup \([0-9]*\) .*/\1/p' >>"$dir/setup"
	first_us "$quire" run "$quill" hello >>"$dir/first"
	if [ -n "$qemu" ]; then
		"$warm" 2048
		elapsed_us ten_qemus | awk '{ print 10e6 / $1 }' >>"$dir/rate.qemu"
		first_us run_qemu 128 hello >>"$dir/first.qemu"
	fi
done
printf 'rate quire_per_s=%.0f (%s)' "$(median <"$dir/rate")" "$(spread <"$dir/rate")"
if [ -n "$qemu" ]; then
	printf ' qemu_microvm_per_s=%.2f (%s) ratio=%s aim>=20\n' "$(median <"$dir/rate.qemu")" \
		"$(spread <"$dir/rate.qemu")" \
		"$(ratio "$(median <"$dir/rate")" "$(median <"$dir/rate.qemu")")"
else
	printf ' no qemu-system-x86_64 to compare with\n'
fi
printf 'first instruction_us=%s (%s) output_us=%s (%s)' "$(median <"$dir/setup")" \
	"$(spread <"$dir/setup")" \
	"$(median <"$dir/first")" "$(spread <"$dir/first")"
[ -n "$qemu" ] && printf ' qemu_microvm_output_us=%s (%s) ratio=%s' "$(median <"$dir/first.qemu")" \
	"$(spread <"$dir/first.qemu")" \
	"$(ratio "$(median <"$dir/first.qemu")" "$(median <"$dir/first")")"
echo

# ---- private, touch ----

timeout 900 "$quire" machine --machine="$address" --memory=4G --overcommit=1 2>/dev/null &
server=$!
for ((i = 0; i < 200; i++)); do
	"$quire" stat --machine="$address" >/dev/null 2>&1 && break
	sleep 0.02
done

# KiB of each VM process: PSS less guest RAM, page tables
private() {
	local pid
	for pid in $(cat /proc/"$1"/task/"$1"/children); do
		awk '/^Pss:/ { all = $2 } /^Pss_Shmem:/ { ram = $2 } /^VmPTE:/ { tables = $2 }
			END { print all - ram, tables }' /proc/"$pid"/smaps_rollup \
				/proc/"$pid"/status
	done
}

if [ "$(id -u)" -eq 0 ]; then
	for n in 20 1; do
		others "$n" private
		# timeout's child is the launcher
		private "$(tr -d ' ' </proc/"$launcher"/task/"$launcher"/children)" >"$dir/private"
		printf 'private guests=%s process_kib=%s (%s) page_tables_kib=%s aim<1024\n' \
			"$(wc -l <"$dir/private")" \
			"$(cut -d' ' -f1 "$dir/private" | median)" \
			"$(cut -d' ' -f1 "$dir/private" | spread)" \
			"$(cut -d' ' -f2 "$dir/private" | median)"
		dismiss
	done
else
	echo 'private: only root may look into VM processes'
fi

touch_ns() {	# hugepages
	"$warm" 1024
	timeout 60 "$quire" run --machine="$address" -m 640M --hugepages="$1" "$quill" touch \
		131072 |
		sed -n 's/.*ns_per_page=//p'
}

for ((i = 0; i < runs; i++)); do
	touch_ns auto >>"$dir/auto.1"
	touch_ns never >>"$dir/never.1"
	others 99 touch
	touch_ns auto >>"$dir/auto.100"
	touch_ns never >>"$dir/never.100"
	dismiss
done
for mode in auto never; do
	a=$(median <"$dir/$mode.1")
	b=$(median <"$dir/$mode.100")
	printf 'touch hugepages=%s alone_ns=%s (%s) of_100_ns=%s (%s) ratio=%s aim<=1.1\n' "$mode" \
		"$a" \
		"$(spread <"$dir/$mode.1")" "$b" "$(spread <"$dir/$mode.100")" "$(ratio "$b" "$a")"
done

# ---- idle ----

# Milliseconds of processor time that the threads of the launcher's children have used
used_ms() {
	local parent pid
	parent=$(tr -d ' ' </proc/"$launcher"/task/"$launcher"/children)
	for pid in $(cat /proc/"$parent"/task/"$parent"/children); do
		cat /proc/"$pid"/task/*/schedstat
	done | awk '{ ns += $1 } END { printf "%d\n", ns / 1e6 }'
}

nr=500
timeout 300 "$quire" run --machine="$address" -n "$nr" -m 16M --name=idle "$quill" idle 280 \
	>"$dir/others" 2>&1 </dev/null &
launcher=$!
for ((i = 0; i < 1000; i++)); do
	[ "$(grep -c 'idle: seconds' "$dir/others")" -eq "$nr" ] && break
	sleep 0.05
done
sleep 40
before=$(used_ms)
sleep 32
after=$(used_ms)
for ((i = 0; i < runs; i++)); do
	for command in ps stat merge; do
		elapsed_us "$quire" "$command" --machine="$address" >>"$dir/ask.$command"
	done
done
printf 'idle guests=%s cpu_percent=%s aim<5' "$nr" "$(ratio $((after - before)) 320)"
for command in ps stat merge; do
	printf ' %s_us=%s (%s)' "$command" "$(median <"$dir/ask.$command")" \
		"$(spread <"$dir/ask.$command")"
done
printf ' aim<500000\n'
dismiss
