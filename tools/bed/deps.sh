#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tools/bed/deps.sh DIR
#
# Installs what the hardware test bed needs (docs/testing.md), and fetches Debian's kernel package
# into DIR.  Does nothing for what is there.
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
for package in qemu-system-x86 busybox-static cpio xz-utils; do
	dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
		as_root apt-get install -q -y --no-install-recommends "$package" </dev/null ||
		die "apt-get could not install $package"
done

mkdir -p "$dir"
ls "$dir"/linux-image-*.deb >/dev/null 2>&1 && exit 0
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: *//p' | head -n 1)
if [ -z "$kernel" ]; then
	as_root apt-get update -q </dev/null || die "apt-get update failed; is there a network?"
	kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: *//p' | head -n 1)
fi
[ -n "$kernel" ] || die "apt-get knows no linux-image-amd64: the bed needs Debian's kernel"
echo "deps-bed: fetching $kernel"
# An unprivileged user of apt-get's could not write into a directory of ours.
(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download "$kernel") ||
	die "apt-get could not download $kernel"
