#!/bin/bash
# SPDX-License-Identifier: MIT
#
# --disk: quill writes, reads and verifies a disk, in and out of the sandbox, by io_uring and
# without; the host's files are what they should be; a kill in between loses nothing that was
# flushed; a full file system is an I/O error of the guest's.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/kvm/shell.bash

image=$dir/image
pages=1024

# guest OPTION... -- WORD...: run quill's workload disk; what it says is in $dir/out.
guest() {
	local options args

	split_words "$@"
	timeout 120 "$quire" run --stats="$dir/stats" "${options[@]}" "$quill" disk "${args[@]}" \
		>"$dir/out" 2>"$dir/errors"
}

number() {
	sed -n "s,.*\"$1\": \([0-9]*\).*,\1,p" "$dir/stats" | head -n 1
}

# status STATUS TEXT DESCRIPTION COMMAND...: it ends with this status and says this on one line
status() {
	local want=$1 text=$2 what=$3 got

	shift 3
	"$@" >"$dir/out" 2>"$dir/errors"
	got=$?
	[ "$got" -eq "$want" ] && [ "$(wc -l <"$dir/errors")" -eq 1 ] &&
		grep -q -- "$text" "$dir/errors"
	result $? "$what" || { echo "# status $got"; sed 's/^/# /' "$dir/errors"; }
}

truncate -s $((pages * 4096)) "$image"
guest --disk="$image" -- fill 7
code=$?
if [ $code -eq 121 ]; then
	skip_all "$(head -n 1 "$dir/errors")"
fi
check "a guest fills its disk (status $code)" grep -q "filled pages=$pages" "$dir/out"
check "... of which the host has all" [ "$(number disk_written_bytes)" -eq $((pages * 4096)) ]
check "... and a flush" [ "$(number disk_flushes)" -ge 1 ]
sum=$(sha256sum <"$image")
for how in --sandbox=on --sandbox=off --irqchip=on '-c 2' --hugepages=never; do
	# shellcheck disable=SC2086
	check "$how: the next one finds it" guest $how --disk="$image",ro -- check 7
done
check "a wrong seed is found out" [ "$(guest --disk="$image",ro -- check 8; echo $?)" -eq 1 ]
status 11 'virtio disk stopped: a queue size that is not a power of two' \
	'a driver that breaks its disk twice is told of, once' \
	timeout 60 "$quire" run --disk="$image" "$build/payload/pvh32_broken.elf"
guest --disk="$image",ro -- wild 0x100000000000
check "quill ends if its disk has stopped (status $?)" \
	grep -q 'panic: virtio: the device has stopped' "$dir/out"
check "a disk for reading is not written" guest --disk="$image",ro -- fail 8
check "... which the guest is told" grep -q 'failed writes=1 reads=0' "$dir/out"
check "what it has read is the image" [ "$(sha256sum <"$image")" = "$sum" ]

# Overlays: two at once, and the image stays.
check "two guests change one image" guest -n 2 --disk="$image",overlay="$dir" -- storm 3 300
check "... each its own" [ "$(grep -c 'stormed pages=256' "$dir/out")" -eq 2 ]
check "... of which nothing is left" [ "$(find "$dir" -name 'quire-*' | wc -l)" -eq 0 ]
check "... and the image is as it was" [ "$(sha256sum <"$image")" = "$sum" ]

# What a guest wrote to its overlay is there after a reset, in each copy its own.
for how in --sandbox=on --sandbox=off --irqchip=on '-n 2'; do
	# shellcheck disable=SC2086
	check "$how: an overlay outlives a reset" \
		guest $how --max-reboots=1 --disk="$image",overlay="$dir" -- reset 11
	check "... with all of its pages" \
		[ "$(grep -c "checked pages=$pages" "$dir/out")" -eq \
			"$(grep -c filled "$dir/out")" ]
done
check "... also among other disks" guest --max-reboots=1 --disk="$image",overlay="$dir" \
	--disk="$image",ro --disk="$image",overlay="$dir" -- reset 11
