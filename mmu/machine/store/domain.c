/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "domain.h"
#include "sweep.h"
#include "mmu/base/reserve.h"

static const size_t refs_bytes = MERGE_SEGMENT_FRAMES * sizeof(uint32_t);

static bool is_current(void *ctx, const struct index_entry *hint)
{
	return hint_holder(ctx, hint) != NULL;
}

struct domain *domain_create(const struct frame_account *account, page_hasher *hash,
			     const char *name, struct shelf *shelf, unsigned int max_segments)
{
	struct domain *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->pages = malloc(2 * DOMAIN_PIECE * sizeof(*d->pages));
	d->partners = d->pages + DOMAIN_PIECE;
	if (!d->pages || getrandom(&d->secret, sizeof(d->secret), 0) != sizeof(d->secret)) {
		free(d->pages);
		free(d);
		return NULL;
	}
	d->account = *account;
	d->hash = hash;
	memcpy(d->name, name, strnlen(name, MACHINE_NAME_MAX));
	store_init(&d->store, shelf, max_segments);
	index_init(&d->index, is_current, d);
	return d;
}

void domain_destroy(struct domain *d)
{
	assert(!d->nr_members && !d->store.used_frames);
	store_finish(&d->store);
	index_finish(&d->index);
	free(d->by_number);
	free(d->pages);
	free(d);
}

static bool find_number(struct domain *d, uint32_t *number)
{
	struct member **table;

	for (*number = 0; *number < d->nr_numbers; ++*number)
		if (!d->by_number[*number])
			return true;
	table = realloc(d->by_number, (d->nr_numbers + 1) * sizeof(*table));
	if (!table)
		return false;
	d->by_number = table;
	d->by_number[d->nr_numbers++] = NULL;
	return true;
}

struct member *domain_join(struct domain *d, int ram, uint64_t nr_gfns, uint64_t promised)
{
	struct member *m = calloc(1, sizeof(*m));
	uint32_t number;

	if (!m)
		return NULL;
	m->hint_of = reserve(nr_gfns * sizeof(*m->hint_of));
	if (!m->hint_of || !find_number(d, &number)) {
		unreserve(m->hint_of, nr_gfns * sizeof(*m->hint_of));
		free(m);
		return NULL;
	}
	m->domain = d;
	m->number = number;
	m->ram = ram;
	m->nr_gfns = nr_gfns;
	m->max_hints = m->most_hints = promised;
	m->max_frames = promised + MERGE_BATCH;
	m->may_miss = member_most_misses(m);
	d->by_number[number] = m;
	d->nr_members++;
	return m;
}

bool member_prepare(struct member *m, unsigned int segment)
{
	if (!m->refs[segment])
		m->refs[segment] = reserve(refs_bytes);
	return m->refs[segment] != NULL;
}

bool member_get(struct member *m, uint32_t frame)
{
	uint32_t *refs;

	if (m->references == 2 * m->max_frames || !member_prepare(m, frame_segment(frame)))
		return false;
	refs = &m->refs[frame_segment(frame)][frame_index(frame)];
	if ((!*refs && m->nr_frames == m->max_frames) || !store_get(&m->domain->store, frame))
		return false;
	m->nr_frames += !*refs;
	m->references++;
	++*refs;
	member_warm(m, frame);
	return true;
}

/* Take n references to a frame away from m.  True: they were the frame's last. */
static bool take(struct member *m, uint32_t frame, uint32_t n)
{
	uint32_t *refs = &m->refs[frame_segment(frame)][frame_index(frame)];

	*refs -= n;
	if (!*refs)
		member_warm(m, frame);
	m->nr_frames -= !*refs;
	m->references -= n;
	return store_put(&m->domain->store, frame, n);
}

void member_unget(struct member *m, uint32_t frame)
{
	bool last = take(m, frame, 1);

	assert(!last);
	(void)last;
}

bool member_tell(struct member *m, struct merge_frame entry)
{
	if (member_news(m) == m->max_hints)
		return false;
	if (m->nr_news == m->news_capacity && m->news_at) {
		m->nr_news -= m->news_at;
		memmove(m->news, m->news + m->news_at, m->nr_news * sizeof(*m->news));
		m->news_at = 0;
	}
	if (m->nr_news == m->news_capacity) {
		uint32_t capacity = m->news_capacity ? 2 * m->news_capacity : 64;
		struct merge_frame *news = realloc(m->news, capacity * sizeof(*news));

		if (!news)
			return false;
		m->news = news;
		m->news_capacity = capacity;
	}
	m->news[m->nr_news++] = entry;
	return true;
}

