/* SPDX-License-Identifier: MIT */
/*
 * A LOOKUP takes two passes over its entries.
 *
 * 1. The survey takes no reference and makes no frame.  It makes a hint of each page without a
 *    partner, so that the second of two equal pages in a packet finds the first.  It counts the
 *    entries that have a partner.
 * 2. If these are enough, each entry is answered in order.  What the survey found may have changed
 *    by then, so the index is asked again.
 *
 * Neighbours are handled together where that saves system calls.  Consecutive pages of the asker
 * that need a new frame are a *piece*: one read and one write.  Frames are reserved for the whole
 * stretch of consecutive gfns that want one, and each page takes the frame at its own distance from
 * the start.
 *
 * A hint says only what the page held at its last scan; the VM compares again.  So the machine does
 * not read the hint's page.  To read it took a quarter of the machine's time, and found a change
 * only a second or two before the VM itself reports it.  If the page did change, the new frame has
 * one user for the moment.  It takes the place of that user's page, so it costs no memory.
 *
 * RAM files are read with pread() and never mapped.  A VM may truncate its own file, and that is a
 * short read and not a signal.
 */
#include <assert.h>
#include "domain.h"

#define PREFETCH_AHEAD 8u

enum found {
	FOUND_NOTHING,
	FOUND_FRAME,
	FOUND_PAGE, /* a frame is to be made: there is an equal page, or MERGE_PUBLISH is set */
	FOUND_TWIN, /* a later entry of this packet has found this page */
};

struct lookup {
	struct domain *d;
	struct member *m;
	const struct merge_lookup *ask;
	struct merge_frame *out;
	uint32_t nr;
	/* Frames [frame + next, frame + reserved) are reserved for gfns from gfn + next on. */
	uint32_t frame, reserved, next;
	uint64_t gfn;
	uint8_t found[MERGE_BATCH]; /* enum found */
};

static uint64_t gfn_of(const struct lookup *l, uint32_t i)
{
	return l->ask[i].gfn & ~MERGE_PUBLISH;
}

static bool wants_publish(const struct lookup *l, uint32_t i)
{
	return l->ask[i].gfn & MERGE_PUBLISH;
}

static const char *check(const struct lookup *l)
{
	for (uint32_t i = 0; i < l->nr; i++) {
		if (gfn_of(l, i) >= l->m->nr_gfns)
			return "a LOOKUP outside its RAM";
		if (i && gfn_of(l, i) <= gfn_of(l, i - 1))
			return "a LOOKUP whose gfns do not ascend";
	}
	return NULL;
}

static void make_hint(struct lookup *l, uint32_t i)
{
	struct index_entry e = { .hash = l->ask[i].hash,
				 .owner = INDEX_MEMBER + l->m->number,
				 .page = (uint32_t)gfn_of(l, i) };
	bool made = (l->m->hint_of[e.page] || l->m->nr_hints < l->m->most_hints) &&
		    !index_put(&l->d->index, e);

	member_set_hint(l->m, e.page, made ? hint_tag(e.hash) : 0);
}

/* The index of the entry of this packet that is page gfn with this hash; -1: there is none. */
static int find_twin(const struct lookup *l, uint64_t gfn, uint64_t hash)
{
	uint32_t low = 0, high = l->nr;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (gfn_of(l, middle) < gfn)
			low = middle + 1;
		else
			high = middle;
	}
	return low < l->nr && gfn_of(l, low) == gfn && l->ask[low].hash == hash ? (int)low : -1;
}

static bool is_own_hint(const struct lookup *l, uint32_t i, const struct member *holder,
			uint32_t page)
{
	return holder == l->m && page == gfn_of(l, i);
}

static enum found look(struct lookup *l, uint32_t i)
{
	const struct index_entry *e = index_find(&l->d->index, l->ask[i].hash);
	struct member *holder = e && e->owner != INDEX_STABLE ? hint_holder(l->d, e) : NULL;
	int twin;

	if (e && e->owner == INDEX_STABLE) {
		member_set_hint(l->m, gfn_of(l, i), 0);
		return FOUND_FRAME;
	}
	if (holder && !is_own_hint(l, i, holder, e->page)) {
		member_set_hint(l->m, gfn_of(l, i), 0);
		twin = holder == l->m ? find_twin(l, e->page, e->hash) : -1;
		if (twin >= 0 && !l->found[twin])
			l->found[twin] = FOUND_TWIN;
		return FOUND_PAGE;
	}
	if (!holder)
		make_hint(l, i);
	return wants_publish(l, i) ? FOUND_PAGE : l->found[i];
}

