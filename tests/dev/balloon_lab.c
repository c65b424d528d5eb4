/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include "balloon_lab.h"

struct rig r;

struct balloon_record info;

static int note(char op, gfn_t gfn, uint64_t nr)
{
	size_t at = strlen(r.log);

	snprintf(r.log + at, sizeof(r.log) - at, "%c%llu+%llu ", op, (unsigned long long)gfn,
		 (unsigned long long)nr);
	return r.result;
}

int operation(char op, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	*gone = r.gone;
	if (!r.result && !gone->gone && !gone->already && !gone->kept)
		gone->gone = nr;
	return note(op, gfn, nr);
}

static int on_inflate(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	(void)ctx;
	return operation('I', gfn, nr, gone);
}

static int on_deflate(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	(void)ctx;
	return operation('D', gfn, nr, gone);
}

static int on_report(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	(void)ctx;
	return operation('R', gfn, nr, gone);
}

static void on_reset(void *ctx)
{
	(void)ctx;
	r.resets++;
}

static void on_hint(void *ctx, gfn_t gfn, uint64_t nr)
{
	(void)ctx;
	note('H', gfn, nr);
}

static bool hint_armed(void *ctx)
{
	(void)ctx;
	return r.armed;
}

static void on_arm(void *ctx, unsigned int n, bool on)
{
	(void)ctx;
	r.announced = on ? r.announced | 1u << n : r.announced & ~(1u << n);
}

static uint64_t now_ns(void *ctx)
{
	(void)ctx;
	return r.now;
}

void did(const char *want, const char *what)
{
	if (!ok(!strcmp(r.log, want), "%s", what))
		tap_note("got \"%s\", wanted \"%s\"", r.log, want);
	r.log[0] = '\0';
}

struct gfn_range far_ram;

void create(bool async)
{
	static struct gfn_range ram[4];
	unsigned int nr = lab_memory.nr_ram;
	struct balloon_config config = {
		.virtio.mem = lab_memory,
		.memory = {
			.inflate = on_inflate, .deflate = on_deflate, .report = on_report,
			.reset = on_reset,
			.hint_armed = hint_armed, .hint = on_hint,
		},
		.virtio.base = LAB_BASE, .stats_period_ns = 1000000000, .now_ns = now_ns,
		.async_inflate = async, .async_report = async,
		.virtio.interrupt = lab_interrupt, .virtio.arm = on_arm, .virtio.wake = lab_wake,
	};

	memcpy(ram, lab_memory.ram, nr * sizeof(ram[0]));
	ram[nr] = far_ram;
	config.virtio.mem.ram = ram;
	config.virtio.mem.nr_ram = nr + (far_ram.end > 0);
	balloon_destroy(r.balloon);
	lab = (struct lab){ .used_end = sizeof(lab.ram) };
	r = (struct rig){ .armed = true, .now = 1000 };
	if (balloon_create(&config, &lab.bus, &r.balloon))
		tap_bail("cannot create the balloon");
}

struct lab_queue queue[BALLOON_NR_QUEUES];

void drive(uint64_t features, unsigned int queues)
{
	if (!lab_negotiate(features | F_VERSION_1 | F_INDIRECT))
		tap_bail("cannot negotiate %llx", (unsigned long long)features);
	for (unsigned int n = 0; n < BALLOON_NR_QUEUES; n++)
		if (queues & (1u << n))
			queue[n] = lab_queue(n, 64, 2 * n);
	lab_driver_ok();
	lab.interrupts = lab.interrupts_seen = 0;
}

void start(uint64_t features, unsigned int queues)
{
	create(false);
	drive(features, queues);
}

uint32_t config(uint32_t offset)
{
	return reg(R_CONFIG + offset);
}

gpa_t put_list(gpa_t gpa, const uint32_t *pfn, unsigned int nr)
{
	memcpy(lab.ram + gpa, pfn, nr * sizeof(pfn[0]));
	return gpa;
}

void send_stats(unsigned int nr, uint64_t base)
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
