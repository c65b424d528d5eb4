#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quire run --wait-for: it returns when the guests have printed a text, and they go on; or with a
# status that says why they never will.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash
vm=wait-for-$$

finish() {
	"$quire" kill "$vm" 2>/dev/null
	rm -rf "$dir"
}

# run TEXT OPTION... -- ARG...: a run that waits for the text; its status is in $status
run() {
	local text=$1 options args

	shift
	split_words "$@"
	timeout 60 "$quire" run --wait-for="$text" --name="$vm" --timeout=50 -m 16M \
		"${options[@]}" "$quill" "${args[@]}" >"$dir/console" 2>"$dir/err" </dev/null
	status=$?
}

# gone: no guest of that name runs any more
gone() {
	for _ in $(seq 200); do
		"$quire" ps "$vm" >"$dir/ps" 2>&1 || return 0
		sleep 0.05
	done
	cat "$dir/ps"
	return 1
}

says_one_line() {
	cat "$dir/err"
	[ "$(wc -l <"$dir/err")" -eq 1 ] && grep -qE "$1" "$dir/err"
}

# ---- the guest prints it ----

run 'hold: ready' -- hold 1 500 seconds=40
if grep -q userfaultfd "$dir/err"; then
	skip_all "$(head -n 1 "$dir/err")"
fi
check 'it returns with 0 when the guest has printed the text' is "$status" 0
check '... which is in the output by then' grep -q '^hold: ready' "$dir/console"
check '... and says nothing else' test ! -s "$dir/err"
check 'the guest goes on' grep -q running <("$quire" ps "$vm")
launcher=$(sed -n 's/^PPid:\t//p' "/proc/$("$quire" ps "$vm" | awk 'END { print $NF }')/status")
check '... in a session of its own' is "$(cut -d ' ' -f 6 "/proc/$launcher/stat")" "$launcher"
check '... until it is killed' "$quire" kill "$vm"
check '... which its run still reports' says_one_line 'stopped by quire kill'
run 'ell' -- hello
check 'a text within a line, of a guest that ends at once' is "$status" 0
check '... is gone then' gone
: >"$dir/none"
run 'hello' --stats="$dir/stats" -- hello
gone
for _ in $(seq 100); do
	[ -s "$dir/stats" ] && break
	sleep 0.05
done
check 'the counters are written at the end' \
	perl -MJSON::PP -e 'local $/; decode_json(<STDIN>)' <"$dir/stats"

# ---- several ----

run 'hold: ready' -n 3 -- hold 1 500 seconds=40
check 'of several, all have to print it' is "$status" 0
check '... and all that they printed is in the output' \
	is "$(grep -c 'hold: ready' "$dir/console")" 3
check '... all go on' is "$("$quire" ps "$vm" | grep -c running)" 3
check '... and one name ends all' "$quire" kill "$vm"
run 'never' -n 2 -- exit 5
check 'one of several that ends before ends the others' is "$status" 5
check '... with a line' says_one_line "^quire: $vm-[12]: the guest ended with status 5 before"
check '... and none is left' gone

# ---- the guest does not print it ----

run 'never' -- exit 7
check 'a guest that ends before: its status' is "$status" 7
check '... and a line' \
	says_one_line '^quire: the guest ended with status 7 before it printed "never"$'
run 'never' -- exit 0
check '... which is 99 in place of 0' is "$status" 99
run 'never' --timeout=0.3 -- idle 40
check 'a timeout is 124' is "$status" 124
run 'never' --machine-memory=64M --overcommit=2 -m 1G -- hello
check 'a refusal is 120' is "$status" 120
check '... in one line' says_one_line 'refused'
check 'an empty text is refused' fails 2 "$quire" run --wait-for= "$quill" hello
check 'so is a long one' fails 2 \
	"$quire" run --wait-for="$(printf 'x%.0s' {1..256})" "$quill" hello

# ---- somebody ends the wait ----

"$quire" run --wait-for=never --name="$vm" "$quill" idle 40 >"$dir/console" 2>"$dir/err" &
waiter=$!
started "$waiter" "$dir/err" "$quire" stat "$vm"
kill -TERM "$waiter"
wait "$waiter"
check 'a signal goes to the guest' is $? 143
check '... which ends' gone
"$quire" run --wait-for=never --name="$vm" "$quill" idle 40 >"$dir/console" 2>"$dir/err" &
waiter=$!
started "$waiter" "$dir/err" "$quire" stat "$vm"
kill -KILL "$waiter"
wait "$waiter" 2>/dev/null
check 'nor is the guest left behind when nobody waits any more' gone
check '... which is said' says_one_line 'the process that waited'

done_testing
