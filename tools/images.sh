#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Images of others: kernels, hypervisors, boot loaders, firmware.  docs/images.md says what becomes
# of each; this script repeats it.
#
#   tools/images.sh list                  the names
#   tools/images.sh get NAME              print the path of the image, fetched or made if need be
#   tools/images.sh run NAME [OPTION...]  run it under quire, as the table says
#   tools/images.sh check NAME...|all     run each, and compare with what the table expects;
#                                         "slow": it did not get there in SECONDS_EACH
#   tools/images.sh qemu NAME             run it under QEMU, emulated, for twelve seconds
#
# An image comes from the Debian package that has it: as installed, or else downloaded and unpacked
# into IMAGES (default build-images), where nothing is installed.  With OFFLINE=1 nothing is
# downloaded.  Exit status of get and check: 3 if an image is not to be had.
#
# The table: name, package, file, how QEMU takes it (k: -kernel, d: a disk, b: -bios), options for
# quire, and what is expected in "status N", the output and the messages, as a regular expression.
# E stands for the crash of hosts whose KVM emulates kernels and lacks an instruction.  A package
# that is one of the functions below makes the file.
set -euo pipefail

cd "$(dirname "$0")/.."
build=${QUIRE_BUILD:-build}
quire=$build/quire
images=${IMAGES:-build-images}
missing=3
seconds=${SECONDS_EACH:-5}

table() {
	cat <<'END'
hello-multiboot own payload/multiboot_hello.elf k - ^status 7
hello-pvh32 own payload/pvh32_hello.elf k - ^status 8
hello-boot-sector own payload/flat_hello.bin d - ^status 9
smp-multiboot own payload/multiboot_smp.elf k - ^status 0
quill own guest/quill.elf k -;hello ^status 0
screen own payload/flat_screen.bin d - text on a screen
bios-calls own payload/flat_bios.bin d - hello
memtest86+x64 memtest86+ boot/memtest86+x64.bin k - Memtest86\+|E
memtest86+ia32 memtest86+ boot/memtest86+ia32.bin k - Memtest86\+|E
memtest86+efi memtest86+ boot/memtest86+x64.efi k - Memtest86\+|E
memtest86+iso memtest86+ usr/lib/memtest86+/memtest86+x64.iso d - ISO image
ipxe.lkrn ipxe boot/ipxe.lkrn k - only a BIOS can start it
ipxe.pxe ipxe usr/lib/ipxe/ipxe.pxe d - BIOS int 1ah, ah=56
undionly ipxe usr/lib/ipxe/undionly.kpxe d - BIOS int 1ah, ah=56
ipxe.iso ipxe usr/lib/ipxe/ipxe.iso d - ISO image
ipxe-rom ipxe-qemu usr/lib/ipxe/qemu/pxe-virtio.rom d - BIOS int 1ah, ah=b1
grub-coreboot make_grub_cb grub-coreboot.elf k - No memory found
grub-pc make_grub_pc grub-pc.img d - BIOS int|exception|E
grub-boot.img grub-pc-bin usr/lib/grub/i386-pc/boot.img d - GRUB.*BIOS int 13h, ah=41
grub-cdboot.img grub-pc-bin usr/lib/grub/i386-pc/cdboot.img d - no boot info
grub-lnxboot.img grub-pc-bin usr/lib/grub/i386-pc/lnxboot.img k - needs a BIOS
grub-pxeboot.img grub-pc-bin usr/lib/grub/i386-pc/pxeboot.img d - exception 0dh
grub1-stage1 grub-legacy usr/lib/grub/x86_64-pc/stage1 d - GRUB.*BIOS int 13h, ah=41
grub1-stage2 grub-legacy usr/lib/grub/x86_64-pc/stage2 d - exception|BIOS int|E
xen make_xen boot/xen-4.17-amd64 k -m!512M;no-real-mode;console=com1 dom0 kernel|E
xen-shim xen-utils-4.17 usr/lib/xen-4.17/boot/xen-shim k -m!512M;console=com1 ^status (122|124|0|99)
hvmloader xen-utils-4.17 usr/lib/xen-4.17/boot/hvmloader k - without a PVH note
gnumach-64 make_gnumach boot/gnumach-1.8-486 k - objcopy -O elf32-i386
gnumach make_gnumach32 gnumach.elf k -;console=com0 ^status (122|124)
gnumach-xen make_gnumach_xen boot/gnumach-1.8-xen-486 k - without a PVH note
tboot make_tboot boot/tboot k -m!256M;logging=serial CPU does not support SMX
syslinux-mbr syslinux-common usr/lib/syslinux/mbr/mbr.bin d - BIOS int 13h, ah=41
syslinux-gptmbr syslinux-common usr/lib/syslinux/mbr/gptmbr.bin d - BIOS int 13h, ah=41
syslinux-handoff syslinux-common usr/lib/syslinux/mbr/diag/handoff/handoff.bin d - Press any key
syslinux-cpu.c32 syslinux-common usr/lib/syslinux/modules/bios/cpu.c32 k - without a PVH note
memdisk syslinux-common usr/lib/syslinux/memdisk k - MEMDISK.*needs a BIOS
isolinux isolinux usr/lib/ISOLINUX/isolinux.bin d - ISOLINUX 6.*BIOS int 13h, ah=4b
isohdpfx isolinux usr/lib/ISOLINUX/isohdpfx.bin d - BIOS int 13h, ah=41
pxelinux pxelinux usr/lib/PXELINUX/pxelinux.0 d - BIOS int 1ah|exception|E
u-boot u-boot-qemu usr/lib/u-boot/qemu-x86/uboot.elf k - device hole
u-boot-bin u-boot-qemu usr/lib/u-boot/qemu-x86/u-boot.bin k - device hole
u-boot-64 u-boot-qemu usr/lib/u-boot/qemu-x86_64/uboot.elf k - without a PVH note
u-boot-mips u-boot-qemu usr/lib/u-boot/malta64el/uboot.elf k - machine is 8, not 62
seabios seabios usr/share/seabios/bios.bin b - exception|BIOS int|E
seabios-microvm seabios usr/share/seabios/bios-microvm.bin b - exception 0[6d]h
vgabios seabios usr/share/seabios/vgabios-stdvga.bin d - exception 0dh
bochs-bios bochsbios usr/share/bochs/BIOS-bochs-latest b - exception 06h
qboot qemu-system-data usr/share/qemu/qboot.rom b - exception|BIOS int|E
qemu-pvh.bin qemu-system-data usr/share/qemu/pvh.bin d - BIOS int 15h, ah=e8
qemu-multiboot qemu-system-data usr/share/qemu/multiboot.bin d - exception|BIOS int|E
sgabios qemu-system-data usr/share/qemu/sgabios.bin d - exception 06h
opensbi qemu-system-data usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.elf k - machine is 243
installer-i386 make_installer linux k -m!256M;quiet Linux version|E|^status 124
END
}

