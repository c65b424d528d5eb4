/* SPDX-License-Identifier: MIT */
/*
 * evil-balloon: drivers that a balloon device must survive.
 *
 *	evil-balloon KIND|all [touch=PAGES] [seed=N]
 *
 *	dup	the same page again and again, inflated and deflated
 *	range	pages that are not RAM
 *	queue	the pages that the queues themselves lie in
 *	deflate	pages that were never inflated
 *	report	free page reports of memory in use, unaligned, empty, twice; of a page that is
 *		reported in part, the rest must stay
 *	loop	descriptor chains without an end, within indirect tables too
 *	outside	descriptors that point to where there is no RAM
 *	length	buffers of absurd lengths, and in the wrong direction
 *	jump	more buffers offered than the ring holds, and ones that do not exist
 *	setup	queues at impossible places, of impossible sizes
 *	reset	a reset while buffers are under way
 *	storm	writes to registers, at random
 *
 * The driver owns a block of 2 MiB, the victim, and risks its contents.  Whatever the driver hands
 * out lies in the victim or is no RAM at all.  touch=PAGES other pages (1000) must stay as they
 * are: if one of them changes, the status is 1.  The device may stop answering.  But after a reset
 * it should work again, which `recovered=` says, and then the victim's pages must keep what is
 * written to them.
 */
#include "balloon.h"
#include "memory.h"
#include "paging.h"
#include "workload.h"

#define SEED_KEPT   1
#define SEED_VICTIM 2

#define WAIT_MS	    50		 /* for a device that may have given up */
#define RECOVERY_MS 20000	 /* a busy host may take long */
#define NOWHERE_GPA 0xc8000000UL /* in the hole below 4 GiB, no device */
#define NR_QUEUES   3
#define FEATURES    (BALLOON_F_STATS_VQ | BALLOON_F_REPORTING | VIRTIO_F_INDIRECT_DESC)

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_REPORT };

struct evil {
	struct virtio dev;
	struct virtqueue queue[NR_QUEUES];
	bool reports;			/* the third queue is there */
	uint64_t victim, buffer, table; /* gpa: a block; page frame numbers; an indirect table */
	uint64_t top;			/* gpa: the end of RAM */
	uint64_t state;			/* of the random numbers */
	unsigned int offered, used;
	bool spilled; /* the device changed what it was not given */
	uint64_t pages;
	uint64_t (*page)[PAGE_WORDS]; /* what must not change */
};

/* ---- one attempt: from reset to reset ---- */

/* The reporting queue's number; QEMU has a queue of statistics before it in any case. */
static unsigned int report_index(const struct evil *e)
{
	return e->dev.features & BALLOON_F_STATS_VQ ? 3 : 2;
}

static bool begin(struct evil *e)
{
	if (!virtio_negotiate(&e->dev, FEATURES))
		return false;
	e->reports = e->dev.features & BALLOON_F_REPORTING;
	if (!virtqueue_create(&e->queue[QUEUE_INFLATE], &e->dev, 0) ||
	    !virtqueue_create(&e->queue[QUEUE_DEFLATE], &e->dev, 1) ||
	    (e->reports && !virtqueue_create(&e->queue[QUEUE_REPORT], &e->dev, report_index(e))))
		return false;
	virtio_start(&e->dev);
	return true;
}

static void notify(struct evil *e, unsigned int index)
{
	virtio_write(&e->dev, VIRTIO_REG_NOTIFY, index);
}

static void offer(struct evil *e, unsigned int queue, uint16_t head)
{
	volatile struct virtq_avail *avail = &e->queue[queue].rings->avail;

	avail->ring[avail->idx % e->queue[queue].size] = head;
	__asm__ volatile("" ::: "memory");
	avail->idx++;
	e->offered++;
	notify(e, e->queue[queue].index);
}

static void describe(struct evil *e, unsigned int queue, unsigned int at, struct virtq_desc desc)
{
	volatile struct virtq_desc *d = &e->queue[queue].rings->desc[at];

	d->gpa = desc.gpa;
	d->bytes = desc.bytes;
	d->flags = desc.flags;
	d->next = desc.next;
}

/* Has the device used all that it was offered? */
static bool answered(const struct evil *e)
{
	for (unsigned int i = 0; i < NR_QUEUES; i++) {
		volatile struct virtq_rings *r = e->queue[i].rings;

		if (r && r->used.idx != r->avail.idx)
			return false;
	}
	return true;
}

