/* SPDX-License-Identifier: MIT */
/*
 * Classes, spans and objects.
 *
 * An object is a word, with a length and its owner, and so many bytes that codec_unpack() makes a
 * page of.  What is known of a span is its class, and a bit for each of its objects.  A class has
 * the set of its spans in which there is room.  Spans that have become empty are on a list; those
 * from `fresh` on were never used.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "bitmap.h"
#include "codec.h"
#include "mmu/base/audit.h"
#include "mmu/base/reserve.h"
#include "pool.h"

#define STEP	      64u
#define NR_CLASSES    (POOL_MOST_BYTES / STEP)
#define STRIDE	      POOL_MOST_PAGES /* from span to span */
#define LEAST	      4u	      /* objects in a span: so the addresses suffice */
#define HANDLE_FILLED (1ULL << 39)
#define HANDLE_SPAN   6 /* the lowest bit of the span's number; below it is the object's */

struct class
{
	unsigned int pages, objects; /* of a span */
	uint64_t free;		     /* objects that are free in its spans */
	struct bitmap room;	     /* spans that have room */
};

struct pool {
	struct pool_backing backing;
	struct class class[NR_CLASSES];
	struct bitmap poor; /* spans with no more objects than pages, but not empty */
	struct pool_stats stats;
	uint64_t nr_spans;
	uint64_t *taken;  /* by span: a bit for each object in use */
	uint8_t *its;	  /* by span: its class */
	uint32_t *gone;	  /* spans that were used, and are empty ... */
	uint64_t nr_gone; /* ... so many */
	uint64_t fresh;	  /* no span from this one on was ever used */
	void *words;	  /* all arrays */
	uint64_t nr_words;
};

/* ---- the shape of a class ---- */

static unsigned int room_in(unsigned int class)
{
	return (class + 1) * STEP;
}

static unsigned int fits(unsigned int class, unsigned int pages)
{
	return (unsigned int)(pages * QUIRE_PAGE_SIZE) / room_in(class);
}

/* The pages of a span: of those that have enough objects, the ones that waste least at the end. */
static unsigned int best_span(unsigned int class)
{
	unsigned int best = STRIDE;

	for (unsigned int pages = STRIDE; pages-- > 1;)
		if (fits(class, pages) >= LEAST &&
		    fits(class, pages) * best >= fits(class, best) * pages)
			best = pages;
	return best;
}

/* ---- beginning and end ---- */

/* How many words the arrays of so many spans are. */
static uint64_t words_for(uint64_t nr)
{
	return nr + (nr + 1) / 2 + (nr + 7) / 8 + (NR_CLASSES + 1) * bitmap_words(nr);
}

static void lay_out(struct pool *p, uint64_t *at)
{
	uint64_t nr = p->nr_spans;

	p->taken = at;
	at += nr;
	p->gone = (uint32_t *)at;
	at += (nr + 1) / 2;
	p->its = (uint8_t *)at;
	at += (nr + 7) / 8;
	bitmap_init(&p->poor, nr, at);
	for (unsigned int i = 0; i < NR_CLASSES; i++)
		bitmap_init(&p->class[i].room, nr, at += bitmap_words(nr));
}

int pool_create(const struct pool_backing *backing, uint64_t pages, struct pool **out)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->backing = *backing;
	p->nr_spans = POOL_BYTES(pages) / (STRIDE * QUIRE_PAGE_SIZE);
	p->nr_words = words_for(p->nr_spans);
	p->words = reserve(p->nr_words * sizeof(uint64_t));
	if (!p->words) {
		free(p);
		return -ENOMEM;
	}
	lay_out(p, p->words);
	for (unsigned int i = 0; i < NR_CLASSES; i++) {
		p->class[i].pages = best_span(i);
		p->class[i].objects = fits(i, p->class[i].pages);
	}
	*out = p;
	return 0;
}

void pool_destroy(struct pool *p)
{
	if (!p)
		return;
	unreserve(p->words, p->nr_words * sizeof(uint64_t));
	free(p);
}

/* ---- spans ---- */

static uint64_t offset_of(uint64_t span)
{
	return span * STRIDE * QUIRE_PAGE_SIZE;
}

