/* SPDX-License-Identifier: MIT */
/*
 * The balloon's driver: four independent state machines.  balloon_poll() takes a step of one of
 * them, in turn.  A step leaves the guest once or twice, and between two steps the guest's own work
 * goes on.
 *
 * Pages.  While actual differs from the host's target, a batch of pages is under way:
 *
 *	inflate	allocate, tell, wait until used, count
 *	deflate	tell, wait until used, free, count
 *
 * There is one batch at a time, as in Linux.  A page on its way back is not touched before the host
 * has used the buffer, whether MUST_TELL_HOST was negotiated or not.
 *
 * Free blocks of 2 MiB go first, each as a whole.  To break up a block in which the guest lives
 * would take the guest's memory out of the page tables of a host that maps 2 MiB at a time.  A rest
 * of less comes page by page from the allocator, which splits the smallest free block.  A batch is
 * up to 256 pages.  On the way back it goes on to the end of a block, so that the host finds all of
 * the block absent when it is used.
 *
 * The list of these pages has its memory from the start, because a first touch may be a long wait
 * for the host.  A few pages are kept for the driver's own lists.
 *
 * Statistics.  The device always has one buffer.  When it has used it, it wants new numbers.
 *
 * Reporting.  Free blocks of 2 and 4 MiB that the host has not been told of since they were last
 * used are taken from the allocator, handed over, and put back when the buffer is used.
 *
 * Hints are for a host that is about to copy the guest's memory.  Between the identifier of a round
 * and STOP the driver names all free blocks of 4 MiB.  They stay allocated until the host says
 * DONE, because their contents may be lost.
 *
 * The driver reads what the host asks for when the device says that its configuration has changed.
 * It looks at most once a millisecond, because each look leaves the guest.
 */
#include "balloon.h"
#include "memory.h"
#include "paging.h"

#define POLL_US	      1000
#define RETRY_US      200000   /* when there is no page to give */
#define PATIENCE_US   30000000 /* for a device to use a buffer */
#define RESERVE_PAGES 64

#define HINT_ID_STOP 0
#define HINT_ID_DONE 1

enum stat_tag {
	STAT_SWAP_IN,
	STAT_SWAP_OUT,
	STAT_MAJOR_FAULTS,
	STAT_MINOR_FAULTS,
	STAT_FREE,
	STAT_TOTAL,
	STAT_AVAILABLE,
	STAT_CACHES,
	NR_STATS
};

