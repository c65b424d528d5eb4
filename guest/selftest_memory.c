/* SPDX-License-Identifier: MIT */
/*
 * The allocators, then memory itself.
 *
 * The tests of the buddy allocator make zones of their own.  Its maps lie apart from the memory
 * that they describe, so a zone over frames that are used otherwise does no harm.  Known answers
 * are from Stallings, Operating Systems, "Example of Buddy System".
 */
#include "frames.h"
#include "memory.h"
#include "paging.h"
#include "selftest.h"
#include "workload.h"

#define ZONE_START 1024UL /* frames; the zones here begin at 4 MiB */
#define KIB(n)	   (ZONE_START + (n) / 4)

static uint64_t meta[1024];

static void stallings(void)
{
	struct zone z;
	uint64_t a, b, c, d, e;

	zone_init(&z, ZONE_START, KIB(1024), meta);
	a = zone_alloc(&z, 5); /* 100K */
	tap_hex(a, KIB(0), "Stallings: A=100K is at 0");
	b = zone_alloc(&z, 6); /* 240K */
	tap_hex(b, KIB(256), "B=240K is at 256K");
	c = zone_alloc(&z, 4); /* 64K */
	tap_hex(c, KIB(128), "C=64K is at 128K");
	d = zone_alloc(&z, 6); /* 256K */
	tap_hex(d, KIB(512), "D=256K is at 512K");
	zone_free(&z, b, 6);
	zone_free(&z, a, 5);
	e = zone_alloc(&z, 5); /* 75K */
	tap_hex(e, KIB(0), "B and A freed, E=75K is at 0");
	zone_free(&z, c, 4);
	zone_free(&z, e, 5);
	tap_hex(z.nr_free[7], 1, "C and E freed, 512K have joined");
	zone_free(&z, d, 6);
	tap_ok(z.nr_free[8] == 1 && zone_audit(&z), "D freed, all is one block");

	zone_init(&z, ZONE_START, KIB(256), meta);
	tap_hex(zone_alloc(&z, 3), KIB(0), "21K of 256K takes the first 32K");
	tap_ok(z.nr_free[3] == 1 && z.nr_free[4] == 1 && z.nr_free[5] == 1 && zone_audit(&z),
	       "and leaves 32K, 64K and 128K");
}

#define MODEL_PAGES 3000UL /* not a multiple of anything */

struct model {
	struct zone zone;
	uint8_t owned[MODEL_PAGES];
	uint8_t used[MODEL_PAGES]; /* since last reported */
	struct {
		uint64_t frame;
		unsigned int order;
	} block[256];
	unsigned int n;
};

/* Mark a block's pages.  False: one is marked already, or lies outside. */
static bool model_own(struct model *m, uint64_t frame, unsigned int order, bool own)
{
	uint64_t first = frame - m->zone.start;

	if (frame & ((1UL << order) - 1) || first + (1UL << order) > MODEL_PAGES)
		return false;
	for (uint64_t i = first; i < first + (1UL << order); i++) {
		if (m->owned[i] == own)
			return false;
		m->owned[i] = own;
		m->used[i] |= own;
	}
	return true;
}

static bool model_alloc(struct model *m, unsigned int order)
{
	uint64_t frame = zone_alloc(&m->zone, order);

	if (!frame)
		return true;
	m->block[m->n].frame = frame;
	m->block[m->n++].order = order;
	return model_own(m, frame, order, true);
}

static bool model_free(struct model *m, unsigned int i)
{
	bool sound = model_own(m, m->block[i].frame, m->block[i].order, false);

	zone_free(&m->zone, m->block[i].frame, m->block[i].order);
	m->block[i] = m->block[--m->n];
	return sound;
}

/* Forget that a block's pages have been used.  Returns how many were. */
static uint64_t model_forget(struct model *m, uint64_t frame, unsigned int order)
{
	uint64_t used = 0;

	for (uint64_t i = frame - m->zone.start; i < frame - m->zone.start + (1UL << order); i++) {
		used += m->used[i];
		m->used[i] = 0;
	}
	return used;
}

