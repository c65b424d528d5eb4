#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quire sim: what it prints for traces with known answers, as text, JSON and SVG; and what it says
# of wrong words, bad traces and files that are not there.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/tap.bash

concepts=$dir/concepts
tr ' ' '\n' <<<'7 0 1 2 0 3 0 4 2 3 0 3 2 1 2 0 1 7 0 1' >"$concepts"
printf '%s\n' '1 w' 2 3 '1' 4 '2 w' 5 >"$dir/writes"

# row POLICY FILE: the numbers of its row
row() {
	sed -n "s/^$1  *//p" "$2" | tr -s ' '
}

sim() {
	"$quire" sim "$@" >"$dir/out" 2>"$dir/err"
}

check 'replace prints a table' sim replace --frames=3 "$concepts"
check '... with FIFO 15' is "$(row fifo "$dir/out")" '15 75.00 % 9 12 0'
check '... LRU 12' is "$(row lru "$dir/out")" '12 60.00 % 6 9 0'
check '... and OPT 9' is "$(row opt "$dir/out")" '9 45.00 % 3 6 0'
check '... and all seven policies' is "$(grep -c '%' "$dir/out")" 7
check 'a policy alone' sim replace --frames=2 --policy=fifo "$dir/writes"
check '... which writes back what was written, and not again when it was only read' \
	is "$(row fifo "$dir/out")" '7 100.00 % 2 5 1'
check 'two policies, from standard input' sim replace --frames=3 --policy=lru,opt - <"$concepts"
check '... are two' is "$(grep -c '%' "$dir/out")" 2
check 'the curve of LRU' sim replace --mrc --policy=lru "$concepts"
check '... has a row for each size' is \
	"$(sed -n '/^FRAMES/,$p' "$dir/out" | tr -s ' ' | tr '\n' ',')" \
	'FRAMES lru, 1 100.00 %, 2 85.00 %, 3 60.00 %, 4 40.00 %, 5 35.00 %, 6 30.00 %,'
check 'batches are another memory, which opt does not mind' \
	sim replace --frames=3 --batch=2 "$concepts"
check '... with its 9' is "$(row opt "$dir/out")" '9 45.00 % 3 6 0'

# member EXPRESSION: of the document in $dir/out
member() {
	perl -MJSON::PP -e 'local $/; my $d = decode_json(<STDIN>);
		my %p = map { $_->{name} => $_ } @{$d->{policies}}; print eval $ARGV[0], "\n"' \
		"$1" <"$dir/out"
}
if perl -MJSON::PP -e 1 2>/dev/null; then
	check 'JSON' sim replace --frames=3 --mrc --json "$concepts"
	check '... has its schema' is "$(member '$d->{schema}')" quire.sim/1
	check '... the same faults' is "$(member '$p{fifo}{faults}, " ", $p{opt}{faults}')" '15 9'
	check '... and the curve' is \
		"$(member 'join " ", @{$d->{curve_frames}}, @{$p{lru}{curve_faults}}')" \
		'1 2 3 4 5 6 20 17 12 8 7 6'
	none '... and every member of it is in docs/reclaim.md' "$(
		grep -o '^ *"[a-z_]*":' "$dir/out" | tr -d ' ":' | sort -u | while read -r name; do
			grep -q "^|.*\`$name\`.*|" docs/reclaim.md || echo "$name"
		done)"
else
	skip 'no JSON::PP'
fi

# An SVG with each policy in it, whatever the name of the trace.
cp "$concepts" "$dir/a<b>&\"c\""
check 'a picture' sim replace --svg="$dir/mrc.svg" "$dir/a<b>&\"c\""
check '... has a curve for each policy' is "$(grep -c '<polyline' "$dir/mrc.svg")" 7
check '... a legend' is "$(grep -cE '>(clock|lru|lfu|fifo|random|gen|opt)</text>' "$dir/mrc.svg")" 7
check '... names at its axes' is "$(grep -cE '>(miss ratio|frames \(.*\))</text>' "$dir/mrc.svg")" 2
check '... and colours for the dark' grep -q 'prefers-color-scheme: dark' "$dir/mrc.svg"
if command -v xmllint >/dev/null; then
	check '... and is well-formed XML' xmllint --noout --nonet "$dir/mrc.svg"
	check 'the name of the trace is in it' is \
		"$(xmllint --xpath 'string(/*/*[local-name()="title"])' "$dir/mrc.svg")" \
		"Miss ratio by frames: $dir/a<b>&\"c\""
	echo 5 >"$dir/one"
	check 'a trace of one page has a picture' sim replace --svg="$dir/one.svg" "$dir/one"
	check '... of numbers' xmllint --noout --nonet "$dir/one.svg"
	check '... all of them finite' is "$(grep -cE 'nan|inf' "$dir/one.svg")" 0
else
	skip 'no xmllint; make deps installs it'
fi
check 'a picture on standard output is alone there' sim replace --frames=3 --svg=- "$concepts"
check '... from its first line' is "$(head -c 5 "$dir/out")" '<svg '

# ---- traces that are made ----

