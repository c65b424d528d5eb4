/* SPDX-License-Identifier: MIT */
/*
 * Guest images: reading the file, and telling the formats apart.
 *
 * The file is read and not mapped.  Another process may truncate or rewrite it at any time: then a
 * mapping would kill us with SIGBUS, or change between a check and its use.  Holes are not read, so
 * a sparse file costs only what is in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mmu/base/reserve.h"
#include "load.h"

/*
 * Find the format by content, the most specific one first.  A PVH note wins over a multiboot
 * header:  an image that has both knows about virtual machines, as the note says.
 */
static int dispatch(struct loader *ld)
{
	struct elf_image elf;
	bool is_elf = elf_recognise(ld->config);
	int ret = 0;

	if (is_elf) {
		ret = elf_open(ld, &elf);
		if (!ret)
			ret = load_pvh(ld, &elf);
	}
	if (!ret)
		ret = load_multiboot(ld, is_elf ? &elf : NULL);
	if (ret)
		return ret < 0 ? ret : 0;
	if (!is_elf)
		return load_flat(ld);
	return load_fail(ld, -ENOEXEC,
			 "ELF%u without a PVH note%s: a kernel needs one (Linux: "
			 "CONFIG_PVH=y; an ordinary program cannot be run)",
			 elf.is64 ? 64 : 32,
			 elf.is64 ? "" : " or a multiboot 1 header in its first 8192 bytes");
}

int image_plan(const struct image_config *config, struct image_plan *plan, struct quire_error *err)
{
	struct loader ld = { .config = config, .plan = plan, .err = err };
	int ret;

	memset(plan, 0, sizeof(*plan));
	if (!config->file_bytes)
		return load_fail(&ld, -ENOEXEC, "empty (0 bytes)");
	if (config->nr_ram > IMAGE_MAX_RAM_RANGES)
		return load_fail(&ld, -EINVAL, "%u RAM ranges, of at most %u", config->nr_ram,
				 IMAGE_MAX_RAM_RANGES);
	ret = dispatch(&ld);
	if (ret)
		image_plan_finish(plan);
	return ret;
}

void image_plan_finish(struct image_plan *plan)
{
	free(plan->boot_data);
	memset(plan, 0, sizeof(*plan));
}

/* Read [from, to) of fd to the same offsets of data.  0; -ESTALE: the file ends early; -errno. */
static int read_extent(int fd, uint8_t *data, off_t from, off_t to)
{
	while (from < to) {
		ssize_t n = pread(fd, data + from, to - from, from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ESTALE;
		from += n;
	}
	return 0;
}

/* Read all of fd.  data is zero already, and stays so where the file has holes. */
static int read_data(int fd, uint8_t *data, off_t bytes)
{
	off_t from = 0, to;
	int err;

	while (from < bytes) {
		from = lseek(fd, from, SEEK_DATA);
		if (from < 0) /* ENXIO: there is only a hole left, or the file has shrunk */
			return errno == ENXIO ? 0 : -errno;
		to = lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			return errno == ENXIO ? -ESTALE : -errno;
		to = to < bytes ? to : bytes;
		err = read_extent(fd, data, from, to);
		if (err)
			return err;
		from = to;
	}
	return 0;
}

static int check_file(struct loader *ld, const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		return load_fail(ld, -EISDIR, "a directory, and not a file");
	if (!S_ISREG(st->st_mode))
		return load_fail(ld, -EINVAL, "not a regular file (mode %#o): copy it to one",
				 st->st_mode);
	if (!st->st_size)
		return load_fail(ld, -ENOEXEC, "empty (0 bytes): name a guest image");
	if ((uint64_t)st->st_size > IMAGE_MAX_FILE_BYTES)
		return load_fail(ld, -EFBIG,
				 "%" PRIu64 " bytes, of at most %" PRIu64 ": strip the "
				 "image",
				 (uint64_t)st->st_size, (uint64_t)IMAGE_MAX_FILE_BYTES);
	return 0;
}

static int read_file(struct loader *ld, int fd, struct image_file *file)
{
	struct stat st, now;
	uint8_t *data;
	int err;

	if (fstat(fd, &st))
		return load_fail(ld, -errno, "cannot stat: %s", strerror(errno));
	err = check_file(ld, &st);
	if (err)
		return err;
	data = reserve(st.st_size);
	if (!data)
		return load_fail(ld, -ENOMEM, "the host has no memory for its %" PRIu64 " bytes",
				 (uint64_t)st.st_size);
	err = read_data(fd, data, st.st_size);
	if (!err && (fstat(fd, &now) || now.st_size != st.st_size))
		err = -ESTALE;
	if (err) {
		unreserve(data, st.st_size);
		if (err == -ESTALE)
			return load_fail(ld, err,
					 "no longer has the %" PRIu64 " bytes it had a "
					 "moment ago: wait until it is written",
					 (uint64_t)st.st_size);
		return load_fail(ld, err, "cannot read its %" PRIu64 " bytes: %s",
				 (uint64_t)st.st_size, strerror(-err));
	}
	*file = (struct image_file){ data, st.st_size };
	return 0;
}

int image_open(const char *path, struct image_file *file, struct quire_error *err)
{
	const struct image_config config = { .name = path };
	struct loader ld = { .config = &config, .err = err };
	/* Without O_NONBLOCK a pipe to which nobody writes would keep us here. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int ret;

	*file = (struct image_file){ NULL, 0 };
	if (fd < 0)
		return load_fail(&ld, -errno, "cannot open: %s", strerror(errno));
	ret = read_file(&ld, fd, file);
	close(fd);
	return ret;
}

void image_close(struct image_file *file)
{
	unreserve((void *)(uintptr_t)file->data, file->bytes);
	*file = (struct image_file){ NULL, 0 };
}
