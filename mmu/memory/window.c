/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include "mmu/base/compat.h"
#include "mmu/base/exact.h"
#include "ramfile.h"
#include "window_internal.h"

#define REFUSED 16u /* if the kernel refuses one, there are so many fewer */

/* --- mappings ---------------------------------------------------------------------------- */

int window_map_ram(struct window *w, uint8_t *base, uint64_t start, uint64_t bytes)
{
	void *p = mmap(base + start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		       w->ram_fd, start);

	return p == MAP_FAILED ? -errno : 0;
}

void window_leave_undumped(uint8_t *base, uint64_t start, uint64_t bytes)
{
	madvise(base + start, bytes, MADV_DONTDUMP);
}

int window_register(struct window *w, uint64_t start, uint64_t bytes, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)w->base + start, bytes },
		.mode = mode,
	};

	return ioctl(w->uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

/* --- pages ------------------------------------------------------------------------------- */

static struct window *window_of(struct backend *b)
{
	return (struct window *)((char *)b - offsetof(struct window, backend));
}

/* The page at gfn as the guest has it mapped. */
static const uint8_t *window_page(const struct window *w, gfn_t gfn)
{
	return w->base + gfn_to_gpa(gfn);
}

static struct uffdio_range range_of(const struct window *w, gfn_t gfn, uint64_t nr)
{
	return (struct uffdio_range){ (uintptr_t)w->base + gfn_to_gpa(gfn),
				      nr << QUIRE_PAGE_SHIFT };
}

static void window_wake(struct backend *b, gfn_t gfn, uint64_t nr)
{
	struct window *w = window_of(b);
	struct uffdio_range range = range_of(w, gfn, nr);

	ioctl(w->uffd, UFFDIO_WAKE, &range);
}

/*
 * On shared memory UFFDIO_ZEROPAGE allocates a zeroed page and enters it in the file and in the
 * window's page table.  It answers with a count of bytes done, which may come with EAGAIN when it
 * stopped half way; with -EAGAIN when it did nothing; with -EEXIST when the page is there already,
 * and then it has woken nobody; with -ENOENT when the kernel has the range in two mappings, as it
 * may before 6.4 where we count one.
 */
static int window_fill(struct backend *b, gfn_t gfn, uint64_t nr, uint64_t *done)
{
	struct window *w = window_of(b);
	uint64_t part = nr;

	*done = 0;
	while (*done < nr) {
		struct uffdio_zeropage zero;

		part = min_u64(part, nr - *done);
		zero = (struct uffdio_zeropage){ .range = range_of(w, gfn + *done, part) };
		if (!ioctl(w->uffd, UFFDIO_ZEROPAGE, &zero)) {
			*done += part;
			part = nr;
		} else if (zero.zeropage > 0) {
			*done += zero.zeropage >> QUIRE_PAGE_SHIFT;
		} else if (errno == ENOENT && part > 1) {
			part /= 2;
		} else if (errno == EEXIST) {
			window_wake(b, gfn + *done, 1);
			(*done)++;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* One write() of it all.  A limit on the size of files, or a full file system, ends it early. */
static int write_plainly(struct window *w, gfn_t gfn, uint64_t nr, const void *bytes)
{
	ssize_t n, size = (ssize_t)(nr << QUIRE_PAGE_SHIFT);

	do
		n = pwrite(w->ram_fd, bytes, (size_t)size, (off_t)gfn_to_gpa(gfn));
	while (n < 0 && errno == EINTR);
	if (n == size)
		return 0;
	return n < 0 ? -errno : -ENOMEM;
}

/*
 * On a tmpfs of our own write() is as exact as UFFDIO_COPY, and as fast.  But it does not map the
 * pages in the alias, where each would be one more entry to take away again.
 */
int window_write(struct window *w, gfn_t gfn, uint64_t nr, const void *bytes)
{
	uint64_t start = gfn_to_gpa(gfn), size = nr << QUIRE_PAGE_SHIFT;
	int err = w->exact >= 0 ? exact_copy(w->exact, w->alias + start, bytes, size) :
				  write_plainly(w, gfn, nr, bytes);

	if (err)
		ramfile_punch(w->ram_fd, start, size);
	return err;
}

int window_read(const struct window *w, gfn_t gfn, uint8_t *bytes)
{
	ssize_t n;

	do
		n = pread(w->ram_fd, bytes, QUIRE_PAGE_SIZE, (off_t)gfn_to_gpa(gfn));
	while (n < 0 && errno == EINTR);
	if (n == QUIRE_PAGE_SIZE)
		return 0;
	return n < 0 ? -errno : -EIO;
}

static int populate(uint8_t *start, uint64_t bytes, int advice)
{
	int err;

	do {
		err = madvise(start, bytes, advice) ? -errno : 0;
	} while (err == -EINTR || err == -EAGAIN);
	/* EFAULT says that a touch would raise SIGBUS, and here that means no memory. */
	return err == -EFAULT ? -ENOMEM : err;
}

/*
 * The huge page is allocated through a mapping of its own, which is advised MADV_HUGEPAGE and goes
 * again at once.  To advise the window or the alias would do too.  But then khugepaged visits them,
 * and each of its attempts at a block with holes charges the file for pages that are not there,
 * until it gives up.
 */
static int window_fill_block(struct backend *b, gfn_t gfn)
{
	struct window *w = window_of(b);
	uint8_t *at = w->fill_at;
	int err;

	if (mmap(at, QUIRE_BLOCK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, w->ram_fd,
		 gfn_to_gpa(gfn)) == MAP_FAILED)
		return -errno;
	madvise(at, QUIRE_BLOCK_SIZE, MADV_HUGEPAGE);
	/* A touch would do, too; but one for which the file has no room would end the process. */
	err = populate(at, QUIRE_BLOCK_SIZE, MADV_POPULATE_WRITE);
	if (mmap(at, QUIRE_BLOCK_SIZE, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return -errno;
	return err;
}

/* Unregistering wakes who waits.  To populate first would map 4 KiB entries under WP. */
static int unregister_block(struct window *w, gfn_t gfn)
{
	struct uffdio_range range = range_of(w, gfn, QUIRE_BLOCK_PAGES);

	return ioctl(w->uffd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

/* A new mapping is not registered.  It has no hole that a touch could find. */
static int map_block(struct window *w, gfn_t gfn)
{
	uint64_t start = gfn_to_gpa(gfn);
	int err = window_map_ram(w, w->base, start, QUIRE_BLOCK_SIZE);

	if (err)
		return err;
	window_leave_undumped(w->base, start, QUIRE_BLOCK_SIZE);
	window_wake(&w->backend, gfn, QUIRE_BLOCK_PAGES);
	return 0;
}

static int window_make_whole(struct backend *b, gfn_t gfn)
{
	struct window *w = window_of(b);
	int err = mappings_any_away(&w->maps, gfn, QUIRE_BLOCK_PAGES) ? map_block(w, gfn) :
									unregister_block(w, gfn);

	if (err)
		return err;
	b->mappings += mappings_set_whole(&w->maps, gfn, 1, true);
	populate(w->base + gfn_to_gpa(gfn), QUIRE_BLOCK_SIZE, MADV_POPULATE_WRITE);
	return 0;
}

/*
 * If the kernel runs out of mappings half way, some blocks are registered.  They are mappings of
 * their own then, so to take that back needs none and cannot fail.
 */
static int window_make_single(struct backend *b, gfn_t gfn, uint64_t blocks)
{
	struct window *w = window_of(b);
	struct uffdio_range range = range_of(w, gfn, blocks * QUIRE_BLOCK_PAGES);
	int err = window_register(w, gfn_to_gpa(gfn), blocks * QUIRE_BLOCK_SIZE, WINDOW_MISSING_WP);

	if (err)
		ioctl(w->uffd, UFFDIO_UNREGISTER, &range);
	else
		b->mappings += mappings_set_whole(&w->maps, gfn, blocks, false);
	return err;
}

static void window_populate(struct backend *b, gfn_t gfn, uint64_t nr)
{
	struct window *w = window_of(b);

	populate(w->base + gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT, MADV_POPULATE_WRITE);
}

/* Before 6.3 the kernel answers -ENOENT for a range that it has in two mappings (window_fill()). */
static int window_protect(struct backend *b, gfn_t gfn, uint64_t nr, bool on)
{
	struct window *w = window_of(b);

	for (uint64_t done = 0, part = nr; done < nr;) {
		struct uffdio_writeprotect wp = { .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

		part = min_u64(part, nr - done);
		wp.range = range_of(w, gfn + done, part);
		if (!ioctl(w->uffd, UFFDIO_WRITEPROTECT, &wp)) {
			done += part;
			part = nr;
		} else if (errno == ENOENT && part > 1) {
			part /= 2;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/*
 * Bits of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).  A private copy
 * is present, of no file, and mapped by this process alone; the page of zeroes is not that.
 */
#define PAGEMAP_PRESENT	  (1ULL << 63)
#define PAGEMAP_FILE	  (1ULL << 61)
#define PAGEMAP_EXCLUSIVE (1ULL << 56)
#define PAGEMAP_COPY	  (PAGEMAP_PRESENT | PAGEMAP_EXCLUSIVE)
#define PAGEMAP_BATCH	  64u

static bool is_copy(uint64_t entry)
{
	return (entry & (PAGEMAP_COPY | PAGEMAP_FILE)) == PAGEMAP_COPY;
}

/* Entries of [gfn, gfn + nr) in the kernel's table.  False: it does not tell. */
static bool read_pagemap(const struct window *w, gfn_t gfn, uint64_t nr, uint64_t *entry)
{
	uint64_t page = (uintptr_t)w->base / QUIRE_PAGE_SIZE + gfn;
	size_t bytes = nr * sizeof(*entry);

	return w->pagemap >= 0 &&
	       pread(w->pagemap, entry, bytes, (off_t)(page * sizeof(*entry))) == (ssize_t)bytes;
}

/*
 * The first page from gfn on of which the guest has made a private copy by writing, or end.  If the
 * kernel does not tell, one whose bytes are not those of its page at `original`, which are `step`
 * bytes apart.
 */
static gfn_t next_copy(const struct window *w, gfn_t gfn, gfn_t end, const uint8_t *original,
		       size_t step)
{
	uint64_t entry[PAGEMAP_BATCH], part;

	for (; gfn < end; gfn += part) {
		bool told;

		part = min_u64(end - gfn, PAGEMAP_BATCH);
		told = read_pagemap(w, gfn, part, entry);
		for (uint64_t i = 0; i < part; i++, original += step)
			if (told ? is_copy(entry[i]) :
				   memcmp(original, window_page(w, gfn + i), QUIRE_PAGE_SIZE))
				return gfn + i;
	}
	return end;
}

/* [gfn, end) is protected.  Copies go to the RAM file, which has all its pages.  Are there any? */
static bool save_copies(struct window *w, gfn_t gfn, gfn_t end)
{
	bool any = false;

	for (;; gfn++, any = true) {
		gfn = next_copy(w, gfn, end, w->alias + gfn_to_gpa(gfn), QUIRE_PAGE_SIZE);
		if (gfn == end)
			return any;
		memcpy(w->alias + gfn_to_gpa(gfn), window_page(w, gfn), QUIRE_PAGE_SIZE);
	}
}

/*
 * The mapping is new: whoever writes raises an event from now on, and waits.
 *
 * Its pages are entered in the page table first.  The kernel makes a private copy for a write to a
 * page that is not entered, before it raises the event.  And a mapping that ever had copies joins
 * no other one that had, so that the kernel would have more mappings than are counted.
 */
static int protect_mapping(struct window *w, gfn_t gfn, uint64_t nr)
{
	uint64_t start = gfn_to_gpa(gfn), bytes = nr << QUIRE_PAGE_SHIFT;
	int err = populate(w->base + start, bytes, MADV_POPULATE_READ);

	if (!err)
		err = window_register(w, start, bytes, UFFDIO_REGISTER_MODE_WP);
	return err ? err : window_protect(&w->backend, gfn, nr, true);
}

static void lose(struct window *w, gfn_t gfn)
{
	atomic_store(&w->backend.lost, gfn);
}

/*
 * Map the RAM file at [gfn, gfn + nr).  On failure nothing changed.
 *
 * To register it joins it with its neighbours, for which the kernel needs memory.  If it has none,
 * there is no way back: to map again what was there may need some, too.  The guest may use the
 * pages, but no event tells of the holes among them.
 */
static int map_home(struct window *w, gfn_t gfn, uint64_t nr)
{
	uint64_t start = gfn_to_gpa(gfn), bytes = nr << QUIRE_PAGE_SHIFT;
	int err = window_map_ram(w, w->base, start, bytes);
	struct backend *b = &w->backend;

	if (err == -ENOMEM)
		b->max_mappings = b->mappings - min_u64(b->mappings, REFUSED);
	if (err)
		return err;
	/* It is a mapping of its own, so this splits none. */
	if (window_register(w, start, bytes, WINDOW_MISSING_WP))
		lose(w, gfn);
	window_leave_undumped(w->base, start, bytes);
	b->mappings += mappings_set(&w->maps, gfn, nr, MAPPING_HOME);
	window_wake(b, gfn, nr);
	return 0;
}

const uint8_t zero_page[QUIRE_PAGE_SIZE] __attribute__((aligned(QUIRE_PAGE_SIZE)));

int window_fill_holes(struct window *w, gfn_t gfn, uint64_t nr, uint64_t *done)
{
	int err = 0;

	for (*done = 0; *done < nr && !err; *done += !err) {
		gpa_t gpa = gfn_to_gpa(gfn + *done), next = gpa + QUIRE_PAGE_SIZE;

		if (ramfile_next_data(w->ram_fd, gpa, next) == next)
			err = window_write(w, gfn + *done, 1, zero_page);
	}
	return err;
}

/*
 * Until the mapping is registered, a touch of a hole makes a page.  Where the file system may make
 * 512 of it, there is no hole.
 */
static int window_home(struct backend *b, gfn_t gfn, uint64_t nr)
{
	struct window *w = window_of(b);
	uint64_t done;
	int err = w->exact >= 0 ? window_fill_holes(w, gfn, nr, &done) : 0;

	if (!err)
		err = map_home(w, gfn, nr);
	if (err && w->exact >= 0)
		ramfile_punch(w->ram_fd, gfn_to_gpa(gfn), gfn_to_gpa(nr));
	return err;
}

/*
 * What is sent away is mapped privately and for writing.  Until it is protected, the kernel answers
 * a write with a private copy of the page.  So no access ever fails: KVM's instruction emulator and
 * its walk of the guest's tables do not try again.  If there are copies, all of the run comes home,
 * with pages everywhere: so nobody meets a hole that is not registered yet.
 */
static int window_send_to_file(struct backend *b, gfn_t gfn, uint64_t nr, int fd, uint64_t from)
{
	struct window *w = window_of(b);
	bool copied;
	int err;

	if (mmap(w->base + gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, from) == MAP_FAILED)
		return -errno;
	err = protect_mapping(w, gfn, nr);
	copied = save_copies(w, gfn, gfn + nr);
	if (!err && !copied) {
		b->mappings += mappings_set(&w->maps, gfn, nr, mapping_of_file(fd, from));
		return 0;
	}
	if (map_home(w, gfn, nr))
		lose(w, gfn);
	else
		window_protect(b, gfn, nr, true);
	return err ? err : -EAGAIN;
}

/* [gfn, gfn + nr), mapped as zeroes, is protected and has copies.  All of it comes in. */
static int bring_copies_home(struct window *w, gfn_t gfn, uint64_t nr)
{
	if (!window_write(w, gfn, nr, window_page(w, gfn))) {
		if (!map_home(w, gfn, nr))
			return -EAGAIN;
		ramfile_punch(w->ram_fd, gfn_to_gpa(gfn), gfn_to_gpa(nr));
	}
	lose(w, gfn);
	return -ENOSPC;
}

static int window_send_to_zero(struct backend *b, gfn_t gfn, uint64_t nr)
{
	struct window *w = window_of(b);

	if (mmap(w->base + gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		return -errno;
	if (protect_mapping(w, gfn, nr)) {
		lose(w, gfn);
		return -ENOSPC;
	}
	if (next_copy(w, gfn, gfn + nr, zero_page, 0) < gfn + nr)
		return bring_copies_home(w, gfn, nr);
	b->mappings += mappings_set(&w->maps, gfn, nr, MAPPING_ZEROES);
	window_wake(b, gfn, nr);
	return 0;
}

static int window_collapse(struct backend *b, gfn_t gfn)
{
	struct window *w = window_of(b);

	return madvise(w->base + gfn_to_gpa(gfn), QUIRE_BLOCK_SIZE, MADV_COLLAPSE) ? -EAGAIN : 0;
}

static bool window_is_huge(struct backend *b, gfn_t gfn)
{
	struct window *w = window_of(b);
	uintptr_t start = (uintptr_t)w->base + gfn_to_gpa(gfn);
	struct page_region region = { 0 };
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = start + QUIRE_BLOCK_SIZE,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_HUGE,
		.return_mask = PAGE_IS_HUGE,
	};

	switch (ioctl(w->pagemap, PAGEMAP_SCAN, &arg)) {
	case -1: return true;
	case 0: return false;
	default: return region.end - region.start == QUIRE_BLOCK_SIZE;
	}
}

/* The hole that is punched takes the frames from all mappings. */
static void window_leave(struct backend *b, gfn_t gfn, uint64_t nr)
{
	(void)b;
	(void)gfn;
	(void)nr;
}

/* The guest sees the bytes of the RAM file as they are. */
static void window_changed(struct backend *b, gfn_t gfn, uint64_t nr)
{
	(void)b;
	(void)gfn;
	(void)nr;
}

static int64_t window_home_costs(struct backend *b, gfn_t gfn, uint64_t nr)
{
	return mappings_home_costs(&window_of(b)->maps, gfn, nr);
}

static struct gfn_range window_mapping_at(struct backend *b, gfn_t gfn)
{
	return mappings_at(&window_of(b)->maps, gfn);
}

/* The pages stay in the file.  The next touch enters them in the page table again. */
static void window_forget_touches(struct backend *b, gfn_t gfn, uint64_t nr)
{
	madvise(window_of(b)->base + gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT, MADV_DONTNEED);
}

static uint64_t window_touched(struct backend *b, gfn_t gfn, uint64_t nr)
{
	uint64_t entry[BACKEND_TOUCHED], touched = 0;

	if (!read_pagemap(window_of(b), gfn, nr, entry))
		return UINT64_MAX;
	for (uint64_t i = 0; i < nr; i++)
		touched |= entry[i] & PAGEMAP_PRESENT ? 1ULL << i : 0;
	return touched;
}

static uint64_t window_recount(struct backend *b, uint64_t *away)
{
	return mappings_count(&window_of(b)->maps, away);
}

const struct backend_ops window_ops = {
	.fill = window_fill,
	.fill_block = window_fill_block,
	.make_whole = window_make_whole,
	.make_single = window_make_single,
	.collapse = window_collapse,
	.is_huge = window_is_huge,
	.protect = window_protect,
	.send_to_file = window_send_to_file,
	.send_to_zero = window_send_to_zero,
	.home = window_home,
	.leave = window_leave,
	.changed = window_changed,
	.populate = window_populate,
	.wake = window_wake,
	.home_costs = window_home_costs,
	.mapping_at = window_mapping_at,
	.forget_touches = window_forget_touches,
	.touched = window_touched,
	.recount = window_recount,
};
