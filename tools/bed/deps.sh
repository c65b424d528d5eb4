#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tools/bed/deps.sh DIR
#
# Installs what the hardware test bed needs (docs/testing.md), and fetches two packages of Debian's
# kernel into DIR: the one that the bed boots, and the small one for clouds, which is only a guest.
# Does nothing for what is there.
set -u -o pipefail
dir=$1

die() {
	echo "deps-bed: $*" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	else
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	fi
}

command -v apt-get >/dev/null || die "the bed boots Debian's kernel, which apt-get fetches"
for package in qemu-system-x86 busybox-static cpio xz-utils lz4 zstd; do
	dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
		as_root apt-get install -q -y --no-install-recommends "$package" </dev/null ||
		die "apt-get could not install $package"
done

# fetch META PATTERN: the kernel package on which META depends, unless one like PATTERN is there
fetch() {
	local kernel

	find "$dir" -name "$2" | grep -q . && return
	kernel=$(depends "$1")
	if [ -z "$kernel" ]; then
		as_root apt-get update -q </dev/null ||
			die "apt-get update failed; is there a network?"
		kernel=$(depends "$1")
	fi
	[ -n "$kernel" ] || die "apt-get knows no $1: the bed needs Debian's kernel"
	echo "deps-bed: fetching $kernel"
	# An unprivileged user of apt-get's could not write into a directory of ours.
	(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download "$kernel") ||
		die "apt-get could not download $kernel"
}

depends() {
	apt-cache depends "$1" | sed -n 's/^ *Depends: *//p' | head -n 1
}

mkdir -p "$dir"
fetch linux-image-amd64 'linux-image-*[0-9]-amd64_*.deb'
fetch linux-image-cloud-amd64 'linux-image-*-cloud-amd64_*.deb'