void domain_news(struct member *m, struct merge_msg *answer)
{
	answer->nr = (uint32_t)min_u64(member_news(m), MERGE_BATCH);
	if (answer->nr)
		memcpy(answer->frame, m->news + m->news_at, answer->nr * sizeof(*m->news));
	m->news_at += answer->nr;
	answer->arg = member_news(m);
	if (answer->arg)
		return;
	free(m->news);
	m->news = NULL;
	m->news_at = m->nr_news = m->news_capacity = 0;
}

/* Frames whose last reference is gone.  Neighbours are punched out together. */
struct garbage {
	uint32_t frame[MERGE_BATCH];
	uint32_t nr;
};

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void collect(struct domain *d, struct garbage *g)
{
	uint32_t n;

	qsort(g->frame, g->nr, sizeof(g->frame[0]), by_number);
	for (uint32_t i = 0; i < g->nr; i += n) {
		for (n = 1; i + n < g->nr && g->frame[i + n] == g->frame[i] + n &&
			    frame_index(g->frame[i + n]);
		     n++)
			;
		store_free(&d->store, g->frame[i], n);
	}
	d->account.uncharge(d->account.ctx, g->nr);
	g->nr = 0;
}

bool is_indexed(const struct domain *d, uint32_t frame)
{
	const struct index_entry *e = index_find(&d->index, *store_hash(&d->store, frame));

	return e && e->owner == INDEX_STABLE && e->page == frame;
}

static void put(struct member *m, uint32_t frame, uint32_t n, struct garbage *g)
{
	struct domain *d = m->domain;

	if (!take(m, frame, n))
		return;
	if (is_indexed(d, frame))
		index_remove(&d->index, *store_hash(&d->store, frame));
	else
		d->unindexed--;
	g->frame[g->nr++] = frame;
	if (g->nr == MERGE_BATCH)
		collect(d, g);
}

void domain_free_unindexed(struct domain *d, uint32_t frame)
{
	struct garbage garbage = { .frame = { frame }, .nr = 1 };

	d->unindexed--;
	collect(d, &garbage);
}

bool member_holds(const struct member *m, uint32_t frame)
{
	return MERGE_IS_FRAME(frame) && m->refs[frame_segment(frame)] &&
	       m->refs[frame_segment(frame)][frame_index(frame)];
}

const char *domain_drop(struct member *m, const struct merge_msg *ask)
{
	struct garbage garbage = { .nr = 0 };
	const char *fault = NULL;

	for (uint32_t i = 0; i < ask->nr && !fault; i++) {
		if (member_holds(m, ask->drop[i])) {
			store_doubt(&m->domain->store, ask->drop[i], true);
			put(m, ask->drop[i], 1, &garbage);
		} else {
			fault = "a DROP of what it does not hold";
		}
	}
	collect(m->domain, &garbage);
	return fault;
}

int domain_open(struct member *m, unsigned int segment)
{
	int fd = store_open(&m->domain->store, segment);

	if (fd >= 0 && !(m->given & 1ULL << segment)) {
		m->given |= 1ULL << segment;
		m->domain->store.segment[segment].given++;
	}
	return fd;
}

/* The living member that has a descriptor of this segment, if nobody else ever had one. */
static struct member *only_reader(const struct domain *d, unsigned int segment)
{
	if (d->store.segment[segment].given != 1)
		return NULL;
	for (uint32_t i = 0; i < d->nr_numbers; i++) {
		struct member *m = d->by_number[i];

		if (m && m->hint_of && m->given & 1ULL << segment)
			return m;
	}
	return NULL;
}

struct member *domain_sweep(struct domain *d, uint64_t *pages)
{
	struct member *culprit = NULL;

	*pages = 0;
	store_sweep(&d->store);
	for (unsigned int i = 0; i < d->store.nr_segments; i++) {
		struct store_segment *g = &d->store.segment[i];

		if (g->stray && !culprit)
			culprit = only_reader(d, i);
		*pages += g->stray;
		g->stray = 0;
	}
	return culprit;
}

void domain_leave(struct member *m)
{
	struct domain *d = m->domain;

	unreserve(m->hint_of, m->nr_gfns * sizeof(*m->hint_of));
	free(m->news);
	/* It calls nothing cold any more: who gives references back gets no others. */
	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++) {
		unreserve(m->cold[i], DOMAIN_BITS_BYTES);
		m->cold[i] = NULL;
	}
	m->hint_of = NULL;
	m->news = NULL;
	m->news_at = m->nr_news = m->news_capacity = 0;
	m->nr_gfns = m->nr_hints = 0;
	d->nr_members--;
	d->nr_leaving++;
}

