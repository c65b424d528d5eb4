# SPDX-License-Identifier: MIT
#
# For tests in bash, which source it from the project's folder: where things are, what is to be
# ended at the end (runs), and assertions.
build=${QUIRE_BUILD:-build}
quire=$build/quire
quill=$build/guest/quill.elf
export QUIRE_MACHINE=own # a machine of the user's may run
dir=$(mktemp -d)
runs=()
n=0
failed=0

finish() {
	for p in "${runs[@]}"; do
		kill "$p" 2>/dev/null && wait "$p" 2>/dev/null
	done
	rm -rf "$dir"
}
trap finish EXIT

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	echo '1..0 # SKIP no access to /dev/kvm'
	exit 0
fi

# started PID ERRORS COMMAND...: wait until the command succeeds, as it does when the guest of
# process PID is there.  Where no guest can be, skip all; ERRORS is what quire run said.
started() {
	local pid=$1 errors=$2

	shift 2
	for _ in $(seq 400); do
		"$@" >/dev/null 2>&1 && return
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	if [ "$n" -eq 0 ] && grep -q userfaultfd "$errors"; then
		echo "1..0 # SKIP $(head -n 1 "$errors")"
		exit 0
	fi
	echo "Bail out! the guest does not run: $(head -n 1 "$errors")"
	exit 1
}

# check DESCRIPTION COMMAND...: one assertion
check() {
	local what=$1

	shift
	n=$((n + 1))
	if "$@" >"$dir/check" 2>&1; then
		echo "ok $n - $what"
	else
		failed=1
		echo "not ok $n - $what"
		echo "# failed: $*"
		sed 's/^/# /' "$dir/check"
	fi
}

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
