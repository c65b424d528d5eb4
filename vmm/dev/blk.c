/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk: from a buffer to a request, step by step to its end, and back.
 *
 *   le32 type, le32 reserved, le64 sector	readable
 *   data					readable or writable
 *   u8 status					the last writable byte
 *
 * Where segments begin and end means nothing (2.7.4 "Message Framing").
 *
 * A request is done in steps of at most BUFFER_BYTES, one after the other: a step reads into the
 * request's buffer, or writes from it, or punches a hole.  So a request may be as large as it
 * likes.  REQUESTS of them are in work at a time.  A buffer takes memory once it has been used, and
 * the lowest that is free is taken: a guest that asks for one thing after the other has one.
 *
 * Overlay.  Two steps to the same cluster must not be in flight together if one of them writes:
 * the map changes when the write is done, and until then the cluster is in the image.  The later
 * one waits.
 *
 * Errors.  A request that the disk cannot do ends with IOERR, also one out of its range.  A buffer
 * that is no request, without a header or without a byte for the status, breaks the queue.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "mmu/base/locks.h"
#include "blk.h"

#define DEVICE_ID    2u
#define REQUESTS     32u
#define BUFFER_BYTES (64 * KiB)
#define SERIAL_BYTES 20u
#define AGAIN_MOST   1000u /* times that a step is repeated because the kernel says EAGAIN */

_Static_assert(REQUESTS *BUFFER_BYTES + 200 * KiB <= BLK_MEMORY_BYTES, "that is enough");
_Static_assert(REQUESTS <= DISK_MAX_IN_FLIGHT, "all requests can be in flight");

#define F_SIZE_MAX     (1ULL << 1)
#define F_SEG_MAX      (1ULL << 2)
#define F_RO	       (1ULL << 5)
#define F_BLK_SIZE     (1ULL << 6)
#define F_FLUSH	       (1ULL << 9)
#define F_DISCARD      (1ULL << 13)
#define F_WRITE_ZEROES (1ULL << 14)

enum type { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };
enum status { S_OK, S_IOERR, S_UNSUPP };

/* Largest segment, and how much one DISCARD or WRITE_ZEROES may name. */
#define SIZE_MAX_BYTES (1 * MiB)
#define SEG_MAX	       (VIRTQ_MAX - 2) /* besides header and status */
#define MOST_SECTORS   (64 * MiB / DISK_SECTOR)

#define RANGE_UNMAP 1u

/* struct virtio_blk_config, as far as our features go */
struct config_space {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
	uint8_t topology[8], writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed));
_Static_assert(sizeof(struct config_space) == 60, "as the specification has it");

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

/* What a request does next. */
enum step {
	STEP_READ,
	STEP_WRITE,  /* data of the guest's */
	STEP_ZERO,   /* zeroes, by a hole where that is possible and allowed */
	STEP_FORGET, /* a hole, or nothing */
	STEP_SYNC,
	STEP_END
};

enum state {
	FREE,
	READY,	/* its next step is to begin */
	FLYING, /* its op is in flight */
	ORPHAN, /* ... but its driver is gone */
};

struct request {
	struct blk *blk;
	enum state state;
	enum step step;
	enum type type;
	bool unmap;
	unsigned int again;
	struct virtq_chain chain;
	struct virtq_cursor at; /* in the data */
	uint64_t pos, end;	/* bytes of the disk that are left to do */
	uint32_t written;	/* bytes of the guest's memory */
	enum status status;
	struct disk_op op;
	uint8_t *buffer; /* BUFFER_BYTES */
};

struct counter {
	atomic_ullong requests[T_ZEROES + 1];
	atomic_ullong read_bytes, written_bytes, errors, refused;
};