struct stat {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

struct balloon_dma {
	uint32_t pfn[BALLOON_MOST];
	struct stat stat[NR_STATS];
	uint32_t hint_id, hint_stop;
};

static uint64_t cycles(uint64_t us)
{
	return us * clock_khz() / 1000;
}

static uint32_t config_read(const struct balloon *b, unsigned int offset)
{
	return virtio_read(&b->dev, VIRTIO_REG_CONFIG + offset);
}

static void config_write(struct balloon *b, unsigned int offset, uint32_t value)
{
	virtio_write(&b->dev, VIRTIO_REG_CONFIG + offset, value);
}

static bool has(const struct balloon *b, uint64_t feature)
{
	return b->dev.features & feature;
}

static void measure_wait(struct balloon *b, uint64_t sent, const char *what)
{
	uint64_t waited = rdtsc() - sent;

	if (waited > b->longest_wait)
		b->longest_wait = waited;
	if (waited > cycles(PATIENCE_US))
		panic("balloon: the device does not answer: %s", what);
}

/* ---- pages ---- */

static void send_batch(struct balloon *b, enum balloon_queue queue, uint32_t pages)
{
	struct virtq_piece piece = {
		.gpa = direct_gpa(b->dma->pfn),
		.bytes = pages * (uint32_t)sizeof(b->dma->pfn[0]),
	};

	b->batch = pages;
	b->batch_queue = queue;
	b->batch_sent = rdtsc();
	virtqueue_add(&b->queue[queue], &piece, 1);
}

/* The next page of a block, or a single one if a block is too much or there is none. */
static uint64_t next_page(struct balloon *b, uint32_t want)
{
	if (!b->nr_block && want >= BLOCK_PAGES &&
	    free_page_count() > RESERVE_PAGES + BLOCK_PAGES) {
		b->block = alloc_pages(HALF_ORDER);
		b->nr_block = b->block ? BLOCK_PAGES : 0;
	}
	if (b->nr_block)
		return b->block + (BLOCK_PAGES - b->nr_block--) * PAGE_SIZE;
	return free_page_count() > RESERVE_PAGES ? alloc_pages(0) : 0;
}

/* The target changed before all of the block was given. */
static void free_block(struct balloon *b)
{
	while (b->nr_block)
		free_pages(next_page(b, 0), 0);
}

/* A page for the balloon, entered in its list; 0 if none can be spared. */
static uint64_t page_to_give(struct balloon *b, uint32_t want)
{
	uint64_t gpa = next_page(b, want);

	if (gpa && !frames_push(&b->pages, gpa)) {
		free_pages(gpa, 0);
		return 0;
	}
	return gpa;
}

static void inflate(struct balloon *b)
{
	uint32_t want = b->target - b->actual, n = 0;

	while (n < want && n < BALLOON_BATCH) {
		uint64_t gpa = page_to_give(b, want - n);

		if (!gpa)
			break;
		b->dma->pfn[n++] = (uint32_t)(gpa >> PAGE_SHIFT);
	}
	if (n) {
		send_batch(b, BALLOON_INFLATE, n);
		return;
	}
	b->next_try = rdtsc() + cycles(RETRY_US);
	if (!b->told_short)
		b->event = BALLOON_SHORT;
	b->told_short = true;
}

static void deflate(struct balloon *b, uint32_t pages)
{
	uint32_t n = 0;

	while (n < pages && n < BALLOON_MOST) {
		uint64_t gpa = frames_pop(&b->pages);

		b->dma->pfn[n++] = (uint32_t)(gpa >> PAGE_SHIFT);
		if (n >= BALLOON_BATCH && gpa % BLOCK_SIZE == 0)
			break;
	}
	if (n)
		send_batch(b, BALLOON_DEFLATE, n);
}

/* Does memory that came back keep what is written to it?  Whether it was zero is counted. */
static bool usable(struct balloon *b, uint64_t gpa)
{
	volatile uint64_t *page = direct(gpa);
	bool good = true, zero = true;

	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		zero &= !page[i];
	b->zeroed += zero;
	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		page[i] = mix(gpa + i);
	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		good &= page[i] == mix(gpa + i);
	if (!good)
		print("balloon: wrong: gpa=0x%lx does not keep what is written\n", gpa);
	return good;
}

static void take_back(struct balloon *b)
{
	for (uint32_t i = 0; i < b->batch; i++) {
		uint64_t gpa = (uint64_t)b->dma->pfn[i] << PAGE_SHIFT;

		if (b->wish.reuse && !usable(b, gpa))
			b->wrong = true;
		free_pages(gpa, 0);
	}
}

static bool finish_batch(struct balloon *b)
{
	bool inflating = b->batch_queue == BALLOON_INFLATE;
	unsigned int head;

	if (!b->batch)
		return false;
	measure_wait(b, b->batch_sent, "a batch of pages");
	if (!virtqueue_take(&b->queue[b->batch_queue], &head))
		return false;
	if (inflating)
		b->inflated += b->batch;
	else
		b->deflated += b->batch;
	if (!inflating)
		take_back(b);
	b->actual += inflating ? b->batch : -b->batch;
	b->batch = 0;
	config_write(b, BALLOON_ACTUAL, b->actual);
	return true;
}

static bool follow_target(struct balloon *b)
{
	uint64_t now;

	if (!b->pending || b->batch)
		return false;
	now = rdtsc();
	if (b->actual < b->target && now >= b->next_try)
		inflate(b);
	else if (b->actual > b->target)
		deflate(b, b->actual - b->target);
	if (b->actual != b->target)
		return b->batch;
	free_block(b);
	b->pending = false;
	b->took = now - b->asked;
	b->event = BALLOON_REACHED;
	return false;
}

static void new_target(struct balloon *b, uint32_t target)
{
	if (target == b->target)
		return;
	b->target = target;
	b->pages.expected = target;
	b->pending = true;
	b->told_short = false;
	b->asked = rdtsc();
	b->next_try = b->asked;
}

/* ---- statistics ---- */

/* quill neither swaps nor caches, and no workload here takes a page fault. */
static void send_stats(struct balloon *b)
{
	uint64_t value[NR_STATS] = {
		[STAT_FREE] = free_page_count() * PAGE_SIZE,
		[STAT_TOTAL] = managed_page_count() * PAGE_SIZE,
		[STAT_AVAILABLE] = free_page_count() * PAGE_SIZE,
	};
	struct virtq_piece piece = { direct_gpa(b->dma->stat), sizeof(b->dma->stat), false };

	if (!has(b, BALLOON_F_DEFLATE_ON_OOM))
		value[STAT_TOTAL] -= b->actual * PAGE_SIZE;
	for (uint16_t i = 0; i < NR_STATS; i++)
		b->dma->stat[i] = (struct stat){ i, value[i] };
	virtqueue_add(&b->queue[BALLOON_STATS], &piece, 1);
}

static bool answer_stats(struct balloon *b)
{
	unsigned int head;

	if (!has(b, BALLOON_F_STATS_VQ) || !virtqueue_take(&b->queue[BALLOON_STATS], &head))
		return false;
	send_stats(b);
	b->stats++;
	return true;
}

/* ---- reporting ---- */

static uint64_t poison_word(const struct balloon *b)
{
	return (uint64_t)b->wish.poison << 32 | b->wish.poison;
}

bool balloon_poisoned(const struct balloon *b, uint64_t word)
{
	return !has(b, BALLOON_F_PAGE_POISON) || word == poison_word(b);
}

/* The driver promises that what it reports holds the poison, and finds the poison there later. */
static void poison(const struct balloon *b, const struct virtq_piece *piece)
{
	volatile uint64_t *word = direct(piece->gpa);

	for (uint64_t i = 0; has(b, BALLOON_F_PAGE_POISON) && i < piece->bytes / 8; i++)
		word[i] = poison_word(b);
}

static unsigned int order_of(const struct virtq_piece *piece)
{
	return piece->bytes == BLOCK_SIZE ? HALF_ORDER : MAX_ORDER;
}

static void send_reports(struct balloon *b)
{
	unsigned int room = b->queue[BALLOON_REPORT].size, order;
	struct virtq_piece *piece = b->report;

	if (room > BALLOON_REPORTS)
		room = BALLOON_REPORTS;
	while (b->nr_reports < room && (piece->gpa = alloc_unreported(&order))) {
		piece->bytes = (uint32_t)(PAGE_SIZE << order);
		piece->device_writes = true;
		poison(b, piece++);
		b->nr_reports++;
	}
	b->report_sent = rdtsc();
	if (!b->nr_reports) {
		b->next_report = b->report_sent + cycles(b->wish.delay_ms * 1000);
		b->freed = freed_count();
	} else if (virtqueue_add(&b->queue[BALLOON_REPORT], b->report, b->nr_reports) < 0)
		panic("balloon: no room for %u free blocks", b->nr_reports);
}

static void finish_reports(struct balloon *b)
{
	unsigned int head;

	measure_wait(b, b->report_sent, "free blocks");
	if (!virtqueue_take(&b->queue[BALLOON_REPORT], &head))
		return;
	for (unsigned int i = 0; i < b->nr_reports; i++) {
		free_reported(b->report[i].gpa, order_of(&b->report[i]));
		b->reported += b->report[i].bytes / PAGE_SIZE;
	}
	b->nr_reports = 0;
	b->report_buffers++;
}

static bool step_reports(struct balloon *b)
{
	if (!has(b, BALLOON_F_REPORTING))
		return false;
	if (b->nr_reports) {
		finish_reports(b);
		return false;
	}
	if (rdtsc() >= b->next_report)
		send_reports(b);
	return b->nr_reports;
}

void balloon_report_all(struct balloon *b)
{
	send_reports(b);
	while (b->nr_reports) {
		finish_reports(b);
		if (!b->nr_reports)
			send_reports(b);
	}
}

/* ---- hints ---- */

static void send_hint_id(struct balloon *b, uint32_t *at, uint32_t id)
{
	struct virtq_piece piece = { direct_gpa(at), sizeof(*at), false };

	*at = id;
	virtqueue_add(&b->queue[BALLOON_HINT], &piece, 1);
	b->hints_out++;
}

static void new_hint_id(struct balloon *b, uint32_t id)
{
	if (id == b->hint_id)
		return;
	b->hint_id = id;
	if (id != HINT_ID_STOP && id != HINT_ID_DONE) {
		send_hint_id(b, &b->dma->hint_id, id);
		b->hint_phase = HINT_SENDING;
	}
}

/* One descriptor stays free, for STOP. */
static void send_hints(struct balloon *b)
{
	bool stop = b->hint_id == HINT_ID_STOP || b->hint_id == HINT_ID_DONE;

	while (!stop && b->queue[BALLOON_HINT].nr_free > 1) {
		struct virtq_piece piece = { 0, PAGE_SIZE << MAX_ORDER, true };

		if (!frames_alloc(&b->hints, MAX_ORDER, 1)) {
			stop = true;
			break;
		}
		piece.gpa = frames_peek(&b->hints);
		virtqueue_add(&b->queue[BALLOON_HINT], &piece, 1);
		b->hints_out++;
		b->hinted += CHUNK_PAGES;
	}
	if (!stop)
		return;
	send_hint_id(b, &b->dma->hint_stop, HINT_ID_STOP);
	b->hint_phase = HINT_HOLDING;
}

static bool step_hints(struct balloon *b)
{
	unsigned int out, head;

	if (!has(b, BALLOON_F_FREE_PAGE_HINT))
		return false;
	while (virtqueue_take(&b->queue[BALLOON_HINT], &head))
		b->hints_out--;
	out = b->hints_out;
	if (b->hint_phase == HINT_SENDING && b->queue[BALLOON_HINT].nr_free)
		send_hints(b);
	if (b->hint_phase == HINT_HOLDING && b->hint_id == HINT_ID_DONE && !b->hints_out) {
		frames_free(&b->hints, MAX_ORDER);
		b->hint_phase = HINT_NONE;
	}
	return b->hints_out != out;
}

/* ---- all of it ---- */

static bool look_for_change(struct balloon *b)
{
	uint64_t now = rdtsc();

	if (now < b->next_config)
		return false;
	b->next_config = now + cycles(POLL_US);
	b->changed |= virtio_config_changed(&b->dev);
	return true;
}

static bool look_at_config(struct balloon *b)
{
	if (!b->changed)
		return false;
	b->changed = false;
	new_target(b, config_read(b, BALLOON_NUM_PAGES));
	if (has(b, BALLOON_F_FREE_PAGE_HINT))
		new_hint_id(b, config_read(b, BALLOON_HINT_ID));
	return true;
}

/* The first turn is that of the step after the one that left the guest last. */
enum balloon_event balloon_poll(struct balloon *b)
{
	static bool (*const step[])(struct balloon *) = {
		look_for_change, look_at_config, finish_batch, follow_target,
		answer_stats,	 step_reports,	 step_hints,
	};
	const unsigned int nr = sizeof(step) / sizeof(step[0]);
	bool left = false;

