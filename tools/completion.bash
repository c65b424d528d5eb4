# SPDX-License-Identifier: MIT
#
# Completion for bash: commands, their options and the values of these, files, and the names of
# running guests.  What there is comes from the program itself, by `quire help` and `quire ps`.
#
# _quire finds out what is being typed.  The functions before it add to its array `words` what may
# stand there, and _quire keeps what begins with `typed`.

# COMMAND: how its usage writes each option and word, as in --merge=on|zero|off
_quire_spec() {
	"$program" help "$1" 2>/dev/null | sed -n 's/^  \([^ ].*\)/\1/p' | sed 's/   *.*//'
}

_quire_add_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t -O "${#words[@]}" words < <(compgen -f -- "$typed")
}

_quire_add_commands() {
	mapfile -t -O "${#words[@]}" words < <("$program" help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
}

# Those of this user.
_quire_add_guests() {
	mapfile -t -O "${#words[@]}" words < <(
		"$program" ps --json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",$/\1/p')
}

# COMMAND
_quire_add_options() {
	mapfile -t -O "${#words[@]}" words < <(
		_quire_spec "$1" | sed -n 's/^\(--*[a-z-]*\)\[\{0,1\}=.*/\1=/p
			s/^\(--*[a-z-]*\)\( .*\)\{0,1\}$/\1/p')
}

# COMMAND OPTION
_quire_add_values() {
	local value

	value=$(_quire_spec "$1" | sed -n "s/^$2=//p")
	mapfile -t -O "${#words[@]}" words < <(tr '|' '\n' <<<"$value" | grep '^[a-z0-9]')
	case $value in
	*FILE* | *DIR* | ADDRESS*) _quire_add_files ;;
	esac
}

# COMMAND: what is no option
_quire_add_operands() {
	case $1 in
	help) _quire_add_commands ;;
	run | play | report) _quire_add_files ;;
	machine) words+=(set) ;;
	sim) words+=(replace trace) && _quire_add_files ;;
	merge) words+=(on zero off now) && _quire_add_guests ;;
	balloon) words+=(auto) && _quire_add_guests ;;
	stress | top) ;;
	*) _quire_add_guests ;;
	esac
}

_quire() {
	local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]} typed=${COMP_WORDS[COMP_CWORD]}
	local previous=${COMP_WORDS[COMP_CWORD - 1]} words=() word

	# "=" is a word of its own, unless COMP_WORDBREAKS was changed.
	if [ "$typed" = = ]; then
		typed=
		_quire_add_values "$command" "$previous"
	elif [ "$previous" = = ]; then
		_quire_add_values "$command" "${COMP_WORDS[COMP_CWORD - 2]}"
	elif [ "$COMP_CWORD" -eq 1 ]; then
		words=(version)
		_quire_add_commands
	elif [[ $typed == -* ]]; then
		_quire_add_options "$command"
	else
		_quire_add_operands "$command"
	fi
	COMPREPLY=()
	for word in "${words[@]}"; do
		[[ $word == "$typed"* ]] && COMPREPLY+=("$word")
	done
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == -*= ]] && compopt -o nospace 2>/dev/null
	return 0
}

complete -F _quire quire
