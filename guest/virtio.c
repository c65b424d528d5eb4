/* SPDX-License-Identifier: MIT */
/*
 * virtio over MMIO at CPL 3, without interrupts.
 *
 * A queue is one page: descriptors, then what the driver offers, then what the device has
 * used.  The device runs at the same time.  Three things make that safe:
 *
 *	1. A descriptor is written before the ring entry that names it, and that before the index
 *	   that covers it.  The device reads them the other way round.  x86 keeps stores in order,
 *	   so only the compiler must be restrained (barrier()).
 *	2. We write our index, and then read whether the device wants to be told.  The load must
 *	   not pass the store, or both sides could miss each other for ever: hence an mfence.
 *	3. What the device wrote is not believed: a used entry that names no buffer is a panic.
 *
 * Nobody listens to interrupts, so the driver asks the device for none.
 */
#include "memory.h"
#include "paging.h"
#include "virtio.h"

_Static_assert(sizeof(struct virtq_rings) <= PAGE_SIZE, "a queue must fit in its page");
_Static_assert(sizeof(struct virtq_desc) == 16, "fixed by the device");

#define barrier() __asm__ volatile("" ::: "memory")

bool virtio_find(struct virtio *v, uint32_t device_id)
{
	for (unsigned int i = 0; i < boot.nr_virtio; i++) {
		uint64_t gpa = boot.virtio[i].start;

		v->regs = mmio_map(gpa, boot.virtio[i].end - gpa);
		if (virtio_read(v, VIRTIO_REG_MAGIC) == VIRTIO_MAGIC &&
		    virtio_read(v, VIRTIO_REG_VERSION) == 2 &&
		    virtio_read(v, VIRTIO_REG_DEVICE_ID) == device_id)
			return true;
	}
	return false;
}

void virtio_reset(struct virtio *v)
{
	virtio_write(v, VIRTIO_REG_STATUS, 0);
	while (virtio_read(v, VIRTIO_REG_STATUS))
		__asm__ volatile("pause");
}

static void add_status(struct virtio *v, uint32_t bit)
{
	virtio_write(v, VIRTIO_REG_STATUS, virtio_read(v, VIRTIO_REG_STATUS) | bit);
}

static uint64_t offered(struct virtio *v)
{
	uint64_t low;

	virtio_write(v, VIRTIO_REG_DEVICE_SELECT, 0);
	low = virtio_read(v, VIRTIO_REG_DEVICE_FEATURES);
	virtio_write(v, VIRTIO_REG_DEVICE_SELECT, 1);
	return low | (uint64_t)virtio_read(v, VIRTIO_REG_DEVICE_FEATURES) << 32;
}

bool virtio_negotiate(struct virtio *v, uint64_t wanted)
{
	virtio_reset(v);
	add_status(v, VIRTIO_STATUS_ACKNOWLEDGE);
	add_status(v, VIRTIO_STATUS_DRIVER);
	v->features = offered(v) & (wanted | VIRTIO_F_VERSION_1);
	virtio_write(v, VIRTIO_REG_DRIVER_SELECT, 0);
	virtio_write(v, VIRTIO_REG_DRIVER_FEATURES, (uint32_t)v->features);
	virtio_write(v, VIRTIO_REG_DRIVER_SELECT, 1);
	virtio_write(v, VIRTIO_REG_DRIVER_FEATURES, (uint32_t)(v->features >> 32));
	add_status(v, VIRTIO_STATUS_FEATURES_OK);
	if (v->features & VIRTIO_F_VERSION_1 &&
	    virtio_read(v, VIRTIO_REG_STATUS) & VIRTIO_STATUS_FEATURES_OK)
		return true;
	virtio_reset(v);
	return false;
}

void virtio_start(struct virtio *v)
{
	add_status(v, VIRTIO_STATUS_DRIVER_OK);
}

void virtio_check(const struct virtio *v)
{
	if (virtio_read(v, VIRTIO_REG_STATUS) & VIRTIO_STATUS_NEEDS_RESET)
		panic("virtio: the device has stopped, and needs a reset");
}

bool virtio_config_changed(struct virtio *v)
{
	uint32_t why = virtio_read(v, VIRTIO_REG_INTERRUPT);

	if (why)
		virtio_write(v, VIRTIO_REG_INTERRUPT_ACK, why);
	if (why & VIRTIO_INTERRUPT_CONFIG)
		virtio_check(v);
	return why & VIRTIO_INTERRUPT_CONFIG;
}

static void write_gpa(struct virtio *v, unsigned int reg, volatile void *direct_pointer)
{
	uint64_t gpa = direct_gpa(direct_pointer);

	virtio_write(v, reg, (uint32_t)gpa);
	virtio_write(v, reg + 4, (uint32_t)(gpa >> 32));
}

static bool rings_create(struct virtqueue *q)
{
	uint64_t gpa = alloc_pages(0);

	if (!gpa)
		return false;
	q->rings = memset(direct(gpa), 0, PAGE_SIZE);
	for (uint16_t i = 0; i < q->size; i++)
		q->rings->desc[i].next = i + 1;
	q->nr_free = q->size;
	q->rings->avail.flags = VIRTQ_NO_INTERRUPT;
	q->rings->avail.ring[q->size] = UINT16_MAX; /* used_event: the furthest there is */
	return true;
}

