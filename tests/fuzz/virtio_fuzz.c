/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for the balloon and all of virtio below it: the input is a program of register
 * accesses, changes of RAM, and what the host does meanwhile.  Whatever it is,
 *
 *   the device writes to RAM only, and to the rings of its queues only;
 *   memory is told of runs that are RAM, are not empty and, but for hints, hold no page of a ring;
 *   hints arrive only while the dirty log is on;
 *   statistics stay within their bounds, and the line agrees with InterruptStatus;
 *   a reset brings a device that works.
 *
 * So that inputs get somewhere, one instruction does a driver's whole start, and one puts a
 * well-formed buffer in a queue.
 */
#include "vmm/dev/balloon.h"
#include "must.h"
#include "virtio_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct balloon *balloon;
static bool armed;
static uint32_t isr_seen; /* InterruptStatus when last checked */
static uint64_t now;
static struct lab_queue queue[BALLOON_NR_QUEUES];

/* ---- memory ---- */

/* Checked with what the registers were given, not with what the device made of it. */
static struct {
	gpa_t desc, avail, used;
	uint32_t num;
	bool ready;
} ring[8];
static unsigned int selected;

static bool in_used_ring(gpa_t gpa, size_t len)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(ring); n++)
		if (gpa >= ring[n].used && len <= 6 + 8ULL * ring[n].num &&
		    gpa - ring[n].used <= 6 + 8ULL * ring[n].num - len)
			return true;
	return false;
}

static bool meets(gfn_t gfn, uint64_t nr, gpa_t start, uint64_t bytes)
{
	return start < (gfn + nr) << 12 && gfn << 12 < start + bytes;
}

static bool has_ring_page(gfn_t gfn, uint64_t nr)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(ring); n++)
		if (ring[n].ready && (meets(gfn, nr, ring[n].desc, 16ULL * ring[n].num) ||
				      meets(gfn, nr, ring[n].avail, 6 + 2ULL * ring[n].num) ||
				      meets(gfn, nr, ring[n].used, 6 + 8ULL * ring[n].num)))
			return true;
	return false;
}

static int fuzz_write(void *ctx, gpa_t gpa, const void *buf, size_t len)
{
	must(in_used_ring(gpa, len), "a write outside the used rings");
	return lab_write(ctx, gpa, buf, len);
}

static void on_pages(gfn_t gfn, uint64_t nr, bool hint)
{
	must(nr > 0 && nr <= LAB_PAGES && lab_in_ram(gfn << 12, nr << 12), "a run that is no RAM");
	must(hint || !has_ring_page(gfn, nr), "a run with a page of a ring");
}

static int operation(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	static const int results[] = { 0, -EAGAIN, -EFAULT, -ENOMEM };
	int result = results[(gfn ^ now) % 4];

	(void)ctx;
	on_pages(gfn, nr, false);
	gone->gone = result ? nr / 2 : nr;
	gone->kept = result == -EAGAIN ? nr - nr / 2 : 0;
	return result;
}

static void on_reset(void *ctx)
{
	(void)ctx;
}

static void on_hint(void *ctx, gfn_t gfn, uint64_t nr)
{
	(void)ctx;
	must(armed, "a hint without the dirty log");
	on_pages(gfn, nr, true);
}

static bool hint_armed(void *ctx)
{
	(void)ctx;
	return armed;
}

static uint64_t now_ns(void *ctx)
{
	(void)ctx;
	return now;
}

static void on_arm(void *ctx, unsigned int n, bool on)
{
	(void)ctx;
	must(n < BALLOON_NR_QUEUES && (!on || ring[n].ready), "a queue that is not in use");
}

static void create(void)
{
	struct balloon_config config = {
		.virtio.mem = lab_memory,
		.memory = { .inflate = operation,
			    .deflate = operation,
			    .report = operation,
			    .reset = on_reset,
			    .hint_armed = hint_armed,
			    .hint = on_hint },
		.virtio.base = LAB_BASE,
		.stats_period_ns = 1000,
		.now_ns = now_ns,
		.async_inflate = true,
		.async_report = true,
		.virtio.interrupt = lab_interrupt,
		.virtio.arm = on_arm,
	};

	config.virtio.mem.write = fuzz_write;
	memset(ring, 0, sizeof(ring));
	memset(queue, 0, sizeof(queue));
	memset(&lab, 0, sizeof(lab));
	isr_seen = 0;
	armed = false;
	now = 1;
	selected = 0;
	must(!balloon_create(&config, &lab.bus, &balloon), "cannot create the balloon");
}

/* ---- the input ---- */

