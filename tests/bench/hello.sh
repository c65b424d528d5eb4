#!/bin/bash
# SPDX-License-Identifier: MIT
#
# From exec to exit: quill's hello under quire and under QEMU's microvm, the same image.
set -u
. "$(dirname "$0")/common.bash"
machine
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
qemu=$(command -v qemu-system-x86_64) || {
	echo "hello: no qemu-system-x86_64 to compare with"
	exit 0
}

run_qemu() {
	timeout 60 "$qemu" -M microvm -accel kvm -m 128 -nodefaults -no-user-config -no-reboot \
		-display none \
		-serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel "$quill" \
		-append hello
}

for ((i = 0; i < runs; i++)); do
	elapsed_us "$quire" run "$quill" hello >>"$dir/quire"
	elapsed_us run_qemu >>"$dir/qemu"
done
q=$(median <"$dir/quire")
e=$(median <"$dir/qemu")
printf 'hello quire_us=%s (%s) qemu_microvm_us=%s (%s) ratio=%s aim>=10\n' "$q" \
	"$(spread <"$dir/quire")" \
	"$e" "$(spread <"$dir/qemu")" "$(ratio "$e" "$q")"