check "... but not the next run's" \
	[ "$(guest --disk="$image",overlay="$dir" -- check 11; echo $?)" -eq 1 ]
check "... of which nothing is left" [ "$(find "$dir" -name 'quire-*' | wc -l)" -eq 0 ]
check "... and the image is as it was" [ "$(sha256sum <"$image")" = "$sum" ]
for how in --sandbox=on --irqchip=on; do
	check "$how: a storm" guest $how --disk="$image" -- storm 5 500
done
check "without the feature FLUSH too" guest --disk="$image" -- storm 6 50 features=0x6000
check "no request was wrong" [ "$(number disk_refusals)$(number disk_errors)" = 00 ]

# The same where there is no io_uring: a filter of system calls says that there is none.
without_ring() {
	perl -e 'my $f = pack("SCCL" x 4, 0x20, 0, 0, 0, 0x15, 0, 1, 425, 6, 0, 0, 0x50026,
			      6, 0, 0, 0x7fff0000);
		my $p = pack("Sx6P32", 4, $f);
		syscall(157, 38, 1, 0, 0, 0) == 0 && syscall(317, 1, 0, $p) == 0 or die "$!";
		exec @ARGV' timeout 120 "$quire" run --disk="$1" "$quill" disk storm 7 200
}
check "without io_uring" without_ring "$image"

# A block device.
loop=$(losetup -f --show "$image" 2>/dev/null)
if [ -b "$loop" ]; then
	check "a guest fills a block device" guest --disk="$loop" -- fill 12
	check "... all of it" [ "$(number disk_written_bytes)" -eq $((pages * 4096)) ]
	losetup -d "$loop"
	check "... whose file has it" guest --disk="$image",ro -- check 12
else
	skip "no loop device"
	skip "no loop device"
	skip "no loop device"
fi

# kill -9 of the VM: what was safe is there, and the lock is gone.
truncate -s 0 "$image"
truncate -s 256M "$image"
vm=disk-$$
: >"$dir/log"
timeout 120 "$quire" run --name=$vm --disk="$image" "$quill" disk fill 9 safe=64 >"$dir/log" 2>&1 &
run=$!
until [ "$(grep -c safe= "$dir/log")" -ge 5 ] || ! kill -0 $run 2>/dev/null; do
	sleep 0.05
done
status 2 'in use by another VM' "who writes to a disk is alone" \
	"$quire" run --disk="$image" "$quill" hello
status 2 'another VM writes to' "... and nobody reads it" \
	"$quire" run --disk="$image",overlay "$quill" hello
kill -9 "$("$quire" ps --json "$vm" | sed -n 's,.*"pid": \([0-9]*\).*,\1,p' | head -n 1)"
wait $run
safe=$(sed -n 's,.*safe=,,p' "$dir/log" | tail -n 1)
check "after a kill, all $safe safe pages are there" guest --disk="$image" -- check 9 pages="$safe"

# A guest that resets itself again and again: nobody else can have its image in between.  How often
# it could is printed; that it is free before and after is no gap.
printf '\xb0\xfe\xe6\x64\xfa\xf4' >"$dir/resets"
gaps() {
	perl -MFcntl -MPOSIX -e '
		my ($image, @run) = @ARGV;
		my ($gaps, $held, $was) = (0, 0, 0);
		open my $f, "+<", $image or die;
		my $pid = fork // die;
		exec @run if !$pid;
		while (!waitpid $pid, WNOHANG) {
			my $lock = pack "ssx4qqlx4", F_WRLCK, 0, 0, 0, 0;
			fcntl $f, F_GETLK, $lock or die;
			my $is = unpack("s", $lock) != F_UNLCK;
			$gaps++ if $is && !$was && $held;
			$held ||= $is;
			$was = $is;
		}
		print $held ? $gaps : "never held";' "$image" timeout 60 "$quire" run \
		--paging=ept --max-reboots=15 "--disk=$image$1" "$dir/resets" 2>/dev/null
}
for how in '' ,ro ,overlay="$dir"; do
	found=$(gaps "$how")
	check "a reset lets nobody have the image (${how:-to write}): $found gaps" [ "$found" = 0 ]