/* Note what a register write does to the rings, then do it. */
static void write_reg(uint32_t offset, uint32_t value)
{
	gpa_t *half = NULL;

	if (offset == R_QUEUE)
		selected = value;
	if (selected < BALLOON_NR_QUEUES && !reg(R_READY)) {
		half = (offset & ~4u) == 0x080 ? &ring[selected].desc :
		       (offset & ~4u) == 0x090 ? &ring[selected].avail :
		       (offset & ~4u) == 0x0a0 ? &ring[selected].used :
						 NULL;
		if (offset == R_NUM && (reg(R_STATUS) & 0x4c) == S_FEATURES_OK)
			ring[selected].num = value;
	}
	if (half && (reg(R_STATUS) & 0x4c) == S_FEATURES_OK)
		*half = offset & 4 ? (uint32_t)*half | (gpa_t)value << 32 :
				     (*half & ~0xffffffffULL) | value;
	if (offset == R_STATUS && !value) {
		memset(ring, 0, sizeof(ring));
		selected = 0;
	}
	set_reg(offset, value);
	if (offset == R_READY && selected < BALLOON_NR_QUEUES)
		ring[selected].ready = reg(R_READY);
}

static void start_driver(struct input *in)
{
	uint64_t features = input_take(in, 1) | (uint64_t)(input_take(in, 1) & 0x30) << 24 |
			    F_VERSION_1;
	unsigned int queues = (unsigned int)input_take(in, 1);

	memset(ring, 0, sizeof(ring));
	selected = 0;
	if (!lab_negotiate(features & (lab_offered() | 0x100)))
		return;
	for (unsigned int n = 0; n < BALLOON_NR_QUEUES; n++) {
		gpa_t base = n * 2ULL * 4096;

		if (!(queues & (1u << n)))
			continue;
		ring[n].desc = base;
		ring[n].avail = base + 4096 - 1024;
		ring[n].used = base + 4096;
		ring[n].num = 4u << n;
		selected = n;
		queue[n] = lab_queue(n, 4u << n, 2 * n);
		ring[n].ready = reg(R_READY);
	}
	lab_driver_ok();
}

static void put_buffer(struct input *in)
{
	struct lab_queue *q = &queue[input_take(in, 1) % BALLOON_NR_QUEUES];

	input_buffer(in, q, (unsigned int)input_take(in, 1));
}

static void host(struct input *in)
{
	unsigned int what = (unsigned int)input_take(in, 1);

	switch (what % 8) {
	case 0: balloon_set_target(balloon, input_take(in, 1)); break;
	case 1: balloon_refresh(balloon); break;
	case 2: balloon_hint_start(balloon); break;
	case 3: balloon_hint_stop(balloon); break;
	case 4: balloon_hint_done(balloon); break;
	case 5: balloon_notify(balloon, (what >> 3) % BALLOON_NR_QUEUES); break;
	case 6: armed = what & 8; break;
	default: lab.write_error = what & 8 ? -EDQUOT : 0;
	}
}

static void check(void)
{
	struct balloon_record info;
	uint32_t isr = reg(R_ISR);

	balloon_record(balloon, &info);
	must(info.nr_stats <= BALLOON_MAX_STATS, "too many statistics");
	must(info.inflated <= info.requested, "more inflated than was named");
	must((info.driver == BALLOON_DRIVER_BROKEN) == (balloon_error(balloon) != NULL) ||
		     info.driver == BALLOON_DRIVER,
	     "broken without a reason");
	must(lab_interrupted() || !(isr & ~isr_seen), "a reason without an interrupt");
	isr_seen = isr;
}

/* After all that, a reset and a well-behaved driver. */
static void revive(void)
{
	static const uint32_t pfn = 20;
	struct lab_queue q;

	lab.write_error = 0;
	memset(ring, 0, sizeof(ring));
	must(lab_negotiate(F_VERSION_1), "a reset device does not negotiate");
	ring[0].used = 0x1000;
	ring[0].num = 4;
	ring[0].ready = true;
	q = lab_queue(0, 4, 0);
	lab_driver_ok();
	memcpy(lab.ram + 0xc000, &pfn, sizeof(pfn));
	lab_add(&q, 0xc000, 4, 0);
	lab_kick(&q);
	must(used_idx(&q) == 1, "a reset device does not work");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = { data, bytes };

	create();
	while (in.bytes) {
		switch (input_take(&in, 1) % 8) {
		case 0: start_driver(&in); break;
		case 1:
		case 2: put_buffer(&in); break;
		case 3: input_ram(&in); break;
		case 4: input_register(&in, true, write_reg); break;
		case 5: input_register(&in, false, write_reg); break;
		case 6: host(&in); break;
		default: now += input_take(&in, 2); balloon_tick(balloon);
		}
		check();
	}
	revive();
	balloon_destroy(balloon);
	return 0;
}
