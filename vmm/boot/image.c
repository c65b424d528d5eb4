/* SPDX-License-Identifier: MIT */
/*
 * Guest images: reading the file, telling the formats apart, and the plan.
 *
 * What looks at the bytes of a file (image_read) is apart from what makes the plan, and only
 * numbers go from the one to the other.  The first may be done by a process that has no rights, and
 * then means nothing to the second: image_plan() checks each number as if a guest had sent it.
 *
 * The file is copied and not mapped.  Another process may truncate or rewrite it at any time: then
 * a mapping would kill us with SIGBUS, or change between a check and its use.  The copy is a sealed
 * file without a name, so that the processes of VMs can map it too.  Holes are not copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mmu/base/sealed.h"
#include "load.h"

/* Version 1 first, as elsewhere; but only version 2 takes an ELF64 as it is. */
static int load_any_multiboot(struct loader *ld, const struct elf_image *elf)
{
	bool is64 = elf && elf->is64;
	int ret = is64 ? load_multiboot2(ld, elf) : load_multiboot(ld, elf);

	if (ret)
		return ret;
	return is64 ? load_multiboot(ld, elf) : load_multiboot2(ld, elf);
}

/*
 * Find the format by content, the most specific one first.  A PVH note wins over a multiboot
 * header:  an image that has both knows about virtual machines, as the note says.
 */
static int dispatch(struct loader *ld)
{
	struct elf_image elf;
	bool is_elf = elf_recognise(ld->config);
	int ret = is_elf ? elf_open(ld, &elf) : load_linux(ld);

	if (is_elf && !ret)
		ret = load_pvh(ld, &elf);
	if (!ret)
		ret = load_any_multiboot(ld, is_elf ? &elf : NULL);
	if (ret)
		return ret < 0 ? ret : 0;
	if (!is_elf)
		return load_flat(ld);
	return load_fail(ld, -ENOEXEC,
			 "ELF%u without a PVH note%s: a kernel needs one (of Linux, use the "
			 "bzImage, or CONFIG_PVH=y; an ordinary program cannot be run)",
			 elf.is64 ? 64 : 32,
			 elf.is64 ? " or a multiboot 2 header" : " or a multiboot header");
}

const char *image_kind_name(enum image_kind kind)
{
	static const char *const name[IMAGE_NR_KINDS] = {
		[IMAGE_PVH64] = "ELF64 with a PVH note",
		[IMAGE_PVH32] = "ELF32 with a PVH note",
		[IMAGE_LINUX64] = "Linux boot protocol, 64-bit entry",
		[IMAGE_LINUX32] = "Linux boot protocol, 32-bit entry",
		[IMAGE_MULTIBOOT] = "multiboot 1",
		[IMAGE_MULTIBOOT2] = "multiboot 2",
		[IMAGE_FLAT] = "flat image",
	};

	return name[kind];
}

static int look(struct loader *ld)
{
	const struct image_config *config = ld->config;

	if (!config->file_bytes)
		return load_fail(ld, -ENOEXEC, "empty (0 bytes)");
	if (config->nr_ram > IMAGE_MAX_RAM_RANGES)
		return load_fail(ld, -EINVAL, "%u RAM ranges, of at most %u", config->nr_ram,
				 IMAGE_MAX_RAM_RANGES);
	return dispatch(ld);
}

static struct image_part part_of(const struct image_config *config, const struct image_segment *s)
{
	return (struct image_part){
		.gpa = s->gpa,
		.offset = s->data ? (uint64_t)((const uint8_t *)s->data -
					       (const uint8_t *)config->file) :
				    0,
		.file_bytes = s->file_bytes,
		.mem_bytes = s->mem_bytes,
	};
}

void image_read(const struct image_config *config, struct image_outline *outline)
{
	struct quire_error err = { "" };
	struct image_plan plan = { .nr_segments = 0 };
	struct loader ld = { .config = config, .plan = &plan, .err = &err };

	memset(outline, 0, sizeof(*outline));
	outline->code = look(&ld);
	memcpy(outline->text, err.text, sizeof(outline->text));
	outline->kind = plan.kind;
	outline->entry = plan.entry;
	outline->kernel = plan.kernel;
	outline->nr_parts = plan.nr_segments;
	for (unsigned int i = 0; i < plan.nr_segments; i++)
		outline->part[i] = part_of(config, &plan.segment[i]);
}

/* ---- the plan, of an outline that may say anything ---- */

/* How the plan of each kind of image is completed. */
static int (*const complete[IMAGE_NR_KINDS])(struct loader *ld) = {
	[IMAGE_PVH64] = load_pvh_boot_data,
	[IMAGE_PVH32] = load_pvh_boot_data,
	[IMAGE_LINUX64] = load_linux_boot_data,
	[IMAGE_LINUX32] = load_linux_boot_data,
	[IMAGE_MULTIBOOT] = load_multiboot_boot_data,
	[IMAGE_MULTIBOOT2] = load_multiboot2_boot_data,
	[IMAGE_FLAT] = load_flat_check,
};

/* What a reader says goes to a terminal. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/* Why the file is no image. */
static int refused(struct loader *ld, const struct image_outline *outline)
{
	char text[sizeof(outline->text)];
	int code = outline->code;

	snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1, outline->text);
	make_printable(text);
	if (code != -EFBIG && code != -EINVAL)
		code = -ENOEXEC;
	return quire_fail(ld->err, code, "%s", text);
}

