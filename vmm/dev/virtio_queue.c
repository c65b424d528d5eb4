/* SPDX-License-Identifier: MIT */
/*
 * Split virtqueues, the device's side (VIRTIO 1.2, section 2.7 "Split Virtqueues").
 *
 *   desc    num x { le64 gpa, le32 len, le16 flags, le16 next }		the driver writes
 *   avail   le16 flags, le16 idx, num x le16 head, le16 used_event		the driver writes
 *   used    le16 flags, le16 idx, num x { le32 head, le32 len }, le16 avail_event	we write
 *
 * A buffer is a chain of descriptors.  The last one in the table may name another table (indirect);
 * then the chain goes on at the first entry of that.  Before any of a buffer is believed, these
 * faults are looked for:
 *
 *   - more buffers available than the queue has, those that we still hold included;
 *   - an index beyond its table, a chain with more links than its table has entries (a loop), or
 *     with more than VIRTQ_MAX segments in all;
 *   - an indirect table within one, or one not negotiated, with a link beside it, of an odd size,
 *     empty or absurdly large;
 *   - a segment outside RAM, or that wraps around; more than 4 GiB in one buffer;
 *   - a readable segment behind a writable one.
 *
 * A segment of length 0 is harmless and passes.  Rings may lie anywhere in RAM, also on top of each
 * other.  Every word is read once.  So a driver that changes them meanwhile gets nothing but
 * another buffer, which is checked as well.
 *
 * Barriers.  x86 keeps stores in order, so the guest's processors see our stores to the rings in
 * order.  The fences are for the compiler.  Where a store must be seen before a load (avail_event,
 * idx), they are for the processor too.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include "virtio.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are little-endian");

#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u

#define AVAIL_NO_INTERRUPT 1u

struct desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == 16, "as the specification has it");

struct used_elem {
	uint32_t head, len;
};

/* A table: descriptors that may refer to each other. */
struct table {
	gpa_t gpa;
	uint32_t nr;
};

bool virtio_in_ram(const struct virtio_memory *mem, gpa_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < mem->nr_ram; i++) {
		gpa_t start = gfn_to_gpa(mem->ram[i].start), end = gfn_to_gpa(mem->ram[i].end);

		if (gpa >= start && gpa < end)
			return len <= end - gpa;
	}
	return false;
}

static int broken(struct virtq *q, const char *rule)
{
	q->error = rule;
	return -EPROTO;
}

static int no_memory(struct virtq *q, int ret)
{
	q->error = "the host has no memory for the ring";
	return ret;
}

static int get(struct virtq *q, gpa_t gpa, void *buf, size_t len)
{
	int ret = q->mem->read(q->mem->ctx, gpa, buf, len);

	return ret == -EFAULT ? broken(q, "an address outside RAM") : ret ? no_memory(q, ret) : 0;
}

static int put(struct virtq *q, gpa_t gpa, const void *buf, size_t len)
{
	int ret = q->mem->write(q->mem->ctx, gpa, buf, len);

	return ret == -EFAULT ? broken(q, "an address outside RAM") : ret ? no_memory(q, ret) : 0;
}

/* ---- where things are ---- */

static uint64_t desc_bytes(const struct virtq *q)
{
	return sizeof(struct desc) * (uint64_t)q->num;
}

static uint64_t avail_bytes(const struct virtq *q)
{
	return 6 + 2 * (uint64_t)q->num;
}

static uint64_t used_bytes(const struct virtq *q)
{
	return 6 + sizeof(struct used_elem) * (uint64_t)q->num;
}

static gpa_t used_event(const struct virtq *q)
{
	return q->avail + avail_bytes(q) - 2;
}

static gpa_t avail_event(const struct virtq *q)
{
	return q->used + used_bytes(q) - 2;
}

static struct gfn_range pages_of(gpa_t gpa, uint64_t bytes)
{
	return (struct gfn_range){ gpa_to_gfn(gpa), gpa_to_gfn(gpa + bytes - 1) + 1 };
}

bool virtq_ring_pages(const struct virtq *q, gfn_t start, gfn_t end, struct gfn_range *out)
{
	struct gfn_range ring[3];
	bool found = false;

	if (!q->ready)
		return false;
	ring[0] = pages_of(q->desc, desc_bytes(q));
	ring[1] = pages_of(q->avail, avail_bytes(q));
	ring[2] = pages_of(q->used, used_bytes(q));
	for (unsigned int i = 0; i < ARRAY_SIZE(ring); i++) {
		if (ring[i].start >= end || start >= ring[i].end)
			continue;
		if (!found || ring[i].start < out->start)
			*out = ring[i];
		found = true;
	}
	return found;
}

