#!/bin/sh
# SPDX-License-Identifier: MIT
#
# reference.sh man QUIRE <docs/quire.1.in      the manual page, on standard output
# reference.sh options QUIRE                   docs/options.md, on standard output
#
# What a command and its options do is written once, in the usage that `quire help COMMAND` prints.
# Both documents take it from there.  A usage has, divided by blank lines: the synopsis, from
# "usage:" on; paragraphs of text, at the margin; lists of options, two blanks from the margin, each
# with its explanation behind two blanks or in the lines after it.
set -eu

quire=$2

commands() {
	"$quire" help | sed -n 's/^  \([a-z]*\)  .*/\1/p' | grep -vx help
}

# One usage as mdoc.
mdoc() {
	"$quire" help "$1" | awk -v command="$1" '
		function text(s) {
			gsub(/\\/, "\\e", s)
			gsub(/-/, "\\-", s)
			gsub(/\.  /, ".\n", s)	# a sentence, a line
			print (s ~ /^[.\047]/ ? "\\&" : "") s
		}
		# words in capitals stand for something
		function kind(s) {
			return s ~ /^[A-Z]/ ? "Ar " : "Cm "
		}
		# A|b|C
		function value(s,    word, n, i, out) {
			n = split(s, word, "|")
			for (i = 1; i <= n; i++)
				out = out (i > 1 ? " | " : "") kind(word[i]) word[i]
			if (match(out, /\[,[A-Z]+\]/))
				out = substr(out, 1, RSTART - 1) " Ns Op , Ns Ar " \
					substr(out, RSTART + 2, RLENGTH - 3)
			return out
		}
		function item(s,    word, n, i, out, at) {
			n = split(s, word, " ")
			out = ".It"
			for (i = 1; i <= n; i++) {
				at = index(word[i], "=")
				if (word[i] !~ /^-/) {
					sub(/,$/, " ,", word[i])
					out = out " " kind(word[i]) word[i]
				} else if (word[i] ~ /\[=/) {
					sub(/\]$/, "", word[i])
					out = out " Fl " substr(word[i], 2, at - 3) " Ns Op = Ns " \
						value(substr(word[i], at + 1))
				} else if (at) {
					out = out " Fl " substr(word[i], 2, at - 2) " Ns = Ns " \
						value(substr(word[i], at + 1))
				} else
					out = out " Fl " substr(word[i], 2)
			}
			print out
		}
		function leave_list() {
			if (in_list)
				print ".El"
			in_list = 0
		}
		BEGIN { print ".Ss quire " command; print ".Bd -literal" }
		/^usage: / || in_synopsis && /^ / {
			in_synopsis = 1
			sub(/^usage: /, "")
			sub(/^ +/, "")
			text($0)
			next
		}
		in_synopsis { in_synopsis = 0; print ".Ed" }
		/^$/ { blank = 1; next }
		/^  [^ ]/ {
			if (!in_list)
				print ".Bl -tag -width Ds"
			in_list = 1
			line = substr($0, 3)
			at = match(line, /  /)
			item(at ? substr(line, 1, at - 1) : line)
			if (at)
				text(substr(line, at + match(substr(line, at), /[^ ]/) - 1))
			blank = 0
			next
		}
		in_list && /^   / { sub(/^ +/, ""); text($0); next }
		{
			if (blank || in_list) {
				leave_list()
				print ".Pp"
			}
			blank = 0
			text($0)
		}
		END { leave_list() }'
}

man() {
	while IFS= read -r line; do
		if [ "$line" != '@COMMANDS@' ]; then
			printf '%s\n' "$line"
			continue
		fi
		for command in $(commands); do
			mdoc "$command"
		done
	done
}

options() {
	cat <<-'EOF'
	# Options

	What `quire help COMMAND` prints, for reading without the program. `make reference` makes
	this file: change the usage in the source of the command. [cli.md](cli.md) explains the
	concepts and has examples.
	EOF
	for command in $(commands); do
		printf '\n## quire %s\n\n```\n' "$command"
		"$quire" help "$command"
		printf '```\n'
	done
}

"$1"
