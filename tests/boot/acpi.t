#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ACPI's own compiler reads the tables without a complaint, and makes the same tables of what it
# read.
. tests/tap.bash
command -v iasl >/dev/null || skip_all "no iasl (package acpica-tools)"

# read_table TABLE: disassemble it
read_table() {
	(cd "$dir" && iasl -p "$1" -d "$1") 2>&1 | tee "$dir/log"
	[ -s "$dir/$1.dsl" ] && ! grep -qiE 'error|warning|invalid|unknown' "$dir/log" "$dir/$1.dsl"
}

# make_table TABLE: compile what was read
make_table() {
	(cd "$dir" && iasl -oa -p "new$1" "$1.dsl") 2>&1 | tee "$dir/log"
	! grep -qiE '[1-9][0-9]* (error|warning|remark)' "$dir/log" && [ -s "$dir/new$1.aml" ]
}

# same_bytes TABLE: but for the compiler's name and version, and so the sum
same_bytes() {
	for file in "$1" "new$1.aml"; do
		od -An -v -tx1 -w1 "$dir/$file" | sed -e 10d -e 29,36d >"$dir/$file.hex"
	done
	diff "$dir/$1.hex" "$dir/new$1.aml.hex"
}

# says TEXT: the DSDT has it, but for comments and blanks
says() {
	sed -e 's,//.*,,' -e 's,/\*.*\*/,,' "$dir/DSDT.dsl" | tr -s ' \n' ' ' | grep -qF "$1"
}

for shape in '1 0' '2 3' '255 9'; do
	rm -f "$dir"/*
	# shellcheck disable=SC2086 # two words
	check "tables of '$shape' (processors, virtio devices)" \
		"$build/tests/boot/acpi_test" $shape "$dir"
	for table in FACP APIC DSDT; do
		check "$table is read" read_table $table
		check "$table is made again" make_table $table
		check "$table is the same" same_bytes $table
	done
	check "the DSDT has all devices" \
		is "$(grep -c 'Device (' "$dir/DSDT.dsl")" $((${shape#* } + 3))
	check "... the serial port" \
		says 'IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08, ) IRQNoFlags () {4}'
	check "... the clock" says 'IO (Decode16, 0x0070, 0x0070, 0x01, 0x02, ) IRQNoFlags () {8}'
	check "... the panic port, without an interrupt" \
		says 'IO (Decode16, 0x0505, 0x0505, 0x01, 0x01, ) })'
done
for irq in 05 0A; do
	check "... virtio devices, whose interrupts are edges: $irq" says "0x00000200, ) Interrupt \
(ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, ) { 0x000000$irq,"
done
done_testing
