/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "tests/memory/files.h"

int tmpfs_file(const char *huge, uint64_t room, uint64_t bytes)
{
	int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), mnt = -1, fd;
	char size[32];

	snprintf(size, sizeof(size), "%llu", (unsigned long long)room);
	if (fs >= 0 && !syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "huge", huge, 0) &&
	    !syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", size, 0) &&
	    !syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (fs >= 0)
		close(fs);
	if (mnt < 0)
		return -1;
	fd = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	close(mnt);
	return fd < 0 || ftruncate(fd, (off_t)bytes) ? -1 : fd;
}

int segment_file(uint64_t bytes, int *for_vm)
{
	int fd = memfd_create("test-store", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	char path[48];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*for_vm = open(path, O_RDONLY | O_CLOEXEC);
	if (*for_vm < 0 || ftruncate(fd, (off_t)bytes) || fchmod(fd, 0400) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
		return -1;
	return fd;
}
