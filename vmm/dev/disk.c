/* SPDX-License-Identifier: MIT */
/*
 * Opening a disk's files, and the overlay's map of what was changed.
 *
 * The overlay's file is an ordinary file and no memfd, because it may become as large as the image,
 * and a memfd is memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <linux/fs.h>
#include <unistd.h>
#include "disk.h"

#define BITS 8u

/*
 * A VM that was killed holds its lock until its ring is gone, with the last write that was in
 * flight: some tens of milliseconds longer than its process.
 */
#define LOCK_PATIENCE_MS 1000u
#define LOCK_STEP_MS	 10

/* ---- the image ---- */

static int no_disk(const char *path, struct quire_error *err, const char *why)
{
	return quire_fail(err, -EINVAL, "--disk: %.300s %s", path, why);
}

static int measure(struct disk *d, struct quire_error *err)
{
	struct stat st;

	if (fstat(d->fd, &st))
		return quire_fail(err, -errno, "--disk: cannot look at %.300s: %s", d->path,
				  strerror(errno));
	if (S_ISDIR(st.st_mode))
		return no_disk(d->path, err, "is a directory, not a disk image");
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return no_disk(d->path, err, "is neither a file nor a block device");
	d->bytes = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(d->fd, BLKGETSIZE64, &d->bytes))
		return quire_fail(err, -errno, "--disk: cannot measure %.300s: %s", d->path,
				  strerror(errno));
	if (!d->bytes)
		return no_disk(d->path, err, "is empty; truncate -s SIZE gives it a size");
	if (d->bytes % DISK_SECTOR)
		return quire_fail(err, -EINVAL,
				  "--disk: %.300s has %llu bytes, which are no whole sectors of "
				  "512; truncate -s %%512 fills the last one up",
				  d->path, (unsigned long long)d->bytes);
	return 0;
}

/* A descriptor of the same file for reading, instead of this one; or -1 with errno. */
static int open_again(int fd)
{
	char path[32];
	int again, error;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	error = errno;
	close(fd);
	errno = error;
	return again;
}

static int open_image(struct disk *d, enum disk_mode mode, int kept, struct quire_error *err)
{
	bool write = mode == DISK_READ_WRITE;
	int ret;

	/* Nonblocking, so that a pipe is refused and not waited for. */
	if (kept < 0)
		d->fd = open(d->path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	else
		d->fd = write ? kept : open_again(kept);
	ret = d->fd < 0 ? -errno : 0;
	if (ret == -EISDIR)
		return no_disk(d->path, err, "is a directory, not a disk image");
	if (write && (ret == -EACCES || ret == -EROFS || ret == -EPERM))
		return quire_fail(err, ret,
				  "--disk: cannot write to %.300s: %s; with ,ro the guest only "
				  "reads it, with ,overlay its changes are kept aside",
				  d->path, strerror(-ret));
	if (ret)
		return quire_fail(err, ret, "--disk: cannot open %.300s: %s", d->path,
				  strerror(-ret));
	return measure(d, err);
}

static int lock_image(struct disk *d, bool write, struct quire_error *err)
{
	struct flock lock = { .l_type = write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };

	for (unsigned int ms = 0; ms < LOCK_PATIENCE_MS; ms += LOCK_STEP_MS) {
		d->locked = !fcntl(d->fd, F_OFD_SETLK, &lock);
		if (d->locked)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			break;
		poll(NULL, 0, LOCK_STEP_MS);
	}
	if (errno != EAGAIN && errno != EACCES)
		return quire_fail(err, -errno, "--disk: cannot lock %.300s: %s", d->path,
				  strerror(errno));
	return quire_fail(err, -EBUSY,
			  write ? "--disk: %.300s is in use by another VM; wait for that one, or "
				  "have it read only by all of them: ,ro or ,overlay" :
				  "--disk: another VM writes to %.300s; wait for it to end",
			  d->path);
}

/* ---- how it can be used ---- */

/* Can the file be used without the page cache, sector by sector?  It has a sector. */
static bool set_direct(int fd, void *sector)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT))
		return false;
	if (pread(fd, sector, DISK_SECTOR, 0) == (ssize_t)DISK_SECTOR)
		return true;
	fcntl(fd, F_SETFL, flags);
	return false;
}