for pattern in zipf scan random phases mixed; do
	check "trace makes $pattern" sim trace --pattern=$pattern --pages=100 --length=1000 --seed=5
	cp "$dir/out" "$dir/$pattern"
	check '... which replace reads' sim replace --frames=20 --policy=clock "$dir/$pattern"
	check '... of this length' grep -q ': 1000 accesses' "$dir/out"
	check '... on these pages' is "$(awk '/^[0-9]/ && $1 >= 100' "$dir/$pattern" | wc -l)" 0
	"$quire" sim trace --pattern=$pattern --pages=100 --length=1000 --seed=5 >"$dir/again"
	check '... and the same again' cmp "$dir/$pattern" "$dir/again"
done
check 'another seed is another trace' \
	sim trace --pattern=zipf --pages=100 --length=1000 --seed=6
check '... of other accesses' is "$(cmp -s "$dir/zipf" "$dir/out"; echo $?)" 1
check 'no writes on demand' sim trace --pattern=scan --pages=3 --length=4 --writes=0
check '... scan goes round' is "$(grep -v '#' "$dir/out" | tr '\n' ' ')" '0 1 2 0 '

# ---- what is wrong ----

refuse() {
	local status=$1 pattern=$2

	shift 2
	fails "$status" "$quire" sim "$@" </dev/null && grep -qE "^quire sim: $pattern" "$dir/err"
}
printf '1\n2 q\n' >"$dir/bad"
check 'no word' refuse 2 'say replace or trace; see quire help sim'
check 'another word' refuse 2 'say replace or trace' simulate
check 'no trace' refuse 2 'say which trace' replace --frames=3
check 'two traces' refuse 2 'say which trace' replace --frames=3 "$concepts" "$concepts"
check 'no size' refuse 2 'say how large the memory is' replace "$concepts"
check 'a size of nothing' refuse 2 '--frames: 0 is out of range' replace --frames=0 "$concepts"
check 'a policy that is none' refuse 2 "--policy: 'mru' is not known, use clock, lru, .* or all" \
	replace --frames=3 --policy=lru,mru "$concepts"
check '... or empty' refuse 2 "--policy: '' is not known" replace --frames=3 --policy= "$concepts"
check 'an option that is none' refuse 2 '--frame[^ ]* *.*see quire help sim' \
	replace --framex=3 "$concepts"
check 'a bad line' refuse 2 "$dir/bad:2: '2 q' is no access; a line is" \
	replace --frames=3 "$dir/bad"
check 'an empty trace' refuse 2 'standard input: there are no accesses' replace --frames=3 -
check 'a file that is not there' refuse 121 "cannot read $dir/none: No such file" \
	replace --frames=3 "$dir/none"
check 'a folder' refuse 121 "$dir: cannot read: Is a directory" replace --frames=3 "$dir"
check 'a picture that cannot be written' refuse 121 'cannot write /nowhere/x: No such file' \
	replace --svg=/nowhere/x "$concepts"
check 'JSON and a picture in one stream' refuse 2 '--json and --svg=-' \
	replace --frames=3 --json --svg=- "$concepts"
check 'a pattern that is none' refuse 2 "--pattern: 'stack' is not known" trace --pattern=stack
check 'no pattern' refuse 2 'say which pattern' trace
check 'a word too much' refuse 2 'x: unexpected' trace --pattern=scan x
check 'a full device is said' is \
	"$("$quire" sim trace --pattern=scan 2>&1 >/dev/full; echo $?)" \
	$'quire sim: cannot write to standard output: No space left on device\n121'

# No room for the trace: a limit of file sizes.  No room for what OPT adds: a small tmpfs.
"$quire" sim trace --pattern=random --pages=100 --length=300000 >"$dir/long"
limited() {
	(ulimit -f 512 && refuse "$@")
}
check 'no room for the trace is said' limited 121 \
	'cannot keep the trace in .*: File too large; TMPDIR names another folder' \
	replace --frames=3 --policy=clock "$dir/long"
in_small_tmpfs() {
	unshare -m bash -c '
		mount -t tmpfs -o size=2M none "$1" && shift && "$@"' - "$dir/small" "$@"
}
mkdir "$dir/small"
if in_small_tmpfs true 2>/dev/null; then
	check '... or that there is enough' in_small_tmpfs env TMPDIR="$dir/small" \
		"$quire" sim replace --frames=3 --policy=clock "$dir/long"
	in_small_tmpfs env TMPDIR="$dir/small" "$quire" sim replace --frames=3 --policy=opt \
		"$dir/long" >"$dir/out" 2>&1
	check '... also that OPT has none' is "$? $(cat "$dir/out")" \
		"121 quire sim: cannot keep the trace in $dir/small: No space left on device; \
TMPDIR names another folder"
else
	skip 'no mounts of our own: not root'
fi

# A memory that is bounded by the pages, not by the length: 3 million accesses in 64 MiB.
if [[ $build == *san* ]]; then
	skip 'a sanitizer reserves memory of its own'
else
	check 'a long trace needs no memory for its length' bash -c "
		ulimit -v 65536
		'$quire' sim trace --pattern=zipf --pages=1000 --length=3000000 |
			'$quire' sim replace --frames=500 --policy=clock -"
fi

done_testing
