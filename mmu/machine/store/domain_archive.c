/* SPDX-License-Identifier: MIT */
/*
 * Archives: frames that nobody uses are packed, several into one, once for all who share them.
 *
 * A member calls its frames cold, one by one; a new reference to a frame, or the end of the last
 * one, makes that void.  When all members with references have called a frame cold, it is packed in
 * the same request.  Those that were packed together lie in one archive, which is a frame that the
 * index does not know.  An archive of one page would win nothing: then the frame waits, and is
 * packed when it is called cold again and there are others.
 *
 * Whoever has an archive can read all that is packed in it.  So frames are packed together only if
 * the same members hold them: nobody comes to see a page that he did not have.
 *
 * The members get their references to the archive at once, and hear of it by NEWS.  Each is told
 * alone: if one cannot be, because it has as many references or news as it may have, it keeps the
 * frame, and nothing is wrong.  Packing needs memory first, one frame for several: it wins when the
 * members have dropped these.
 *
 * A frame that does not pack is *rigid*, and not tried again.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "domain.h"
#include "mmu/base/reserve.h"
#include "mmu/pool/archive.h"

/* An archive in the making. */
struct packing {
	struct archive archive;
	uint32_t nr;
	uint32_t frame[MERGE_COLD_MOST];
	unsigned int at[MERGE_COLD_MOST];
};

static uint64_t *cold_word(const struct member *m, uint32_t frame)
{
	uint64_t *bits = m->cold[frame_segment(frame)];

	return bits ? &bits[frame_index(frame) / 64] : NULL;
}

void member_warm(struct member *m, uint32_t frame)
{
	uint64_t *word = cold_word(m, frame);

	if (word)
		*word &= ~(1ULL << frame % 64);
}

/* False: no memory. */
static bool call_cold(struct member *m, uint32_t frame)
{
	unsigned int segment = frame_segment(frame);

	if (!m->cold[segment])
		m->cold[segment] = reserve(DOMAIN_BITS_BYTES);
	if (!m->cold[segment])
		return false;
	*cold_word(m, frame) |= 1ULL << frame % 64;
	return true;
}

bool member_calls_cold(const struct member *m, uint32_t frame)
{
	const uint64_t *word = cold_word(m, frame);

	return word && *word >> frame % 64 & 1;
}

static uint32_t refs_of(const struct member *m, uint32_t frame)
{
	return member_holds(m, frame) ? m->refs[frame_segment(frame)][frame_index(frame)] : 0;
}

/* A frame that is to be packed, and a hash of who holds it. */
struct cold_frame {
	uint64_t holders;
	uint32_t frame;
};

/* Have all who hold the frame called it cold?  Fills in the hash. */
static bool is_cold(const struct domain *d, struct cold_frame *c)
{
	c->holders = 0;
	for (uint32_t i = 0; i < d->nr_numbers; i++) {
		const struct member *m = d->by_number[i];

		if (!m || !refs_of(m, c->frame))
			continue;
		if (!member_calls_cold(m, c->frame))
			return false;
		c->holders = (c->holders ^ i) * 0x9e3779b97f4a7c15ULL;
		c->holders ^= c->holders >> 29;
	}
	return true;
}

static bool same_holders(const struct domain *d, uint32_t a, uint32_t b)
{
	for (uint32_t i = 0; i < d->nr_numbers; i++)
		if (d->by_number[i] && !refs_of(d->by_number[i], a) != !refs_of(d->by_number[i], b))
			return false;
	return true;
}

/* Make a frame of an archive.  False: there is no memory for it. */
static bool make_frame(struct domain *d, const struct archive *archive, uint32_t *frame)
{
	const struct frame_account *account = &d->account;

	if (!store_reserve(&d->store, 1, frame))
		return false;
	if (account->charge(account->ctx, 1)) {
		if (!store_write(&d->store, *frame, 1, archive->bytes)) {
			*store_hash(&d->store, *frame) = 0;
			d->unindexed++;
			return true;
		}
		account->uncharge(account->ctx, 1);
	}
	store_unreserve(&d->store, *frame, 1);
	return false;
}

/* Page i of the archive is m's, if m can have as many references to that as it has to the page. */
static void give(struct member *m, const struct packing *p, uint32_t i, uint32_t archive)
{
	uint32_t refs = refs_of(m, p->frame[i]);
	struct merge_frame entry = { .gfn = merge_archived(p->frame[i], p->at[i]),
				     .frame = archive,
				     .references = refs };

	if (!refs || member_room(m) < refs || !member_prepare(m, frame_segment(archive)) ||
	    !member_tell(m, entry))
		return;
	member_warm(m, p->frame[i]);
	while (refs--) {
		bool got = member_get(m, archive);

		assert(got);
		(void)got;
	}
}

/* Make an archive of what is packed, if that wins anything. */
static void seal(struct domain *d, const struct packing *p)
{
	uint32_t archive;

	if (p->nr < 2 || !make_frame(d, &p->archive, &archive))
		return;
	for (uint32_t i = 0; i < p->nr; i++)
		for (uint32_t n = 0; n < d->nr_numbers; n++)
			if (d->by_number[n])
				give(d->by_number[n], p, i, archive);
	d->archives++;
	d->archived += p->nr;
	if (!store_has(&d->store, archive))
		domain_free_unindexed(d, archive);
}

static int by_holders(const void *a, const void *b)
{
	const struct cold_frame *x = a, *y = b;

	if (x->holders != y->holders)
		return x->holders < y->holders ? -1 : 1;
	return (x->frame > y->frame) - (x->frame < y->frame);
}

/* Add a frame to the archive in the making, or to the next one. */
static void pack(struct domain *d, struct packing *p, uint32_t frame)
{
	uint8_t *page = d->pages[0];
	int at;

	if (p->nr && !same_holders(d, p->frame[0], frame)) {
		seal(d, p);
		*p = (struct packing){ .nr = 0 };
	}
	store_read(&d->store, frame, page);
	at = archive_add(&p->archive, page);
	if (at == -ENOSPC) {
		seal(d, p);
		*p = (struct packing){ .nr = 0 };
		at = archive_add(&p->archive, page);
	}
	if (at < 0) {
		store_set_rigid(&d->store, frame);
		return;
	}
	p->frame[p->nr] = frame;
	p->at[p->nr++] = (unsigned int)at;
}

const char *domain_cold(struct member *m, const struct merge_msg *ask)
{
	struct cold_frame cold[MERGE_COLD_MOST];
	struct packing p = { .nr = 0 };
	uint32_t nr = 0;

	if (ask->nr > MERGE_COLD_MOST)
		return "a COLD of too many frames";
	for (uint32_t i = 0; i < ask->nr; i++) {
		struct cold_frame c = { .frame = ask->cold[i] };

		if (!member_holds(m, c.frame))
			return "a COLD of what it does not hold";
		if (i && c.frame <= ask->cold[i - 1])
			return "a COLD whose frames do not ascend";
		if (call_cold(m, c.frame) && !store_is_rigid(&m->domain->store, c.frame) &&
		    is_cold(m->domain, &c))
			cold[nr++] = c;
	}
	qsort(cold, nr, sizeof(*cold), by_holders);
	for (uint32_t i = 0; i < nr; i++)
		pack(m->domain, &p, cold[i].frame);
	seal(m->domain, &p);
	return NULL;
}
