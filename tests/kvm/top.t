#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quire top on real guests, in a terminal of tmux: what is on the screen, and what keys do to the
# guests.  Screens are compared by what is in them.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/kvm/shell.bash
command -v tmux >/dev/null || skip_all 'no tmux; make deps installs it'

address=@quire/top-test-$$
guest=t$$ # a short name: a screen of 80 columns has ten for it
unset QUIRE_MACHINE NO_COLOR
export LC_ALL=C.UTF-8

# ---- the terminal ----

# Each terminal has a server of its own: the last one may be about to exit, and takes no session.
opened=0
terminal() {
	tmux -S "$dir/tmux.$opened" -f "$dir/tmux.conf" "$@"
}

# open COLUMNS ROWS COMMAND [TERM]: in a new terminal of that size, with its status behind it
open() {
	opened=$((opened + 1))
	echo "set-option -g default-terminal ${4-screen-256color}" >"$dir/tmux.conf"
	terminal -u new-session -d -s top -x "$1" -y "$2" "$3; echo status \$?; sleep 1000"
}

close() {
	terminal kill-server 2>/dev/null
}

keys() {
	terminal send-keys -t top "$@"
}

screen() {
	terminal capture-pane -p -t top "$@"
}

# sees PATTERN: a line of the screen matches it sooner or later
sees() {
	for _ in $(seq 600); do
		screen >"$dir/screen" 2>&1
		grep -qE -- "$1" "$dir/screen" && return
		sleep 0.1
	done
	cat "$dir/screen"
	return 1
}

# misses PATTERN: sooner or later no line of the screen matches it
misses() {
	for _ in $(seq 600); do
		screen >"$dir/screen" 2>&1
		grep -qE -- "$1" "$dir/screen" || return 0
		sleep 0.1
	done
	cat "$dir/screen"
	return 1
}

# fits COLUMNS ROWS: so it is drawn sooner or later, and no line is longer
fits() {
	for _ in $(seq 600); do
		screen >"$dir/screen"
		[ "$(wc -l <"$dir/screen")" -eq "$2" ] && grep -q '^NAME' "$dir/screen" &&
			tail -n 1 "$dir/screen" | grep -q '^Enter' &&
			! grep -qE ".{$(($1 + 1))}" "$dir/screen" && return
		sleep 0.1
	done
	cat "$dir/screen"
	return 1
}

trap 'close; finish' EXIT

# ---- guests ----

machine() {
	"$quire" machine --machine="$address" --memory=512M >"$dir/machine.out" 2>&1 &
	machine=$!
	runs+=("$machine")
	for _ in $(seq 400); do
		"$quire" stat --machine="$address" >"$dir/out" 2>&1 && return
		sleep 0.05
	done
	bail_out "no machine: $(head -n 1 "$dir/machine.out")"
}

# run NAME OPTION... -- ARG...: quill in the background, until it is ready
run() {
	local name=$1 options args

	shift
	split_words "$@"
	"$quire" run --machine="$address" --name="$name" --wait-for=ready --timeout=250 \
		"${options[@]}" "$quill" "${args[@]}" \
		>"$dir/$name.out" 2>"$dir/$name.err" </dev/null ||
		{ grep -q userfaultfd "$dir/$name.err" && skip_all "$(cat "$dir/$name.err")"; }
}

# state NAME: as quire ps says it
state() {
	"$quire" ps "$1" | awk 'NR == 2 { print $2 }'
}

# becomes STATE NAME
becomes() {
	for _ in $(seq 400); do
		[ "$(state "$2" 2>/dev/null)" = "$1" ] && return
		sleep 0.05
	done
	is "$(state "$2")" "$1"
}

# ---- without a terminal ----

check 'without a terminal it says what would do' fails 2 "$quire" top
open 80 24 "TERM=dumb $quire top"
check 'on a terminal whose cursor cannot be moved, too' \
	sees 'TERM=dumb.*cannot move its cursor: say --once'
