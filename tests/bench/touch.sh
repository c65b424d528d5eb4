#!/bin/bash
# SPDX-License-Identifier: MIT
#
# First touch of 1 GiB by a guest: quire against a bare KVM guest on plain anonymous memory,
# which the kernel alone faults in, with and without transparent huge pages.  The same image,
# the same run, taking turns; the guest measures itself, so starting up does not count.
set -u
. "$(dirname "$0")/common.bash"
machine
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

pages=262144

# ns per page as the guest saw it
ns() {
	"$warm" 2048
	timeout 120 "$@" | sed -n 's/.*ns_per_page=//p'
}

one_turn() {
	ns "$bare" 1536 thp "$quill" touch $pages order="$1" >>"$dir/$1.thp"
	ns "$quire" run -m 1536M --hugepages=auto "$quill" touch $pages order="$1" >>"$dir/$1.auto"
	ns "$bare" 1536 nothp "$quill" touch $pages order="$1" >>"$dir/$1.nothp"
	ns "$quire" run -m 1536M --hugepages=never "$quill" touch $pages \
		order="$1" >>"$dir/$1.never"
}

compare() {	# order, quire's mode, the baseline's mode, aim
	local q b
	q=$(median <"$dir/$1.$2")
	b=$(median <"$dir/$1.$3")
	printf 'touch order=%s hugepages=%s quire_ns=%s (%s) ' "$1" "$2" "$q" \
		"$(spread <"$dir/$1.$2")"
	printf 'bare_%s_ns=%s (%s) ratio=%s aim<=%s\n' "$3" "$b" "$(spread <"$dir/$1.$3")" \
		"$(ratio "$q" "$b")" "$4"
}

for ((i = 0; i < runs; i++)); do
	one_turn seq
	one_turn shuffle
done
compare seq auto thp 1.1
compare shuffle auto thp 1.1
compare seq never nothp 1.5
compare shuffle never nothp 1.5
