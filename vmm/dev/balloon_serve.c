/* SPDX-License-Identifier: MIT */
/*
 * The balloon's queues.
 *
 * Inflate and deflate take lists of PFNs.  The device takes all buffers that are available, sorts
 * their PFNs into runs, does the operation on each run, and then returns the buffers.  So a 2 MiB
 * block is one operation even if its list came in pieces.  Reports come as ranges already.
 *
 * No buffer is returned before its pages are gone.  Pages of the device's own rings are left out:
 * to take them away would only hurt the guest, and we would have to bring them in again.
 *
 * A report promises that zero is as good to the guest as what a page holds.  With PAGE_POISON and a
 * value other than zero that is not so, because the page must read as poison.  Then it stays, and
 * is counted as refused.  Inflated pages are different: after it has deflated them, the driver
 * writes the poison itself (5.5.6.7).
 *
 * How much one turn takes is bounded, because it may be a turn of the main loop.  A list has at
 * most MAX_LIST pages.  After BUDGET pages of lists or reports, or BUDGET hints, the rest waits for
 * virtio_poll().  Scattered pages cost a system call each, so that MAX_RUNS of them are enough:
 * then a turn ends with the batch, in the middle of a list.  The other queues wait until such a
 * list is done.  The loops over buffers end by themselves: no buffer is returned before the last
 * one is taken, and more buffers than the queue has break the queue.
 */
#include <errno.h>
#include <string.h>
#include "balloon_impl.h"

#define MAX_LIST 65536u /* PFNs in a buffer: 256 MiB.  Linux sends 256 */
#define BUDGET	 65536u
#define MAX_RUNS 1024u

typedef int (*memory_op)(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);

/* ---- runs of pages ---- */

static void operate(struct balloon *b, memory_op op, uint64_t *done, gfn_t gfn, uint64_t nr)
{
	/* A page that was gone before a report is as good as reported. */
	uint64_t *already = done == &b->record.reported ? done : &b->record.duplicates;
	struct gmem_gone gone = { 0 };
	int ret = op(b->config.memory.ctx, gfn, nr, &gone);
	bool later = ret == -EAGAIN;

	b->runs++;
	nr -= gone.gone + gone.already + gone.kept;
	lock(&b->state_lock);
	b->record.operations++;
	*done += gone.gone;
	*already += gone.already;
	b->record.kept += gone.kept + (later ? nr : 0);
	b->record.failed += later ? 0 : nr;
	unlock(&b->state_lock);
}

/* Apply op to [gfn, gfn + nr), except for pages of the rings. */
static void apply(struct balloon *b, memory_op op, uint64_t *done, gfn_t gfn, uint64_t nr)
{
	gfn_t end = gfn + nr;
	struct gfn_range ring;

	while (gfn < end && virtio_ring_pages(b->virtio, gfn, end, &ring)) {
		ring.start = max_u64(ring.start, gfn);
		ring.end = min_u64(ring.end, end);
		if (gfn < ring.start)
			operate(b, op, done, gfn, ring.start - gfn);
		balloon_count(b, &b->record.refused, ring.end - ring.start);
		gfn = ring.end;
	}
	if (gfn < end)
		operate(b, op, done, gfn, end - gfn);
}

static void inflate_run(void *ctx, gfn_t gfn, uint64_t nr)
{
	struct balloon *b = ctx;

	apply(b, b->config.memory.inflate, &b->record.inflated, gfn, nr);
}

static void deflate_run(void *ctx, gfn_t gfn, uint64_t nr)
{
	struct balloon *b = ctx;

	apply(b, b->config.memory.deflate, &b->record.deflated, gfn, nr);
}

/* ---- lists of PFNs ---- */

static void flush(struct balloon *b, bool inflate)
{
	unsigned int twice = pfn_batch_runs(&b->batch, inflate ? inflate_run : deflate_run, b);

	balloon_count(b, &b->record.duplicates, twice);
}

/* nr PFNs were read behind those of the batch.  Add those that are RAM to it. */
static void accept(struct balloon *b, unsigned int nr, bool inflate)
{
	struct pfn_batch *batch = &b->batch;
	const uint32_t *from = &batch->pfn[batch->nr];
	unsigned int refused = 0;

	for (unsigned int i = 0; i < nr; i++) {
		if (virtio_in_ram(&b->config.virtio.mem, gfn_to_gpa(from[i]), QUIRE_PAGE_SIZE))
			batch->pfn[batch->nr++] = from[i];
		else
			refused++;
	}
	balloon_count(b, &b->record.refused, refused);
	if (inflate)
		balloon_count(b, &b->record.requested, nr);
	b->budget -= nr < b->budget ? nr : b->budget;
}