emulated='KVM internal error 1: KVM cannot emulate'

# row NAME: sets package file kind options expect
row() {
	local name

	while read -r name package file kind options expect; do
		[ "$name" = "$1" ] && return
	done < <(table)
	echo "images.sh: no image '$1', see tools/images.sh list" >&2
	exit 2
}

fail() {
	echo "images.sh: $*" >&2
	exit "$missing"
}

# fetch PACKAGE: have it unpacked in $images/root
fetch() {
	[ -e "$images/$1.done" ] && return
	[ -z "${OFFLINE:-}" ] || fail "$1 is not there, and OFFLINE is set"
	mkdir -p "$images/root" "$images/deb"
	(cd "$images/deb" && apt-get download -qq "$1" >&2) || fail "cannot download package $1"
	dpkg-deb -x "$images/deb/$1"_*.deb "$images/root" >&2
	touch "$images/$1.done"
}

# file_of PACKAGE FILE: its path, installed or fetched
file_of() {
	if [ -e "/$2" ] && dpkg -S "/$2" >/dev/null 2>&1; then
		echo "/$2"
		return
	fi
	fetch "$1"
	[ -e "$images/root/$2" ] || fail "package $1 has no $2"
	echo "$images/root/$2"
}

# ---- what a package does not have as it is ----

# unpacked PACKAGE FILE: of a file that is compressed by gzip
unpacked() {
	local from

	from=$(file_of "$1" "$2.gz") || exit
	[ -e "$images/${2##*/}" ] || gunzip -c "$from" >"$images/${2##*/}"
	echo "$images/${2##*/}"
}

