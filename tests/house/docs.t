#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The documents against what the program says of itself, and the rules of the tree.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/tap.bash

# The files that belong to the tree.
files() {
	if [ -e .git ] && command -v git >/dev/null; then
		git -c safe.directory='*' ls-files -co --exclude-standard -- "$@"
	else
		find . \( -path './build*' -o -path ./.git \) -prune -o -type f -printf '%P\n'
	fi | while IFS= read -r file; do
		[ -f "$file" ] && echo "$file"
	done
}

# Every option that the usage of a command names, long and short.
options() {
	"$quire" help "$1" | grep -Eo '(^|[ [|])--?[a-z][a-z-]*' | grep -Eo -- '-.*' | sort -u
}

# The manual page as text without overstrikes, or its source where there is no mandoc.
manual() {
	if command -v mandoc >/dev/null; then
		mandoc -T ascii "$build/quire.1" | sed 's/.\x08//g'
	else
		sed 's/Fl -/--/g; s/Fl /-/g' "$build/quire.1"
	fi
}

commands=$("$quire" help | sed -n 's/^  \([a-z]*\)  .*/\1/p' | grep -vx help)
none 'quire help lists run, map and walk' \
	"$(for c in run map walk; do grep -qx "$c" <<<"$commands" || echo "$c"; done)"
none 'help is where people look for it' "$(
	overview=$("$quire" help)
	for words in --help -h 'help help' 'help --help' 'help version'; do
		# shellcheck disable=SC2086
		[ "$("$quire" $words)" = "$overview" ] || echo "quire $words"
	done
	for words in 'machine --help' 'machine set --help' 'machine set --memory=1G -h'; do
		# shellcheck disable=SC2086
		[ "$("$quire" $words)" = "$("$quire" help machine)" ] || echo "quire $words"
	done)"
none '... and so is the version' "$(
	for word in version --version -V; do
		[[ $("$quire" $word) =~ ^quire\ [0-9]+\.[0-9]+\.[0-9]+$ ]] || echo "quire $word"
	done)"
text=$(manual)
for command in $commands; do
	none "quire help $command says how to use it and how it exits" "$(
		for what in "usage: quire $command" 'Exit status:'; do
			"$quire" help "$command" | grep -qF "$what" || echo "not: $what"; done)"
	none "every option of quire $command is in the manual page" "$(
		for o in $(options "$command"); do grep -q -e "$o\b" <<<"$text" || echo "$o"; done)"
done
none 'docs/options.md is what the program says; make reference makes it anew' \
	"$(tools/reference.sh options "$quire" | diff docs/options.md - 2>&1)"
none 'every long option in docs/cli.md exists' "$(
	known=$(for c in $commands; do options "$c"; done; echo --version; echo --help)
	grep -Eo -- '--[a-z][a-z-]+' docs/cli.md | sort -u | grep -vxF -e "$known")"

if command -v mandoc >/dev/null; then
	none 'the manual page lints clean' "$(mandoc -T lint -W warning "$build/quire.1" 2>&1)"
else
	skip 'no mandoc to lint the manual page; make deps installs it'
fi

[ -f README.md ] && none 'README.md has fewer than 150 lines' \
	"$([ "$(wc -l <README.md)" -lt 150 ] || wc -l README.md)"

none 'README.md has a line for each room' "$(
	for room in $(files 'mmu/*/*.h' 'vmm/*/*.h' | xargs -n 1 dirname | sort -u); do
		grep -qF "| \`${room%/store}/\` |" README.md || echo "$room"
	done)"

# Links of documents to files in the tree.
none 'links between documents lead somewhere' "$(
	files | grep '\.md$' | xargs -d '\n' grep -HEo '\]\([^)#:]+' |
		while IFS= read -r line; do
			file=${line%%:*} link=${line#*](} folder=.
			[[ $file != */* ]] || folder=${file%/*}
			[[ $link =~ ^https?$ || -e $folder/$link ]] || echo "$file: $link"
		done)"

none 'each test that docs/isolation.md names is there' "$(
	grep -Eo '`[a-z/]+_(test|fuzz)\.c`|`[a-z/]+\.t`' docs/isolation.md | tr -d '`' | sort -u |
		while IFS= read -r test; do
			[ -f "tests/${test#tests/}" ] || echo "no $test"
		done)"
none '... and each threat has one, or nothing holds' "$(
	sed -n '/^## Threats/,/^## Beside/p' docs/isolation.md | grep -E '^\| [a-z]+: ' |
		grep -vE '`[a-z/_]+\.(c|t)` \|$|\| nothing here \|.*\| \|$')"

sources=$(files | grep -E '\.(c|h|S|ld|lds|mk|sh|t)$|(^|/)Makefile$|^\.ci/run$')
none 'every source file has its SPDX line at the top' "$(
	grep -vxF -e "$(xargs awk '
		FNR > 2 { nextfile }
		/SPDX-License-Identifier: MIT/ { print FILENAME }' <<<"$sources")" <<<"$sources")"
none 'no path of one machine is in the tree' "$(
	files | grep -v '^tests/house/docs\.t$' |
		xargs -d '\n' grep -nIE '(^|[^A-Za-z0-9_.-])/(work|home|root|Users)/[a-z]' --)"
none 'nothing is left for later' "$(
	grep -vxF tests/house/docs.t <<<"$sources" |
		xargs grep -nHE '\b(TODO|FIXME|XXX|HACK)\b' | grep -vF '/# TODO/')"	# TAP's
none 'no file has blanks at the end of a line' "$(
	xargs grep -nHE '[[:blank:]]+$' <<<"$sources")"

done_testing