/* Pass 1.  Returns how many entries would be answered with a frame, as far as hashes can tell. */
static uint32_t survey(struct lookup *l)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < l->nr; i++) {
		if (i + PREFETCH_AHEAD < l->nr)
			index_prefetch(&l->d->index, l->ask[i + PREFETCH_AHEAD].hash);
		l->found[i] = look(l, i);
	}
	for (uint32_t i = 0; i < l->nr; i++)
		found += l->found[i] != FOUND_NOTHING;
	return found;
}

static void release(struct lookup *l)
{
	if (l->next < l->reserved)
		store_unreserve(&l->d->store, l->frame + l->next, l->reserved - l->next);
	l->reserved = l->next = 0;
}

/* How many consecutive pages from entry i on want a new frame. */
static uint32_t stretch(const struct lookup *l, uint32_t i)
{
	uint32_t n = 1;

	while (i + n < l->nr && gfn_of(l, i + n) == gfn_of(l, i) + n &&
	       l->found[i + n] == FOUND_PAGE)
		n++;
	return n;
}

/*
 * Get reserved frames for n consecutive pages from entry i on.  *frame becomes the first.  Returns
 * for how many pages there are frames.
 */
static uint32_t claim(struct lookup *l, uint32_t i, uint32_t n, uint32_t *frame)
{
	uint64_t gfn = gfn_of(l, i), gap;

	if (gfn < l->gfn + l->next || gfn >= l->gfn + l->reserved) {
		release(l);
		l->gfn = gfn;
		l->reserved =
			store_reserve(&l->d->store, (uint32_t)max_u64(n, stretch(l, i)), &l->frame);
	}
	if (!l->reserved)
		return 0;
	gap = gfn - l->gfn - l->next;
	if (gap)
		store_unreserve(&l->d->store, l->frame + l->next, (uint32_t)gap);
	l->next += (uint32_t)gap;
	*frame = l->frame + l->next;
	return (uint32_t)min_u64(n, l->reserved - l->next);
}

/* Fill as many of n claimed frames as budget and rules allow.  Returns how many were filled. */
static uint32_t fill(struct lookup *l, uint32_t frame, uint32_t n, const void *bytes)
{
	const struct frame_account *account = &l->d->account;

	n = (uint32_t)min_u64(n, member_room(l->m));
	if (!n || !member_prepare(l->m, frame_segment(frame)))
		return 0;
	n = (uint32_t)account->charge(account->ctx, n);
	if (!n || !store_write(&l->d->store, frame, n, bytes))
		return n;
	account->uncharge(account->ctx, n);
	return 0;
}

static void refuse(struct lookup *l, uint32_t i, uint32_t n)
{
	l->d->no_memory += n;
	while (n--)
		l->out[i++].frame = MERGE_NO_MEMORY;
}

/* Let the hash of entry i, which is in the index, lead to this frame, and give it to the asker. */
static void promote(struct lookup *l, uint32_t i, uint32_t frame)
{
	uint64_t hash = l->ask[i].hash;
	int code = index_put(&l->d->index, (struct index_entry){ hash, INDEX_STABLE, frame });
	bool got = member_get(l->m, frame);

	assert(!code && got);
	(void)code, (void)got;
	*store_hash(&l->d->store, frame) = hash;
	member_set_hint(l->m, gfn_of(l, i), 0);
	l->out[i].frame = frame;
	l->d->promotions++;
}

/* Make frames of n consecutive pages with these bytes, and answer their entries. */
static void place(struct lookup *l, uint32_t i, uint32_t n, const uint8_t (*bytes)[QUIRE_PAGE_SIZE])
{
	while (n) {
		uint32_t frame = 0, got = claim(l, i, n, &frame);

		got = fill(l, frame, got, bytes);
		if (!got) {
			refuse(l, i, n);
			return;
		}
		for (uint32_t k = 0; k < got; k++)
			promote(l, i + k, frame + k);
		l->next += got;
		i += got;
		n -= got;
		bytes += got;
	}
}

/* A page with the same hash, and the member that has it. */
struct partner {
	struct member *holder;
	uint32_t page;
};

/*
 * Entry i has used up a hint.  The hint's holder gets the frame too: by NEWS, or in this answer if
 * the hint's page is an earlier entry of this packet.  A later entry finds the frame by itself.  If
 * the frame cannot be given, nothing is wrong: the next LOOKUP of that page finds it.
 */
