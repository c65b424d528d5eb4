/* SPDX-License-Identifier: MIT */
#include <quire/abi.h>
#include "virtio_input.h"

#define TABLE 0xb000u /* of indirect descriptors */

uint64_t input_take(struct input *in, unsigned int bytes)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes && in->bytes; i++, in->bytes--)
		value |= (uint64_t)*in->data++ << 8 * i;
	return value;
}

void input_buffer(struct input *in, struct lab_queue *q, unsigned int how)
{
	unsigned int nr = 1 + how % 4;
	bool indirect = how & 8;
	gpa_t table = indirect ? TABLE : q->desc;
	uint16_t flags = how & 16 ? D_WRITE : 0, head;

	if (!q->num)
		return;
	head = q->free % q->num;
	for (unsigned int i = 0; i < nr; i++) {
		uint32_t at = indirect ? i : (head + i) % q->num;

		put_desc(table, at, input_take(in, 3), (uint32_t)input_take(in, 2),
			 flags | (i + 1 < nr ? D_NEXT : 0),
			 (uint16_t)(indirect ? i + 1 : (head + i + 1) % q->num));
	}
	if (indirect)
		put_desc(q->desc, head, table, 16 * nr, D_INDIRECT, 0);
	q->free += indirect ? 1 : (uint16_t)nr;
	lab_offer(q, head);
	if (how & 32)
		lab_kick(q);
}

void input_ram(struct input *in)
{
	gpa_t gpa = input_take(in, 3) % sizeof(lab.ram);
	uint64_t value = input_take(in, 8);

	memcpy(lab.ram + gpa, &value, min_u64(8, sizeof(lab.ram) - gpa));
}

void input_register(struct input *in, bool write, void (*set)(uint32_t offset, uint32_t value))
{
	static const uint8_t widths[] = { 4, 1, 2, 8 };
	unsigned int width = widths[input_take(in, 1) % 4];
	uint32_t offset = (uint32_t)input_take(in, 2) % QUIRE_MMIO_BYTES;
	uint64_t value = input_take(in, width);

	if (!write)
		bus_read(&lab.bus, LAB_BASE + offset, width, &value, 1);
	else if (width == 4 && offset % 4 == 0)
		set(offset, (uint32_t)value);
	else
		bus_write(&lab.bus, LAB_BASE + offset, width, &value, 1);
}
