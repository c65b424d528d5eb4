/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_DEV_BALLOON_LAB_H
#define QUIRE_TESTS_DEV_BALLOON_LAB_H

/*
 * The balloon with a driver made by hand and a model in the place of memory, which writes down
 * what it is asked to do.
 */
#include "vmm/dev/balloon.h"
#include "virtio_lab.h"

#define F(name) (1ULL << BALLOON_F_##name)
#define TARGET	0u
#define ACTUAL	4u
#define CMD_ID	8u
#define POISON	12u

struct rig {
	struct balloon *balloon;
	char log[4096];	       /* "I3+2 " for inflate(3, 2) ... */
	int result;	       /* of the operations */
	struct gmem_gone gone; /* what they say of pages; all 0: that all are gone, or none */
	unsigned int resets;
	bool armed;		/* the dirty log is on */
	unsigned int announced; /* queues given to arm */
	uint64_t now;
};

/* The one balloon under test. */
extern struct rig r;

/* The balloon's own numbers, as did() has last read them. */
extern struct balloon_record info;

/* Writes an operation down, and answers as r.result and r.gone say. */
int operation(char op, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);

/* Say that r.log must be `want`, and begin a new one. */
void did(const char *want, const char *what);

/* RAM that the next device is told of besides, and cannot read: only for lists.  Empty: none. */
extern struct gfn_range far_ram;

/* Creates the device; async: as one whose inflate queue the main loop serves. */
void create(bool async);

/*
 * The device with these features and these queues of 64 in use (bit n: number n), queue n's rings
 * at pages 2n and 2n + 1.
 */
extern struct lab_queue queue[BALLOON_NR_QUEUES];

/* Negotiates, sets up the queues, and is ready. */
void drive(uint64_t features, unsigned int queues);

/* create() and drive(). */
void start(uint64_t features, unsigned int queues);

/* Reads 32 bits of configuration. */
uint32_t config(uint32_t offset);

#define LIST 0xc000u /* where the driver has its lists of PFNs: pages 12 to 15 */

/* Stores a list of page numbers at gpa, and returns gpa. */
gpa_t put_list(gpa_t gpa, const uint32_t *pfn, unsigned int nr);

#define SEND(n, ...) \
	do { \
		static const uint32_t list[] = { __VA_ARGS__ }; \
		lab_add(&queue[n], put_list(LIST, list, ARRAY_SIZE(list)), sizeof(list), 0); \
		lab_kick(&queue[n]); \
	} while (0)

/* Sends nr statistics; number i has the value base + i. */
void send_stats(unsigned int nr, uint64_t base);

#endif