static void introduce(struct lookup *l, uint32_t i, struct member *holder, uint32_t page)
{
	uint32_t frame = l->out[i].frame;
	int twin = holder == l->m ? find_twin(l, page, l->ask[i].hash) : -1;

	member_set_hint(holder, page, 0);
	if (twin > (int)i || !member_get(holder, frame))
		return;
	if (twin >= 0)
		l->out[twin].frame = frame;
	else if (!member_tell(holder, page, frame))
		member_unget(holder, frame);
}

/* Is a frame to be made for entry i?  *partner becomes the hint with its hash. */
static bool needs_frame(const struct lookup *l, uint32_t i, struct partner *partner)
{
	const struct index_entry *e = index_find(&l->d->index, l->ask[i].hash);

	if (!e || e->owner == INDEX_STABLE)
		return false;
	*partner = (struct partner){ hint_holder(l->d, e), e->page };
	return partner->holder &&
	       (wants_publish(l, i) || !is_own_hint(l, i, partner->holder, partner->page));
}

/* Will entry i find the frame that is made for one of the n entries before it? */
static bool is_repeated(const struct lookup *l, uint32_t i, uint32_t n)
{
	for (uint32_t k = 1; k <= n; k++)
		if (l->ask[i - k].hash == l->ask[i].hash)
			return true;
	return false;
}

/* The length of the piece that begins at entry i.  partner[] becomes the partner of each entry. */
static uint32_t piece(const struct lookup *l, uint32_t i, struct partner *partner)
{
	uint32_t n = 0;

	while (n < DOMAIN_PIECE && i + n < l->nr && gfn_of(l, i + n) == gfn_of(l, i) + n &&
	       !is_repeated(l, i + n, n) && needs_frame(l, i + n, &partner[n]))
		n++;
	return n;
}

/* Make frames for the piece that begins at entry i.  Returns its length. */
static uint32_t make_frames(struct lookup *l, uint32_t i)
{
	struct partner partner[DOMAIN_PIECE];
	uint32_t n = piece(l, i, partner);
	uint32_t readable = member_read(l->m, gfn_of(l, i), n, l->d->pages);

	place(l, i, readable, l->d->pages);
	for (uint32_t k = 0; k < readable; k++)
		if (MERGE_IS_FRAME(l->out[i + k].frame) &&
		    !is_own_hint(l, i + k, partner[k].holder, partner[k].page))
			introduce(l, i + k, partner[k].holder, partner[k].page);
	return n;
}

static uint32_t take_frame(struct lookup *l, uint32_t i, uint32_t frame)
{
	member_set_hint(l->m, gfn_of(l, i), 0);
	if (member_get(l->m, frame))
		l->out[i].frame = frame;
	else
		refuse(l, i, 1);
	return 1;
}

/* Answer entry i and those that go with it.  Returns how many entries were answered. */
static uint32_t answer(struct lookup *l, uint32_t i)
{
	const struct index_entry *e = index_find(&l->d->index, l->ask[i].hash);
	uint32_t n;

	if (e && e->owner == INDEX_STABLE)
		return take_frame(l, i, e->page);
	if (!e || !hint_holder(l->d, e))
		make_hint(l, i);
	n = make_frames(l, i);
	if (!n && wants_publish(l, i))
		refuse(l, i, 1); /* the index has no memory for a hint */
	return n ? n : 1;
}

const char *domain_lookup(struct member *m, const struct merge_msg *ask, struct merge_msg *msg)
{
	struct lookup l = {
		.d = m->domain, .m = m, .ask = ask->lookup, .out = msg->frame, .nr = ask->nr
	};
	const char *fault = check(&l);
	uint32_t found;

	if (fault)
		return fault;
	l.d->lookups += l.nr;
	if (l.d->to_trim)
		index_trim(&l.d->index, --l.d->to_trim);
	found = survey(&l);
	msg->nr = l.nr;
	for (uint32_t i = 0; i < l.nr; i++)
		msg->frame[i] = (struct merge_frame){
			.gfn = gfn_of(&l, i),
			.frame = found < ask->arg && l.found[i] ? MERGE_FEW : MERGE_UNIQUE,
		};
	if (found >= ask->arg)
		for (uint32_t i = 0; found && i < l.nr;)
			i += answer(&l, i);
	release(&l);
	msg->arg = member_news(m);
	return NULL;
}
