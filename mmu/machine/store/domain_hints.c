/* SPDX-License-Identifier: MIT */
/*
 * What a member costs besides frames, and how many hints it may have.
 *
 * A hint costs an entry of the index.  It is worth that if its page exists, and a page that exists
 * was paid for.  So a member has at most as many hints as its RAM file has pages: a VM that invents
 * hashes for pages that it only promised gets no more.
 *
 * Pages go and leave their hints behind: in a balloon, or given back.  When a member is at its
 * limit, each LOOKUP looks at a stretch of its RAM file and forgets the hints in holes there.
 */
#include <unistd.h>
#include <sys/stat.h>
#include "domain.h"

#define STRETCH 8192u /* gfns: in a RAM file of single pages, 50 us */

/* The index has 16 bytes for an entry, and is filled to 3/8 at least while it grows. */
#define ENTRY_BYTES (sizeof(struct index_entry) * 8 / 3)

/* A frame has an entry of the index, a hash and a count of references. */
#define FRAME_BYTES (ENTRY_BYTES + sizeof(uint64_t) + sizeof(uint32_t))

uint64_t member_bytes(const struct member *m)
{
	const struct store *s = &m->domain->store;
	uint64_t bytes = sizeof(*m) + m->nr_gfns * sizeof(*m->hint_of) + m->nr_hints * ENTRY_BYTES +
			 m->nr_frames * FRAME_BYTES + m->news_capacity * sizeof(*m->news);

	for (unsigned int i = 0; i < s->nr_segments; i++) {
		bytes += m->refs[i] ? s->segment[i].touched * sizeof(*m->refs[i]) : 0;
		bytes += m->cold[i] ? s->segment[i].touched / 8 : 0;
	}
	return bytes;
}

/* The first gfn from `gfn` on, up to `end`, that has a page (SEEK_DATA), or that has none. */
static uint64_t seek(const struct member *m, uint64_t gfn, uint64_t end, int whence)
{
	off_t at = lseek(m->ram, (off_t)(gfn * QUIRE_PAGE_SIZE), whence);

	return at < 0 ? end : min_u64((uint64_t)at / QUIRE_PAGE_SIZE, end);
}

static void forget_some(struct member *m)
{
	uint64_t gfn = m->swept < m->nr_gfns ? m->swept : 0;
	uint64_t end = min_u64(gfn + STRETCH, m->nr_gfns);

	m->swept = end;
	while (gfn < end) {
		uint64_t data = seek(m, gfn, end, SEEK_DATA);

		for (; gfn < data; gfn++)
			member_set_hint(m, gfn, 0);
		gfn = gfn < end ? seek(m, gfn, end, SEEK_HOLE) : end;
	}
}

void member_limit_hints(struct member *m, bool room)
{
	struct stat st;
	uint64_t pages = fstat(m->ram, &st) ? 0 : (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;

	m->most_hints = min_u64(pages, m->max_hints);
	if (!room)
		m->most_hints = min_u64(m->nr_hints, m->most_hints);
	if (m->nr_hints >= m->most_hints)
		forget_some(m);
}