/* Use an empty span for this class. */
static int begin_span(struct pool *p, unsigned int class, uint64_t *span)
{
	const struct pool_backing *b = &p->backing;
	int err;

	*span = p->nr_gone ? p->gone[p->nr_gone - 1] : p->fresh;
	if (*span == p->nr_spans)
		return -ENOSPC;
	err = b->bring(b->ctx, offset_of(*span), p->class[class].pages);
	if (err)
		return err;
	if (p->nr_gone)
		p->nr_gone--;
	else
		p->fresh++;
	p->its[*span] = (uint8_t) class;
	p->stats.pool_pages += p->class[class].pages;
	p->class[class].free += p->class[class].objects;
	return 0;
}

static void end_span(struct pool *p, uint64_t span)
{
	struct class *c = &p->class[p->its[span]];

	c->free -= c->objects;
	p->gone[p->nr_gone++] = (uint32_t)span;
	p->stats.pool_pages -= c->pages;
	p->backing.take(p->backing.ctx, offset_of(span), c->pages);
}

/* ---- objects ---- */

static uint64_t span_of(pool_handle_t handle)
{
	return handle >> HANDLE_SPAN;
}

/* The bit of its object in its span. */
static uint64_t bit_of(pool_handle_t handle)
{
	return 1ULL << handle % (1u << HANDLE_SPAN);
}

static uint8_t *object_at(const struct pool *p, pool_handle_t handle)
{
	uint64_t span = span_of(handle);

	return p->backing.base + offset_of(span) +
	       handle % (1u << HANDLE_SPAN) * room_in(p->its[span]);
}

/* What an object begins with. */
struct object {
	uint64_t owner : 48, bytes : 16;
};
static_assert(sizeof(struct object) == sizeof(uint64_t), "an object begins with one word");

static struct object object_of(const struct pool *p, pool_handle_t handle)
{
	struct object object;

	memcpy(&object, object_at(p, handle), sizeof(object));
	return object;
}

/* A span has other objects than before: keep the sets right. */
static void sort_span(struct pool *p, uint64_t span)
{
	struct class *c = &p->class[p->its[span]];
	unsigned int objects = (unsigned int)__builtin_popcountll(p->taken[span]);

	if (objects && objects < c->objects)
		bitmap_set(&c->room, span);
	else
		bitmap_clear(&c->room, span);
	if (objects && objects <= c->pages)
		bitmap_set(&p->poor, span);
	else
		bitmap_clear(&p->poor, span);
}

/* Take the first free object of a span that has room. */
static pool_handle_t take_object(struct pool *p, uint64_t span)
{
	unsigned int n = (unsigned int)__builtin_ctzll(~p->taken[span]);

	p->taken[span] |= 1ULL << n;
	p->class[p->its[span]].free--;
	sort_span(p, span);
	return span << HANDLE_SPAN | n;
}

static unsigned int class_for(const struct pool_packed *packed)
{
	return (unsigned int)(packed->bytes + sizeof(struct object) - 1) / STEP;
}

static int put_object(struct pool *p, const struct pool_packed *packed, uint64_t owner,
		      pool_handle_t *out)
{
	const struct object object = { .owner = owner, .bytes = packed->bytes };
	unsigned int class = class_for(packed);
	uint64_t span = bitmap_first(&p->class[class].room);
	int err = span == BITMAP_NONE ? begin_span(p, class, &span) : 0;
	uint8_t *at;

	if (err)
		return err;
	*out = take_object(p, span);
	at = object_at(p, *out);
	memcpy(at, &object, sizeof(object));
	memcpy(at + sizeof(object), packed->data, packed->bytes);
	p->stats.object_pages++;
	p->stats.object_bytes += packed->bytes;
	return 0;
}

/* ---- the plan ---- */

struct plan {
	const struct pool *p;
	const struct pool_packed *packed;
	unsigned int nr;
	bool *in;
	uint64_t pages; /* that may still go behind new spans */
	uint64_t spans; /* that there are addresses for */
	bool done[NR_CLASSES];
	unsigned int nr_of[NR_CLASSES]; /* that are asked about */
};

/* Leave out those of the class but the first `most`. */
static void leave_out(struct plan *plan, unsigned int class, uint64_t most)
{
	for (unsigned int i = 0; i < plan->nr; i++) {
		if (!plan->in[i] || plan->packed[i].filled || class_for(&plan->packed[i]) != class)
			continue;
		if (most)
			most--;
		else
			plan->in[i] = false;
	}
}

