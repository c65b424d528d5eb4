#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quire run's options for merging and quire merge on running guests: what is said, in which form,
# and with which status.  What merging does to memory is not looked at here.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash
vm=merge-$$

# start NAME VMS OPTION...: guests in the background; returns when the last of them answers
start() {
	local name=$1 last=$2

	shift 2
	"$quire" run --name="$name" --timeout=100 "$@" "$quill" idle 90 >/dev/null \
		2>"$dir/run-err" </dev/null &
	runs+=($!)
	started $! "$dir/run-err" "$quire" stat "$last"
}

# member NAME VM: from its counters
member() {
	"$quire" stat --json "$2" |
		sed -n "/\"vms\"/,\$s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p"
}

# Page tables are seen by the second pass after a second or so.  Of a guest without equals, whose
# page tables cannot be merged before.
has_page_tables() {
	for _ in $(seq 40); do
		"$quire" merge now "$vm-alone" >/dev/null || return
		[ "$(member reason_page_table_pages "$vm-alone")" -gt 0 ] && return
		sleep 0.1
	done
	"$quire" stat "$vm-alone"
	return 1
}

reasons_add_up() {
	"$quire" stat --json "$1" | awk -F '[:,]' '
		/"state_private_pages"/ { private = $2 }
		/"reason_.*_pages"/ { sum += $2 }
		END { print sum, private; exit sum != private }'
}

start "$vm" "$vm-2" -n 2 -m 16M
start "$vm-alone" "$vm-alone" -m 16M --domain=none --merge=zero --merge-rate=1000
start "$vm-named" "$vm-named" -m 16M --domain=tenant.7 --merge=off

# ---- quire run ----

for option in --merge=maybe --merge= --merge-rate=0 --merge-rate=-1 --merge-rate=fast --domain= \
	--domain=a/b "--domain=$(printf 'x%.0s' {1..42})" --domain='a b'; do
	check "run $option is refused" fails 2 "$quire" run "$option" "$quill" hello
done
check 'a guest merges unless told otherwise' is "$(member merge_mode "$vm-1")" on
check '--merge=zero' is "$(member merge_mode "$vm-alone")" zero
check '--merge=off' is "$(member merge_mode "$vm-named")" off
check 'copies share a domain of their own' \
	[ "$(member domain "$vm-1")" = "$(member domain "$vm-2")" ]
check '... that is named after their command' grep \
	-qE "^run-${runs[0]}-[0-9a-f]+\$" <(member domain "$vm-1")
check '--domain=none' is "$(member domain "$vm-alone")" none
check '--domain=NAME' is "$(member domain "$vm-named")" tenant.7
check 'every guest has a keeper' [ "$(member memory_slots "$vm-1")" -ge 1 ]

# ---- quire merge ----

for arguments in sometimes --colour '--json on' '--json --who a 1' --who "--who $vm-1" \
	"--who $vm-1 x" "--who $vm-1 1 2" "--who $vm-1 99999999" 'on --now' now on zero off --all \
	"--all now $vm-1" "--who $vm 0"; do
	# shellcheck disable=SC2086
	check "merge $arguments is refused" fails 2 "$quire" merge $arguments
done
check 'no such VM' fails 121 "$quire" merge now "$vm-3"
check '... of which to list owners' fails 121 "$quire" merge --who "$vm-3" 1
gain='(merged [0-9]+ pages and found [0-9]+ of zeroes, in [1-8] pass(es)? of 2 VMs'
gain+='|[0-9]+ pages? now share [0-9]+ frames?: [0-9.]+ .iB saved;'
gain+=' [0-9]+ pages? of zeroes: [0-9.]+ .iB saved)'
check 'merge now says what it gained' says "$gain" "$quire" merge now "$vm-1" "$vm-2"
check '... when a pass is over' [ "$(member full_scans "$vm-2")" -ge 1 ]
check 'the keeper finds the guest'\''s page tables' has_page_tables
check 'each private page has one reason' reasons_add_up "$vm-1"
check '... of a guest that merges nothing, too' reasons_add_up "$vm-named"
check 'a guest that is off is left out of now, with a line' \
	says "$vm-named is left out: merging is off there; .*" "$quire" merge now "$vm-named"
check 'merge on says nothing' silent "$quire" merge on "$vm-named" "$vm-alone"
check '... and is obeyed' is "$(member merge_mode "$vm-named")" on
check 'merge zero' silent "$quire" merge zero "$vm-named"
check '... is obeyed, too' is "$(member merge_mode "$vm-named")" zero
check 'merge off says what became of merged pages' \
	says '(made|left) [0-9]+ pages .*' "$quire" merge off "$vm-alone"
check '... and is obeyed' is "$(member merge_mode "$vm-alone")" off
check 'a page that nobody shares' fails 1 "$quire" merge --who "$vm-alone" 0
check '... is said to be what it is' grep -qE ' is (private|absent), nobody shares it' "$dir/err"
check 'totals' "$quire" merge
check '... with a line for the domain of the copies' grep \
	-qE "^([^ ]+ +)?$(member domain "$vm-1") +2 +[0-9]+ " <("$quire" merge)
check '... as JSON, whose reasons add up' awk -F '[:,]' '
	/"private_pages"/ { private = $2 }
	/"reason_.*_pages"/ { sum += $2 }
	END { print sum, private; exit sum != private || !sum }' <("$quire" merge \
		--json 2>/dev/null)
check 'a paused guest can be merged' "$quire" pause "$vm-1"
check '... now' says "${gain/of 2 VMs/of 1 VM}" "$quire" merge now "$vm-1"
check '... and goes on' "$quire" resume "$vm-1"

# ---- the end ----

check 'guests with a keeper end in order' "$quire" kill "$vm-1" "$vm-2" "$vm-alone" "$vm-named"
for p in "${runs[@]}"; do
	wait "$p"
	check 'with the status of a kill' is $? 143
done
runs=()
check 'the counters of the end have the keeper'\''s' grep -q '"merge_mode": "on"' \
	<("$quire" run -m 16M --stats=- "$quill" hello 2>/dev/null)
check 'tiny RAM' "$quire" run -m 4M "$quill" hello
check 'RAM beyond the hole' "$quire" run -m 6G --overcommit=1 "$quill" hello

done_testing