static bool wait(struct evil *e, uint64_t ms)
{
	uint64_t deadline = rdtsc() + ms * clock_khz();

	while (rdtsc() < deadline)
		if (answered(e))
			return true;
	return false;
}

static void end(struct evil *e)
{
	wait(e, WAIT_MS);
	for (unsigned int i = 0; i < NR_QUEUES; i++)
		if (e->queue[i].rings)
			e->used += e->queue[i].rings->used.idx;
	virtio_reset(&e->dev);
	for (unsigned int i = 0; i < NR_QUEUES; i++)
		virtqueue_destroy(&e->queue[i]);
}

/* ---- page frame numbers ---- */

static uint32_t *pfns(struct evil *e)
{
	return direct(e->buffer);
}

static uint32_t victim_pfn(const struct evil *e, uint64_t page)
{
	return (uint32_t)(e->victim / PAGE_SIZE + page % BLOCK_PAGES);
}

static void victims(struct evil *e, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		pfns(e)[i] = victim_pfn(e, i);
}

static void offer_pfns(struct evil *e, unsigned int queue, unsigned int n)
{
	describe(e, queue, 0, (struct virtq_desc){ e->buffer, n * 4, 0, 0 });
	offer(e, queue, 0);
	wait(e, WAIT_MS);
}

static void evil_dup(struct evil *e)
{
	if (!begin(e))
		return;
	for (unsigned int i = 0; i < 256; i++)
		pfns(e)[i] = victim_pfn(e, 0);
	offer_pfns(e, QUEUE_INFLATE, 256);
	victims(e, 256);
	for (unsigned int i = 0; i < 6; i++)
		offer_pfns(e, i < 3 ? QUEUE_INFLATE : QUEUE_DEFLATE, 256);
	end(e);
}

static void evil_range(struct evil *e)
{
	uint32_t top = (uint32_t)(e->top / PAGE_SIZE), n = 0;

	if (!begin(e))
		return;
	pfns(e)[n++] = victim_pfn(e, 0);
	for (uint32_t i = 0; i < 4; i++)
		pfns(e)[n++] = top + i;
	for (uint32_t bit = 20; bit < 32; bit++) /* 4 GiB and beyond */
		pfns(e)[n++] = UINT32_MAX << bit;
	pfns(e)[n++] = (uint32_t)(NOWHERE_GPA / PAGE_SIZE);
	pfns(e)[n++] = (uint32_t)(boot.virtio[0].start / PAGE_SIZE);
	pfns(e)[n++] = 0xfee00;
	pfns(e)[n++] = UINT32_MAX;
	pfns(e)[n++] = victim_pfn(e, 1);
	offer_pfns(e, QUEUE_INFLATE, n);
	offer_pfns(e, QUEUE_DEFLATE, n);
	end(e);
}

static void evil_queue(struct evil *e)
{
	if (!begin(e))
		return;
	pfns(e)[0] = (uint32_t)(direct_gpa(e->queue[QUEUE_DEFLATE].rings) / PAGE_SIZE);
	pfns(e)[1] = (uint32_t)(e->buffer / PAGE_SIZE);
	pfns(e)[2] = (uint32_t)(direct_gpa(e->queue[QUEUE_INFLATE].rings) / PAGE_SIZE);
	offer_pfns(e, QUEUE_INFLATE, 3);
	victims(e, 10);
	offer_pfns(e, QUEUE_DEFLATE, 10);
	offer_pfns(e, QUEUE_INFLATE, 10);
	end(e);
}

static void evil_deflate(struct evil *e)
{
	if (!begin(e))
		return;
	victims(e, 1024);
	offer_pfns(e, QUEUE_DEFLATE, 1024);
	offer_pfns(e, QUEUE_DEFLATE, 1);
	end(e);
}

/* ---- descriptors ---- */

/* What an address is relative to; TABLE is the page that indirect descriptors are put in. */
enum base { ZERO, BUFFER, VICTIM, TABLE, TOP, NOWHERE };

#define IN	 VIRTQ_DESC_WRITE
#define NEXT	 VIRTQ_DESC_NEXT
#define INDIRECT VIRTQ_DESC_INDIRECT

struct bad {
	const char *kind;
	unsigned int queue;
	struct bad_desc {
		enum base base;
		int64_t offset;
		uint32_t bytes;
		uint16_t flags, next;
	} desc[3]; /* where the first is INDIRECT, the others are in TABLE, and here too */
};

