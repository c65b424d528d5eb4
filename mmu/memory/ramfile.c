/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/mount.h>
#include "ramfile.h"

/* A descriptor of the directory of a new tmpfs that is mounted nowhere, or -1. */
static int detached_tmpfs(uint64_t bytes, bool huge)
{
	char size[32];
	int mnt = -1, fs = syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0)
		return -1;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	if (!syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "huge", huge ? "advise" : "never", 0) &&
	    !syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", size, 0) &&
	    !syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mnt = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return mnt;
}

static int own_file(uint64_t bytes, bool huge)
{
	int fd, mnt = detached_tmpfs(bytes, huge);

	if (mnt < 0)
		return -1;
	fd = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	close(mnt);
	return fd;
}

/* Whoever can name a memfd may open it again as its mode says, and that is 0777 at first. */
static int plain_file(void)
{
	int fd = memfd_create("quire-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && fchmod(fd, S_IRUSR | S_IWUSR)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A host whose shmem_enabled is "force" heeds no mount. */
static bool writes_exactly(int fd)
{
	bool exact = pwrite(fd, "", 1, 0) == 1 && ramfile_pages(fd) == 1;

	ramfile_punch(fd, 0, QUIRE_BLOCK_SIZE);
	return exact;
}

int ramfile_create(uint64_t bytes, uint64_t length, bool huge, bool *exact, struct quire_error *err)
{
	int fd = own_file(bytes, huge);

	*exact = fd >= 0;
	if (fd < 0)
		fd = plain_file();
	if (fd < 0)
		return quire_fail(err, -errno, "cannot create a file for guest RAM: %s",
				  strerror(errno));
	if (ftruncate(fd, length)) {
		int error = errno;

		close(fd);
		return quire_fail(
			err, -error,
			"cannot size guest RAM to %llu MiB: %s; use a smaller -m, or raise "
			"the file size limit (ulimit -f)",
			(unsigned long long)(bytes >> 20), strerror(error));
	}
	/* A tmpfs of our own has room for so much, and no seals. */
	fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	*exact = *exact && writes_exactly(fd);
	return fd;
}

uint64_t ramfile_next_data(int fd, uint64_t offset, uint64_t end)
{
	off_t at = lseek(fd, offset, SEEK_DATA);

	return at < 0 || (uint64_t)at > end ? end : (uint64_t)at;
}

/*
 * To punch part of a huge page the kernel has to split it.  That fails while somebody holds a
 * reference, such as a vCPU that faults it in at this moment; then the kernel zeroes the bytes but
 * keeps the page.  Such references are short, so we try again.  But we do not wait: others may wait
 * for the caller's lock.
 */
#define PUNCH_TRIES 8

int ramfile_punch(int fd, uint64_t offset, uint64_t bytes)
{
	for (unsigned int i = 0; i < PUNCH_TRIES; i++) {
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes)) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (ramfile_next_data(fd, offset, offset + bytes) == offset + bytes)
			return 0;
	}
	return -EAGAIN;
}

uint64_t ramfile_pages(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;
}