bool virtqueue_create(struct virtqueue *q, struct virtio *v, unsigned int index)
{
	uint32_t max;

	virtio_write(v, VIRTIO_REG_QUEUE_SELECT, index);
	max = virtio_read(v, VIRTIO_REG_QUEUE_MAX);
	if (!max || virtio_read(v, VIRTIO_REG_QUEUE_READY))
		return false;
	*q = (struct virtqueue){ .dev = v, .index = (uint16_t)index };
	q->size = max < VIRTQ_MAX_SIZE ? (uint16_t)max : VIRTQ_MAX_SIZE;
	if (!rings_create(q))
		return false;
	virtio_write(v, VIRTIO_REG_QUEUE_SIZE, q->size);
	write_gpa(v, VIRTIO_REG_QUEUE_DESC, &q->rings->desc);
	write_gpa(v, VIRTIO_REG_QUEUE_DRIVER, &q->rings->avail);
	write_gpa(v, VIRTIO_REG_QUEUE_DEVICE, &q->rings->used);
	virtio_write(v, VIRTIO_REG_QUEUE_READY, 1);
	return true;
}

void virtqueue_destroy(struct virtqueue *q)
{
	if (!q->rings)
		return;
	for (unsigned int i = 0; i < q->size; i++)
		kfree(q->table[i]);
	free_pages(direct_gpa(q->rings), 0);
	*q = (struct virtqueue){ 0 };
}

static void tell(struct virtqueue *q, uint16_t before)
{
	volatile struct virtq_rings *r = q->rings;
	uint16_t now = r->avail.idx, event;
	bool wanted;

	__asm__ volatile("mfence" ::: "memory");
	event = (uint16_t)r->used.ring[q->size].id;
	if (q->dev->features & VIRTIO_F_EVENT_IDX) /* is event in [before, now)? */
		wanted = (uint16_t)(now - event - 1) < (uint16_t)(now - before);
	else
		wanted = !(r->used.flags & VIRTQ_NO_NOTIFY);
	if (wanted)
		virtio_write(q->dev, VIRTIO_REG_NOTIFY, q->index);
}

static uint16_t flags_of(const struct virtq_piece *piece, bool last)
{
	return (piece->device_writes ? VIRTQ_DESC_WRITE : 0) | (last ? 0 : VIRTQ_DESC_NEXT);
}

/* Make an indirect table for the pieces, in kmalloc memory, and its one descriptor at head. */
static bool fill_indirect(struct virtqueue *q, uint16_t head, const struct virtq_piece *pieces,
			  unsigned int nr)
{
	struct virtq_desc *table = kmalloc(nr * sizeof(*table));
	volatile struct virtq_desc *desc = &q->rings->desc[head];

	if (!table)
		return false;
	for (unsigned int i = 0; i < nr; i++)
		table[i] = (struct virtq_desc){ pieces[i].gpa, pieces[i].bytes,
						flags_of(&pieces[i], i == nr - 1),
						(uint16_t)(i + 1) };
	q->table[head] = table;
	desc->gpa = direct_gpa(table);
	desc->bytes = (uint32_t)(nr * sizeof(*table));
	desc->flags = VIRTQ_DESC_INDIRECT;
	return true;
}

static void fill_chain(struct virtqueue *q, uint16_t head, const struct virtq_piece *pieces,
		       unsigned int nr)
{
	uint16_t at = head;

	for (unsigned int i = 0; i < nr; i++) {
		volatile struct virtq_desc *desc = &q->rings->desc[at];

		desc->gpa = pieces[i].gpa;
		desc->bytes = pieces[i].bytes;
		desc->flags = flags_of(&pieces[i], i == nr - 1);
		at = desc->next;
	}
}

int virtqueue_add(struct virtqueue *q, const struct virtq_piece *pieces, unsigned int nr)
{
	bool indirect = nr > 1 && q->dev->features & VIRTIO_F_INDIRECT_DESC;
	unsigned int take = indirect ? 1 : nr;
	volatile struct virtq_avail *avail = &q->rings->avail;
	uint16_t head = q->free_head, before = avail->idx;

	if (q->nr_free < take || (indirect && !fill_indirect(q, head, pieces, nr)))
		return -1;
	if (!indirect)
		fill_chain(q, head, pieces, nr);
	q->nr_free -= (uint16_t)take;
	for (; take; take--)
		q->free_head = q->rings->desc[q->free_head].next;
	q->pending[head] = true;
	avail->ring[before % q->size] = head;
	barrier();
	avail->idx = before + 1;
	tell(q, before);
	return head;
}

/* Put the descriptors of a buffer back on the free list. */
static void release(struct virtqueue *q, uint16_t head)
{
	uint16_t last = head;

	q->nr_free++;
	while (q->rings->desc[last].flags & VIRTQ_DESC_NEXT) {
		last = q->rings->desc[last].next;
		q->nr_free++;
	}
	q->rings->desc[last].next = q->free_head;
	q->free_head = head;
	kfree(q->table[head]);
	q->table[head] = NULL;
	q->pending[head] = false;
}

bool virtqueue_take(struct virtqueue *q, unsigned int *head)
{
	volatile struct virtq_used *used = &q->rings->used;

	if (used->idx == q->used)
		return false;
	barrier();
	*head = used->ring[q->used % q->size].id;
	if (*head >= q->size || !q->pending[*head])
		panic("virtio: queue %u: the device used %u, which is no buffer", q->index, *head);
	q->used++;
	release(q, (uint16_t)*head);
	return true;
}
