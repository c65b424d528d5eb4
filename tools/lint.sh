#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Static checks: the format of C, the length of lines, cppcheck over the sources, mandoc over the
# manual page.  Each prints what it found; the exit status is 1 if any did.
set -u

# Other versions of clang-format lay out the same code differently.
format_major=14

failed=0

# Files of the project with these names, also where git is not at hand.
sources() {
	local names=()

	if [ -e .git ] && command -v git >/dev/null; then
		git -c safe.directory='*' ls-files -co --exclude-standard -- "$@"
		return
	fi
	for name; do
		names+=(-o -path "./$name")
	done
	find . \( -path './build*' -o -path ./.git \) -prune -o -type f \
		\( "${names[@]:1}" \) -printf '%P\n'
}

# The clang-format of that version, if there is one.
formatter() {
	local tool

	for tool in "clang-format-$format_major" clang-format; do
		if [[ $("$tool" --version 2>/dev/null) == *"version $format_major."* ]]; then
			echo "$tool"
			return
		fi
	done
}

check_format() {
	local tool

	tool=$(formatter)
	if [ -z "$tool" ]; then
		echo "lint: format not checked: clang-format $format_major is not installed"
		return 0
	fi
	sources '*.c' '*.h' | xargs -d '\n' "$tool" --dry-run -Werror
}

# too_long COLUMNS PATTERN...: lines of these files that are longer, tabs counting as 8.  A row of
# a Markdown table cannot be broken, so it may have any length.
too_long() {
	local columns=$1 file

	shift
	sources "$@" | while IFS= read -r file; do
		[ -f "$file" ] || continue
		expand -t 8 "$file" | LC_ALL=C.UTF-8 sed -nE "/^\|/d; /^.{$((columns + 1))}/=" |
			sed "s|.*|$file:&: longer than $columns columns|"
	done
}

check_lengths() {
	local found

	found=$(too_long 100 '*.c' '*.h' '*.S' '*.sh' '*.bash' '*.t' '*.pl' '*.pm' '*.mk' \
		Makefile .ci/run
		too_long 120 '*.md')
	[ -z "$found" ] || { echo "$found"; return 1; }
}

check_code() {
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --language=c \
		--enable=warning,performance,portability \
		--suppressions-list=tools/cppcheck.suppress \
		-j "$(nproc)" -I. -Iinclude -D_GNU_SOURCE -D__x86_64__ mmu vmm guest tests
}

check_manual() {
	mandoc -T lint -W warning "${BUILD:-build}/quire.1"
}

for check in check_format check_lengths check_code check_manual; do
	"$check" || failed=1
done
exit $failed
