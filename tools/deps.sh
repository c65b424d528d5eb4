#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Installs what building and testing quire needs, on Debian and Ubuntu; does nothing when it
# is all there.  Elsewhere it prints the list and leaves the choice of packages to you.
set -u

# Recommended packages are left out: those of QEMU bring a desktop.
packages=(
	gcc make libc6-dev binutils		# build
	libcapstone-dev libfdt-dev libpng-dev	# libraries
	libseccomp-dev				# compiles the sandbox's filters
	libxxhash-dev				# content hashes of pages
	liburing-dev				# disks
	liblz4-dev				# the compressed pool
	libzstd-dev				# the swap area
	libmicrohttpd-dev			# quire machine --http
	libyaml-dev				# scenarios
	libjansson-dev				# JSON that is read
	libncurses-dev				# quire top
	perl					# prove
	libxml2-utils				# xmllint: pictures in the tests
	python3-prometheus-client		# reads the metrics in a test
	clang					# second compiler, fuzzers
	cppcheck mandoc				# lint
	qemu-system-x86				# the peer in tests and benchmarks
	acpica-tools				# reads the ACPI tables in a test
	iproute2				# taps in a test
	python3-yaml shellcheck			# the files of docs/ci
	tmux					# the terminal of a test
)

# make lint goes by this version alone, which not every release has; without it, it says so.
formatter=clang-format-14

# What --net=user needs.  Not every release has it; without it a part of a test is skipped.
user_net=passt

# The test of the page for browsers.  It is large; without it that test is skipped.
browser=chromium

die() {
	echo "deps: $*" >&2
	exit 1
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

known() {
	[ -n "$(apt-cache --quiet=0 policy "$1" 2>/dev/null | grep 'Candidate: [^(]')" ]
}

# Packages of the list that are not installed.
missing() {
	local package

	for package in "${packages[@]}"; do
		installed "$package" || echo "$package"
	done
}

# Sanitizer and fuzzer run time of clang: a package of its own since LLVM 14, except where
# libclang-common has it.
have_clang_runtime() {
	echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n && 0; }' |
		clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - 2>/dev/null
}

clang_runtime_package() {
	local major package

	major=$(clang -dumpversion 2>/dev/null | cut -d. -f1)
	for package in libclang-rt-dev "libclang-rt-$major-dev" "libclang-common-$major-dev"; do
		if known "$package"; then
			echo "$package"
			return
		fi
	done
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	elif command -v sudo >/dev/null; then
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	else
		die "needs root or sudo to install: $*"
	fi
}

install_packages() {
	local package

	echo "deps: installing with apt-get: $*"
	for package; do
		if ! known "$package"; then
			as_root apt-get update -q </dev/null ||
				die "apt-get update failed; is there a network?"
			break
		fi
	done
	as_root apt-get install -q -y --no-install-recommends "$@" </dev/null ||
		die "apt-get could not install: $*"
}

# Whatever the packages are called elsewhere, this is what they must provide.
usable() {
	local tool

	for tool in gcc make ld prove clang cppcheck mandoc qemu-system-x86_64; do
		command -v "$tool" >/dev/null || return 1
	done
	printf '#include <%s>\n' capstone/capstone.h libfdt.h png.h seccomp.h liburing.h lz4.h \
			zstd.h microhttpd.h yaml.h jansson.h curses.h |
		gcc -x c -shared -o /dev/null - -lcapstone -lfdt -lpng -lseccomp -luring -llz4 \
			-lzstd -lyaml -ljansson -lncursesw -ltinfo 2>/dev/null
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	usable || die "this is no Debian or Ubuntu; install what these packages of theirs hold:" \
		      "${packages[*]} and clang's sanitizer run time"
	echo "deps: all there"
	exit 0
fi

mapfile -t want < <(missing)
if [ "${#want[@]}" -gt 0 ]; then
	install_packages "${want[@]}"
fi
for package in "$formatter" "$user_net" "$browser"; do
	if ! installed "$package" && known "$package"; then
		install_packages "$package"
	fi
done
if ! have_clang_runtime; then
	package=$(clang_runtime_package)
	[ -n "$package" ] && ! installed "$package" && install_packages "$package"
	have_clang_runtime ||
		echo "deps: clang has no libFuzzer here; the fuzz tests will be skipped"
fi
"${0%/*}/slurm.sh" "${0%/*}/../build-slurm" ||
	echo "deps: apt-get could not get Slurm; its test will be skipped"
echo "deps: all there"
