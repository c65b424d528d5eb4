#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tools/bed/prepare.sh DIR
#
# Makes DIR/vmlinuz and DIR/initrd of the kernel package in DIR (deps.sh).  The initrd has a static
# busybox, the modules that the bed needs, in the order in which they are loaded, and
# tools/bed/init.  Fails with one line if something is missing.
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
package=$(ls "$dir"/linux-image-*.deb 2>/dev/null | tail -n 1) || true
[ -n "$package" ] || missing "no kernel package in $dir"

[ "$dir/initrd" -nt "$package" ] && [ "$dir/initrd" -nt "$here/init" ] &&
	[ "$dir/initrd" -nt "$0" ] && exit 0

# The order matters: each needs those before it.  Kernels differ in what is a module.
modules='irqbypass ccp kvm kvm-amd virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev
	 virtio_pci 9pnet 9pnet_virtio netfs fscache 9p overlay'

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/unpacked "$tree"/root/{bin,dev,proc,sys,tmp,modules,host,over,tree}
dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tree/unpacked" --wildcards \
	'./boot/vmlinuz-*' '*/arch/x86/kvm/*' '*/virt/lib/*' '*/drivers/crypto/ccp/*' \
	'*/drivers/virtio/*' '*/net/9p/*' '*/fs/netfs/*' '*/fs/9p/*' '*/fs/overlayfs/*' \
	'*/fs/fscache/*' 2>/dev/null || true
[ -e "$tree"/unpacked/boot/vmlinuz-* ] || missing "no kernel in $package"

n=10
for module in $modules; do
	file=$(find "$tree/unpacked" -name "$module.ko*" | head -n 1)
	case $file in
	'') continue ;;
	*.xz) xz -dc "$file" >"$tree/root/modules/$n-$module.ko" ;;
	*) cp "$file" "$tree/root/modules/$n-$module.ko" ;;
	esac
	n=$((n + 1))
done
cp "$(command -v busybox)" "$tree/root/bin/busybox"
for tool in sh mount insmod poweroff sed cat mkdir chroot ln; do
	ln -s busybox "$tree/root/bin/$tool"
done
cp "$here/init" "$tree/root/init"
chmod 755 "$tree/root/init"
(cd "$tree/root" && find . | cpio --quiet -o -H newc) >"$dir/initrd.new"
cp "$tree"/unpacked/boot/vmlinuz-* "$dir/vmlinuz"
mv "$dir/initrd.new" "$dir/initrd"
