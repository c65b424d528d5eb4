/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk against a model: an array of bytes.  Rounds of requests at random, up to eight in
 * flight, cut into segments of any size.  No two requests of a round touch the same sector, if one
 * of them changes it; they do touch the same cluster.
 */
#include <stdlib.h>
#include "blk_lab.h"

#define MOST   8u
#define ROUNDS 400u

static uint8_t model[BLK_BYTES], image[BLK_BYTES];
static uint64_t seed;

struct turn {
	struct blk_ask ask;
	uint64_t pos, len; /* of the disk; 0: none */
	uint32_t flags;
	uint8_t data[24 * 1024];
};
static struct turn turn[MOST];

static uint64_t rnd(uint64_t n)
{
	return tap_random(&seed) % n;
}

static bool meets(const struct turn *a, const struct turn *b)
{
	bool reads = a->ask.type == T_IN && b->ask.type == T_IN;

	return !reads && a->pos < b->pos + b->len && b->pos < a->pos + a->len;
}

static const uint32_t types[] = { T_IN,	 T_IN,	    T_IN,     T_OUT,  T_OUT,
				  T_OUT, T_DISCARD, T_ZEROES, T_FLUSH };

/* RAM of request i: 24 KiB in the lower range, or 16 KiB in the upper one. */
static gpa_t area(unsigned int i, uint32_t *room)
{
	*room = i < 4 ? 24 * 1024 : 16 * 1024;
	return i < 4 ? AREA_LOW + i * 24 * 1024 : AREA_HIGH + (i - 4) * 16 * 1024;
}

/* Does the last of nr requests meet one of the others? */
static bool clashes(unsigned int nr)
{
	for (unsigned int i = 0; i + 1 < nr; i++)
		if (meets(&turn[nr - 1], &turn[i]))
			return true;
	return false;
}

static void plan(struct turn *t, unsigned int i)
{
	uint32_t room;
	gpa_t data = area(i, &room);
	uint64_t sectors = 1 + rnd(rnd(3) ? 10 : room / SECTOR);

	t->ask = (struct blk_ask){
		.type = types[rnd(ARRAY_SIZE(types))],
		.data = data,
		.head = 0x7000 + 64 * i,
		.cut = &seed,
		.indirect = rnd(2),
		.desc = (uint16_t)(12 * i),
	};
	/* Mostly in one corner, so that clusters meet. */
	t->pos = rnd(rnd(4) ? 64 : BLK_SECTORS) * SECTOR;
	t->len = min_u64(sectors * SECTOR, BLK_BYTES - t->pos);
	if (t->ask.type == T_FLUSH)
		t->pos = t->len = 0;
}

static void offer(struct turn *t)
{
	uint32_t sectors = (uint32_t)(t->len / SECTOR);
	uint64_t sector = t->pos / SECTOR;

	t->flags = t->ask.type == T_ZEROES ? (uint32_t)rnd(2) : 0;
	t->ask.sector = sector;
	t->ask.len = (uint32_t)t->len;
	for (uint64_t n = 0; t->ask.type == T_OUT && n < t->len; n++)
		lab.ram[t->ask.data + n] = t->data[n] = (uint8_t)tap_random(&seed);
	if (t->ask.type == T_DISCARD || t->ask.type == T_ZEROES) {
		t->ask.len = 16;
		memcpy(lab.ram + t->ask.data, &sector, 8);
		memcpy(lab.ram + t->ask.data + 8, &sectors, 4);
		memcpy(lab.ram + t->ask.data + 12, &t->flags, 4);
	}
	blk_lab_ask(&t->ask);
}

/* Only whole clusters of an overlay are discarded; a file forgets every byte. */
static void forget(uint64_t pos, uint64_t len, bool overlay)
{
	uint64_t first = pos, end = pos + len;

	if (overlay) {
		first = align_up(pos, DISK_CLUSTER);
		end = end == BLK_BYTES ? end : end & ~(uint64_t)(DISK_CLUSTER - 1);
	}
	if (first < end)
		memset(model + first, 0, end - first);
}