/* Have all of the class go in, if its new spans take no more than `most` pages; then it is done. */
static void plan_class(struct plan *plan, unsigned int class, uint64_t most)
{
	const struct class *c = &plan->p->class[class];
	uint64_t nr = plan->nr_of[class], more = nr - min_u64(nr, c->free);
	uint64_t spans = (more + c->objects - 1) / c->objects;

	if (plan->done[class] || spans * c->pages > most || spans > plan->spans)
		return;
	plan->pages += nr;
	plan->pages -= spans * c->pages;
	plan->spans -= spans;
	plan->done[class] = true;
}

/* What finds room in the spans that there are costs nothing. */
static void plan_room(struct plan *plan, unsigned int class)
{
	uint64_t most = plan->p->class[class].free;

	if (plan->done[class])
		return;
	plan->pages += min_u64(plan->nr_of[class], most);
	leave_out(plan, class, most);
	plan->done[class] = true;
}

/*
 * First the classes that take no more pages than come free by them.  What is gained goes to others,
 * as far as it goes.  Of the rest goes in what finds room without a new span.
 */
void pool_plan(const struct pool *p, const struct pool_packed *packed, unsigned int nr,
	       uint64_t spare, bool *in)
{
	struct plan plan = {
		.p = p,
		.packed = packed,
		.nr = nr,
		.in = in,
		.pages = spare,
		.spans = p->nr_spans - p->fresh + p->nr_gone,
	};

	for (unsigned int i = 0; i < nr; i++) {
		if (in[i] && packed[i].filled)
			plan.pages++;
		else if (in[i])
			plan.nr_of[class_for(&packed[i])]++;
	}
	for (unsigned int i = 0; i < NR_CLASSES; i++)
		plan_class(&plan, i, plan.nr_of[i]);
	for (unsigned int i = 0; i < NR_CLASSES; i++)
		plan_class(&plan, i, plan.pages + plan.nr_of[i]);
	for (unsigned int i = 0; i < NR_CLASSES; i++)
		plan_room(&plan, i);
}

bool pool_pack(const uint8_t *page, struct pool_packed *out)
{
	out->filled = codec_is_filled(page, &out->word);
	out->bytes = 0;
	if (!out->filled)
		out->bytes = (uint16_t)codec_pack(page, out->data,
						  POOL_MOST_BYTES - sizeof(struct object));
	return out->filled || out->bytes;
}

/* The bytes are our own, so they are what codec_pack() made. */
static void unpack(const uint8_t *packed, unsigned int bytes, uint8_t *page)
{
	bool unpacked = codec_unpack(packed, bytes, page);

	assert(unpacked);
	(void)unpacked;
}

void pool_unpack(const struct pool_packed *packed, uint8_t *page)
{
	if (packed->filled)
		codec_fill(page, packed->word);
	else
		unpack(packed->data, packed->bytes, page);
}

int pool_put(struct pool *p, const struct pool_packed *packed, uint64_t owner, pool_handle_t *out)
{
	if (!packed->filled)
		return put_object(p, packed, owner, out);
	*out = HANDLE_FILLED | packed->word;
	p->stats.filled_pages++;
	return 0;
}

void pool_get(const struct pool *p, pool_handle_t handle, uint8_t *page)
{
	if (handle & HANDLE_FILLED)
		codec_fill(page, (uint32_t)handle);
	else
		unpack(object_at(p, handle) + sizeof(struct object), object_of(p, handle).bytes,
		       page);
}

void pool_find(const struct pool *p, pool_handle_t handle, struct pool_place *out)
{
	uint64_t span = span_of(handle);
	unsigned int class;

	memset(out, 0, sizeof(*out));
	if (handle & HANDLE_FILLED) {
		out->filled = 1;
		out->word = (uint32_t)handle;
		return;
	}
	class = p->its[span];
	out->span_pages = (uint8_t)p->class[class].pages;
	out->objects = (uint8_t)p->class[class].objects;
	out->in_span = (uint8_t)__builtin_popcountll(p->taken[span]);
	out->bytes = object_of(p, handle).bytes;
	out->room = (uint16_t)room_in(class);
	out->offset = offset_of(span);
}