/* ---- into use ---- */

static int check_ring(struct virtq *q, gpa_t gpa, uint64_t bytes, uint64_t align)
{
	if (gpa % align)
		return broken(q, "a misaligned ring");
	if (!virtio_in_ram(q->mem, gpa, bytes))
		return broken(q, "a ring outside RAM");
	return 0;
}

static int hold(struct virtq *q)
{
	int ret = q->mem->hold(q->mem->ctx, q->used, used_bytes(q));

	return ret ? no_memory(q, ret) : 0;
}

void virtq_stop(struct virtq *q)
{
	if (q->ready)
		q->mem->release(q->mem->ctx, q->used, used_bytes(q));
	q->ready = false;
}

int virtq_start(struct virtq *q)
{
	static const uint16_t zero[2];
	int ret;

	if (!q->num || q->num > VIRTQ_MAX || (q->num & (q->num - 1)))
		return broken(q, "a queue size that is not a power of two up to 256");
	ret = check_ring(q, q->desc, desc_bytes(q), 16);
	if (!ret)
		ret = check_ring(q, q->avail, avail_bytes(q), 2);
	if (!ret)
		ret = check_ring(q, q->used, used_bytes(q), 4);
	/* The driver has zeroed these two places. */
	if (!ret)
		ret = put(q, q->used, zero, sizeof(zero));
	if (!ret)
		ret = put(q, avail_event(q), zero, sizeof(zero[0]));
	if (!ret)
		ret = hold(q);
	if (ret)
		return ret;
	q->next_avail = q->next_used = q->told = q->armed = q->in_flight = 0;
	q->ready = true;
	return 0;
}

/* ---- a chain ---- */

static int add_segment(struct virtq *q, struct virtq_chain *chain, const struct desc *d,
		       uint64_t *bytes)
{
	bool writable = d->flags & DESC_WRITE;

	if (chain->nr == VIRTQ_MAX)
		return broken(q, "a buffer of too many segments");
	if (!writable && chain->nr && chain->segment[chain->nr - 1].writable)
		return broken(q, "a readable segment behind a writable one");
	if (d->len && !virtio_in_ram(q->mem, d->gpa, d->len))
		return broken(q, "a buffer outside RAM");
	*bytes += d->len;
	if (*bytes > 1ULL << 32)
		return broken(q, "a buffer of more than 4 GiB");
	chain->segment[chain->nr++] = (struct virtq_segment){ d->gpa, d->len, writable };
	return 0;
}

/* The write flag of d means nothing here, and is ignored. */
static int enter_table(struct virtq *q, const struct desc *d, bool nested, struct table *table)
{
	if (!q->indirect)
		return broken(q, "an indirect table that was not negotiated");
	if (nested)
		return broken(q, "an indirect table within one");
	if (d->flags & DESC_NEXT)
		return broken(q, "an indirect table with a next descriptor");
	if (!d->len || d->len % sizeof(*d) || d->len / sizeof(*d) > VIRTQ_MAX)
		return broken(q, "an indirect table of a wrong size");
	if (!virtio_in_ram(q->mem, d->gpa, d->len))
		return broken(q, "an indirect table outside RAM");
	*table = (struct table){ d->gpa, (uint32_t)(d->len / sizeof(*d)) };
	return 0;
}

static int read_chain(struct virtq *q, struct virtq_chain *chain)
{
	struct table table = { q->desc, q->num };
	uint32_t index = chain->head, links = 0;
	uint64_t bytes = 0;
	bool nested = false;
	struct desc d;
	int ret;

	for (;;) {
		if (index >= table.nr)
			return broken(q, "a descriptor beyond its table");
		if (links++ == table.nr)
			return broken(q, "a chain that is a loop");
		ret = get(q, table.gpa + index * sizeof(d), &d, sizeof(d));
		if (ret)
			return ret;
		if (d.flags & DESC_INDIRECT) {
			ret = enter_table(q, &d, nested, &table);
			nested = true;
			index = links = 0;
		} else {
			ret = add_segment(q, chain, &d, &bytes);
			index = d.next;
		}
		if (ret || !(d.flags & (DESC_NEXT | DESC_INDIRECT)))
			return ret;
	}
}

