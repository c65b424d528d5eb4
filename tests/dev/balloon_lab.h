/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_DEV_BALLOON_LAB_H
#define QUIRE_TESTS_DEV_BALLOON_LAB_H

/*
 * The balloon with a driver made by hand and a model in the place of memory, which writes down
 * what it is asked to do.
 */
#include <stdio.h>
#include <stdlib.h>
#include "vmm/dev/balloon.h"
#include "virtio_lab.h"

#define F(name) (1ULL << BALLOON_F_##name)

#define TARGET 0u
#define ACTUAL 4u
#define CMD_ID 8u
#define POISON 12u

static struct rig {
	struct balloon *balloon;
	char log[4096];	       /* "I3+2 " for inflate(3, 2) ... */
	int result;	       /* of the operations */
	struct gmem_gone gone; /* what they say of pages; all 0: that all are gone, or none */
	unsigned int resets;
	bool armed;		/* the dirty log is on */
	unsigned int announced; /* queues given to arm */
	uint64_t now;
} r;

static struct balloon_record info;

static inline int note(char op, gfn_t gfn, uint64_t nr)
{
	size_t at = strlen(r.log);

	snprintf(r.log + at, sizeof(r.log) - at, "%c%llu+%llu ", op, (unsigned long long)gfn,
		 (unsigned long long)nr);
	return r.result;
}

static inline int operation(char op, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	*gone = r.gone;
	if (!r.result && !gone->gone && !gone->already && !gone->kept)
		gone->gone = nr;
	return note(op, gfn, nr);
}

static inline int on_inflate(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	(void)ctx;
	return operation('I', gfn, nr, gone);
}

static inline int on_deflate(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	(void)ctx;
	return operation('D', gfn, nr, gone);
}

static inline int on_report(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	(void)ctx;
	return operation('R', gfn, nr, gone);
}

static inline void on_reset(void *ctx)
{
	(void)ctx;
	r.resets++;
}

static inline void on_hint(void *ctx, gfn_t gfn, uint64_t nr)
{
	(void)ctx;
	note('H', gfn, nr);
}

static inline bool hint_armed(void *ctx)
{
	(void)ctx;
	return r.armed;
}

static inline void on_arm(void *ctx, unsigned int n, bool on)
{
	(void)ctx;
	r.announced = on ? r.announced | 1u << n : r.announced & ~(1u << n);
}

static inline uint64_t now_ns(void *ctx)
{
	(void)ctx;
	return r.now;
}

/* Say that r.log must be `want`, and begin a new one. */
static inline void did(const char *want, const char *what)
{
	if (!ok(!strcmp(r.log, want), "%s", what))
		tap_note("got \"%s\", wanted \"%s\"", r.log, want);
	r.log[0] = '\0';
}

static inline void create(bool async)
{
	struct balloon_config config = {
		.mem = lab_memory,
		.memory = {
			.inflate = on_inflate, .deflate = on_deflate, .report = on_report,
			.reset = on_reset,
			.hint_armed = hint_armed, .hint = on_hint,
		},
		.base = LAB_BASE, .stats_period_ns = 1000000000, .now_ns = now_ns,
		.async_inflate = async, .async_report = async,
		.interrupt = lab_interrupt, .arm = on_arm, .wake = lab_wake,
	};

	balloon_destroy(r.balloon);
	lab = (struct lab){ .used_end = sizeof(lab.ram) };
	r = (struct rig){ .armed = true, .now = 1000 };
	if (balloon_create(&config, &lab.bus, &r.balloon))
		tap_bail("cannot create the balloon");
}

/*
 * The device with these features and these queues of 64 in use (bit n: number n), queue n's rings
 * at pages 2n and 2n + 1.
 */
static struct lab_queue queue[BALLOON_NR_QUEUES];

static inline void drive(uint64_t features, unsigned int queues)
{
	if (!lab_negotiate(features | F_VERSION_1 | F_INDIRECT))
		tap_bail("cannot negotiate %llx", (unsigned long long)features);
	for (unsigned int n = 0; n < BALLOON_NR_QUEUES; n++)
		if (queues & (1u << n))
			queue[n] = lab_queue(n, 64, 2 * n);
	lab_driver_ok();
	lab.interrupts = lab.interrupts_seen = 0;
}

static inline void start(uint64_t features, unsigned int queues)
{
	create(false);
	drive(features, queues);
}

static inline uint32_t config(uint32_t offset)
{
	return reg(R_CONFIG + offset);
}

#define LIST 0xc000u /* where the driver has its lists of PFNs: pages 12 to 15 */

static inline gpa_t put_list(gpa_t gpa, const uint32_t *pfn, unsigned int nr)
{
	memcpy(lab.ram + gpa, pfn, nr * sizeof(pfn[0]));
	return gpa;
}

#define SEND(n, ...) \
	do { \
		static const uint32_t list[] = { __VA_ARGS__ }; \
		lab_add(&queue[n], put_list(LIST, list, ARRAY_SIZE(list)), sizeof(list), 0); \
		lab_kick(&queue[n]); \
	} while (0)

static inline void send_stats(unsigned int nr, uint64_t base)
{
	static const uint16_t tags[] = { 4, 5, 6, 10, 999, 4 };

	for (unsigned int i = 0; i < nr; i++) {
		uint64_t value = base + i;

		memcpy(lab.ram + LIST + 10 * i, &tags[i], 2);
		memcpy(lab.ram + LIST + 10 * i + 2, &value, 8);
	}
	lab_add(&queue[2], LIST, 10 * nr, 0);
	lab_kick(&queue[2]);
	balloon_record(r.balloon, &info);
}

#endif