void pool_drop(struct pool *p, pool_handle_t handle)
{
	uint64_t span = span_of(handle);

	if (handle & HANDLE_FILLED) {
		p->stats.filled_pages--;
		return;
	}
	assert(p->taken[span] & bit_of(handle));
	p->stats.object_pages--;
	p->stats.object_bytes -= object_of(p, handle).bytes;
	p->taken[span] &= ~bit_of(handle);
	p->class[p->its[span]].free++;
	sort_span(p, span);
	if (!p->taken[span])
		end_span(p, span);
}

/* ---- looking ---- */

void pool_stats(const struct pool *p, struct pool_stats *out)
{
	*out = p->stats;
}

bool pool_has(const struct pool *p, pool_handle_t handle, uint64_t owner)
{
	uint64_t span = span_of(handle);

	if (handle & HANDLE_FILLED)
		return handle >> 32 == HANDLE_FILLED >> 32;
	return span < p->fresh && (p->taken[span] & bit_of(handle)) &&
	       object_of(p, handle).owner == owner;
}

unsigned int pool_poor(const struct pool *p, uint64_t owner[POOL_MOST_PAGES],
		       pool_handle_t handle[POOL_MOST_PAGES])
{
	uint64_t span = bitmap_first(&p->poor), taken;
	unsigned int nr = 0;

	if (span == BITMAP_NONE)
		return 0;
	for (taken = p->taken[span]; taken; taken &= taken - 1, nr++) {
		handle[nr] = span << HANDLE_SPAN | (pool_handle_t)__builtin_ctzll(taken);
		owner[nr] = object_of(p, handle[nr]).owner;
	}
	return nr;
}

static uint64_t all_taken(const struct class *c)
{
	return c->objects == 64 ? UINT64_MAX : (1ULL << c->objects) - 1;
}

/* Count the objects of a span, and whether each set has it as it should. */
static void audit_span(struct audit *a, const struct pool *p, uint64_t span, struct pool_stats *sum)
{
	const struct class *its = &p->class[p->its[span]];
	uint64_t taken = p->taken[span];
	unsigned int objects = (unsigned int)__builtin_popcountll(taken);

	for (const struct class *c = p->class; c < p->class + NR_CLASSES; c++)
		audit_expect(a, bitmap_has(&c->room, span),
			     c == its && objects && objects < its->objects, "has a span room");
	audit_expect(a, bitmap_has(&p->poor, span), objects && objects <= its->pages,
		     "is a span poor");
	audit_expect(a, taken & ~all_taken(its), 0, "objects beyond a span");
	sum->pool_pages += objects ? its->pages : 0;
	sum->object_pages += objects;
	for (; taken; taken &= taken - 1) {
		pool_handle_t n = (pool_handle_t)__builtin_ctzll(taken);

		sum->object_bytes += object_of(p, span << HANDLE_SPAN | n).bytes;
	}
}

static uint64_t free_of(const struct pool *p, unsigned int class)
{
	uint64_t nr = 0;

	for (uint64_t span = 0; span < p->fresh; span++)
		if (p->its[span] == class && p->taken[span])
			nr += p->class[class].objects -
			      (uint64_t)__builtin_popcountll(p->taken[span]);
	return nr;
}

unsigned int pool_audit(const struct pool *p, void (*report)(void *ctx, const char *what),
			void *ctx)
{
	struct audit a = { report, ctx, 0 };
	struct pool_stats sum = { 0 };
	uint64_t empty = 0;

	for (uint64_t span = 0; span < p->fresh; span++) {
		audit_span(&a, p, span, &sum);
		empty += !p->taken[span];
	}
	audit_expect(&a, p->nr_gone, empty, "spans of the pool that went");
	for (const struct class *c = p->class; c < p->class + NR_CLASSES; c++)
		audit_expect(&a, c->free, free_of(p, (unsigned int)(c - p->class)),
			     "free objects of the pool");
	audit_expect(&a, p->stats.object_pages, sum.object_pages, "objects of the pool");
	audit_expect(&a, p->stats.object_bytes, sum.object_bytes, "bytes of the pool's objects");
	audit_expect(&a, p->stats.pool_pages, sum.pool_pages, "pages of the pool");
	return a.faults;
}