make_xen() { unpacked xen-hypervisor-4.17-amd64 "$1"; }
make_tboot() { unpacked tboot "$1"; }
make_gnumach() { unpacked gnumach-image-1.8-486 "$1"; }
make_gnumach_xen() { unpacked gnumach-image-1.8-xen-486 "$1"; }

make_gnumach32() {
	local from

	from=$(make_gnumach boot/gnumach-1.8-486) || exit
	objcopy -O elf32-i386 "$from" "$images/$1"
	echo "$images/$1"
}

make_installer() {
	file_of debian-installer-12-netboot-i386 \
		usr/lib/debian-installer/images/12/i386/text/debian-installer/i386/linux
}

# grub FILE FORMAT PACKAGE MODULE...
grub() {
	local file=$1 format=$2 package=$3 mkimage kernel

	shift 3
	mkimage=$(file_of grub-common usr/bin/grub-mkimage) || exit
	kernel=$(file_of "$package" "usr/lib/grub/$format/kernel.img") || exit
	printf '%s\n' 'serial --unit=0' 'terminal_output serial' 'echo hello from grub' halt \
		>"$images/grub.cfg"
	"$mkimage" -O "$format" -d "${kernel%/*}" -c "$images/grub.cfg" -p / -o "$images/$file" "$@"
	echo "$images/$file"
}

make_grub_cb() { grub "$1" i386-coreboot grub-coreboot-bin serial echo halt terminal; }
make_grub_pc() { grub "$1" i386-pc grub-pc-bin serial echo halt terminal biosdisk; }

# ---- the commands ----

get() {
	row "$1"
	mkdir -p "$images"
	case $package in
	own) echo "$build/$file" ;;
	make_*) "$package" "$file" ;;
	*) file_of "$package" "$file" ;;
	esac
}

# words TEXT: "-m!512M;a;b" as options of quire and arguments of the guest, in two arrays
words() {
	local word

	before=() after=()
	IFS=';' read -ra all <<<"$1"
	for word in "${all[@]}"; do
		case $word in
		-) ;;
		-*!*) before+=("${word%%!*}" "${word#*!}") ;;
		*) after+=("$word") ;;
		esac
	done
}

run() {
	local name=$1 image

	shift
	image=$(get "$name") || exit
	row "$name"
	words "$options"
	"$quire" run "${before[@]}" "$@" "$image" "${after[@]}"
}

check_one() {
	local said status=0

	(get "$1") >/dev/null 2>&1 || { echo "missing $1"; return "$missing"; }
	row "$1"
	said=$(run "$1" "--timeout=$seconds" 2>&1 <<<d | tr -d '\0\r') || status=$?
	said="status $status"$'\n'$said
	expect=${expect//|E/|$emulated}
	if printf '%s' "$said" | tr '\n' '~' | grep -qE -e "${expect//^/^}"; then
		echo "ok $1"
	elif [ "$status" = 124 ]; then
		echo "slow $1"
	else
		echo "differs $1: $(printf '%s' "$said" | tr '\n' '~' | cut -c 1-300)"
		return 1
	fi
}

check() {
	local name worst=0 status

	[ "$*" != all ] || set -- $(table | cut -d ' ' -f 1)
	for name; do
		status=0
		check_one "$name" || status=$?
		[ "$status" -le "$worst" ] || worst=$status
	done
	exit "$worst"
}

qemu() {
	local image how=()

	image=$(get "$1") || exit
	row "$1"
	words "$options"
	case $kind in
	k) how=(-kernel "$image" -append "${after[*]}") ;;
	d) how=(-drive "file=$image,format=raw,if=ide,snapshot=on") ;;
	b) how=(-bios "$image") ;;
	esac
	exec timeout 12 qemu-system-x86_64 -machine pc,graphics=off -accel tcg -m 512 \
		-display none -serial stdio -monitor none -no-reboot -nic none \
		-device isa-debug-exit "${how[@]}"
}

command=${1:-}
shift || true
case $command in
list) table | cut -d ' ' -f 1 ;;
get) get "$1" ;;
run) run "$@" ;;
check) check "$@" ;;
qemu) qemu "$1" ;;
*) sed -n '3,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
