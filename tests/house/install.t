#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make install, make uninstall and make deb: what they put where, that it runs from there, and that
# nothing of it stays.  All of it happens in a folder of this test's; the system is not touched.
set -u
cd "$(dirname "$0")/../.." || exit 1

. tests/tap.bash
unset MAKEFLAGS MAKELEVEL # of the make that runs the tests

# The files below a folder, without its name; files_are FOLDER NAME...: they are these.
files() {
	(cd "$1" && find . ! -type d | sort | cut -c3-)
}

files_are() {
	local folder=$1

	shift
	diff <(files "$folder") <(printf '%s\n' "$@")
}

no_files() {
	! files "$1" | grep .
}

# What is there is not built anew: other tests run it.
make_here() {
	make -s -o all BUILD="$build" "$@"
}

# version_is_known PROGRAM; boots PROGRAM DESCRIPTION: a check that it finds the guest beside it
version_is_known() {
	[[ $("$1" version) =~ ^quire\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
}

boots() {
	if [ ! -w /dev/kvm ]; then
		skip "$2: no access to /dev/kvm"
		return
	fi
	(cd "$dir" && "$1" run quill.elf hello) >"$dir/boot" 2>&1
	if [ $? -eq 121 ]; then
		skip "$2: $(head -n 1 "$dir/boot")"
	else
		check "$2" grep -q '^quill: hello' "$dir/boot"
	fi
}

# ---- make install ----

prefix=/opt/quire
root=$dir/root
check 'make install' make_here install DESTDIR="$root" PREFIX=$prefix
check 'it installs the program, its guest, the manual and completion' files_are "$root$prefix" \
	bin/quire lib/quire/quill.elf share/bash-completion/completions/quire share/man/man1/quire.1
check 'the installed program runs' version_is_known "$root$prefix/bin/quire"
boots "$root$prefix/bin/quire" 'it finds the installed guest'
check 'make uninstall' make_here uninstall DESTDIR="$root" PREFIX=$prefix
check 'it leaves no file' no_files "$root"
check 'and no folder of its own' test ! -e "$root$prefix/lib/quire"
check 'make uninstall where nothing is' make_here uninstall DESTDIR="$root" PREFIX=/usr

# ---- make deb ----

if ! command -v dpkg-deb >/dev/null; then
	skip 'no dpkg-deb'
	done_testing
fi
deb=$dir/quire.deb
check 'make deb' make_here deb DEB="$deb"
check 'its tree is gone' test ! -e "$deb.tree"
field() {
	dpkg-deb --field "$deb" "$1"
}

check 'the package has the version of the program' \
	test "quire $(field Version)" = "$("$quire" version)"
check 'what it depends on is installed here' bash -c '
	for package; do
		dpkg-query -W -f "\${db:Status-Status} \${Package}\n" "$package" || exit
	done' - $(field Depends | sed 's/([^)]*)//g; s/,/ /g')
check '... and the C library is part of it' grep -q '\blibc6 ' <(field Depends)

if [ "$(id -u)" -ne 0 ]; then
	skip 'not root: dpkg cannot install the package'
	done_testing
fi
# Its own idea of what is installed; there is nothing, so what the package needs is not asked for.
system=$dir/system
mkdir -p "$system/var/lib/dpkg/info" "$system/var/lib/dpkg/updates"
touch "$system/var/lib/dpkg/status" "$system/var/lib/dpkg/available"
dpkg_there() {
	PATH=$PATH:/usr/sbin:/sbin dpkg --root="$system" --log=/dev/null --force-depends "$@"
}

check 'the package can be installed' dpkg_there --install "$deb"
check '... its files belong to root and only root may change them' \
	test -z "$(find "$system/usr" \( ! -user root -o -perm /022 \) ! -type l)"
check 'its program runs' version_is_known "$system/usr/bin/quire"
boots "$system/usr/bin/quire" 'it finds its guest'
check '... and is said to be installed' \
	grep -q '^Status: install ok installed$' "$system/var/lib/dpkg/status"
check 'the package can be removed' dpkg_there --purge quire
check '... and leaves nothing' test ! -e "$system/usr"
done_testing
