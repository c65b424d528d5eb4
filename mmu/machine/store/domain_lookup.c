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
 * Nothing that a VM says of its pages is believed.  A page that finds something is read, and must
 * have the hash that it was looked up by.  Another VM's page to which a hint leads is read, too,
 * and must have the same bytes (domain_proof.c).  So the index leads from a hash to a frame with
 * just that hash, and to hear of a page is to have it.  Only a hint may still lie: the first who
 * finds it takes its place.  A page without a partner is not read at all.
 *
 * RAM files are read with pread() and never mapped.  A VM may truncate its own file, and that is a
 * short read and not a signal.
 */
#include <assert.h>
#include <string.h>
#include "domain.h"

#define PREFETCH_AHEAD 8u

enum found {
	FOUND_NOTHING,
	FOUND_FRAME,
	FOUND_PAGE, /* a frame is to be made: there is an equal page, or MERGE_PUBLISH is set */
	FOUND_TWIN, /* a later entry of this packet has found this page */
	FOUND_LIE,  /* the page does not have the hash that was asked for */
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

/* Entry i was looked up in vain, or was a lie. */
static void miss(struct lookup *l, uint64_t *count)
{
	++*count;
	l->m->may_miss -= l->m->may_miss > 0;
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
	if (!holder) {
		if (l->m->hint_of[gfn_of(l, i)] != hint_tag(l->ask[i].hash))
			miss(l, &l->m->misses);
		make_hint(l, i);
	}
	return wants_publish(l, i) ? FOUND_PAGE : l->found[i];
}

/* Pass 1: what would be answered with a frame, as far as hashes can tell. */
static void survey(struct lookup *l)
{
	for (uint32_t i = 0; i < l->nr; i++) {
		if (i + PREFETCH_AHEAD < l->nr)
			index_prefetch(&l->d->index, l->ask[i + PREFETCH_AHEAD].hash);
		l->found[i] = look(l, i);
	}
}

/* Entry i lies. */
static void expose(struct lookup *l, uint32_t i)
{
	miss(l, &l->m->unproven);
	l->found[i] = FOUND_LIE;
}

/* How many consecutive pages from entry i on have found something, at most a piece of them. */
static uint32_t found_run(const struct lookup *l, uint32_t i)
{
	uint32_t n = 0;

	while (n < DOMAIN_PIECE && i + n < l->nr && gfn_of(l, i + n) == gfn_of(l, i) + n &&
	       l->found[i + n] != FOUND_NOTHING)
		n++;
	return n;
}

/*
 * Have at least `fewest` entries found something by a hash that their pages really have?  Whoever
 * is told that there are too few has learnt that they are there.  So all entries that were found
 * are proved, until there are enough.
 */
static bool are_enough(struct lookup *l, uint32_t fewest)
{
	uint32_t n, proved = 0;

	for (uint32_t i = 0; i < l->nr && proved < fewest; i += n ? n : 1) {
		uint32_t readable = 0;

		n = found_run(l, i);
		if (n)
			readable = member_read(l->m, gfn_of(l, i), n, l->d->pages);
		for (uint32_t k = 0; k < n; k++)
			if (k < readable && has_hash(l->d, l->d->pages[k], l->ask[i + k].hash))
				proved++;
			else
				expose(l, i + k);
	}
	return proved >= fewest;
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

/*
 * Entry i has used up a hint.  The hint's holder gets the frame too: by NEWS, or in this answer if
 * the hint's page is an earlier entry of this packet.  A later entry finds the frame by itself.  If
 * the frame cannot be given, nothing is wrong: the next LOOKUP of that page finds it.
 */
static void introduce(struct lookup *l, uint32_t i, const struct partner *partner)
{
	uint32_t frame = l->out[i].frame;
	int twin = partner->holder == l->m ? find_twin(l, partner->page, l->ask[i].hash) : -1;

	member_set_hint(partner->holder, partner->page, 0);
	if (twin > (int)i || !member_get(partner->holder, frame))
		return;
	if (twin >= 0)
		l->out[twin].frame = frame;
	else if (!member_tell(partner->holder,
			      (struct merge_frame){ .gfn = partner->page, .frame = frame }))
		member_unget(partner->holder, frame);
}

/* Is a frame to be made for entry i?  *partner becomes the hint with its hash. */
static bool needs_frame(const struct lookup *l, uint32_t i, struct partner *partner)
{
	const struct index_entry *e = index_find(&l->d->index, l->ask[i].hash);

	if (!e || e->owner == INDEX_STABLE || l->found[i] == FOUND_LIE)
		return false;
	*partner = (struct partner){ .holder = hint_holder(l->d, e), .page = e->page };
	partner->is_self = partner->holder && is_own_hint(l, i, partner->holder, partner->page);
	return partner->holder && (wants_publish(l, i) || !partner->is_self);
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

/*
 * Entry i has the hash that it was asked for, and what this hash led to has other bytes.  Then the
 * hash leads to it no longer, and to this page instead: the other is a hint that is stale or lies,
 * or one of the two was made to have this hash.
 */
static void supplant(struct lookup *l, uint32_t i)
{
	const struct index_entry *e = index_find(&l->d->index, l->ask[i].hash);
	bool stable = e && e->owner == INDEX_STABLE;
	struct member *holder = e && !stable ? hint_holder(l->d, e) : NULL;

	if (holder)
		member_set_hint(holder, e->page, 0);
	l->d->unindexed += stable;
	index_remove(&l->d->index, l->ask[i].hash);
	make_hint(l, i);
}

/* May a frame be made of entry i, whose page has these bytes? */
static bool is_proved(struct lookup *l, uint32_t i, const struct partner *partner,
		      const uint8_t *page)
{
	if (!has_hash(l->d, page, l->ask[i].hash)) {
		expose(l, i);
		return false;
	}
	if (partner->is_equal)
		return true;
	supplant(l, i);
	return wants_publish(l, i);
}

/* Make frames for the piece that begins at entry i.  Returns its length. */
static uint32_t make_frames(struct lookup *l, uint32_t i)
{
	struct partner partner[DOMAIN_PIECE];
	uint32_t n = piece(l, i, partner), run = 0;
	uint32_t readable = member_read(l->m, gfn_of(l, i), n, l->d->pages);

	compare_partners(l->m, readable, partner);
	for (uint32_t k = 0; k <= readable; k++) {
		if (k < readable && is_proved(l, i + k, &partner[k], l->d->pages[k])) {
			run++;
			continue;
		}
		place(l, i + k - run, run, l->d->pages + k - run);
		run = 0;
	}
	for (uint32_t k = 0; k < readable; k++)
		if (MERGE_IS_FRAME(l->out[i + k].frame) && partner[k].is_equal &&
		    !partner[k].is_self)
			introduce(l, i + k, &partner[k]);
	return n;
}

static void take_frame(struct lookup *l, uint32_t i, uint32_t frame)
{
	if (member_get(l->m, frame))
		l->out[i].frame = frame;
	else
		refuse(l, i, 1);
}

/*
 * The consecutive pages from entry i on whose hashes lead to frames, at most a piece of them.
 * frame[] becomes their frames.
 */
static uint32_t known_run(const struct lookup *l, uint32_t i, uint32_t *frame)
{
	uint32_t n = 0;

	for (; n < DOMAIN_PIECE && i + n < l->nr && gfn_of(l, i + n) == gfn_of(l, i) + n; n++) {
		const struct index_entry *e = index_find(&l->d->index, l->ask[i + n].hash);

		if (!e || e->owner != INDEX_STABLE || l->found[i + n] == FOUND_LIE)
			break;
		frame[n] = e->page;
	}
	return n;
}

/*
 * Answer entries from i on with the frames that their hashes lead to, if their pages have these
 * hashes.  Returns how many entries were answered.
 */
static uint32_t take_frames(struct lookup *l, uint32_t i)
{
	uint32_t frame[DOMAIN_PIECE], n = known_run(l, i, frame);
	uint32_t readable = member_read(l->m, gfn_of(l, i), n, l->d->pages);

	for (uint32_t k = 0; k < n; k++) {
		const uint8_t *page = l->d->pages[k];

		member_set_hint(l->m, gfn_of(l, i + k), 0);
		if (k >= readable || !has_hash(l->d, page, l->ask[i + k].hash)) {
			expose(l, i + k);
		} else if (is_like_frame(l->d, frame[k], page)) {
			take_frame(l, i + k, frame[k]);
		} else {
			l->d->collisions++;
			supplant(l, i + k);
		}
	}
	return n;
}

/* Answer entry i and those that go with it.  Returns how many entries were answered. */
static uint32_t answer(struct lookup *l, uint32_t i)
{
	const struct index_entry *e = index_find(&l->d->index, l->ask[i].hash);
	uint32_t n;

	if (l->found[i] == FOUND_LIE)
		return 1;
	if (e && e->owner == INDEX_STABLE)
		return take_frames(l, i);
	if (!e || !hint_holder(l->d, e))
		make_hint(l, i);
	n = make_frames(l, i);
	if (!n && wants_publish(l, i))
		refuse(l, i, 1); /* the index has no memory for a hint */
	return n ? n : 1;
}

/* What an entry without a frame hears. */
static enum merge_none why_none(const struct lookup *l, uint32_t i, bool enough)
{
	return enough || l->found[i] == FOUND_NOTHING || l->found[i] == FOUND_LIE ? MERGE_UNIQUE :
										    MERGE_FEW;
}

static void answer_all(struct lookup *l, uint32_t fewest)
{
	bool enough;

	survey(l);
	enough = fewest <= 1 || are_enough(l, fewest);
	for (uint32_t i = 0; i < l->nr; i++)
		l->out[i].frame = why_none(l, i, enough);
	for (uint32_t i = 0; enough && i < l->nr;)
		i += answer(l, i);
	release(l);
}

const char *domain_lookup(struct member *m, const struct merge_msg *ask, struct merge_msg *msg)
{
	struct lookup l = {
		.d = m->domain, .m = m, .ask = ask->lookup, .out = msg->frame, .nr = ask->nr
	};
	const char *fault = check(&l);

	if (fault)
		return fault;
	l.d->lookups += l.nr;
	if (l.d->to_trim)
		index_trim(&l.d->index, --l.d->to_trim);
	msg->nr = l.nr;
	for (uint32_t i = 0; i < l.nr; i++)
		msg->frame[i] = (struct merge_frame){ gfn_of(&l, i), MERGE_LATER, 0 };
	if (m->may_miss)
		answer_all(&l, ask->arg);
	else
		m->late += l.nr;
	msg->arg = member_news(m);
	return NULL;
}