static const struct bad bads[] = {
	{ "report", QUEUE_REPORT, { { VICTIM, 0, BLOCK_SIZE, IN, 0 } } },
	{ "report", QUEUE_REPORT, { { VICTIM, 100, 5000, IN, 0 } } },
	{ "report", QUEUE_REPORT, { { VICTIM, 8192, 0, IN, 0 } } },
	{ "report", QUEUE_REPORT, { { VICTIM, 4096, 1, IN, 0 } } },
	{ "report", QUEUE_REPORT, { { VICTIM, 0, BLOCK_SIZE, 0, 0 } } },
	{ "report",
	  QUEUE_REPORT,
	  { { VICTIM, 0, 65536, IN | NEXT, 1 },
	    { VICTIM, 4096, 65536, IN | NEXT, 2 },
	    { VICTIM, 0, 65536, IN, 0 } } },
	{ "loop", QUEUE_INFLATE, { { BUFFER, 0, 4, NEXT, 0 } } },
	{ "loop", QUEUE_INFLATE, { { BUFFER, 0, 4, NEXT, 1 }, { BUFFER, 0, 4, NEXT, 0 } } },
	{ "loop", QUEUE_DEFLATE, { { BUFFER, 0, 4, NEXT, 1 }, { BUFFER, 0, 4, NEXT, 1 } } },
	{ "loop", QUEUE_INFLATE, { { BUFFER, 0, 4, NEXT, 0x7fff } } },
	{ "loop",
	  QUEUE_REPORT,
	  { { VICTIM, 0, 4096, IN | NEXT, 1 }, { VICTIM, 0, 4096, IN | NEXT, 0 } } },
	{ "loop",
	  QUEUE_INFLATE,
	  { { TABLE, 0, 32, INDIRECT, 0 }, { BUFFER, 0, 4, NEXT, 1 }, { BUFFER, 0, 4, NEXT, 0 } } },
	{ "loop", QUEUE_INFLATE, { { TABLE, 0, 32, INDIRECT, 0 }, { TABLE, 0, 32, INDIRECT, 0 } } },
	{ "loop", QUEUE_INFLATE, { { TABLE, 0, 32, INDIRECT | NEXT, 0 }, { BUFFER, 0, 4, 0, 0 } } },
	{ "loop", QUEUE_INFLATE, { { TABLE, 0, 17, INDIRECT, 0 }, { BUFFER, 0, 4, 0, 0 } } },
	{ "loop", QUEUE_INFLATE, { { TABLE, 0, 0, INDIRECT, 0 } } },
	{ "loop", QUEUE_INFLATE, { { TABLE, 0, 16, INDIRECT, 0 }, { BUFFER, 0, 4, NEXT, 7 } } },
	{ "loop",
	  QUEUE_INFLATE,
	  { { TABLE, 0, 0xfffffff0, INDIRECT, 0 },
	    { BUFFER, 0, 4, NEXT, 1 },
	    { BUFFER, 0, 4, NEXT, 0 } } },
	{ "outside", QUEUE_INFLATE, { { NOWHERE, 0, 1024, 0, 0 } } },
	{ "outside", QUEUE_INFLATE, { { TOP, 0, 1024, 0, 0 } } },
	{ "outside", QUEUE_INFLATE, { { TOP, -4, 8, 0, 0 } } },
	{ "outside", QUEUE_INFLATE, { { ZERO, -4096, 4096, 0, 0 } } },
	{ "outside", QUEUE_INFLATE, { { ZERO, -4, 8, 0, 0 } } },
	{ "outside", QUEUE_INFLATE, { { ZERO, INT64_MIN, 4, 0, 0 } } },
	{ "outside", QUEUE_DEFLATE, { { BUFFER, 0, 4, NEXT, 1 }, { NOWHERE, 0, 4, 0, 0 } } },
	{ "outside", QUEUE_INFLATE, { { NOWHERE, 0, 32, INDIRECT, 0 } } },
	{ "outside", QUEUE_INFLATE, { { ZERO, -16, 32, INDIRECT, 0 } } },
	{ "outside", QUEUE_INFLATE, { { TABLE, 0, 16, INDIRECT, 0 }, { NOWHERE, 0, 1024, 0, 0 } } },
	{ "outside", QUEUE_REPORT, { { NOWHERE, 0, BLOCK_SIZE, IN, 0 } } },
	{ "outside", QUEUE_REPORT, { { TOP, 0, BLOCK_SIZE, IN, 0 } } },
	{ "outside", QUEUE_REPORT, { { ZERO, -(int64_t)BLOCK_SIZE, BLOCK_SIZE, IN, 0 } } },
	{ "length", QUEUE_INFLATE, { { BUFFER, 0, 0, 0, 0 } } },
	{ "length", QUEUE_INFLATE, { { BUFFER, 0, 3, 0, 0 } } },
	{ "length", QUEUE_INFLATE, { { BUFFER, 0, 5, NEXT, 1 }, { BUFFER, 5, 3, 0, 0 } } },
	{ "length", QUEUE_INFLATE, { { BUFFER, 1, 7, 0, 0 } } },
	{ "length", QUEUE_INFLATE, { { BUFFER, 0, 4096, 0, 0 } } },
	{ "length", QUEUE_INFLATE, { { BUFFER, 0, 4, NEXT, 1 }, { BUFFER, 0, -1u, IN, 0 } } },
	{ "length", QUEUE_INFLATE, { { BUFFER, 0, 0xffffffff, IN, 0 } } },
	{ "length", QUEUE_INFLATE, { { BUFFER, 0, 4, IN | NEXT, 1 }, { BUFFER, 0, 4, 0, 0 } } },
	{ "length", QUEUE_DEFLATE, { { NOWHERE, 0, 0xffffffff, 0, 0 } } },
	{ "length", QUEUE_DEFLATE, { { TOP, -4096, 0xffffffff, IN, 0 } } },
	{ "length", QUEUE_REPORT, { { NOWHERE, 0, 0xffffffff, IN, 0 } } },
	{ "length", QUEUE_REPORT, { { TOP, -4096, 0xfffff000, IN, 0 } } },
};

