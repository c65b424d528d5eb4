/* SPDX-License-Identifier: MIT */
/*
 * What the machine's half of merging costs, without sockets: per entry of a LOOKUP that finds
 * nothing, finds a frame, or makes one of two equal pages; per reference given back.  Processor
 * time, so that who else runs here does not matter; beside it what the kernel alone takes for the
 * reads and the write that a frame costs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/machine/store/domain.h"

#define PAGES (128u * 1024) /* 512 MiB */

static struct merge_msg ask, answer;

static uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static uint64_t hash[PAGES]; /* by gfn, of the page's bytes under the domain's secret */

static void fill(uint64_t *page, uint64_t gfn)
{
	for (unsigned int i = 0; i < 512; i++)
		page[i] = gfn * 1000 + i;
}

static void compute_hashes(const struct domain *d)
{
	uint64_t page[512];

	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		fill(page, gfn);
		hash[gfn] = d->hash(&d->secret, page);
	}
}

static int ram_file(void)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);
	uint64_t page[512];

	if (fd < 0 || ftruncate(fd, (off_t)PAGES * (off_t)QUIRE_PAGE_SIZE))
		abort();
	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		fill(page, gfn);
		if (pwrite(fd, page, sizeof(page), (off_t)(gfn * sizeof(page))) != sizeof(page))
			abort();
	}
	return fd;
}

/* Look up every page; salt makes other hashes of them. */
static void look(struct member *m, uint64_t salt, const char *what, uint32_t *frames)
{
	static uint64_t now;
	uint64_t start = cpu_ns(), found = 0;

	for (uint64_t gfn = 0; gfn < PAGES; gfn += MERGE_BATCH) {
		ask.nr = MERGE_BATCH;
		for (uint64_t i = 0; i < MERGE_BATCH; i++)
			ask.lookup[i] = (struct merge_lookup){ hash[gfn + i] + salt, gfn + i };
		memset(&answer, 0, sizeof(answer));
		member_forgive(m, (now += NS_PER_S));
		if (domain_lookup(m, &ask, &answer))
			abort();
		for (unsigned int i = 0; i < MERGE_BATCH; i++) {
			found += MERGE_IS_FRAME(answer.frame[i].frame);
			frames[gfn + i] = answer.frame[i].frame;
		}
	}
	printf("%-44s %5lu ns a page, %lu frames\n", what, (cpu_ns() - start) / PAGES, found);
}

static void drop(struct member *m, const uint32_t *frames, const char *what)
{
	uint64_t start = cpu_ns();

	for (uint64_t i = 0; i < PAGES; i += MERGE_BATCH) {
		ask.nr = MERGE_BATCH;
		memcpy(ask.drop, frames + i, MERGE_BATCH * sizeof(frames[0]));
		if (domain_drop(m, &ask))
			abort();
	}
	printf("%-44s %5lu ns a page\n", what, (cpu_ns() - start) / PAGES);
}

static void leave(struct member *m)
{
	domain_leave(m);
	while (!domain_give_back(m, 4096))
		;
}

static uint64_t charge(void *ctx, uint64_t frames)
{
	(void)ctx;
	return frames;
}

static void uncharge(void *ctx, uint64_t frames)
{
	(void)ctx;
	(void)frames;
}

int main(void)
{
	const struct frame_account account = { charge, uncharge, NULL };
	uint32_t *frames = calloc(PAGES, sizeof(*frames)), *other = calloc(PAGES, sizeof(*other));
	int fd[2] = { ram_file(), ram_file() };
	struct member *a, *b;
	struct shelf shelf;
	struct domain *d;
	uint64_t start;

	shelf_open(&shelf);
	d = domain_create(&account, page_hash, "bench", &shelf, MERGE_MAX_SEGMENTS);
	compute_hashes(d);
	a = domain_join(d, fd[0], PAGES, PAGES);
	b = domain_join(d, fd[1], PAGES, PAGES);
	look(a, 1000000000, "first hints, the index grows", frames);
	look(a, 0, "other hints, the old ones are purged", frames);
	look(a, 0, "the same hints again", frames);
	look(b, 0, "each has an equal page: frames are made", frames);
	look(b, 0, "each has a frame", other);
	drop(b, other, "references back");
	drop(b, frames, "references back");
	printf("%-44s %5.1f index, %.1f store\n", "metadata bytes a page of either VM",
	       (double)domain_index_bytes(d) / PAGES / 2,
	       (double)domain_store_bytes(d) / PAGES / 2);
	start = cpu_ns();
	leave(a);
	printf("%-44s %5lu ns a page\n", "the last holder's end: frames are freed",
	       (cpu_ns() - start) / PAGES);
	leave(b);
	domain_destroy(d);
	shelf_close(&shelf);
	close(fd[0]);
	close(fd[1]);
	free(frames);
	free(other);
	return 0;
}
