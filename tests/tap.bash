# SPDX-License-Identifier: MIT
#
# TAP for tests in bash, which source it from the project's folder: where things are, a directory
# for files, processes to be ended at the end, and assertions.
build=${QUIRE_BUILD:-build}
quire=$build/quire
quill=$build/guest/quill.elf
export QUIRE_MACHINE=own # a machine of the user's may run
dir=$(mktemp -d) || exit 1
runs=()		# pids
n=0
failed=0

finish() {
	local p

	for p in "${runs[@]}"; do
		kill "$p" 2>/dev/null && wait "$p" 2>/dev/null
	done
	rm -rf "$dir"
}
trap finish EXIT

# result STATUS DESCRIPTION: one assertion that passes if the status is 0
result() {
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		failed=1
		echo "not ok $n - $2"
	fi
	return "$1"
}

# check DESCRIPTION COMMAND...: one assertion, that the command succeeds
check() {
	local what=$1

	shift
	"$@" >"$dir/check" 2>&1
	result $? "$what" || { echo "# failed: $*"; sed 's/^/# /' "$dir/check"; }
}

# none DESCRIPTION FINDINGS: one assertion, that nothing was found
none() {
	[ -z "$2" ]
	result $? "$1" || sed 's/^/# /' <<<"$2"
}

skip() {
	n=$((n + 1))
	echo "ok $n # SKIP $1"
}

skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

bail_out() {
	echo "Bail out! $1"
	exit 1
}

# The plan, and the exit status of the test.
done_testing() {
	echo "1..$n"
	exit $failed
}

# deviates NAME: does this processor deviate from the manuals so?  tests/bed/deviations.txt
deviates() {
	[[ " ${QUIRE_DEVIATIONS-} " == *" $1 "* ]]
}

# ---- what check can be given ----

is() {
	echo "got $1, want $2"
	[ "$1" = "$2" ]
}

# fails STATUS COMMAND...: it exits with STATUS and one line on standard error
fails() {
	local want=$1 status

	shift
	"$@" >"$dir/out" 2>"$dir/err"
	status=$?
	cat "$dir/err"
	is "$status" "$want" && [ "$(wc -l <"$dir/err")" -eq 1 ] && [ ! -s "$dir/out" ]
}

# says PATTERN COMMAND...: it succeeds, and all it prints is lines like this
says() {
	local pattern=$1

	shift
	"$@" >"$dir/out" 2>&1 || return
	cat "$dir/out"
	[ -s "$dir/out" ] && ! grep -qvE "^$pattern\$" "$dir/out"
}

silent() {
	"$@" >"$dir/out" 2>&1 && [ ! -s "$dir/out" ]
}
