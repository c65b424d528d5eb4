#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tools/slurm.sh DIR
#
# Unpacks what tests/kvm/slurm.t needs of Debian's Slurm into DIR.  Installed, the packages would
# start services, add users and make a key; unpacked, they are only files.  Does nothing if they are
# there.
set -u
dir=$1

[ -x "$dir/usr/sbin/munged" ] && [ -n "$(find "$dir/usr/sbin" -name 'slurmctld*')" ] && exit 0
mkdir -p "$dir/packages" || exit 1
(
	cd "$dir/packages" &&
		apt-get -q -o APT::Sandbox::User=root download slurmctld slurmd slurm-client \
			slurm-wlm-basic-plugins munge libmunge2 libhwloc15 >/dev/null
) || exit 1
for package in "$dir"/packages/*.deb; do
	dpkg-deb -x "$package" "$dir" || exit 1
done
rm -r "$dir/packages"