/* ---- taking buffers ---- */

static int read_avail_idx(struct virtq *q, uint16_t *idx)
{
	int ret = get(q, q->avail + 2, idx, sizeof(*idx));

	atomic_thread_fence(memory_order_acquire);
	return ret;
}

/* Ask for a notification of the next buffer.  Then look again: it may have come before. */
static int arm(struct virtq *q, uint16_t *idx)
{
	int ret;

	if (!q->event_idx || q->armed == q->next_avail)
		return 0;
	ret = put(q, avail_event(q), &q->next_avail, sizeof(q->next_avail));
	if (ret)
		return ret;
	q->armed = q->next_avail;
	atomic_thread_fence(memory_order_seq_cst);
	return read_avail_idx(q, idx);
}

int virtq_next(struct virtq *q, struct virtq_chain *chain)
{
	uint16_t idx;
	int ret = read_avail_idx(q, &idx);

	if (!ret && idx == q->next_avail)
		ret = arm(q, &idx);
	if (ret || idx == q->next_avail)
		return ret;
	if ((uint16_t)(idx - q->next_avail) > q->num - q->in_flight)
		return broken(q, "more buffers than the queue has");
	ret = get(q, q->avail + 4 + 2 * (q->next_avail % q->num), &chain->head,
		  sizeof(chain->head));
	chain->nr = 0;
	if (!ret)
		ret = read_chain(q, chain);
	if (ret)
		return ret;
	q->next_avail++;
	q->in_flight++;
	return 1;
}

int virtq_read(struct virtq *q, const struct virtq_chain *chain, struct virtq_cursor *at, void *buf,
	       uint32_t len)
{
	uint32_t done = 0;

	while (done < len && at->segment < chain->nr) {
		const struct virtq_segment *s = &chain->segment[at->segment];
		uint32_t n = (uint32_t)min_u64(len - done, s->len - at->offset);
		int ret = s->writable || !n ? 0 :
					      get(q, s->gpa + at->offset, (char *)buf + done, n);

		if (ret)
			return ret;
		if (s->writable)
			break;
		done += n;
		at->offset += n;
		if (at->offset == s->len)
			*at = (struct virtq_cursor){ .segment = at->segment + 1 };
	}
	return (int)done;
}

/* ---- what the driver will read ---- */

uint64_t virtq_bytes(const struct virtq_chain *chain, bool writable)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < chain->nr; i++)
		if (chain->segment[i].writable == writable)
			bytes += chain->segment[i].len;
	return bytes;
}

int virtq_write(struct virtq *q, const struct virtq_chain *chain, struct virtq_cursor *at,
		const void *buf, uint32_t len)
{
	uint32_t done = 0;

	while (done < len && at->segment < chain->nr) {
		const struct virtq_segment *s = &chain->segment[at->segment];
		uint32_t n = (uint32_t)min_u64(len - done, s->len - at->offset);
		int ret;

		if (!s->writable) {
			*at = (struct virtq_cursor){ .segment = at->segment + 1 };
			continue;
		}
		ret = n ? put(q, s->gpa + at->offset, (const char *)buf + done, n) : 0;
		if (ret)
			return ret;
		done += n;
		at->offset += n;
		if (at->offset == s->len)
			*at = (struct virtq_cursor){ .segment = at->segment + 1 };
	}
	return (int)done;
}

/* ---- returning them ---- */

int virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	struct used_elem elem = { head, written };
	uint16_t idx = q->next_used + 1;
	int ret = put(q, q->used + 4 + sizeof(elem) * (q->next_used % q->num), &elem, sizeof(elem));

	atomic_thread_fence(memory_order_release);
	if (!ret)
		ret = put(q, q->used + 2, &idx, sizeof(idx));
	if (ret)
		return ret;
	q->next_used = idx;
	q->in_flight--;
	return 0;
}

int virtq_wants_interrupt(struct virtq *q)
{
	uint16_t returned = q->next_used - q->told, word;
	int ret;

	if (!returned)
		return 0;
	q->told = q->next_used;
	atomic_thread_fence(memory_order_seq_cst);
	ret = get(q, q->event_idx ? used_event(q) : q->avail, &word, sizeof(word));
	if (ret)
		return ret;
	if (!q->event_idx)
		return !(word & AVAIL_NO_INTERRUPT);
	/* Did the used index pass `word` on its way from next_used - returned to next_used? */
	return (uint16_t)(q->next_used - word - 1) < returned;
}