/* Report a block, if there is one.  Every half of it must be free and must have been used. */
static bool model_report(struct model *m, bool *none)
{
	unsigned int order;
	uint64_t frame = zone_alloc_unreported(&m->zone, &order), halves;
	bool sound = true;

	*none = !frame;
	if (!frame)
		return true;
	halves = 1UL << (order - HALF_ORDER);
	for (uint64_t i = 0; i < halves; i++)
		sound &= model_forget(m, frame + (i << HALF_ORDER), HALF_ORDER) > 0;
	sound &= model_own(m, frame, order, true) && model_own(m, frame, order, false);
	model_forget(m, frame, order);
	zone_free_reported(&m->zone, frame, order);
	return sound;
}

/* If all is free, every whole half that was used is reported, and after that none. */
static bool model_report_all(struct model *m)
{
	uint64_t half = 1UL << HALF_ORDER, frame = (m->zone.start + half - 1) & -half;
	bool sound = true, none = false;

	while (sound && !none)
		sound = model_report(m, &none);
	for (; sound && frame + half <= m->zone.end; frame += half)
		sound = !model_forget(m, frame, HALF_ORDER);
	return sound;
}

static void against_a_model(uint64_t seed)
{
	static struct model m;
	uint64_t before[NR_ORDERS];
	bool sound = true, none;

	zone_init(&m.zone, ZONE_START + 3, ZONE_START + 3 + MODEL_PAGES, meta);
	memcpy(before, m.zone.nr_free, sizeof(before));
	for (unsigned int i = 0; i < 20000 && sound; i++) {
		bool full = m.n == ARRAY_SIZE(m.block);

		if (!full && (!m.n || random_next(&seed) % 2))
			sound = model_alloc(&m, (unsigned int)random_below(&seed, 7));
		else
			sound = model_free(&m, (unsigned int)random_below(&seed, m.n));
		/* Now and then only few blocks stay allocated, so that large ones become free. */
		while (sound && i % 1000 == 0 && m.n > 8)
			sound = model_free(&m, (unsigned int)random_below(&seed, m.n));
		if (sound && i % 100 == 0)
			sound = model_report(&m, &none) && zone_audit(&m.zone);
	}
	tap_ok(sound, "20000 random steps: no block is out of place or given twice");
	while (m.n)
		sound &= model_free(&m, 0);
	tap_ok(sound && zone_audit(&m.zone) && !memcmp(before, m.zone.nr_free, sizeof(before)),
	       "all freed, every block has joined again");
	tap_ok(model_report_all(&m) && zone_audit(&m.zone),
	       "free blocks of 2 and 4 MiB are reported once each time they were used");
}

void selftest_buddy(void)
{
	stallings();
	against_a_model(1);
}

#define SLAB_OBJECTS 200

void selftest_slab(void)
{
	static uint8_t *object[SLAB_OBJECTS];
	uint64_t pages = slab_pages();
	bool sound = true;

	for (unsigned int i = 0; i < SLAB_OBJECTS; i++) {
		size_t bytes = 1 + i * 10;

		object[i] = kmalloc(bytes);
		for (size_t at = 0; at < bytes; at++)
			sound &= !object[i][at];
		memset(object[i], (int)i, bytes);
	}
	tap_ok(sound, "slab: objects come zeroed");
	for (unsigned int i = 0; i < SLAB_OBJECTS; i++)
		for (size_t at = 0; at < 1 + i * 10; at++)
			sound &= object[i][at] == (uint8_t)i;
	tap_ok(sound, "slab: no two objects overlap");
	for (unsigned int i = 0; i < SLAB_OBJECTS; i++)
		kfree(object[i * 7 % SLAB_OBJECTS]);
	tap_hex(slab_pages(), pages, "slab: empty pages are given back");
}