/* Go on with the list in b->chain.  0; VIRTIO_MORE: enough for one turn; or an error. */
static int take_list(struct balloon *b, struct virtq *q, bool inflate)
{
	int bytes;

	do {
		uint32_t room = (PFN_BATCH - b->batch.nr) * sizeof(uint32_t);

		if (!room) {
			flush(b, inflate);
			if (b->runs >= MAX_RUNS)
				return VIRTIO_MORE;
			room = sizeof(b->batch.pfn);
		}
		bytes = virtq_read(q, &b->chain, &b->at, &b->batch.pfn[b->batch.nr], room);
		if (bytes < 0)
			return bytes;
		b->listed += (unsigned int)bytes / sizeof(uint32_t);
		if (b->listed > MAX_LIST) {
			q->error = "a list of more than 65536 pages";
			return -EPROTO;
		}
		accept(b, (unsigned int)bytes / sizeof(uint32_t), inflate);
	} while (bytes);
	return 0;
}

/* ---- ranges ---- */

/* The pages that lie in a segment as a whole. */
static struct gfn_range whole_pages(const struct virtq_segment *s)
{
	gfn_t start = gpa_to_gfn(align_up(s->gpa, QUIRE_PAGE_SIZE)),
	      end = gpa_to_gfn(s->gpa + s->len);

	return (struct gfn_range){ start, max_u64(start, end) };
}

static void report(struct balloon *b, const struct virtq_segment *s)
{
	bool poisoned = (b->features & (1u << BALLOON_F_PAGE_POISON)) && atomic_load(&b->poison);
	struct gfn_range range = whole_pages(s);
	uint64_t nr = range.end - range.start;

	if (!nr)
		return;
	if (poisoned || !s->writable) /* not writable: the driver wants to keep what is there */
		balloon_count(b, &b->record.refused, nr);
	else
		apply(b, b->config.memory.report, &b->record.reported, range.start, nr);
	b->budget -= nr < b->budget ? (unsigned int)nr : b->budget;
}

static int take_report(struct balloon *b)
{
	for (unsigned int i = 0; i < b->chain.nr; i++)
		report(b, &b->chain.segment[i]);
	return 0;
}

/* ---- hints ---- */

/* The driver said which round its next hints belong to. */
static void hint_command(struct balloon *b, uint32_t id)
{
	enum balloon_hinting *hinting = &b->record.hinting;
	uint32_t round = atomic_load(&b->cmd_id);

	lock(&b->state_lock);
	if (id == BALLOON_HINT_CMD_STOP && *hinting == BALLOON_HINT_RUNNING)
		*hinting = BALLOON_HINT_ENDED;
	else if (*hinting == BALLOON_HINT_ASKED && id == round)
		*hinting = BALLOON_HINT_RUNNING;
	else if (*hinting == BALLOON_HINT_RUNNING && id != round)
		*hinting = BALLOON_HINT_ASKED; /* it is of an older round: ours has not begun */
	unlock(&b->state_lock);
}

static bool hints_count(struct balloon *b)
{
	bool running;

	lock(&b->state_lock);
	running = b->record.hinting == BALLOON_HINT_RUNNING;
	unlock(&b->state_lock);
	return running && b->config.memory.hint_armed(b->config.memory.ctx);
}

static int take_hint(struct balloon *b, struct virtq *q)
{
	struct virtq_cursor at = { 0 };
	uint32_t id;
	int bytes = virtq_read(q, &b->chain, &at, &id, sizeof(id));

	if (bytes < 0)
		return bytes;
	if (bytes == sizeof(id))
		hint_command(b, id);
	b->budget -= b->chain.nr < b->budget ? b->chain.nr : b->budget;
	for (unsigned int i = 0; i < b->chain.nr && hints_count(b); i++) {
		const struct virtq_segment *s = &b->chain.segment[i];
		struct gfn_range range = whole_pages(s);

		if (!s->writable || range.start == range.end)
			continue;
		b->config.memory.hint(b->config.memory.ctx, range.start, range.end - range.start);
		balloon_count(b, &b->record.hinted, range.end - range.start);
	}
	return 0;
}

/* ---- statistics ---- */

static void add_stat(struct balloon_record *r, const struct balloon_stat *stat)
{
	unsigned int i = 0;

	while (i < r->nr_stats && r->stat[i].tag != stat->tag)
		i++;
	if (i == BALLOON_MAX_STATS)
		return;
	if (i == r->nr_stats)
		r->nr_stats++;
	r->stat[i] = *stat;
}