static struct virtq_desc build(const struct evil *e, const struct bad_desc *d)
{
	const uint64_t bases[] = {
		[ZERO] = 0,	    [BUFFER] = e->buffer, [VICTIM] = e->victim,
		[TABLE] = e->table, [TOP] = e->top,	  [NOWHERE] = NOWHERE_GPA,
	};

	return (struct virtq_desc){ bases[d->base] + (uint64_t)d->offset, d->bytes, d->flags,
				    d->next };
}

static void attempt(struct evil *e, const struct bad *bad)
{
	struct virtq_desc *table = direct(e->table);

	if (!begin(e))
		return;
	if (bad->queue == QUEUE_REPORT && !e->reports) {
		end(e);
		return;
	}
	victims(e, 1024);
	memset(table, 0, PAGE_SIZE);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad->desc); i++) {
		describe(e, bad->queue, i, build(e, &bad->desc[i]));
		if (i)
			table[i - 1] = build(e, &bad->desc[i]);
	}
	offer(e, bad->queue, 0);
	end(e);
}

/* Are the words [from, to) of a page of the victim as victim_usable() left them? */
static bool kept(const struct evil *e, uint64_t page, unsigned int from, unsigned int to)
{
	static uint64_t want[PAGE_WORDS];
	volatile uint64_t *word = direct(e->victim + page * PAGE_SIZE);

	content_write(want, SEED_VICTIM, page);
	for (unsigned int i = from; i < to; i++)
		if (word[i] != want[i]) {
			report_wrong("evil-balloon", &word[i], want[i], word[i]);
			return false;
		}
	return true;
}

/* A report of parts of two pages may cost what it names, and nothing on either side. */
static void evil_report(struct evil *e)
{
	uint64_t at = 8 * 100, bytes = PAGE_SIZE;

	if (!begin(e))
		return;
	if (e->reports) {
		describe(e, QUEUE_REPORT, 0,
			 (struct virtq_desc){ e->victim + at, (uint32_t)bytes, IN, 0 });
		offer(e, QUEUE_REPORT, 0);
	}
	end(e);
	e->spilled = !kept(e, 0, 0, 100) || !kept(e, 1, 100, PAGE_WORDS) ||
		     !kept(e, 2, 0, PAGE_WORDS);
}

/* ---- rings, queues, registers ---- */