static bool settle(const struct turn *t, bool overlay)
{
	if (blk_lab_status(&t->ask) != S_OK)
		return false;
	switch (t->ask.type) {
	case T_IN: return !memcmp(lab.ram + t->ask.data, model + t->pos, t->len);
	case T_OUT: memcpy(model + t->pos, t->data, t->len); return true;
	case T_ZEROES: memset(model + t->pos, 0, t->len); return true;
	case T_DISCARD: forget(t->pos, t->len, overlay); return true;
	default: return true;
	}
}

static bool round_of(unsigned int nr, bool overlay, bool slow)
{
	bool good = true;
	uint16_t used = used_idx(&bl.q);

	for (unsigned int i = 0; i < nr; i++)
		do
			plan(&turn[i], i);
		while (clashes(i + 1));
	fault.slow = slow;
	for (unsigned int i = 0; i < nr; i++) {
		offer(&turn[i]);
		if (!rnd(3))
			lab_kick(&bl.q);
	}
	do {
		blk_lab_run();
		if (slow)
			blk_lab_let_go(&seed);
	} while (file_io_in_flight(bl.io));
	for (unsigned int i = 0; i < nr; i++)
		good &= settle(&turn[i], overlay);
	return good && (uint16_t)(used_idx(&bl.q) - used) == nr;
}

static bool is_all(uint64_t from)
{
	struct blk_ask ask = { .type = T_IN, .data = AREA_LOW, .head = 0x7000 };

	for (; from < BLK_BYTES; from += ask.len) {
		ask.sector = from / SECTOR;
		ask.len = (uint32_t)min_u64(64 * 1024, BLK_BYTES - from);
		blk_lab_ask(&ask);
		lab_kick(&bl.q);
		blk_lab_run();
		if (blk_lab_status(&ask) != S_OK ||
		    memcmp(lab.ram + AREA_LOW, model + from, ask.len))
			return false;
	}
	return true;
}

static void storm(enum disk_mode mode, const struct file_engine *engine)
{
	const char *kind = mode == DISK_OVERLAY ? "an overlay" : "an image";
	bool overlay = mode == DISK_OVERLAY, slow = engine == &disk_faulty;
	unsigned int good = 0;
	struct blk_stats stats;

	if (!blk_lab_create(mode, engine)) {
		tap_skip("no %s on this host", engine->name);
		return;
	}
	blk_lab_read_image(model);
	blk_lab_drive(BLK_F_FLUSH | F_INDIRECT | (rnd(2) ? F_EVENT_IDX : 0));
	while (good < ROUNDS * tap_storm() && round_of(1 + (unsigned int)rnd(MOST), overlay, slow))
		good++;
	is(good, ROUNDS * tap_storm(), "%s by %s: rounds as the model has them", kind,
	   engine->name);
	fault.slow = false;
	ok(is_all(0), "... and all of it in the end");
	blk_stats(bl.blk, &stats);
	ok(!stats.errors && !stats.refused, "... without an error");
	blk_lab_read_image(image);
	if (overlay)
		ok(memcmp(image, model, BLK_BYTES), "... the image is another");
	else
		ok(!memcmp(image, model, BLK_BYTES), "... the image has it too");
}

int main(int argc, char **argv)
{
	static uint8_t before[BLK_BYTES];

	tap_init();
	seed = tap_seed(argc, argv);
	blk_lab_image();
	storm(DISK_READ_WRITE, &file_uring);
	storm(DISK_READ_WRITE, &file_sync);
	storm(DISK_READ_WRITE, &disk_faulty);
	blk_lab_read_image(before);
	storm(DISK_OVERLAY, &file_uring);
	storm(DISK_OVERLAY, &file_sync);
	storm(DISK_OVERLAY, &disk_faulty);
	blk_lab_read_image(image);
	ok(!memcmp(image, before, BLK_BYTES), "no overlay has changed the image");
	blk_lab_destroy();
	blk_lab_remove();
	return tap_done();
}
