/* SPDX-License-Identifier: MIT */
/* The window is made and taken away. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "mmu/base/exact.h"
#include "ramfile.h"
#include "uffd.h"
#include "window_internal.h"

#define WINDOW_ALIGN GiB

/* Reserve span bytes of address space at a 1 GiB boundary, inaccessible.  NULL: there are none. */
static uint8_t *reserve_aligned(uint64_t span)
{
	uint64_t size = span + WINDOW_ALIGN, head;
	uint8_t *p =
		mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	head = align_up((uintptr_t)p, WINDOW_ALIGN) - (uintptr_t)p;
	if (head)
		munmap(p, head);
	munmap(p + head + span, size - head - span);
	return p + head;
}

/* Before 6.3 khugepaged fills holes of the file from a mapping that waits for them, too. */
static int make_exact(struct window *w, uint64_t start, uint64_t bytes)
{
	madvise(w->alias + start, bytes, MADV_NOHUGEPAGE);
	return exact_map(w->exact, w->alias + start, bytes);
}

static int map_window(struct window *w, uint64_t start, uint64_t bytes)
{
	int err = window_map_ram(w, w->base, start, bytes);

	if (!err)
		err = window_register(w, start, bytes, WINDOW_MISSING_WP);
	if (!err)
		window_leave_undumped(w->base, start, bytes);
	return err;
}

static int map_alias(struct window *w, uint64_t start, uint64_t bytes)
{
	int err = window_map_ram(w, w->alias, start, bytes);

	if (!err && w->exact >= 0)
		err = make_exact(w, start, bytes);
	if (!err)
		window_leave_undumped(w->alias, start, bytes);
	return err;
}

static int map_all(struct window *w, const struct gfn_range *ram, unsigned int nr)
{
	int err = map_alias(w, w->span, w->span);

	for (unsigned int i = 0; i < nr && !err; i++) {
		uint64_t start = gfn_to_gpa(ram[i].start);
		uint64_t bytes = gfn_to_gpa(ram[i].end) - start;

		err = map_alias(w, start, bytes);
		if (!err && w->base != w->alias)
			err = map_window(w, start, bytes);
	}
	return err;
}

/* Open the RAM file.  Where the host's policy of huge pages may bind it, the alias is exact. */
static int open_ram(struct window *w, bool huge, int ram_fd, struct quire_error *err)
{
	bool writes_exactly = false;

	w->ram_fd = ram_fd ? fcntl(ram_fd, F_DUPFD_CLOEXEC, 0) :
			     ramfile_create(w->span, 2 * w->span, huge, &writes_exactly, err);
	if (w->ram_fd < 0)
		return ram_fd ? quire_fail(err, -errno, "cannot open guest RAM: %s",
					   strerror(errno)) :
				w->ram_fd;
	if (writes_exactly)
		return 0;
	w->exact = exact_open();
	if (w->exact < 0)
		return quire_fail(err, w->exact, "userfaultfd for guest RAM: %s",
				  strerror(-w->exact));
	return 0;
}

int window_create(struct window *w, const struct gfn_range *ram, unsigned int nr, bool huge,
		  bool events, int ram_fd, struct quire_error *err)
{
	int error;

	*w = (struct window){
		.backend = { &window_ops, .mappings = nr, .max_mappings = mappings_most(),
			     .lost = BACKEND_NOTHING_LOST },
		.span = align_up(gfn_to_gpa(ram[nr - 1].end), QUIRE_BLOCK_SIZE),
		.ram_fd = -1,
		.uffd = -1,
		.exact = -1,
		.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC),
	};
	if (events) {
		w->uffd = uffd_open(err);
		if (w->uffd < 0) {
			error = w->uffd;
			goto fail;
		}
	}
	error = open_ram(w, huge, ram_fd, err);
	if (error)
		goto fail;
	w->base = reserve_aligned(events ? w->span : 2 * w->span);
	w->alias = events ? reserve_aligned(2 * w->span) : w->base;
	w->fill_at = reserve_aligned(QUIRE_BLOCK_SIZE);
	error = mappings_init(&w->maps, ram, nr);
	if (!error)
		error = w->base && w->alias && w->fill_at ? map_all(w, ram, nr) : -ENOMEM;
	if (!error)
		return 0;
	quire_fail(err, error,
		   "cannot map %llu MiB of guest RAM: %s; use a smaller -m, or raise the limit on "
		   "address space (ulimit -v) or the sysctl vm.max_map_count",
		   (unsigned long long)(w->span >> 20), strerror(-error));
fail:
	window_destroy(w);
	return error;
}

void window_destroy(struct window *w)
{
	if (w->base && w->base != w->alias)
		munmap(w->base, w->span);
	if (w->alias)
		munmap(w->alias, 2 * w->span);
	if (w->fill_at)
		munmap(w->fill_at, QUIRE_BLOCK_SIZE);
	mappings_finish(&w->maps);
	if (w->uffd >= 0)
		close(w->uffd);
	if (w->ram_fd >= 0)
		close(w->ram_fd);
	if (w->pagemap >= 0)
		close(w->pagemap);
	if (w->exact >= 0)
		close(w->exact);
}
