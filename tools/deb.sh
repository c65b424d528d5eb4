#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make deb: deb.sh TREE VERSION OUTPUT makes a Debian package of TREE, which is what
# `make install DESTDIR=TREE PREFIX=/usr` put there.  Its dependencies are the packages that have
# the libraries of TREE/usr/bin/quire, here and now, and those that it loads when it needs them.
set -eu

tree=$1
version=$2
output=$3

# The packages that the libraries are from, each with the version that is here as the oldest.
depends() {
	{
		ldd "$tree/usr/bin/quire" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p'
		ldconfig -p | sed -n 's/.* => \(\/.*lib\(capstone\|png16\)\.so\.[0-9]*\)$/\1/p'
	} | while read -r library; do
		# A library may be known by its name before /lib became a link to /usr/lib.
		for path in "$library" "$(readlink -f "$library")" "/usr$library"; do
			package=$(dpkg-query -S "$path" 2>/dev/null | sed 's/:.*//;q')
			[ -n "$package" ] && break
		done
		if [ -z "$package" ]; then
			echo "no package has $library"
			continue
		fi
		dpkg-query -W -f '${Package} (>= ${Version})\n' "$package" | sed 's/-[^-]*)$/)/'
	done | sort -u | paste -sd, | sed 's/,/, /g'
}

needs=$(depends)
case $needs in
'' | *'no package'*)
	echo "deb: cannot say what quire needs: $needs; make install does without" >&2
	exit 1
	;;
esac
strip "$tree/usr/bin/quire"
gzip -9n "$tree/usr/share/man/man1/quire.1"
mkdir -p "$tree/DEBIAN" "$tree/usr/share/doc/quire"
cp LICENSE "$tree/usr/share/doc/quire/copyright"
gzip -9nc CHANGELOG.md >"$tree/usr/share/doc/quire/changelog.gz"
cat >"$tree/DEBIAN/control" <<EOF
Package: quire
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: the quire authors <quire@localhost>
Section: misc
Priority: optional
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Depends: $needs
Suggests: passt
Description: virtual-machine monitor about guest-physical memory
 quire runs guest images under KVM, shares equal pages among them, and shows
 what becomes of every page of their memory.
EOF
find "$tree" -type d -exec chmod 755 {} +
chmod 644 "$tree/usr/share/doc/quire/"*
dpkg-deb --build --root-owner-group "$tree" "$output" >/dev/null
echo "$output"