static int take_stats(struct balloon *b, struct virtq *q)
{
	struct balloon_stat stat[BALLOON_MAX_STATS];
	struct virtq_cursor at = { 0 };
	int bytes = virtq_read(q, &b->chain, &at, stat, sizeof(stat));

	if (bytes < 0)
		return bytes;
	atomic_store(&b->refresh, false);
	lock(&b->state_lock);
	b->record.nr_stats = 0;
	for (unsigned int i = 0; i < (unsigned int)bytes / sizeof(stat[0]); i++)
		add_stat(&b->record, &stat[i]);
	b->record.stats_ns = b->config.now_ns(b->config.virtio.ctx);
	b->record.stats_actual = atomic_load(&b->actual);
	b->stats_asked_ns = 0;
	unlock(&b->state_lock);
	if (b->config.virtio.wake)
		b->config.virtio.wake(b->config.virtio.ctx);
	return 0;
}

/* The device keeps one buffer: to return it asks for the next statistics.  Others go back. */
static int serve_stats(struct balloon *b, struct virtq *q)
{
	int ret = 0;

	if (b->stats_held && atomic_exchange(&b->refresh, false)) {
		b->stats_held = false;
		ret = virtq_push(q, b->stats_head, 0);
	}
	for (unsigned int turn = 0; !ret && turn < q->num; turn++) {
		ret = virtq_next(q, &b->chain);
		if (ret <= 0)
			return ret;
		ret = take_stats(b, q);
		if (!ret && b->stats_held)
			ret = virtq_push(q, b->stats_head, 0);
		b->stats_held = true;
		b->stats_head = b->chain.head;
	}
	return ret ? ret : VIRTIO_MORE;
}

/* ---- all ---- */

static int take(struct balloon *b, struct virtq *q, enum balloon_queue role)
{
	switch (role) {
	case BALLOON_Q_INFLATE: return take_list(b, q, true);
	case BALLOON_Q_DEFLATE: return take_list(b, q, false);
	case BALLOON_Q_HINT: return take_hint(b, q);
	default: return take_report(b);
	}
}

/* Take the next buffer.  1; 0: there is none; or an error. */
static int next_buffer(struct balloon *b, struct virtq *q)
{
	int ret = virtq_next(q, &b->chain);

	if (ret <= 0)
		return ret;
	b->head[b->nr_heads++] = b->chain.head;
	b->at = (struct virtq_cursor){ 0 };
	b->listed = 0;
	return 1;
}

static bool is_turn_over(const struct balloon *b)
{
	return !b->budget || b->runs >= MAX_RUNS;
}

/* Take buffers of queue n.  0; VIRTIO_MORE: the turn ended in the middle of a list; or an error. */
static int take_buffers(struct balloon *b, struct virtq *q, unsigned int n)
{
	bool goes_on = b->unfinished >= 0;
	int ret = 0;

	b->unfinished = -1;
	while (!ret && (goes_on || !is_turn_over(b))) {
		ret = goes_on ? 1 : next_buffer(b, q);
		if (ret <= 0)
			return ret;
		goes_on = false;
		ret = take(b, q, (enum balloon_queue)b->role[n]);
	}
	if (ret == VIRTIO_MORE)
		b->unfinished = (int)n;
	return ret;
}

static int serve_buffers(struct balloon *b, struct virtq *q, unsigned int n)
{
	enum balloon_queue role = (enum balloon_queue)b->role[n];
	int ret;

	if (b->unfinished < 0)
		b->batch.nr = b->nr_heads = 0;
	b->budget = BUDGET;
	b->runs = 0;
	ret = take_buffers(b, q, n);
	if (b->nr_heads && role <= BALLOON_Q_DEFLATE)
		balloon_answered(b);
	if (ret)
		return ret;
	if (b->batch.nr)
		flush(b, role == BALLOON_Q_INFLATE);
	for (unsigned int i = 0; i < b->nr_heads && !ret; i++)
		ret = virtq_push(q, b->head[i], 0);
	return ret ? ret : is_turn_over(b) ? VIRTIO_MORE : 0;
}

int balloon_serve(void *dev, unsigned int n)
{
	struct balloon *b = dev;
	struct virtq *q = virtio_queue(b->virtio, n);

	if (b->role[n] < 0)
		return 0;
	if (b->unfinished >= 0 && b->unfinished != (int)n)
		return VIRTIO_MORE;
	if (b->role[n] == BALLOON_Q_STATS)
		return serve_stats(b, q);
	return serve_buffers(b, q, n);
}