	b->event = BALLOON_QUIET;
	for (unsigned int i = 0; i < nr && !left; i++) {
		left = step[b->turn](b);
		b->turn = (b->turn + 1) % nr;
	}
	b->busy = left;
	return b->event;
}

/* When the driver has something to do again, if there is no cue before that. */
static uint64_t next_due(const struct balloon *b)
{
	bool reports = has(b, BALLOON_F_REPORTING) && b->freed != freed_count();
	uint64_t due = reports ? b->next_report : CLOCK_NEVER;

	return b->pending && b->next_try < due ? b->next_try : due;
}

void balloon_wait(struct balloon *b, uint64_t deadline)
{
	uint64_t due = next_due(b);

	if (b->busy || !balloon_idle(b))
		return;
	clock_wait(due < deadline ? due : deadline);
	if (boot.wait_port)
		b->next_config = 0; /* it may have been the cue */
}

bool balloon_idle(const struct balloon *b)
{
	return !b->batch && !b->nr_reports && !b->hints_out;
}

void balloon_finish_all(struct balloon *b)
{
	while (!balloon_idle(b)) {
		finish_batch(b);
		if (b->nr_reports)
			finish_reports(b);
		step_hints(b);
	}
}

uint32_t balloon_oom(struct balloon *b)
{
	uint32_t before;

	if (!has(b, BALLOON_F_DEFLATE_ON_OOM))
		return 0;
	while (b->batch)
		finish_batch(b);
	free_block(b);
	before = b->actual;
	deflate(b, b->actual);
	while (b->batch)
		finish_batch(b);
	b->pending = false;
	return before - b->actual;
}

/* Only queues that the negotiated features bring have a number. */
static bool create_queues(struct balloon *b)
{
	static const uint64_t needs[NR_BALLOON_QUEUES] = {
		[BALLOON_STATS] = BALLOON_F_STATS_VQ,
		[BALLOON_HINT] = BALLOON_F_FREE_PAGE_HINT,
		[BALLOON_REPORT] = BALLOON_F_REPORTING,
	};

	for (unsigned int i = 0; i < NR_BALLOON_QUEUES; i++)
		if ((!needs[i] || has(b, needs[i])) &&
		    !virtqueue_create(&b->queue[i], &b->dev, b->nr_queues++))
			return false;
	return true;
}

bool balloon_start(struct balloon *b, const struct balloon_wish *wish)
{
	uint64_t dma = alloc_pages(0);

	*b = (struct balloon){ .wish = *wish, .dma = direct(dma) };
	if (!dma || !virtio_find(&b->dev, BALLOON_DEVICE_ID) ||
	    !virtio_negotiate(&b->dev, wish->features) || !create_queues(b))
		return false;
	if (has(b, BALLOON_F_PAGE_POISON))
		config_write(b, BALLOON_POISON, wish->poison);
	frames_reserve(&b->pages, managed_page_count());
	virtio_start(&b->dev);
	if (has(b, BALLOON_F_STATS_VQ))
		send_stats(b);
	b->changed = true;
	look_at_config(b);
	return true;
}
