#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Which rows of the sandbox's table (vmm/vm/sandbox_rules.c) does anybody use?  Runs guests of
# many kinds under strace and lists, for each role, the rows that were never seen.  Some have a
# good reason, which is printed with them (a signal handler, an abort, a host without vDSO or
# memory, a machine process, a request that this strace has no name for); a row without one
# should go.  Needs strace and /dev/kvm; $QUIRE_BUILD is the build to look at (build).
set -u
cd "$(dirname "$0")/.." || exit 1

build=${QUIRE_BUILD:-build}
quire=$build/quire
guest=$build/guest/quill.elf
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
runs=0

die() {
	echo "sandbox-used: $*" >&2
	exit 1
}

# run OPTION... : one traced guest, in the background
run() {
	runs=$((runs + 1))
	timeout 20 strace -f -Y -s 0 -o "$dir/trace.$runs" "$quire" run "$@" >"$dir/out" 2>&1 &
}

# Lines of calls made after the thread's filter came, as "role<TAB>line".
calls() {
	cat "$dir"/trace.* | awk '
		match($0, /^[0-9]+<[^>]*>/) {
			who = substr($0, 1, RLENGTH)
			call = substr($0, RLENGTH + 2)
			if (who ~ /<vcpu /) role = "vcpu"
			else if (who ~ /<pager>/) role = "pager"
			else if (who ~ /<channel>/) role = "channel"
			else if (who ~ /<keeper>/) role = "keeper"
			else if (who ~ /<reclaimer>/) role = "reclaimer"
			else if (who ~ /<(console|net|disk)>/) role = "device"
			else role = "main"
			if (inside[who]) print role "\t" call
			if (call ~ /^seccomp\(SECCOMP_SET_MODE_FILTER/) inside[who] = 1
		}'
}

# The rows that no call matches: by name, and by the constant if the condition is one.
unused() {
	awk -F '\t' '
		NR == FNR {
			name = $2
			sub(/\(.*/, "", name)
			seen[$1, name] = 1
			line[$1, name] = line[$1, name] "\n" $2
			next
		}
		{
			split($2, word, " ")
			hit = seen[$1, word[1]]
			if (hit && word[2] ~ /^[A-Z0-9_]+$/) hit = index(line[$1, word[1]], word[2])
			if (!hit) printf "%-8s %-34s %s\n", $1, $2, $3
		}' <(calls | sort -u) <("$build/tools/sandbox_gen" --list)
}

command -v strace >/dev/null || die "needs strace"
[ -w /dev/kvm ] || die "needs /dev/kvm"

run --stats="$dir/stats" "$guest" selftest
run -c 2 --irqchip=on "$guest" stress 1
wait
run --hugepages=never -m 16M "$guest" touch 1000
run --irqchip=on --timeout=3 "$guest" echo < <(sleep 1; echo hello)
run "$guest" crash null
truncate -s 4M "$dir/image"
run --disk="$dir/image" "$guest" disk storm 1 50
run --name=used-$$ --timeout=2 -c 2 "$guest" idle 9
sleep 1
"$quire" map "used-$$" >/dev/null
"$quire" walk "used-$$" 0x100000 >/dev/null
for _ in {1..20}; do
	"$quire" map "used-$$" >/dev/null &
done
wait
unused