check '... with status 2' sees '^status 2'
close
"$quire" top --once --interval=0.1 --machine="$address" >"$dir/out" 2>"$dir/err"
check 'a machine that is not there fails --once in the end' is $? 121
check '... with one line' is "$(wc -l <"$dir/err")" 1
check '... after a frame that says so' grep -q '^memory   away: ' "$dir/out"
check 'a wrong column gets the list' grep -q 'name, state, ram, resident, faults' <(
	"$quire" top --sort=size 2>&1)

# ---- the list ----

machine
run "$guest" -n 2 --domain=d$$ -m 32M -- hold 1 3000 own=1000 zero=500 seconds=240
run "b$$" -m 32M -- balloon seconds=240 features=7

open 80 24 "stty -g >$dir/before; $quire top --machine=$address --interval=0.2; echo left \$?;
	stty -g >$dir/after"
check 'a terminal shows how many VMs there are' sees '^quire top .* 3 VMs, 3 running'
check '... and where the memory of the machine is' \
	sees '^memory +c+s*o+\.+\|? +[0-9.]+ MiB of 512 MiB$'
check '... and what is promised' sees '^promised +[#+]+\.* +[0-9.]+ MiB of 256 MiB$'
check '... and the columns' sees \
	'^NAME +S +RAM +RES PAGES +FAULT MERGE +COW BALLOON EVICT LOADS STALL HIST$'
check '... all VMs together' sees '^\(all\) +96M '
check '... and a row for each' sees "^$guest-1 +r[a-z]* +32M +[0-9.]+M [pszb.]{7,} +[0-9]"
check 'a screen of 80 columns is kept to' fits 80 24
check '... with colours for states' grep -q $'\x1b\\[[0-9;]*48;5;' <(screen -e)

keys Down
keys m
check 'm has the chosen VM merged' sees "^merge now $guest-1: done"
check '... and its pages are shared' sees "^$guest-1 +r[a-z]* +32M +[0-9.]+M [pz]*s"
check 'rates were not all 0' sees '^history +in use +[^a-z]*[▁▂▃▄▅▆▇█]'
keys p
check 'p pauses it' becomes paused "$guest-1"
check '... and the list says so' sees "^$guest-1 +pa"
keys r
check 'r resumes it' becomes running "$guest-1"

keys '/'
keys -l 'b'
check 'a filter leaves the VMs with that in their names' sees "^names with: b_"
check '... only these' misses "^$guest-"
keys Enter b
keys -l 24M
check 'b asks how much memory the VM is to keep' \
	sees "^memory that b$$ keeps \(SIZE, or auto\): 24M_"
keys Enter
check '... and sets its balloon' sees "^balloon b$$: done"
check '... which shows in its pages' sees "^b$$ +r[a-z]* +32M .*b+"
keys Escape
check 'Esc drops the filter' sees "^$guest-1 "

for column in state ram resident faults; do
	keys '>'
done
check '> sorts by the next column' grep -q $'\x1b\\[[0-9;]*mFAULT' <(sees '^NAME'; screen -e)
for column in state ram resident faults; do
	keys '<'
done
keys h
check 'h shows what the keys do' sees '^any key goes back'
keys x
check '... until the next key' sees '^\(all\)'

# ---- the map ----

keys Home Down Enter
check 'Enter shows the map of the chosen VM' sees "^$guest-1, running, 32 MiB of RAM; a cell is"
check '... its rows of 64 cells' sees '^0x0000000000  [Ppszbcw.1-9]{64}$'
check '... where shared pages show how many VMs share them' sees '^0x[0-9a-f]{10}  .*2222'
check '... and what the letters mean' sees '\. absent p private s shared .* a archived'
keys + + + + +
check '+ zooms to a page a cell' sees 'a cell is 4 KiB$'
"$quire" map --color=never --range=0+256K "$guest-1" | sed -n 's/^0x0000000000  //p' >"$dir/map"
check '... which is what quire map shows, with the number of owners for shared pages' \
	sees "^0x0000000000  .$(cut -c 2-60 "$dir/map" | sed 's/s/[12]/g')"
