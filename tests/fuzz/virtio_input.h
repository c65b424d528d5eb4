/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_FUZZ_VIRTIO_INPUT_H
#define QUIRE_TESTS_FUZZ_VIRTIO_INPUT_H

/*
 * An input as a program for a virtio device in the laboratory of tests/dev/virtio_lab.h.  What an
 * input that has ended would say is 0.
 */
#include "tests/dev/virtio_lab.h"

struct input {
	const uint8_t *data;
	size_t bytes;
};

/* The next number, of at most 8 bytes. */
uint64_t input_take(struct input *in, unsigned int bytes);

/*
 * A buffer of up to 4 segments for q, perhaps indirect, and perhaps a kick; `how` says which.
 * Nothing happens if q was never started.
 */
void input_buffer(struct input *in, struct lab_queue *q, unsigned int how);

/* A change of RAM. */
void input_ram(struct input *in);

/* An access to the registers.  A write to a whole one is done by set, set_reg() or its like. */
void input_register(struct input *in, bool write, void (*set)(uint32_t offset, uint32_t value));

#endif