static void jump(struct evil *e, uint16_t by, uint16_t head)
{
	volatile struct virtq_avail *avail;

	if (!begin(e))
		return;
	victims(e, 1);
	for (unsigned int i = 0; i < e->queue[QUEUE_INFLATE].size; i++)
		describe(e, QUEUE_INFLATE, i, (struct virtq_desc){ e->buffer, 4, 0, 0 });
	avail = &e->queue[QUEUE_INFLATE].rings->avail;
	for (unsigned int i = 0; i < VIRTQ_MAX_SIZE; i++)
		avail->ring[i] = head;
	avail->idx += by;
	e->offered += by;
	notify(e, QUEUE_INFLATE);
	end(e);
}

static void evil_jump(struct evil *e)
{
	static const uint16_t by[] = { VIRTQ_MAX_SIZE + 1, 1000, 0x7fff, 0x8000, 0xffff };
	static const uint16_t head[] = { VIRTQ_MAX_SIZE, 0x7fff, 0x8000, 0xffff };

	for (unsigned int i = 0; i < ARRAY_SIZE(by); i++)
		jump(e, by[i], 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(head); i++)
		jump(e, 1, head[i]);
}

static void write_pair(struct evil *e, unsigned int reg, uint64_t value)
{
	virtio_write(&e->dev, reg, (uint32_t)value);
	virtio_write(&e->dev, reg + 4, (uint32_t)(value >> 32));
}

/* Make a queue of that size ready, with all three parts at gpa, and announce buffers. */
static void queue_at(struct evil *e, unsigned int queue, uint32_t size, uint64_t gpa)
{
	if (!virtio_negotiate(&e->dev, 0))
		return;
	virtio_write(&e->dev, VIRTIO_REG_QUEUE_SELECT, queue);
	virtio_write(&e->dev, VIRTIO_REG_QUEUE_SIZE, size);
	write_pair(e, VIRTIO_REG_QUEUE_DESC, gpa);
	write_pair(e, VIRTIO_REG_QUEUE_DRIVER, gpa);
	write_pair(e, VIRTIO_REG_QUEUE_DEVICE, gpa);
	virtio_write(&e->dev, VIRTIO_REG_QUEUE_READY, 1);
	virtio_start(&e->dev);
	notify(e, queue);
	notify(e, queue);
	e->offered++;
	wait(e, 1);
	virtio_reset(&e->dev);
}

static void evil_setup(struct evil *e)
{
	static const uint32_t sizes[] = { 0, 1, 3, 127, 1024, 32768, 65536, UINT32_MAX };
	const uint64_t places[] = { NOWHERE_GPA,   e->top,    e->top - 16,	   UINT64_MAX - 15,
				    e->victim + 1, 1UL << 63, boot.virtio[0].start };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
		queue_at(e, 0, sizes[i], e->victim);
	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++)
		queue_at(e, 0, 16, places[i]);
	queue_at(e, 7, 16, e->victim);
	queue_at(e, UINT32_MAX, 16, e->victim);
}

static void evil_reset(struct evil *e)
{
	for (unsigned int i = 0; i < 50; i++) {
		if (!begin(e))
			return;
		victims(e, 256);
		describe(e, QUEUE_INFLATE, 0, (struct virtq_desc){ e->buffer, 1024, 0, 0 });
		describe(e, QUEUE_DEFLATE, 0, (struct virtq_desc){ e->buffer, 1024, 0, 0 });
		offer(e, i % 2 ? QUEUE_INFLATE : QUEUE_DEFLATE, 0);
		virtio_reset(&e->dev);
		for (unsigned int q = 0; q < NR_QUEUES; q++)
			virtqueue_destroy(&e->queue[q]);
	}
}

/* An address where a device may read and write without harm: in the victim, or nowhere. */
static uint32_t harmless_address(struct evil *e)
{
	uint64_t in = e->victim + random_below(&e->state, BLOCK_SIZE - PAGE_SIZE) / 16 * 16;

	return (uint32_t)(random_next(&e->state) % 4 ? in : NOWHERE_GPA);
}

static void evil_storm(struct evil *e)
{
	static const uint32_t values[] = { 0, 1, 2, 3, 7, 11, 15, 128, 256, 1u << 31, -1u };

	/* Whatever is read there as an address or as a page frame number is no RAM. */
	memset(direct(e->victim), 0xee, BLOCK_SIZE);
	for (unsigned int i = 0; i < 3000; i++) {
		unsigned int reg = (unsigned int)random_below(&e->state, 0x120 / 4) * 4;
		uint32_t value = values[random_below(&e->state, ARRAY_SIZE(values))];

		/* Halves: the high one of an address stays 0, or is far out of RAM. */
		if (reg >= VIRTIO_REG_QUEUE_DESC && reg < VIRTIO_REG_QUEUE_DEVICE + 8)
			value = reg % 8 ? value & 0x80000000 : harmless_address(e);
		virtio_write(&e->dev, reg, value);
		e->offered += reg == VIRTIO_REG_NOTIFY;
	}
	virtio_reset(&e->dev);
}

