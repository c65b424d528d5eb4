# SPDX-License-Identifier: MIT
#
# For tests in bash with guests, which source it from the project's folder.
. tests/tap.bash

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	skip_all 'no access to /dev/kvm'
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
		skip_all "$(head -n 1 "$errors")"
	fi
	bail_out "the guest does not run: $(head -n 1 "$errors")"
}

# split_words OPTION... -- ARG...: into the arrays $options and $args, which are the caller's
split_words() {
	options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	args=("$@")
}
