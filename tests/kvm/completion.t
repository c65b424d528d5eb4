#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Completion for bash, called as bash calls it: the words of the line so far, "=" being one, in
# COMP_WORDS, and what may be next in COMPREPLY.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash
. tools/completion.bash

# after WORD...: what may stand for the last of these words, in one line
after() {
	local COMP_WORDS=("$quire" "$@") COMP_CWORD=$# COMPREPLY=()

	_quire
	echo "${COMPREPLY[*]}"
}

check 'commands' is "$(after m)" 'metrics merge map machine'
check 'all of them' is "$(after '' | wc -w)" $(($("$quire" help | grep -c '^  [a-z]') + 1))
check '... each of which quire knows' bash -c '
	quire=$1
	shift
	for command; do
		[ "$command" = version ] || "$quire" help "$command" >/dev/null || exit
	done' \
	- "$quire" $(after '')
check 'help takes a command' is "$(after help wa)" walk
check 'options' is "$(after run --mer)" '--merge= --merge-rate='
check '... that take no value, or need none' is "$(after balloon --w)" '--wait= --why'
check '... of one letter too' grep -qw -e -m <(after run -)
for command in $(after ''); do
	[ "$command" = version ] && continue
	options=$("$quire" help "$command" | sed -En 's/^  (--?[a-z][a-z-]*).*/\1/p' | sort | xargs)
	check "every option of $command" is \
		"$(after "$command" - | tr ' ' '\n' | sed 's/=$//' | sort | xargs)" "$options"
done
check 'values' is "$(after run --merge =)" 'on zero off'
check '... that begin so' is "$(after run --merge = z)" zero
check '... of an option that takes words or a name' is "$(after run --machine = ow)" own
mkdir "$dir/a folder"
touch "$dir/file" "$dir/a folder/inside"
check 'files behind an option' is "$(after run --stats = "$dir/fi")" "$dir/file"
check 'images' is "$(after run "$dir/f")" "$dir/file"
check '... also with blanks in their names' is "$(after run "$dir/a f")" "$dir/a folder"
check 'words of merge, among guests whose names begin so' grep -qw 'on off' <(after merge o)
check 'words of machine' is "$(after machine s)" set

"$quire" run -n 2 --name="completion-$$" --timeout=100 -m 16M "$quill" idle 90 \
	>/dev/null 2>"$dir/run-err" </dev/null &
runs+=($!)
started $! "$dir/run-err" "$quire" stat "completion-$$-2"
for command in map walk stat kill ps 'balloon --wait' 'merge now'; do
	check "quire $command: guests that run" is \
		"$(after $command "completion-$$")" "completion-$$-1 completion-$$-2"
done
done_testing