static void set_buffered(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags & ~O_DIRECT);
}

/* Try where nothing is: behind the end, without making the file longer. */
static bool can_punch(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return false;
	return S_ISBLK(st.st_mode) ||
	       !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)align_up((uint64_t)st.st_size, DISK_CLUSTER), DISK_CLUSTER);
}

static void look_at_files(struct disk *d)
{
	d->direct = set_direct(d->fd, d->cluster);
	if (d->direct && d->delta_fd >= 0 && !set_direct(d->delta_fd, d->cluster)) {
		set_buffered(d->fd);
		d->direct = false;
	}
	d->punch = !d->read_only && can_punch(disk_write_fd(d));
}

/* ---- the overlay ---- */

static uint64_t nr_clusters(const struct disk *d)
{
	return (d->bytes + DISK_CLUSTER - 1) / DISK_CLUSTER;
}

/* The bitmap, in bytes, and where it is in the overlay's file. */
static uint64_t bitmap_bytes(const struct disk *d)
{
	return align_up(nr_clusters(d), BITS * DISK_CLUSTER) / BITS;
}

static uint64_t bitmap_offset(const struct disk *d)
{
	return align_up(d->bytes, DISK_CLUSTER);
}

static int unnamed_file(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	if (snprintf(path, sizeof(path), "%s/quire-XXXXXX", dir) >= (int)sizeof(path))
		return errno = ENAMETOOLONG, -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

int disk_make_delta(const struct disk_spec *spec)
{
	int fd = unnamed_file(spec->overlay_dir);

	return fd < 0 ? -errno : fd;
}

/* Give a file that is empty its size, and the bitmap its place on the host's disk.  0 or -errno. */
static int make_bitmap(const struct disk *d)
{
	int ret;

	do
		ret = posix_fallocate(d->delta_fd, (off_t)bitmap_offset(d), (off_t)bitmap_bytes(d));
	while (ret == EINTR);
	return -ret;
}

/* 0; -errno; -ESTALE: the file is another disk's. */
static int map_bitmap(struct disk *d)
{
	struct stat st;
	int ret = fstat(d->delta_fd, &st) ? -errno : 0;
	void *p;

	if (!ret && !st.st_size)
		ret = make_bitmap(d);
	else if (!ret && (uint64_t)st.st_size != bitmap_offset(d) + bitmap_bytes(d))
		ret = -ESTALE;
	if (ret)
		return ret;
	p = mmap(NULL, bitmap_bytes(d), PROT_READ | PROT_WRITE, MAP_SHARED, d->delta_fd,
		 (off_t)bitmap_offset(d));
	if (p == MAP_FAILED)
		return -errno;
	d->changed = p;
	return 0;
}

static int open_overlay(struct disk *d, const struct disk_spec *spec, struct quire_error *err)
{
	int ret;

	if (d->delta_fd < 0)
		d->delta_fd = disk_make_delta(spec);
	ret = d->delta_fd < 0 ? d->delta_fd : map_bitmap(d);
	if (ret == -ESTALE)
		return no_disk(d->path, err,
			       "has another size than when its overlay was made; start anew");
	if (ret)
		return quire_fail(err, ret,
				  "--disk: cannot make the overlay of %.200s in %.200s: %s; "
				  ",overlay=DIR names another directory",
				  d->path, spec->overlay_dir, strerror(-ret));
	return 0;
}

static bool is_changed(const struct disk *d, uint64_t cluster)
{
	return d->changed[cluster / BITS] >> cluster % BITS & 1;
}

uint64_t disk_run(const struct disk *d, uint64_t pos, uint64_t len, int *fd)
{
	uint64_t cluster = pos / DISK_CLUSTER, end = pos + len;
	bool changed = d->changed && is_changed(d, cluster);

	*fd = changed ? d->delta_fd : d->fd;
	if (!d->changed)
		return len;
	while (++cluster * DISK_CLUSTER < end && is_changed(d, cluster) == changed)
		;
	return min_u64(end, cluster * DISK_CLUSTER) - pos;
}

/* Copy a cluster from the image to the overlay. */
static int complete(struct disk *d, uint64_t cluster)
{
	uint64_t pos = cluster * DISK_CLUSTER, len = min_u64(DISK_CLUSTER, d->bytes - pos);
	ssize_t n = pread(d->fd, d->cluster, len, (off_t)pos);

	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	n = pwrite(d->delta_fd, d->cluster, len, (off_t)pos);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	disk_after_write(d, pos, len);
	return 0;
}

int disk_before_write(struct disk *d, uint64_t pos, uint64_t len)
{
	uint64_t first = pos / DISK_CLUSTER, last = (pos + len - 1) / DISK_CLUSTER;
	int ret = 0;

	if (!d->changed || !len)
		return 0;
	if (pos % DISK_CLUSTER && !is_changed(d, first))
		ret = complete(d, first);
	if (!ret && (pos + len) % DISK_CLUSTER && pos + len < d->bytes && !is_changed(d, last))
		ret = complete(d, last);
	return ret;
}

void disk_after_write(struct disk *d, uint64_t pos, uint64_t len)
{
	if (!d->changed || !len)
		return;
	for (uint64_t c = pos / DISK_CLUSTER; c <= (pos + len - 1) / DISK_CLUSTER; c++)
		d->changed[c / BITS] |= (uint8_t)(1u << c % BITS);
}

int disk_write_fd(const struct disk *d)
{
	return d->delta_fd >= 0 ? d->delta_fd : d->fd;
}

/* ---- life ---- */

static int open_all(struct disk *d, const struct disk_spec *spec, int kept, struct quire_error *err)
{
	bool write = spec->mode == DISK_READ_WRITE;
	int ret = open_image(d, spec->mode, kept, err);

	if (!ret && !(write && kept >= 0)) /* that one is locked */
		ret = lock_image(d, write, err);
	if (!ret && posix_memalign(&d->cluster, DISK_CLUSTER, DISK_CLUSTER))
		ret = quire_fail(err, -ENOMEM, "no memory for a disk");
	if (!ret && spec->mode == DISK_OVERLAY)
		ret = open_overlay(d, spec, err);
	return ret;
}

int disk_open(const struct disk_spec *spec, const struct disk_kept *kept, struct disk **out,
	      struct quire_error *err)
{
	struct disk *d = calloc(1, sizeof(*d));
	int ret;

	if (!d) {
		if (kept && kept->image >= 0)
			close(kept->image);
		if (kept && kept->delta >= 0)
			close(kept->delta);
		return quire_fail(err, -ENOMEM, "no memory for a disk");
	}
	d->path = spec->path;
	d->fd = -1;
	d->delta_fd = kept ? kept->delta : -1;
	d->read_only = spec->mode == DISK_READ_ONLY;
	ret = open_all(d, spec, kept ? kept->image : -1, err);
	if (ret) {
		disk_close(d);
		return ret;
	}
	look_at_files(d);
	*out = d;
	return 0;
}

void disk_unlock(int fd)
{
	const struct flock none = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	(void)fcntl(fd, F_OFD_SETLK, &none);
}

int disk_hold(struct disk *d)
{
	int fd = d->fd;

	d->fd = -1;
	disk_close(d);
	return fd;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	/* A ring may have the file for a moment longer, but nothing is in flight. */
	if (d->fd >= 0 && d->locked)
		disk_unlock(d->fd);
	if (d->fd >= 0)
		close(d->fd);
	if (d->delta_fd >= 0)
		close(d->delta_fd);
	if (d->changed)
		munmap(d->changed, bitmap_bytes(d));
	free(d->cluster);
	free(d);
}