/* ---- what is left ---- */

/* Does the device work with an honest driver? */
static bool recovered(struct evil *e)
{
	bool good = begin(e);

	for (unsigned int i = QUEUE_INFLATE; good && i <= QUEUE_DEFLATE; i++) {
		victims(e, 256);
		describe(e, i, 0, (struct virtq_desc){ e->buffer, 1024, 0, 0 });
		offer(e, i, 0);
		good = wait(e, RECOVERY_MS);
	}
	end(e);
	return good;
}

static bool victim_usable(const struct evil *e)
{
	for (uint64_t i = 0; i < BLOCK_PAGES; i++)
		content_write(direct(e->victim + i * PAGE_SIZE), SEED_VICTIM, i);
	for (uint64_t i = 0; i < BLOCK_PAGES; i++)
		if (!content_check("evil-balloon", direct(e->victim + i * PAGE_SIZE), SEED_VICTIM,
				   i))
			return false;
	return true;
}

static bool others_intact(const struct evil *e)
{
	for (uint64_t i = 0; i < e->pages; i++)
		if (!content_check("evil-balloon", e->page[i], SEED_KEPT, i))
			return false;
	return true;
}

static const struct {
	const char *kind;
	void (*run)(struct evil *e); /* before those of that kind in bads */
} kinds[] = {
	{ "dup", evil_dup },	     { "range", evil_range },	{ "queue", evil_queue },
	{ "deflate", evil_deflate }, { "report", evil_report }, { "loop", NULL },
	{ "outside", NULL },	     { "length", NULL },	{ "jump", evil_jump },
	{ "setup", evil_setup },     { "reset", evil_reset },	{ "storm", evil_storm },
};

static bool run_kind(struct evil *e, unsigned int kind)
{
	bool works;

	e->offered = e->used = 0;
	if (kinds[kind].run)
		kinds[kind].run(e);
	for (unsigned int i = 0; i < ARRAY_SIZE(bads); i++)
		if (!strcmp(bads[i].kind, kinds[kind].kind))
			attempt(e, &bads[i]);
	print("evil-balloon: %s: offered=%u used=%u", kinds[kind].kind, e->offered, e->used);
	works = recovered(e);
	print(" recovered=%d\n", works);
	console_flush();
	return others_intact(e) && !e->spilled && victim_usable(e);
}

static bool evil_create(struct evil *e)
{
	e->victim = alloc_pages(HALF_ORDER);
	e->buffer = alloc_pages(0);
	e->table = alloc_pages(0);
	e->page = window_create(e->pages);
	if (!e->victim || !e->buffer || !e->table || !e->page)
		return false;
	for (unsigned int i = 0; i < boot.nr_ram; i++)
		if (boot.ram[i].end > e->top)
			e->top = boot.ram[i].end;
	for (uint64_t i = 0; i < e->pages; i++)
		content_write(e->page[i], SEED_KEPT, i);
	return victim_usable(e);
}

int evil_balloon_run(struct args *a)
{
	static struct evil e;
	const char *kind = args_word(a);
	unsigned int ran = 0;

	e.pages = args_key(a, "touch", 1000);
	e.state = args_key(a, "seed", 1);
	if (!args_done(a) || !kind || !e.pages)
		return STATUS_USAGE;
	if (!evil_create(&e))
		return no_room(e.pages);
	if (!virtio_find(&e.dev, BALLOON_DEVICE_ID)) {
		print("evil-balloon: no virtio device that is a balloon\n");
		return STATUS_NO_DEVICE;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kind, "all") && strcmp(kind, kinds[i].kind))
			continue;
		ran++;
		if (!run_kind(&e, i))
			return STATUS_WRONG;
	}
	a->bad |= !ran;
	if (!ran)
		return STATUS_USAGE;
	print("evil-balloon: kinds=%u verified=%lu\n", ran, e.pages);
	return STATUS_OK;
}