/* What is reserved is enough, and stays. */
static void check_reserve(void)
{
	struct frames f = { 0 };
	uint64_t n = 7 * FRAMES_PER_PAGE, free = free_page_count();
	bool sound;

	frames_reserve(&f, n);
	sound = free - free_page_count() == 7;
	free = free_page_count();
	for (unsigned int round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < n; i++)
			sound &= frames_push(&f, i << PAGE_SHIFT);
		sound &= free_page_count() == free;
		for (uint64_t i = n; i-- > 0;)
			sound &= frames_pop(&f) == i << PAGE_SHIFT;
		sound &= free_page_count() == free;
	}
	tap_ok(sound, "a stack with a reserve for %lu frames takes no page for them", n);
}

/* Numbers are popped last first, and the pages of the list go back to the allocator. */
void selftest_frames(void)
{
	struct frames f = { .expected = 5 * FRAMES_PER_PAGE };
	uint64_t n = 7 * FRAMES_PER_PAGE + 1, free = free_page_count();
	bool sound = true;

	for (uint64_t i = 0; i < n; i++)
		sound &= frames_push(&f, mix(i) << PAGE_SHIFT & 0xffffffff000);
	sound &= f.nr == n && free - free_page_count() >= 8;
	for (uint64_t i = n; i-- > 0;)
		sound &= frames_pop(&f) == (mix(i) << PAGE_SHIFT & 0xffffffff000);
	tap_ok(sound && !f.nr && free_page_count() == free,
	       "a stack of %lu frames costs nothing when empty", n);
	check_reserve();
}

/* Blocks taken are chained through the list, which is itself a block. */
struct ram_test {
	struct {
		uint64_t gpa;
		unsigned int order;
	} * block;
	uint64_t n, room, pages;
};

static void take_blocks(struct ram_test *t, uint64_t most_pages)
{
	for (unsigned int order = NR_ORDERS; order-- > 0;)
		while (t->n < t->room && t->pages + (1UL << order) <= most_pages) {
			uint64_t gpa = alloc_pages(order);

			if (!gpa)
				break;
			t->block[t->n].gpa = gpa;
			t->block[t->n++].order = order;
			t->pages += 1UL << order;
		}
}

static void write_block(const struct ram_test *t, uint64_t i)
{
	uint64_t gpa = t->block[i].gpa, end = gpa + (PAGE_SIZE << t->block[i].order);

	for (; gpa < end; gpa += PAGE_SIZE)
		content_write(direct(gpa), 1, gpa >> PAGE_SHIFT);
}

static bool check_block(const struct ram_test *t, uint64_t i)
{
	uint64_t gpa = t->block[i].gpa, end = gpa + (PAGE_SIZE << t->block[i].order);

	for (; gpa < end; gpa += PAGE_SIZE)
		if (!content_check("# ram", direct(gpa), 1, gpa >> PAGE_SHIFT))
			return false;
	return true;
}

void selftest_ram(uint64_t most_pages)
{
	uint64_t free_before = free_page_count();
	unsigned int order = 0;
	struct ram_test t = { 0 };
	uint64_t list;
	bool good = true;

	t.room = free_before / CHUNK_PAGES + (uint64_t)zone_count() * 2 * NR_ORDERS;
	while (PAGE_SIZE << order < t.room * sizeof(*t.block))
		order++;
	list = alloc_pages(order);
	t.block = direct(list);
	take_blocks(&t, most_pages);
	for (uint64_t i = 0; i < t.n; i++)
		write_block(&t, i);
	for (uint64_t i = 0; good && i < t.n; i++)
		good = check_block(&t, i);
	tap_ok(good, "%lu of %lu free pages hold what was written", t.pages, free_before);
	for (uint64_t i = 0; i < t.n; i++)
		free_pages(t.block[i].gpa, t.block[i].order);
	free_pages(list, order);
	for (unsigned int i = 0; i < zone_count(); i++)
		good &= zone_audit(zone_at(i));
	tap_ok(good && free_page_count() == free_before, "all given back, the zones are sound");
}
