/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "mappings.h"
#include "mmu/base/merge_protocol.h"
#include "mmu/base/reserve.h"

#define DEFAULT_MAX_MAPPINGS 65530u /* the kernel's */
#define OTHER_MAPPINGS	     2048u  /* of this process (mappings_most) */

#define NOWHERE	  2u /* not RAM: no mapping of ours */
#define UNKNOWN	  3u /* a page of a file whose number or offset is too large to be noted */
#define FILE_BITS MERGE_SEGMENT_SHIFT /* pages that a file may have */
#define FIRST	  (1u << FILE_BITS)   /* page 0 of file 0; what is less is none of a file */

static uint64_t from_bytes(const struct mappings *m)
{
	return (m->span + 2) * sizeof(*m->from);
}

static uint32_t *from_of(const struct mappings *m, gfn_t gfn)
{
	return &m->from[gfn + 1];
}

int mappings_init(struct mappings *m, const struct gfn_range *ram, unsigned int nr_ram)
{
	*m = (struct mappings){
		.ram = ram,
		.nr_ram = nr_ram,
		.span = align_up(ram[nr_ram - 1].end, QUIRE_BLOCK_PAGES),
	};
	m->from = reserve(from_bytes(m));
	m->whole = reserve(m->span / QUIRE_BLOCK_PAGES + 1);
	if (!m->from || !m->whole)
		return -ENOMEM;
	for (unsigned int i = 0; i < nr_ram; i++)
		*from_of(m, ram[i].start - 1) = *from_of(m, ram[i].end) = NOWHERE;
	return 0;
}

void mappings_finish(struct mappings *m)
{
	unreserve(m->from, from_bytes(m));
	unreserve(m->whole, m->span / QUIRE_BLOCK_PAGES + 1);
}

uint32_t mapping_of_file(int fd, uint64_t from)
{
	uint64_t file = (uint64_t)fd + 1, page = from >> QUIRE_PAGE_SHIFT;

	if (file >> (32 - FILE_BITS) || page >> FILE_BITS)
		return UNKNOWN;
	return (uint32_t)(file << FILE_BITS | page);
}

/* Does a mapping end between gfn - 1 and gfn? */
static bool ends_at(const struct mappings *m, gfn_t gfn)
{
	uint32_t a = *from_of(m, gfn - 1), b = *from_of(m, gfn);

	if (a == MAPPING_HOME && b == MAPPING_HOME)
		return m->whole[(gfn - 1) / QUIRE_BLOCK_PAGES] != m->whole[gfn / QUIRE_BLOCK_PAGES];
	if (a == MAPPING_ZEROES)
		return b != MAPPING_ZEROES;
	return a < FIRST || b != a + 1 || b >> FILE_BITS != a >> FILE_BITS;
}

/* How many mappings end at a place in [start, end], both included. */
static int64_t ends_in(const struct mappings *m, gfn_t start, gfn_t end)
{
	int64_t nr = 0;

	for (gfn_t gfn = start; gfn <= end; gfn++)
		nr += ends_at(m, gfn);
	return nr;
}

static void note_from(struct mappings *m, gfn_t gfn, uint64_t nr, uint32_t from)
{
	for (uint64_t i = 0; i < nr; i++) {
		uint32_t now = from < FIRST ? from : from + (uint32_t)i;

		/* What was never written stays without memory. */
		if (*from_of(m, gfn + i) != now)
			*from_of(m, gfn + i) = now;
	}
}

/* Would gfn, which may be no RAM, be in one mapping with a page that is at home and single? */
static bool joins_home(const struct mappings *m, gfn_t gfn)
{
	return *from_of(m, gfn) == MAPPING_HOME && !m->whole[gfn / QUIRE_BLOCK_PAGES];
}

int64_t mappings_home_costs(const struct mappings *m, gfn_t gfn, uint64_t nr)
{
	return !joins_home(m, gfn - 1) + !joins_home(m, gfn + nr) - ends_in(m, gfn, gfn + nr);
}

struct gfn_range mappings_at(const struct mappings *m, gfn_t gfn)
{
	struct gfn_range at = { gfn, gfn + 1 };

	while (!ends_at(m, at.start))
		at.start--;
	while (!ends_at(m, at.end))
		at.end++;
	return at;
}

int64_t mappings_set(struct mappings *m, gfn_t gfn, uint64_t nr, uint32_t from)
{
	int64_t before = ends_in(m, gfn, gfn + nr);

	note_from(m, gfn, nr, from);
	return ends_in(m, gfn, gfn + nr) - before;
}

int64_t mappings_set_whole(struct mappings *m, gfn_t block, uint64_t blocks, bool whole)
{
	uint64_t nr = blocks * QUIRE_BLOCK_PAGES;
	int64_t before = ends_in(m, block, block + nr);

	note_from(m, block, nr, MAPPING_HOME);
	for (uint64_t i = 0; i < blocks; i++)
		m->whole[block / QUIRE_BLOCK_PAGES + i] = whole;
	return ends_in(m, block, block + nr) - before;
}

bool mappings_any_away(const struct mappings *m, gfn_t gfn, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		if (*from_of(m, gfn + i) != MAPPING_HOME)
			return true;
	return false;
}

uint64_t mappings_count(const struct mappings *m, uint64_t *away)
{
	uint64_t nr = 0;

	*away = 0;
	for (unsigned int i = 0; i < m->nr_ram; i++) {
		nr += (uint64_t)ends_in(m, m->ram[i].start + 1, m->ram[i].end);
		for (gfn_t gfn = m->ram[i].start; gfn < m->ram[i].end; gfn++)
			*away += *from_of(m, gfn) != MAPPING_HOME;
	}
	return nr;
}

/*
 * What is left to others.  A vCPU has three: its stack, the guard of that, and the page that KVM
 * shares.  With 255 vCPUs all others are 829; 64 segments of the store, and what malloc maps, come
 * to that.  More than twice as much is left, because the kernel may keep mappings apart that we
 * count as one.
 *
 * The limit itself must not be reached.  At the limit a call that splits a mapping fails, but one
 * that replaces a mapping still works, and so does relief.  One mapping above it, where a call that
 * only adds a mapping can get, each mmap() fails, and nothing could come home.  If a call that
 * splits is refused all the same, guest memory has to do with fewer from then on (REFUSED in
 * window.c), so it goes away from the limit, and leaves some room to those that only add.
 */
uint64_t mappings_most(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	uint64_t max = DEFAULT_MAX_MAPPINGS;

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) > 0)
			max = strtoull(text, NULL, 10);
		close(fd);
	}
	return max > 2 * OTHER_MAPPINGS ? max - OTHER_MAPPINGS : max / 2;
}