static int take_part(struct loader *ld, unsigned int i, const struct image_part *part)
{
	char what[32];

	snprintf(what, sizeof(what), "part %u", i);
	if (!load_in_file(ld, part->offset, part->file_bytes))
		return load_fail(ld, -ENOEXEC, "%s is not in the file", what);
	return load_segment(ld, what, part->gpa, (const uint8_t *)ld->config->file + part->offset,
			    part->file_bytes, part->mem_bytes);
}

static void take_kernel(struct image_plan *plan, const struct image_kernel *kernel)
{
	plan->kernel = *kernel;
	plan->kernel.version[sizeof(plan->kernel.version) - 1] = '\0';
	make_printable(plan->kernel.version);
	if (plan->kind == IMAGE_LINUX64 || plan->kind == IMAGE_LINUX32)
		plan->kernel.is_linux = true;
	else if (plan->kind != IMAGE_PVH64 && plan->kind != IMAGE_PVH32)
		plan->kernel.is_linux = false;
}

static int take_parts(struct loader *ld, const struct image_outline *outline)
{
	int ret = 0;

	if (outline->kind >= IMAGE_NR_KINDS || outline->nr_parts > IMAGE_MAX_SEGMENTS)
		return load_fail(ld, -ENOEXEC, "kind %u, %u parts: no such image", outline->kind,
				 outline->nr_parts);
	ld->plan->kind = (enum image_kind)outline->kind;
	take_kernel(ld->plan, &outline->kernel);
	for (unsigned int i = 0; i < outline->nr_parts && !ret; i++)
		ret = take_part(ld, i, &outline->part[i]);
	return ret ? ret : load_entry(ld, "entry", outline->entry);
}

/* Complete a plan that has its parts. */
static int finish_plan(struct loader *ld)
{
	if (ld->config->nr_initrds && !ld->plan->kernel.is_linux)
		return load_fail(ld, -EINVAL,
				 "%s, and not Linux: --initrd is for Linux, use --module=FILE",
				 image_kind_name(ld->plan->kind));
	ld->plan->cmdline = load_cmdline(ld->config, ld->plan);
	if (!ld->plan->cmdline)
		return load_fail(ld, -ENOMEM, "the host has no memory for its command line");
	return complete[ld->plan->kind](ld);
}

int image_plan(const struct image_config *config, const struct image_outline *outline,
	       struct image_plan *plan, struct quire_error *err)
{
	struct loader ld = { .config = config, .plan = plan, .err = err };
	int ret;

	memset(plan, 0, sizeof(*plan));
	ret = outline->code ? refused(&ld, outline) : take_parts(&ld, outline);
	if (!ret)
		ret = finish_plan(&ld);
	if (ret)
		image_plan_finish(plan);
	return ret;
}

void image_plan_finish(struct image_plan *plan)
{
	free(plan->cmdline);
	free(plan->boot_data);
	memset(plan, 0, sizeof(*plan));
}

/* Copy [from, to) of fd to the same offsets of `copy`.  0; -ESTALE: fd ends early; -errno. */
static int copy_extent(int copy, int fd, off_t from, off_t to)
{
	if (lseek(copy, from, SEEK_SET) < 0)
		return -errno;
	while (from < to) {
		ssize_t n = sendfile(copy, fd, &from, (size_t)(to - from));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			return -ESTALE;
	}
	return 0;
}

/* Copy all of fd but its holes. */
static int copy_data(int copy, int fd, off_t bytes)
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
		err = copy_extent(copy, fd, from, to < bytes ? to : bytes);
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

/* Returns the descriptor of a sealed copy; -errno; -ESTALE: its size changed meanwhile. */
static int sealed_copy(int fd, off_t bytes)
{
	int err, copy = sealed_create("quire-image");
	struct stat now;

	if (copy < 0)
		return copy;
	err = ftruncate(copy, bytes) ? -errno : copy_data(copy, fd, bytes);
	if (!err && (fstat(fd, &now) || now.st_size != bytes))
		err = -ESTALE;
	if (!err)
		err = sealed_finish(copy);
	if (!err)
		return copy;
	close(copy);
	return err;
}

static int read_file(struct loader *ld, int fd, struct image_file *file)
{
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return load_fail(ld, -errno, "cannot stat: %s", strerror(errno));
	err = check_file(ld, &st);
	if (err)
		return err;
	file->fd = sealed_copy(fd, st.st_size);
	if (file->fd == -ESTALE)
		return load_fail(ld, -ESTALE,
				 "no longer has the %" PRIu64 " bytes it had a moment ago: wait "
				 "until it is written",
				 (uint64_t)st.st_size);
	if (file->fd < 0)
		return load_fail(ld, file->fd, "cannot read its %" PRIu64 " bytes: %s",
				 (uint64_t)st.st_size, strerror(-file->fd));
	file->data = sealed_map(file->fd, &file->bytes);
	if (file->data)
		return 0;
	close(file->fd);
	return load_fail(ld, -ENOMEM, "the host has no memory for its %" PRIu64 " bytes",
			 (uint64_t)st.st_size);
}

int image_open(const char *path, struct image_file *file, struct quire_error *err)
{
	const struct image_config config = { .name = path };
	struct loader ld = { .config = &config, .err = err };
	/* Without O_NONBLOCK a pipe to which nobody writes would keep us here. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int ret;

	*file = (struct image_file){ NULL, 0, -1 };
	if (fd < 0)
		return load_fail(&ld, -errno, "cannot open: %s", strerror(errno));
	ret = read_file(&ld, fd, file);
	close(fd);
	return ret;
}

void image_close(struct image_file *file)
{
	if (file->data) {
		munmap((void *)(uintptr_t)file->data, file->bytes);
		close(file->fd);
	}
	*file = (struct image_file){ NULL, 0, -1 };
}
