#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Which machine a command is about: --machine, QUIRE_MACHINE, the default address.
set -u
cd "$(dirname "$0")/../.." || exit 1

# Abstract addresses belong to a network namespace.  In one of our own, the default address is free.
if [ "${1-}" != inside ]; then
	if ! unshare -n true 2>/dev/null; then
		echo '1..0 # SKIP cannot have a network namespace'
		exit 0
	fi
	exec unshare -n "$0" inside
fi

. tests/kvm/shell.bash
unset QUIRE_MACHINE

# serve ADDRESS OPTION...: a machine there, in the background
serve() {
	"$quire" machine ${1:+--machine="$1"} --memory=512M 2>"$dir/machine.err" &
	runs+=($!)
	started $! "$dir/machine.err" "$quire" stat --machine="${1:-$usual}"
}

# guest NAME OPTION...: one in the background that runs
guest() {
	local name=$1

	shift
	"$quire" run --name="$name" --timeout=100 -m 16M "$@" "$quill" idle 90 >/dev/null \
		2>"$dir/$name.err" </dev/null &
	runs+=($!)
	started $! "$dir/$name.err" "$quire" stat "$name"
}

# machine_of NAME: the address of its machine
machine_of() {
	"$quire" ps --json | sed -n "/\"name\": \"$1\"/,/}/s/^ *\"machine\": \"\(.*\)\",/\1/p"
}

# The address of a machine for one run alone has that run's machine's pid at its end.
is_private() {
	local address

	address=$(machine_of "$1")
	echo "the machine of $1 is at $address"
	[[ $address =~ ^$usual\.[0-9]+$ ]]
}

# names OPTION...: those that quire ps lists with it, sorted, in one line
names() {
	"$quire" ps --json "$@" | sed -n 's/^ *"name": "\(.*\)",/\1/p' | sort | xargs
}

usual=@quire/machine/$(id -u)
other=@quire-test/$$

guest alone
check 'without a machine a run starts one for itself' is_private alone

serve ''
guest joined
check 'a run joins the machine at the default address' is "$(machine_of joined)" "$usual"
guest own --machine=own --machine-memory=64M --overcommit=2
check '--machine=own starts one for itself all the same' is_private own
check '... with the memory it was given' is \
	"$("$quire" stat --meminfo --machine="$(machine_of own)" |
		sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p')" 65536
check 'without it such an option is refused, and the line says how to go on' fails 2 \
	"$quire" run --machine-memory=64M "$quill" exit 0
check '... by --machine=own' grep -q -e '--machine=own' "$dir/err"
check '--machine=own with an option for it, and a status' \
	fails 120 "$quire" run --machine=own --machine-memory=64M --overcommit=0 -m 128M "$quill" \
		exit 0

serve "$other"
QUIRE_MACHINE=$other guest by-variable
check "a run joins the machine that QUIRE_MACHINE names, whose guests ps --machine lists" is \
	"$(names --machine="$other")" by-variable
check "... as it does for another" is "$(names --machine="$usual")" joined
for command in 'stat --meminfo' merge balloon ps; do
	QUIRE_MACHINE=$other-nobody check \
		"quire $command looks for the machine that QUIRE_MACHINE names" \
		fails 121 "$quire" $command
	QUIRE_MACHINE=$other-nobody check '... but --machine counts first' \
		"$quire" $command --machine="$other"
done
check 'quire machine set changes the machine that QUIRE_MACHINE names' \
	env QUIRE_MACHINE="$other" "$quire" machine set --memory=256M
check '... and no other' is \
	"$("$quire" stat --meminfo --machine="$usual" | grep -c 'MemTotal: *524288 kB')" 1
check 'quire machine listens where QUIRE_MACHINE says' \
	fails 121 env QUIRE_MACHINE="$other" "$quire" machine --memory=256M
check '... which is taken' grep -q 'listens there already' "$dir/err"
QUIRE_MACHINE=own check 'QUIRE_MACHINE=own is for runs; ps lists all guests' \
	is "$(names)" 'alone by-variable joined own'
QUIRE_MACHINE='' check 'an empty QUIRE_MACHINE is none' "$quire" run "$quill" exit 0
QUIRE_MACHINE=$other check \
	'QUIRE_MACHINE and an option for a machine of its own do not go together' \
	fails 2 "$quire" run --machine-memory=64M "$quill" exit 0
for command in stat merge balloon ps 'machine set --swap=0'; do
	check "quire $command --machine=own is refused" fails 2 "$quire" $command --machine=own
	check "quire $command --machine= is refused" fails 2 "$quire" $command --machine=
done

done_testing
