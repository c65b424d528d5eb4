#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tools/bed/prepare.sh DIR
#
# Makes DIR/vmlinuz and DIR/initrd of the kernel package in DIR (deps.sh).  The initrd has a static
# busybox, the modules that the bed needs, in the order in which they are loaded, and
# tools/bed/init.  The same kernel is also a guest: DIR/guest has a busybox and the modules of which
# tests/kvm/Linux.pm makes initramfs, and the kernel of the cloud package, if that is there, with
# the ELF file in it.  Fails with one line if something is missing.
set -eu -o pipefail
dir=$1
here=$(dirname "$0")

missing() {
	echo "$*; make deps-bed gets it"
	exit 1
}

command -v qemu-system-x86_64 >/dev/null || missing "no qemu-system-x86_64"
command -v busybox >/dev/null || missing "no busybox"
command -v cpio >/dev/null || missing "no cpio"
package=$(ls "$dir"/linux-image-*.deb 2>/dev/null | grep -v cloud | tail -n 1) || true
cloud=$(ls "$dir"/linux-image-*-cloud-*.deb 2>/dev/null | tail -n 1) || true
[ -n "$package" ] || missing "no kernel package in $dir"

[ "$dir/initrd" -nt "$package" ] && [ "$dir/initrd" -nt "$here/init" ] &&
	[ "$dir/initrd" -nt "$0" ] && [ -d "$dir/guest" ] &&
	{ [ -z "$cloud" ] || [ -e "$dir/guest/vmlinux-cloud" ]; } && exit 0

# The order matters: each needs those before it.  Kernels differ in what is a module.
modules='irqbypass ccp kvm kvm-amd virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev
	 virtio_pci 9pnet 9pnet_virtio netfs fscache 9p overlay tun'
guest_modules='virtio_ring virtio virtio_mmio virtio_balloon virtio_blk virtio_console rng-core
	 virtio-rng virtio_net net_failover failover pvpanic pvpanic-mmio crc16 crc32c_generic
	 mbcache jbd2 ext4'

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/unpacked "$tree"/root/{bin,dev,proc,sys,tmp,modules,host,over,tree}
dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tree/unpacked" --wildcards \
	'./boot/vmlinuz-*' '*/arch/x86/kvm/*' '*/virt/lib/*' '*/drivers/crypto/ccp/*' \
	'*/drivers/virtio/*' '*/net/9p/*' '*/fs/netfs/*' '*/fs/9p/*' '*/fs/overlayfs/*' \
	'*/fs/fscache/*' '*/virtio_blk.ko*' '*/virtio_console.ko*' '*/rng-core.ko*' \
	'*/virtio-rng.ko*' '*/virtio_net.ko*' '*/pvpanic*' '*failover.ko*' '*/crc16.ko*' \
	'*/crc32c_generic.ko*' '*/mbcache.ko*' '*/fs/jbd2/*' '*/fs/ext4/*' \
	'*/drivers/net/tun.ko*' 2>/dev/null || true
[ -e "$tree"/unpacked/boot/vmlinuz-* ] || missing "no kernel in $package"

# take NAME FILE: the module of that name, as a file.  Fails if there is none.
take() {
	local file

	file=$(find "$tree/unpacked" -name "$1.ko*" | head -n 1)
	case $file in
	'') return 1 ;;
	*.xz) xz -dc "$file" >"$2" ;;
	*) cp "$file" "$2" ;;
	esac
}

# number FILE OFFSET BYTES: an unsigned one
number() {
	od -An -j "$2" -N "$3" -tu"$3" "$1" | tr -d ' '
}

# vmlinux BZIMAGE: the ELF file in it, which is where the setup header says, compressed, and with
# its size behind it (Linux's Documentation/arch/x86/boot.rst)
vmlinux() {
	local from bytes tool

	from=$((($(number "$1" 497 1) + 1) * 512 + $(number "$1" 584 4)))
	bytes=$(($(number "$1" 588 4) - 4))
	case $(number "$1" "$from" 2) in
	8450) tool=lz4 ;;
	14333) tool=xz ;;
	46376) tool=zstd ;;
	*) tool=gzip ;;
	esac
	# Not tail before head: that would end by SIGPIPE.
	head -c $((from + bytes)) "$1" | tail -c $bytes | $tool -dc
}

n=10
for module in $modules; do
	take "$module" "$tree/root/modules/$n-$module.ko" || continue
	n=$((n + 1))
done
rm -rf "$dir/guest"
mkdir "$dir/guest"
for module in $guest_modules; do
	take "$module" "$dir/guest/$module.ko" || true
done
cp "$(command -v busybox)" "$dir/guest/busybox"
if [ -n "$cloud" ]; then
	dpkg-deb --fsys-tarfile "$cloud" |
		tar -x -O --wildcards './boot/vmlinuz-*' >"$dir/guest/vmlinuz-cloud"
	vmlinux "$dir/guest/vmlinuz-cloud" >"$dir/guest/vmlinux-cloud"
fi
cp "$(command -v busybox)" "$tree/root/bin/busybox"
for tool in sh mount insmod poweroff sed cat mkdir chroot ln; do
	ln -s busybox "$tree/root/bin/$tool"
done
cp "$here/init" "$tree/root/init"
chmod 755 "$tree/root/init"
(cd "$tree/root" && find . | cpio --quiet -o -H newc) >"$dir/initrd.new"
cp "$tree"/unpacked/boot/vmlinuz-* "$dir/vmlinuz"
mv "$dir/initrd.new" "$dir/initrd"