done
status 122 'reset itself 16 times' "... as which the guest ends" "$quire" run \
	--paging=ept --max-reboots=15 --disk="$image" "$dir/resets"

# After a reset it is the same image, even if its path is gone.  This guest prints a newline, reads
# a byte, and resets itself.
printf '\xba\xf8\x03\xb0\x0a\xee\xba\xfd\x03\xec\xa8\x01\x74\xfb\xba\xf8\x03\xec' >"$dir/asks"
cat "$dir/resets" >>"$dir/asks"
mkfifo "$dir/in"
ask() { # ask TIMES: tell it to reset itself, when it has asked so often
	until [ "$(wc -l <"$dir/out")" -ge "$1" ] || ! kill -0 $run 2>/dev/null; do
		sleep 0.05
	done
	rm -f "$dir/base"
	(echo >&9) 2>/dev/null
}
without_path() {
	local run code

	cp "$image" "$dir/base"
	: >"$dir/out"
	timeout 60 "$quire" run --paging=ept --max-reboots=1 "--disk=$dir/base$1" "$dir/asks" \
		<"$dir/in" >"$dir/out" 2>"$dir/errors" &
	run=$!
	exec 9>"$dir/in"
	ask 1
	ask 2
	exec 9>&-
	wait $run
	code=$?
	[ $code -eq 122 ] && [ "$(wc -l <"$dir/out")" -eq 2 ]
}
for how in '' ,ro ,overlay="$dir"; do
	check "an image that was removed is there after a reset (${how:-to write})" \
		without_path "$how" || sed 's/^/# /' "$dir/errors"
done

# What is no disk.
mkdir "$dir/folder"
: >"$dir/empty"
echo short >"$dir/odd"
mkfifo "$dir/pipe"
status 2 'is a directory' "a directory" "$quire" run --disk="$dir/folder" "$quill" hello
status 2 'is empty' "an empty file" "$quire" run --disk="$dir/empty" "$quill" hello
status 2 'whole sectors' "six bytes" "$quire" run --disk="$dir/odd" "$quill" hello
status 2 'neither a file' "a pipe" "$quire" run --disk="$dir/pipe",ro "$quill" hello
status 2 'No such file' "no file" "$quire" run --disk="$dir/none" "$quill" hello
status 2 'not ro, overlay' "an unknown word" "$quire" run --disk="$image",rw "$quill" hello
status 2 'cannot all write' "a disk for two" "$quire" run -n 2 --disk="$image" "$quill" hello

# A file system that is full: an overlay on a tmpfs of a megabyte, in a namespace of our own.
full() {
	timeout 120 unshare -m sh -c 'mount -t tmpfs -o size=1M none "$1" && shift && exec "$@"' - \
		"$dir/folder" "$quire" run --disk="$image",overlay="$dir/folder" "$quill" \
		disk fill 1 >"$dir/out" 2>"$dir/errors"
	[ $? -eq 1 ] && grep -q 'a write failed at page' "$dir/out"
}
# ... and one on which not even the overlay's bitmap finds room
no_bitmap() {
	# shellcheck disable=SC2016
	timeout 120 unshare -m sh -c 'mount -t tmpfs -o size=1M none "$1" &&
		head -c 1M /dev/zero >"$1/filler" && shift && exec "$@"' - "$dir/folder" \
		"$quire" run --disk="$image",overlay="$dir/folder" "$quill" disk fill 1
}
if unshare -m true 2>/dev/null; then
	check "a full file system is the guest's I/O error" full
	check "... of which the host says a line" \
		[ "$(grep -c 'writing to.*No space left' "$dir/errors")" -eq 1 ]
	status 2 'cannot make the overlay.*No space left.*overlay=DIR' \
		"a full file system for the bitmap is said before there is a guest" no_bitmap
else
	skip "no mount namespace"
	skip "no mount namespace"
	skip "no mount namespace"
fi
done_testing