/* All of it belongs to whoever holds the device's lock, but for the counters and op.done. */
struct blk {
	struct blk_config config;
	struct virtio *virtio;
	uint64_t features;
	struct request request[REQUESTS];
	uint8_t *buffers;
	struct counter count;
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

static void count(struct blk *b, const struct request *r)
{
	if (r->status == S_OK)
		add(&b->count.requests[r->type], 1);
	if (r->status == S_OK && r->type == T_OUT)
		add(&b->count.written_bytes, virtq_bytes(&r->chain, false) - sizeof(struct header));
	if (r->status == S_OK && r->type == T_IN)
		add(&b->count.read_bytes, r->written);
}

/* 0 or an error of the queue. */
static int finish(struct blk *b, struct virtq *q, struct request *r)
{
	uint8_t status = (uint8_t)r->status;
	int ret = q->mem->write(q->mem->ctx, status_byte(&r->chain), &status, sizeof(status));

	r->state = FREE;
	count(b, r);
	if (ret) {
		q->error = "the host has no memory for a request's status";
		return ret;
	}
	return virtq_push(q, r->chain.head, r->written + 1);
}

static void fail(struct request *r, int err)
{
	struct blk *b = r->blk;

	r->status = S_IOERR;
	r->step = STEP_END;
	add(&b->count.errors, 1);
	if (b->config.on_error)
		b->config.on_error(b->config.ctx, &r->op, err);
}

static void refuse(struct request *r, enum status status)
{
	r->status = status;
	r->step = STEP_END;
	add(&r->blk->count.refused, 1);
}

/* ---- a step ---- */

static bool changes(const struct disk_op *op)
{
	return op->type == DISK_WRITE || op->type == DISK_PUNCH;
}

static uint64_t cluster_of(uint64_t pos)
{
	return pos / DISK_CLUSTER;
}

/* Must this operation wait for one that is in flight?  Only if there is an overlay. */
static bool must_wait(const struct blk *b, const struct disk_op *op)
{
	for (unsigned int i = 0; i < REQUESTS && b->config.disk->changed; i++) {
		const struct request *r = &b->request[i];

		if ((r->state == FLYING || r->state == ORPHAN) && changes(&r->op) &&
		    op->type != DISK_SYNC &&
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
static void plan(struct request *r)
{
	const struct disk *d = r->blk->config.disk;
	uint64_t len = min_u64(r->end - r->pos, BUFFER_BYTES);
	bool hole = false;

	r->op = (struct disk_op){
		.type = DISK_WRITE,
		.fd = disk_write_fd(d),
		.buf = r->buffer,
		.offset = r->pos,
		.owner = r,
	};
	if (r->step == STEP_READ) {
		r->op.type = DISK_READ;
		len = disk_run(d, r->pos, len, &r->op.fd);
	} else if (r->step == STEP_SYNC) {
		r->op.type = DISK_SYNC;
		len = 0;
	} else if (r->step == STEP_FORGET || (r->step == STEP_ZERO && r->unmap && d->punch)) {
		uint64_t run = hole_run(d, r->pos, r->end, &hole);

		len = hole ? run : min_u64(run, BUFFER_BYTES);
		if (hole)
			r->op.type = DISK_PUNCH;
	}
	r->op.len = len;
}

/* What is left of clusters at the ends of a DISCARD stays as it is. */
static bool skips(const struct request *r)
{
	return r->step == STEP_FORGET && r->op.type != DISK_PUNCH;
}

static int fill_buffer(struct virtq *q, struct request *r)
{
	int n;

	if (r->step != STEP_WRITE) {
		memset(r->buffer, 0, r->op.len);
		return 0;
	}
	n = virtq_read(q, &r->chain, &r->at, r->buffer, (uint32_t)r->op.len);
	return n < 0 ? n : 0;
}

static bool is_over(const struct request *r)
{
	return r->step == STEP_END || (r->step != STEP_SYNC && r->pos == r->end);
}

/* Without FLUSH the driver takes what was written for safe (5.2.6.2). */
static bool needs_sync(const struct blk *b, const struct request *r)
{
	bool wrote = r->step == STEP_WRITE || r->step == STEP_ZERO;

	return wrote && !(b->features & F_FLUSH) && !b->config.disk->changed;
}

/* Begin the next step of a READY request, or end it.  0 or an error of the queue. */
static int go_on(struct blk *b, struct virtq *q, struct request *r)
{
	int ret;

	while (!is_over(r)) {
		plan(r);
		if (must_wait(b, &r->op))
			return 0;
		if (skips(r)) {
			r->pos += r->op.len;
			continue;
		}
		ret = r->op.type == DISK_WRITE ? fill_buffer(q, r) : 0;
		if (ret)
			return ret;
		ret = changes(&r->op) ? disk_before_write(b->config.disk, r->op.offset, r->op.len) :
					0;
		if (ret) {
			fail(r, ret);
			break;
		}
		r->state = FLYING;
		disk_io_submit(b->config.io, &r->op);
		return 0;
	}
	if (needs_sync(b, r)) {
		r->step = STEP_SYNC;
		return go_on(b, q, r);
	}
	return finish(b, q, r);
}

/* ---- a step that is done ---- */

static uint64_t end_of(const struct disk_op *op)
{
	return op->offset + op->len;
}

static bool is_whole(const struct disk_op *op)
{
	bool data = op->type == DISK_READ || op->type == DISK_WRITE;

	return op->result >= 0 && (!data || (uint64_t)op->result == op->len);
}

/* The kernel did some of it, or nothing for now: the rest is to be done.  False: it cannot be. */
static bool repeat(struct request *r)
{
	struct disk_op *op = &r->op;

	if (op->result > 0 && op->result % DISK_SECTOR == 0 && (uint64_t)op->result < op->len) {
		op->buf = (uint8_t *)op->buf + op->result;
		op->offset += (uint64_t)op->result;
		op->len -= (uint64_t)op->result;
	} else if ((op->result != -EAGAIN && op->result != -EINTR) || r->again++ >= AGAIN_MOST) {
		return false;
	}
	disk_io_submit(r->blk->config.io, op);
	return true;
}

/* 0 or an error of the queue. */
static int deliver(struct virtq *q, struct request *r, uint64_t len)
{
	int n = virtq_write(q, &r->chain, &r->at, r->buffer, (uint32_t)len);

	if (n < 0)
		return n;
	r->written += (uint32_t)n;
	return 0;
}

/* The op of a FLYING request is done, and was as large as it had to be.  0 or as above. */
static int step_done(struct blk *b, struct virtq *q, struct request *r)
{
	uint64_t len = end_of(&r->op) - r->pos; /* with parts that were done before */
	int ret = 0;

	r->state = READY;
	r->again = 0;
	if (changes(&r->op))
		disk_after_write(b->config.disk, r->pos, len);
	if (r->step == STEP_READ)
		ret = deliver(q, r, len);
	if (r->step == STEP_SYNC)
		r->step = STEP_END;
	else
		r->pos += len;
	return ret;
}

/* A file system may refuse a hole here, though it made one elsewhere: then zeroes are written. */
static bool writes_instead(struct request *r)
{
	if (r->op.type != DISK_PUNCH || r->op.result != -EOPNOTSUPP)
		return false;
	if (r->step == STEP_FORGET)
		refuse(r, S_UNSUPP);
	r->unmap = false;
	r->state = READY;
	return true;
}

/* 0 or an error of the queue. */
static int op_done(struct blk *b, struct virtq *q, struct request *r)
{
	r->op.done = false;
	if (!is_whole(&r->op) && repeat(r))
		return 0;
	if (r->state == ORPHAN) {
		if (changes(&r->op) && is_whole(&r->op))
			disk_after_write(b->config.disk, r->pos, end_of(&r->op) - r->pos);
		r->state = FREE;
		return 0;
	}
	if (is_whole(&r->op))
		return step_done(b, q, r);
	if (!writes_instead(r)) {
		r->state = READY;
		fail(r, r->op.result < 0 ? (int)r->op.result : -EIO);
	}
	return 0;
}

/* ---- a new request ---- */

static bool can_write(const struct blk *b)
{
	return !b->config.disk->read_only;
}

static uint64_t capacity(const struct blk *b)
{
	return b->config.disk->bytes / DISK_SECTOR;
}

static void set_range(struct request *r, enum step step, uint64_t sector, uint64_t sectors)
{
	if (sector > capacity(r->blk) || sectors > capacity(r->blk) - sector) {
		refuse(r, S_IOERR);
		return;
	}
	r->step = step;
	r->pos = sector * DISK_SECTOR;
	r->end = r->pos + sectors * DISK_SECTOR;
}

static void begin_data(struct request *r, uint64_t sector, uint64_t bytes)
{
	if (bytes % DISK_SECTOR || (r->type == T_OUT && !can_write(r->blk)))
		refuse(r, S_IOERR);
	else
		set_range(r, r->type == T_IN ? STEP_READ : STEP_WRITE, sector, bytes / DISK_SECTOR);
}

/* DISCARD and WRITE_ZEROES: one range (5.2.6.2).  0 or an error of the queue. */
static int begin_range(struct virtq *q, struct request *r)
{
	bool zero = r->type == T_ZEROES;
	struct range range;
	int n = virtq_read(q, &r->chain, &r->at, &range, sizeof(range));

	if (n < 0)
		return n;
	if (!can_write(r->blk) || n != sizeof(range) || range.sectors > MOST_SECTORS ||
	    virtq_bytes(&r->chain, false) != sizeof(struct header) + sizeof(range))
		refuse(r, S_IOERR);
	else if ((range.flags & ~(zero ? RANGE_UNMAP : 0)) ||
		 (!zero && !r->blk->config.disk->punch))
		refuse(r, S_UNSUPP);
	else
		set_range(r, zero ? STEP_ZERO : STEP_FORGET, range.sector, range.sectors);
	r->unmap = range.flags & RANGE_UNMAP;
	return 0;
}

static void begin_flush(struct request *r)
{
	/* An overlay goes with its VM: nothing of it has to be safe. */
	r->step = r->blk->config.disk->changed || !can_write(r->blk) ? STEP_END : STEP_SYNC;
}

static int answer_id(struct virtq *q, struct request *r)
{
	char id[SERIAL_BYTES] = "";
	uint64_t room = virtq_bytes(&r->chain, true) - 1;

	memcpy(id, r->blk->config.serial, strnlen(r->blk->config.serial, sizeof(id)));
	memcpy(r->buffer, id, sizeof(id));
	r->step = STEP_END;
	return deliver(q, r, min_u64(room, sizeof(id)));
}

/* 0 or an error of the queue. */
static int begin(struct virtq *q, struct request *r, const struct header *h)
{
	switch (h->type) {
	case T_IN:
		begin_data(r, h->sector, virtq_bytes(&r->chain, true) - 1);
		/* What is readable behind the header means nothing. */
		return 0;
	case T_OUT: begin_data(r, h->sector, virtq_bytes(&r->chain, false) - sizeof(*h)); return 0;
	case T_FLUSH: begin_flush(r); return 0;
	case T_GET_ID: return answer_id(q, r);
	case T_DISCARD:
	case T_ZEROES: return begin_range(q, r);
	default: refuse(r, S_UNSUPP); return 0;
	}
}

static int broken(struct virtq *q, const char *rule)
{
	q->error = rule;
	return -EPROTO;
}

/* Take the next buffer into r.  1; 0: there is none; or an error of the queue. */
static int take(struct virtq *q, struct request *r)
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
	r->state = READY;
	r->type = (enum type)h.type;
	r->unmap = false;
	r->again = 0;
	r->pos = r->end = 0;
	r->written = 0;
	r->status = S_OK;
	ret = begin(q, r, &h);
	return ret < 0 ? ret : 1;
}

/* ---- the queue ---- */

static struct request *free_request(struct blk *b)
{
	for (unsigned int i = 0; i < REQUESTS; i++)
		if (b->request[i].state == FREE)
			return &b->request[i];
	return NULL;
}

static bool has_orphans(const struct blk *b)
{
	for (unsigned int i = 0; i < REQUESTS; i++)
		if (b->request[i].state == ORPHAN)
			return true;
	return false;
}

/* What came back, and what waited for it. */
static int advance(struct blk *b, struct virtq *q)
{
	int ret = 0;

	for (unsigned int i = 0; i < REQUESTS && !ret; i++)
		if (b->request[i].op.done)
			ret = op_done(b, q, &b->request[i]);
	for (unsigned int i = 0; i < REQUESTS && !ret; i++)
		if (b->request[i].state == READY)
			ret = go_on(b, q, &b->request[i]);
	return ret;
}

static int serve(void *dev, unsigned int n)
{
	struct blk *b = dev;
	struct virtq *q = virtio_queue(b->virtio, n);
	int ret = advance(b, q);
	struct request *r;

	while (!ret && !has_orphans(b) && (r = free_request(b))) {
		ret = take(q, r);
		if (ret <= 0)
			return ret;
		ret = go_on(b, q, r);
	}
	return ret;
}

static void reset(void *dev)
{
	struct blk *b = dev;

	for (unsigned int i = 0; i < REQUESTS; i++)
		if (b->request[i].state == FLYING)
			b->request[i].state = ORPHAN;
		else if (b->request[i].state == READY)
			b->request[i].state = FREE;
	b->features = 0;
}

/* ---- the rest of the device ---- */

static uint64_t features(void *dev)
{
	const struct disk *d = ((struct blk *)dev)->config.disk;
	uint64_t all = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH;

	if (d->read_only)
		return all | F_RO;
	return all | F_WRITE_ZEROES | (d->punch ? F_DISCARD : 0);
}

static void config_read(void *dev, uint32_t offset, void *buf, uint32_t len)
{
	const struct blk *b = dev;
	const struct config_space space = {
		.capacity = capacity(b),
		.size_max = SIZE_MAX_BYTES,
		.seg_max = SEG_MAX,
		.blk_size = DISK_SECTOR,
		.num_queues = 1,
		.max_discard_sectors = MOST_SECTORS,
		.max_discard_seg = 1,
		.discard_sector_alignment = DISK_CLUSTER / DISK_SECTOR,
		.max_write_zeroes_sectors = MOST_SECTORS,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = b->config.disk->punch,
	};

	virtio_config_copy(&space, sizeof(space), offset, buf, len);
}

static void start(void *dev, uint64_t accepted, unsigned int queues)
{
	struct blk *b = dev;

	(void)queues;
	b->features = accepted;
}

static bool async(void *dev, unsigned int n)
{
	(void)dev;
	(void)n;
	return true;
}

static const struct virtio_ops ops = {
	.name = "disk",
	.device_id = DEVICE_ID,
	.nr_queues = 1,
	.features = features,
	.config_read = config_read,
	.start = start,
	.serve = serve,
	.reset = reset,
	.async = async,
	.own_thread = 1u,
};

/* ---- for others ---- */

struct virtio *blk_virtio(struct blk *b)
{
	return b->virtio;
}

void blk_notify(struct blk *b)
{
	virtio_defer(b->virtio, 0);
}

bool blk_reap(struct blk *b)
{
	bool some = false;

	while (disk_io_reap(b->config.io))
		some = true;
	if (some)
		virtio_defer(b->virtio, 0);
	return some;
}

bool blk_serve(struct blk *b)
{
	bool taken;

	blk_reap(b);
	do {
		while (virtio_serve(b->virtio))
			;
		taken = disk_io_flush(b->config.io);
	} while (blk_reap(b));
	return taken;
}

void blk_stats(const struct blk *b, struct blk_stats *out)
{
	const struct counter *c = &b->count;

	*out = (struct blk_stats){
		.reads = atomic_load(&c->requests[T_IN]),
		.writes = atomic_load(&c->requests[T_OUT]),
		.flushes = atomic_load(&c->requests[T_FLUSH]),
		.discards = atomic_load(&c->requests[T_DISCARD]),
		.zeroes = atomic_load(&c->requests[T_ZEROES]),
		.read_bytes = atomic_load(&c->read_bytes),
		.written_bytes = atomic_load(&c->written_bytes),
		.errors = atomic_load(&c->errors),
		.refused = atomic_load(&c->refused),
	};
}

int blk_create(const struct blk_config *config, struct bus *mmio, struct blk **out)
{
	struct virtio_config virtio = {
		.ops = &ops,
		.base = config->base,
		.interrupt = config->interrupt,
		.cue = config->cue,
		.arm = config->arm,
		.wake = config->wake,
		.ctx = config->ctx,
	};
	struct blk *b = calloc(1, sizeof(*b));
	int ret;

	if (!b)
		return -ENOMEM;
	b->config = *config;
	b->buffers = mmap(NULL, REQUESTS * BUFFER_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned int i = 0; i < REQUESTS; i++) {
		b->request[i].blk = b;
		b->request[i].buffer = b->buffers + i * BUFFER_BYTES;
	}
	virtio.dev = b;
	virtio.mem = &b->config.mem;
	ret = b->buffers == MAP_FAILED ? -ENOMEM : virtio_create(&virtio, mmio, &b->virtio);
	if (ret) {
		blk_destroy(b);
		return ret;
	}
	*out = b;
	return 0;
}

void blk_destroy(struct blk *b)
{
	if (!b)
		return;
	virtio_destroy(b->virtio);
	if (b->buffers != MAP_FAILED)
		munmap(b->buffers, REQUESTS * BUFFER_BYTES);
	free(b);
}
