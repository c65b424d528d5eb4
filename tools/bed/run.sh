#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tools/bed/run.sh DIR SCRIPT
#
# Boots the bed that prepare.sh made in DIR, and runs SCRIPT, an absolute path, in it.  What the
# script prints comes on standard output.  BED_TIMEOUT bounds it all, in seconds; BED_MEMORY is the
# bed's memory.
#
# The processor is emulated, so no privilege and no /dev/kvm are needed; it has AMD's SVM with
# nested paging, so the /dev/kvm *inside* translates in two dimensions as hardware does.  It is one
# processor: with several, QEMU's emulation has hung kernels.  It has no XSAVE and no AVX: QEMU does
# not intercept a guest's XSETBV, so KVM would run the guest with an XCR0 that it did not set.
#
# An instruction takes 2 ns by the bed's clock, however busy the host is, which takes two to four
# times as long for it.  While the bed idles its clock goes as fast as the host's.
set -u
dir=$1
script=$2

exec timeout -k 5 "$BED_TIMEOUT" qemu-system-x86_64 -M q35 -accel tcg,thread=single \
	-icount shift=1,sleep=on -cpu max,+svm,+npt,-pku,-xsave -smp 1 -m "$BED_MEMORY" \
	-kernel "$dir/vmlinuz" -initrd "$dir/initrd" \
	-append "console=ttyS0 quiet mitigations=off nokaslr no5lvl tsc=reliable no_timer_check \
panic=-1 run=$script" \
	-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
	-nographic -nodefaults -serial stdio -no-reboot -net none </dev/null