keys Down Down Right
check 'arrows move the cursor' sees '^0x81000\+4 KiB page 0x81: 1 [a-z]+'
check 'a VM that ends while its map is shown is no trouble' "$quire" kill "$guest-1"
check '... the list is back, and says so' sees "^$guest-1 has ended"
check '... without it' misses "^$guest-1 +r"

# ---- machines that go, screens that change ----

kill -9 "$machine"
wait "$machine" 2>/dev/null
check 'a machine that is killed is said to be away' sees '^memory   away: .*\S'
check '... and its VMs are not shown any more' sees '^no VM is running'
machine
check 'when it is back it is shown again' sees '^memory +c*s*o+\.+\|? +[0-9.]+ MiB of 512 MiB$'
check '... with the VMs that came back to it' sees "^$guest-2 "

for size in 132x43 60x12 40x9 80x24; do
	terminal resize-window -t top -x "${size%x*}" -y "${size#*x}"
	check "it follows the size of the terminal to $size" fits "${size%x*}" "${size#*x}"
done

# ---- killing ----

keys Home k
check 'k asks' sees "^kill b$$\?"
keys n
check '... and n is no' sees "^b$$ was not killed"
check '... so the VM runs' is "$(state "b$$")" running
keys k y
check 'y ends it' sees "^b$$ has ended"
check '... really' fails 121 "$quire" ps "b$$"
check '... and another one is selected' misses "^b$$ +r"
keys k 9
check '9 kills at once' sees "^$guest-2 has ended"
check 'then there is nobody' sees '^no VM is running'
keys p b m k Enter
check '... and keys do nothing' sees '^no VM is running'

keys C-c
check 'Ctrl-C leaves, with the status of SIGINT' sees '^left 130$'
check '... and the terminal is as it was' sees '^status 0'
check '... to the last bit' cmp "$dir/before" "$dir/after"
close

# ---- without colours, as text ----

run "$guest" -n 2 -m 32M -- hold 1 1000 seconds=200
open 80 24 "NO_COLOR=1 $quire top --machine=$address --sort=faults --reverse"
check 'NO_COLOR is obeyed' sees "^$guest-1"
check '... for there are letters' grep -vq $'\x1b\\[[0-9;]*48' <(screen -e)
keys q
check 'q leaves with status 0' sees '^status 0'
close
open 80 24 "$quire top --machine=$address" screen
check 'eight colours do' sees "^$guest-1"
check '... and are used' grep -q $'\x1b\\[[0-9;]*4[1-7]' <(screen -e)
close

COLUMNS=100 "$quire" top --batch=2 --interval=0.2 --machine="$address" >"$dir/batch"
check 'frames can be printed' is $? 0
check '... two of them' is "$(grep -c '^quire top' "$dir/batch")" 2
check '... with a row for each VM' is "$(grep -c "^$guest-[12] " "$dir/batch")" 4
check '... as wide as COLUMNS says' is "$(wc -L <"$dir/batch")" 100
check '... without a control character' is \
	"$(tr -d '\n[:print:]▁▂▃▄▅▆▇█' <"$dir/batch" | wc -c)" 0
check 'a filter holds for frames' is "$("$quire" top --once --interval=0.1 --filter=-2 \
	--machine="$address" | grep -c "^$guest-")" 1
LC_ALL=C "$quire" top --once --interval=0.1 --machine="$address" >"$dir/ascii"
check 'without UTF-8 a frame is ASCII' is \
	"$(LC_ALL=C tr -d '\n[:print:]' <"$dir/ascii" | wc -c)" 0
check 'reading one frame of it does no harm' \
	bash -c '"$0" top --batch=3 --interval=0.1 --machine="$1" | head -n 1 | grep -q "top"' \
	"$quire" "$address"

"$quire" kill "$guest"
done_testing
