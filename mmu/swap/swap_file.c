/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "swap_file.h"

#ifndef STATX_DIOALIGN /* Linux 6.1; glibc came later */
#define STATX_DIOALIGN 0x2000u
#endif

/* Where stx_dio_offset_align is in struct statx; not every C library names it. */
#define DIO_OFFSET_ALIGN 0x9c

/* Not every file system can make a file without a name. */
static int make_named(const char *dir, int flags)
{
	char name[4096];
	int fd;

	if (snprintf(name, sizeof(name), "%s/quire-swap.XXXXXX", dir) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	fd = mkostemp(name, flags | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(name);
	return fd;
}

static int make(const char *dir, int flags)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);

	if (fd >= 0)
		return fd;
	return errno == EOPNOTSUPP || errno == EISDIR ? make_named(dir, flags) : -errno;
}

/* What direct input and output wants.  A kernel that does not say gets whole pages. */
static uint32_t dio_unit(int fd)
{
	struct statx stx;
	uint32_t align;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) || !(stx.stx_mask & STATX_DIOALIGN))
		return QUIRE_PAGE_SIZE;
	memcpy(&align, (const char *)&stx + DIO_OFFSET_ALIGN, sizeof(align));
	if (!align || align & (align - 1) || align > QUIRE_PAGE_SIZE)
		return 0;
	return align < SPACE_MIN_UNIT ? SPACE_MIN_UNIT : align;
}

static bool is_in_memory(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* Open it for direct input and output, or else as any file. */
static int make_direct(const char *dir, uint32_t *unit)
{
	int fd = make(dir, O_DIRECT);

	*unit = fd < 0 ? 0 : dio_unit(fd);
	if (*unit || (fd < 0 && fd != -EINVAL))
		return fd;
	if (fd >= 0)
		close(fd);
	*unit = SPACE_MIN_UNIT;
	return make(dir, 0);
}

int swap_file_make(const char *dir, uint64_t bytes, uint32_t *unit, struct quire_error *err)
{
	int fd = make_direct(dir, unit), code;

	if (fd < 0)
		return quire_fail(err, fd, "--swap-dir: cannot make a file in %.200s: %s", dir,
				  strerror(-fd));
	if (is_in_memory(fd)) {
		close(fd);
		return quire_fail(err, -EINVAL,
				  "--swap-dir: %.200s is in memory; name a directory on a disk",
				  dir);
	}
	if (!ftruncate(fd, (off_t)bytes))
		return fd;
	code = -errno;
	close(fd);
	return quire_fail(err, code, "--swap-dir: cannot make a file of %lu MiB in %.200s: %s",
			  (unsigned long)(bytes >> 20), dir, strerror(-code));
}
