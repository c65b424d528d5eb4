/* SPDX-License-Identifier: MIT */
/*
 * A request of virtio-blk: from a buffer of the queue, step by step to its end, and back.
 *
 *   le32 type, le32 reserved, le64 sector	readable
 *   data					readable or writable
 *   u8 status					the last writable byte
 *
 * Where segments begin and end means nothing (2.7.4 "Message Framing").
 *
 * A request is done in steps of at most BLK_BUFFER_BYTES, one after the other: a step reads into
 * the request's buffer, or writes from it, or punches a hole.  So a request may be as large as it
 * likes.
 *
 * Overlay.  Two steps to the same cluster must not be in flight together if one of them writes:
 * the map changes when the write is done, and until then the cluster is in the image.  The later
 * one waits.
 *
 * Errors.  A request that the disk cannot do ends with IOERR, also one out of its range.  A buffer
 * that is no request, without a header or without a byte for the status, breaks the queue.
 */
#include <errno.h>
#include <string.h>
#include "blk_impl.h"

#define SERIAL_BYTES 20u
#define AGAIN_MOST   1000u /* times that a step is repeated because the kernel says EAGAIN */
#define RANGE_UNMAP  1u

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

static void add(atomic_ullong *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- the end of a request ---- */

/* The last writable byte is for the status. */
static gpa_t status_byte(const struct virtq_chain *chain)
{
	unsigned int i = chain->nr;

	while (i && !(chain->segment[i - 1].writable && chain->segment[i - 1].len))
		i--;
	return chain->segment[i - 1].gpa + chain->segment[i - 1].len - 1;
}

static void count(struct blk_count *c, const struct blk_request *r)
{
	if (r->status != BLK_OK)
		return;
	add(&c->requests[r->type], 1);
	if (r->type == BLK_OUT)
		add(&c->written_bytes, virtq_bytes(&r->chain, false) - sizeof(struct header));
	if (r->type == BLK_IN)
		add(&c->read_bytes, r->written);
}

/* 0 or an error of the queue. */
static int finish(struct virtq *q, struct blk_request *r)
{
	uint8_t status = (uint8_t)r->status;
	int ret = q->mem->write(q->mem->ctx, status_byte(&r->chain), &status, sizeof(status));

	r->state = BLK_FREE;
	count(&r->blk->count, r);
	if (ret) {
		q->error = "the host has no memory for a request's status";
		return ret;
	}
	return virtq_push(q, r->chain.head, r->written + 1);
}

static void fail(struct blk_request *r, int err)
{
	struct blk *b = r->blk;

	r->status = BLK_IOERR;
	r->step = STEP_END;
	add(&b->count.errors, 1);
	if (b->config.on_error)
		b->config.on_error(b->config.virtio.ctx, &r->op, err);
}

static void refuse(struct blk_request *r, enum blk_status status)
{
	r->status = status;
	r->step = STEP_END;
	add(&r->blk->count.refused, 1);
}

/* ---- a step ---- */

static bool changes(const struct file_op *op)
{
	return op->type == FILE_WRITE || op->type == FILE_PUNCH;
}

static uint64_t cluster_of(uint64_t pos)
{
	return pos / DISK_CLUSTER;
}

/* Must this operation wait for one that is in flight?  Only if there is an overlay. */
static bool must_wait(const struct blk *b, const struct file_op *op)
{
	for (unsigned int i = 0; i < BLK_REQUESTS && b->config.disk->changed; i++) {
		const struct blk_request *r = &b->request[i];

		if ((r->state == BLK_FLYING || r->state == BLK_ORPHAN) && changes(&r->op) &&
		    op->type != FILE_SYNC &&
		    cluster_of(op->offset) <= cluster_of(r->op.offset + r->op.len - 1) &&
		    cluster_of(r->op.offset) <= cluster_of(op->offset + op->len - 1))
			return true;
	}
	return false;
}

/* The longest part of [pos, end) in which whole clusters can become holes; or a part without. */
static uint64_t hole_run(const struct disk *d, uint64_t pos, uint64_t end, bool *hole)
{
	uint64_t first = align_up(pos, DISK_CLUSTER);
	uint64_t last = end == d->bytes ? end : end & ~(uint64_t)(DISK_CLUSTER - 1);

	if (!d->changed) {
		*hole = true;
		return end - pos;
	}
	*hole = pos == first && first < last;
	if (*hole)
		return last - pos;
	return (first < last ? first : end) - pos;
}

/* Plan the next step of r in r->op. */
static void plan(struct blk_request *r)
{
	const struct disk *d = r->blk->config.disk;
	uint64_t len = min_u64(r->end - r->pos, BLK_BUFFER_BYTES);
	bool hole = false;

	r->op = (struct file_op){
		.type = FILE_WRITE,
		.fd = disk_write_fd(d),
		.buf = r->buffer,
		.offset = r->pos,
		.owner = r,
	};
	if (r->step == STEP_READ) {
		r->op.type = FILE_READ;
		len = disk_run(d, r->pos, len, &r->op.fd);
	} else if (r->step == STEP_SYNC) {
		r->op.type = FILE_SYNC;
		len = 0;
	} else if (r->step == STEP_FORGET || (r->step == STEP_ZERO && r->unmap && d->punch)) {
		uint64_t run = hole_run(d, r->pos, r->end, &hole);

		len = hole ? run : min_u64(run, BLK_BUFFER_BYTES);
		if (hole)
			r->op.type = FILE_PUNCH;
	}
	r->op.len = len;
}

/* What is left of clusters at the ends of a DISCARD stays as it is. */
static bool skips(const struct blk_request *r)
{
	return r->step == STEP_FORGET && r->op.type != FILE_PUNCH;
}

static int fill_buffer(struct virtq *q, struct blk_request *r)
{
	int n;

	if (r->step != STEP_WRITE) {
		memset(r->buffer, 0, r->op.len);
		return 0;
	}
	n = virtq_read(q, &r->chain, &r->at, r->buffer, (uint32_t)r->op.len);
	return n < 0 ? n : 0;
}

static bool is_over(const struct blk_request *r)
{
	return r->step == STEP_END || (r->step != STEP_SYNC && r->pos == r->end);
}

/* Hand the planned step over.  0 or an error of the queue. */
static int submit(struct virtq *q, struct blk_request *r)
{
	const struct blk_config *config = &r->blk->config;
	int ret = r->op.type == FILE_WRITE ? fill_buffer(q, r) : 0;

	if (ret)
		return ret;
	ret = changes(&r->op) ? disk_before_write(config->disk, r->op.offset, r->op.len) : 0;
	if (ret) {
		fail(r, ret);
		return 0;
	}
	r->state = BLK_FLYING;
	file_io_submit(config->io, &r->op);
	return 0;
}

/* Without FLUSH the driver takes what was written for safe (5.2.6.2). */
static bool needs_sync(const struct blk_request *r)
{
	bool wrote = r->step == STEP_WRITE || r->step == STEP_ZERO;

	return wrote && !r->blk->flushes && !r->blk->config.disk->changed;
}

int blk_request_go_on(struct virtq *q, struct blk_request *r)
{
	int ret = 0;

	while (!ret && r->state == BLK_READY && !is_over(r)) {
		plan(r);
		if (must_wait(r->blk, &r->op))
			return 0;
		if (skips(r))
			r->pos += r->op.len;
		else
			ret = submit(q, r);
	}
	if (ret || r->state == BLK_FLYING)
		return ret;
	if (!needs_sync(r))
		return finish(q, r);
	r->step = STEP_SYNC;
	return blk_request_go_on(q, r);
}

/* ---- a step that is done ---- */

static uint64_t end_of(const struct file_op *op)
{
	return op->offset + op->len;
}

static bool is_whole(const struct file_op *op)
{
	bool data = op->type == FILE_READ || op->type == FILE_WRITE;

	return op->result >= 0 && (!data || (uint64_t)op->result == op->len);
}

/* The kernel did some of it, or nothing for now: the rest is to be done.  False: it cannot be. */
static bool repeat(struct blk_request *r)
{
	struct file_op *op = &r->op;

	if (op->result > 0 && op->result % DISK_SECTOR == 0 && (uint64_t)op->result < op->len) {
		op->buf = (uint8_t *)op->buf + op->result;
		op->offset += (uint64_t)op->result;
		op->len -= (uint64_t)op->result;
	} else if ((op->result != -EAGAIN && op->result != -EINTR) || r->again++ >= AGAIN_MOST) {
		return false;
	}
	file_io_submit(r->blk->config.io, op);
	return true;
}

/* 0 or an error of the queue. */
static int deliver(struct virtq *q, struct blk_request *r, uint64_t len)
{
	int n = virtq_write(q, &r->chain, &r->at, r->buffer, (uint32_t)len);

	if (n < 0)
		return n;
	r->written += (uint32_t)n;
	return 0;
}

/* The op is done, and was as large as it had to be.  0 or as above. */
static int step_done(struct virtq *q, struct blk_request *r)
{
	uint64_t len = end_of(&r->op) - r->pos; /* with parts that were done before */
	int ret = 0;

	r->state = BLK_READY;
	r->again = 0;
	if (changes(&r->op))
		disk_after_write(r->blk->config.disk, r->pos, len);
	if (r->step == STEP_READ)
		ret = deliver(q, r, len);
	if (r->step == STEP_SYNC)
		r->step = STEP_END;
	else
		r->pos += len;
	return ret;
}

/* A file system may refuse a hole here, though it made one elsewhere: then zeroes are written. */
static bool writes_instead(struct blk_request *r)
{
	if (r->op.type != FILE_PUNCH || r->op.result != -EOPNOTSUPP)
		return false;
	if (r->step == STEP_FORGET)
		refuse(r, BLK_UNSUPP);
	r->unmap = false;
	r->state = BLK_READY;
	return true;
}

/* The driver will hear nothing of it; but what the disk has now is to be known. */
static void orphan_done(struct blk_request *r)
{
	if (changes(&r->op) && is_whole(&r->op))
		disk_after_write(r->blk->config.disk, r->pos, end_of(&r->op) - r->pos);
	r->state = BLK_FREE;
}

int blk_request_done(struct virtq *q, struct blk_request *r)
{
	r->op.done = false;
	if (!is_whole(&r->op) && repeat(r))
		return 0;
	if (r->state == BLK_ORPHAN) {
		orphan_done(r);
		return 0;
	}
	if (is_whole(&r->op))
		return step_done(q, r);
	if (!writes_instead(r)) {
		r->state = BLK_READY;
		fail(r, r->op.result < 0 ? (int)r->op.result : -EIO);
	}
	return 0;
}

/* ---- a new request ---- */

static bool can_write(const struct blk *b)
{
	return !b->config.disk->read_only;
}

static void set_range(struct blk_request *r, enum blk_step step, uint64_t sector, uint64_t sectors)
{
	if (sector > blk_sectors(r->blk) || sectors > blk_sectors(r->blk) - sector) {
		refuse(r, BLK_IOERR);
		return;
	}
	r->step = step;
	r->pos = sector * DISK_SECTOR;
	r->end = r->pos + sectors * DISK_SECTOR;
}

static void begin_data(struct blk_request *r, uint64_t sector, uint64_t bytes)
{
	if (bytes % DISK_SECTOR || (r->type == BLK_OUT && !can_write(r->blk)))
		refuse(r, BLK_IOERR);
	else
		set_range(r, r->type == BLK_IN ? STEP_READ : STEP_WRITE, sector,
			  bytes / DISK_SECTOR);
}

/* DISCARD and WRITE_ZEROES: one range (5.2.6.2).  0 or an error of the queue. */
static int begin_range(struct virtq *q, struct blk_request *r)
{
	bool zero = r->type == BLK_ZEROES;
	struct range range;
	int n = virtq_read(q, &r->chain, &r->at, &range, sizeof(range));

	if (n < 0)
		return n;
	if (!can_write(r->blk) || n != sizeof(range) || range.sectors > BLK_MOST_SECTORS ||
	    virtq_bytes(&r->chain, false) != sizeof(struct header) + sizeof(range))
		refuse(r, BLK_IOERR);
	else if ((range.flags & ~(zero ? RANGE_UNMAP : 0)) ||
		 (!zero && !r->blk->config.disk->punch))
		refuse(r, BLK_UNSUPP);
	else
		set_range(r, zero ? STEP_ZERO : STEP_FORGET, range.sector, range.sectors);
	r->unmap = range.flags & RANGE_UNMAP;
	return 0;
}

static void begin_flush(struct blk_request *r)
{
	/* An overlay goes with its VM: nothing of it has to be safe. */
	r->step = r->blk->config.disk->changed || !can_write(r->blk) ? STEP_END : STEP_SYNC;
}

static int answer_id(struct virtq *q, struct blk_request *r)
{
	char id[SERIAL_BYTES] = "";
	uint64_t room = virtq_bytes(&r->chain, true) - 1;

	memcpy(id, r->blk->config.serial, strnlen(r->blk->config.serial, sizeof(id)));
	memcpy(r->buffer, id, sizeof(id));
	r->step = STEP_END;
	return deliver(q, r, min_u64(room, sizeof(id)));
}

/* 0 or an error of the queue. */
static int begin_type(struct virtq *q, struct blk_request *r, uint64_t sector)
{
	switch (r->type) {
	case BLK_IN:
		begin_data(r, sector, virtq_bytes(&r->chain, true) - 1);
		/* What is readable behind the header means nothing. */
		return 0;
	case BLK_OUT:
		begin_data(r, sector, virtq_bytes(&r->chain, false) - sizeof(struct header));
		return 0;
	case BLK_FLUSH: begin_flush(r); return 0;
	case BLK_GET_ID: return answer_id(q, r);
	case BLK_DISCARD:
	case BLK_ZEROES: return begin_range(q, r);
	default: refuse(r, BLK_UNSUPP); return 0;
	}
}

static int broken(struct virtq *q, const char *rule)
{
	q->error = rule;
	return -EPROTO;
}

/* The buffer in r has this header.  0 or an error of the queue. */
static int begin(struct virtq *q, struct blk_request *r, const struct header *h)
{
	r->state = BLK_READY;
	r->type = (enum blk_type)h->type;
	r->unmap = false;
	r->again = 0;
	r->pos = r->end = 0;
	r->written = 0;
	r->status = BLK_OK;
	return begin_type(q, r, h->sector);
}

int blk_request_take(struct virtq *q, struct blk_request *r)
{
	struct header h;
	int ret = virtq_next(q, &r->chain);

	if (ret <= 0)
		return ret;
	r->at = (struct virtq_cursor){ 0 };
	ret = virtq_read(q, &r->chain, &r->at, &h, sizeof(h));
	if (ret < 0)
		return ret;
	if (ret != sizeof(h))
		return broken(q, "a request without a header");
	if (!virtq_bytes(&r->chain, true))
		return broken(q, "a request without room for its status");
	ret = begin(q, r, &h);
	return ret < 0 ? ret : 1;
}