/* The first frame, from `frame` on, to which m may have references. */
static uint32_t next_segment(const struct member *m, uint32_t frame)
{
	while (frame < MERGE_MAX_FRAMES &&
	       (!m->refs[frame_segment(frame)] ||
		frame_index(frame) >= m->domain->store.segment[frame_segment(frame)].touched))
		frame = (frame_segment(frame) + 1) * MERGE_SEGMENT_FRAMES;
	return frame;
}

/*
 * Which part of a frame with `all` references its `mine` are, in units of 2^-32.  It is rounded up,
 * so that three thirds are one.  The sum of MERGE_MAX_FRAMES such errors is less than 1/128.
 */
static uint64_t part_of(uint32_t mine, uint32_t all)
{
	return (((uint64_t)mine << 32) + all - 1) / all;
}

void domain_weigh(const struct member *m, uint64_t *alone, uint64_t *share)
{
	uint64_t parts = 0;

	*alone = 0;
	for (unsigned int s = 0; s < m->domain->store.nr_segments; s++) {
		const struct store_segment *g = &m->domain->store.segment[s];
		const uint32_t *refs = m->refs[s];

		for (uint32_t i = 0; refs && i < g->touched; i++) {
			if (refs[i] == g->refs[i])
				*alone += refs[i] != 0;
			else if (refs[i])
				parts += part_of(refs[i], g->refs[i]);
		}
	}
	*share = parts >> 32;
}

static void finish(struct member *m)
{
	struct domain *d = m->domain;

	assert(!m->references && !m->nr_frames);
	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++)
		unreserve(m->refs[i], refs_bytes);
	d->by_number[m->number] = NULL;
	d->to_trim = INDEX_SHARDS;
	d->nr_leaving--;
	free(m);
}

bool domain_give_back(struct member *m, uint32_t frames)
{
	struct garbage garbage = { .nr = 0 };
	uint32_t at = m->left;

	while (m->nr_frames && frames) {
		uint32_t refs;

		at = next_segment(m, at);
		refs = m->refs[frame_segment(at)][frame_index(at)];
		if (refs) {
			put(m, at, refs, &garbage);
			frames--;
		}
		at++;
	}
	collect(m->domain, &garbage);
	m->left = at;
	if (m->nr_frames)
		return false;
	finish(m);
	return true;
}

uint64_t domain_index_bytes(const struct domain *d)
{
	uint64_t bytes = index_bytes(&d->index);

	for (uint32_t i = 0; i < d->nr_numbers; i++)
		if (d->by_number[i])
			bytes += d->by_number[i]->nr_gfns * sizeof(uint32_t);
	return bytes;
}

uint64_t domain_store_bytes(const struct domain *d)
{
	uint64_t bytes =
		sizeof(*d) + 2 * DOMAIN_PIECE * sizeof(*d->pages) + store_metadata_bytes(&d->store);

	for (uint32_t i = 0; i < d->nr_numbers; i++) {
		const struct member *m = d->by_number[i];

		if (!m)
			continue;
		bytes += sizeof(*m) + m->news_capacity * sizeof(*m->news);
		for (unsigned int s = 0; s < d->store.nr_segments; s++) {
			bytes += m->refs[s] ? d->store.segment[s].touched * sizeof(uint32_t) : 0;
			bytes += m->cold[s] ? d->store.segment[s].touched / 8 : 0;
		}
	}
	return bytes;
}

void domain_record(const struct domain *d, struct machine_domain_record *r)
{
	memcpy(r->name, d->name, sizeof(r->name));
	r->vm = d->vm;
	r->members = d->nr_members;
	r->pages_shared = d->store.used_frames;
	r->pages_sharing = d->store.references - d->store.used_frames;
	for (uint32_t i = 0; i < d->nr_numbers; i++)
		r->hints += d->by_number[i] ? d->by_number[i]->nr_hints : 0;
	r->lookups = d->lookups;
	r->promotions = d->promotions;
	r->no_memory = d->no_memory;
	r->archives = d->archives;
	r->archived = d->archived;
	r->collisions = d->collisions;
	r->index_bytes = domain_index_bytes(d);
	r->store_bytes = domain_store_bytes(d);
}

bool domain_knows(const struct domain *d, const void *page)
{
	const struct index_entry *e = index_find(&d->index, d->hash(&d->secret, page));

	return e && (e->owner == INDEX_STABLE || hint_holder(d, e));
}
