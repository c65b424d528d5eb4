/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include "blk_lab.h"

struct blk_lab bl;
struct fault fault;

/* ---- an engine that fails or dawdles ---- */

static struct file_op *held[FILE_MAX_IN_FLIGHT];
static unsigned int nr_held;

static int faulty_create(struct file_io *io, const int *fds, unsigned int nr)
{
	nr_held = 0;
	return file_sync.create(io, fds, nr);
}

static void perform(struct file_io *io, struct file_op *op)
{
	bool fails = fault.times && fault.type == op->type;
	uint64_t len = op->len;

	if (fails && (fault.result < 0 || op->type == FILE_SYNC))
		op->len = 0;
	else if (fails)
		op->len = (uint64_t)fault.result;
	file_sync.submit(io, op);
	op->len = len;
	if (fails)
		op->result = fault.result;
	fault.times -= fails;
}

static void faulty_submit(struct file_io *io, struct file_op *op)
{
	fault.submitted[op->type]++;
	if (fault.slow)
		held[nr_held++] = op;
	else
		perform(io, op);
}

void blk_lab_let_go(uint64_t *seed)
{
	fault.slow = false;
	while (nr_held) {
		unsigned int i = (unsigned int)(tap_random(seed) % nr_held);

		perform(bl.io, held[i]);
		held[i] = held[--nr_held];
	}
}

static bool faulty_flush(struct file_io *io)
{
	return file_sync.flush(io);
}

static struct file_op *faulty_reap(struct file_io *io)
{
	return file_sync.reap(io);
}

static void faulty_destroy(struct file_io *io)
{
	file_sync.destroy(io);
}

const struct file_engine disk_faulty = {
	.name = "faults",
	.create = faulty_create,
	.destroy = faulty_destroy,
	.submit = faulty_submit,
	.flush = faulty_flush,
	.reap = faulty_reap,
};

/* ---- the image ---- */

uint8_t blk_lab_byte(uint64_t n)
{
	return (uint8_t)(n * 7 + n / SECTOR * 13 + 1);
}

void blk_lab_image(void)
{
	static uint8_t image[BLK_BYTES];
	const char *tmp = getenv("TMPDIR");
	int fd;

	snprintf(bl.dir, sizeof(bl.dir), "%.40s/quire-blk-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(bl.dir))
		tap_bail("cannot make a directory: %s", strerror(errno));
	snprintf(bl.path, sizeof(bl.path), "%s/image", bl.dir);
	for (uint64_t n = 0; n < BLK_BYTES; n++)
		image[n] = blk_lab_byte(n);
	fd = open(bl.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, image, BLK_BYTES) != BLK_BYTES)
		tap_bail("cannot write an image: %s", strerror(errno));
	close(fd);
}

void blk_lab_read_image(uint8_t image[BLK_BYTES])
{
	int fd = open(bl.path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, image, BLK_BYTES) != BLK_BYTES)
		tap_bail("cannot read the image: %s", strerror(errno));
	close(fd);
}

void blk_lab_remove(void)
{
	unlink(bl.path);
	rmdir(bl.dir);
}

/* ---- the device ---- */

static void on_error(void *ctx, const struct file_op *op, int err)
{
	(void)ctx, (void)op;
	bl.errors++;
	bl.last_error = err;
}

static void on_arm(void *ctx, unsigned int n, bool on)
{
	(void)ctx, (void)n, (void)on;
}

static bool create_on(const struct file_engine *engine)
{
	struct blk_config config = {
		.virtio.mem = lab_memory,
		.disk = bl.disk,
		.virtio.base = LAB_BASE,
		.serial = "quire-7",
		.on_error = on_error,
		.virtio.interrupt = lab_interrupt,
		.virtio.arm = on_arm,
		.virtio.wake = lab_wake,
	};
	int fds[FILE_IO_MAX_FDS] = { bl.disk->fd, bl.disk->delta_fd };

	if (file_io_create_as(engine, fds, bl.disk->delta_fd < 0 ? 1 : 2, &bl.io))
		return false;
	config.io = bl.io;
	if (blk_create(&config, &lab.bus, &bl.blk))
		tap_bail("cannot create the device");
	return true;
}

bool blk_lab_create(enum disk_mode mode, const struct file_engine *engine)
{
	return blk_lab_create_on(-1, mode, engine);
}

bool blk_lab_create_on(int delta, enum disk_mode mode, const struct file_engine *engine)
{
	static struct disk_spec spec;
	struct quire_error err;

	blk_lab_destroy();
	lab = (struct lab){ .used_end = sizeof(lab.ram) };
	fault = (struct fault){ 0 };
	bl.errors = 0;
	spec = (struct disk_spec){ .mode = mode };
	snprintf(spec.path, sizeof(spec.path), "%s", bl.path);
	snprintf(spec.overlay_dir, sizeof(spec.overlay_dir), "%s", bl.dir);
	if (disk_open(&spec, &(struct disk_kept){ -1, delta }, &bl.disk, &err))
		tap_bail("%s", err.text);
	return create_on(engine);
}

void blk_lab_destroy(void)
{
	file_io_destroy(bl.io);
	blk_destroy(bl.blk);
	disk_close(bl.disk);
	bl.io = NULL;
	bl.blk = NULL;
	bl.disk = NULL;
}

void blk_lab_drive(uint64_t features)
{
	if (!lab_negotiate(features | F_VERSION_1))
		tap_bail("cannot negotiate");
	bl.q = lab_queue(0, 128, 0);
	bl.q.event_idx = features & F_EVENT_IDX;
	lab_driver_ok();
}

void blk_lab_run(void)
{
	for (;;) {
		struct pollfd fd = { .fd = file_io_fd(bl.io), .events = POLLIN };

		blk_notify(bl.blk);
		blk_serve(bl.blk);
		if (!file_io_in_flight(bl.io) || fault.slow)
			return;
		if (fd.fd >= 0)
			poll(&fd, 1, -1);
	}
}

/* ---- requests ---- */

struct cutter {
	const struct blk_ask *ask;
	gpa_t table;
	unsigned int nr, most;
};

static void put_segment(struct cutter *c, gpa_t gpa, uint32_t len, uint16_t flags)
{
	uint32_t first = c->ask->indirect ? 0 : c->ask->desc;

	if (c->nr)
		lab.ram[c->table + 16 * (first + c->nr - 1) + 12] |= D_NEXT;
	if (c->nr)
		put16(c->table + 16 * (first + c->nr - 1) + 14, (uint16_t)(first + c->nr));
	put_desc(c->table, first + c->nr++, gpa, len, flags, 0);
}

/* A piece of RAM as several segments, some of them empty. */
static void cut(struct cutter *c, gpa_t gpa, uint32_t len, uint16_t flags)
{
	while (c->ask->cut && len > 1 && c->nr + 4 < c->most && tap_random(c->ask->cut) % 3) {
		uint32_t n = (uint32_t)(tap_random(c->ask->cut) % len);

		put_segment(c, gpa, n, flags);
		gpa += n;
		len -= n;
	}
	put_segment(c, gpa, len, flags);
}

#define SEGMENTS_DIRECT	  12u
#define SEGMENTS_INDIRECT 24u

void blk_lab_ask(const struct blk_ask *ask)
{
	gpa_t table = 0x2000 + 16 * SEGMENTS_INDIRECT * (gpa_t)(ask->desc / SEGMENTS_DIRECT);
	struct cutter c = {
		.ask = ask,
		.table = ask->indirect ? table : bl.q.desc,
		.most = ask->indirect ? SEGMENTS_INDIRECT : SEGMENTS_DIRECT,
	};
	bool in = ask->type == T_IN || ask->type == T_GET_ID;
	uint8_t *head = lab.ram + ask->head;

	memset(head, 0, 16);
	memcpy(head, &ask->type, 4);
	memcpy(head + 8, &ask->sector, 8);
	head[16] = S_NONE;
	cut(&c, ask->head, 16, 0);
	if (ask->len)
		cut(&c, ask->data, ask->len, in ? D_WRITE : 0);
	put_segment(&c, ask->head + 16, 1, D_WRITE);
	if (ask->indirect)
		put_desc(bl.q.desc, ask->desc, table, 16 * c.nr, D_INDIRECT, 0);
	lab_offer(&bl.q, ask->desc);
}

uint8_t blk_lab_status(const struct blk_ask *ask)
{
	return lab.ram[ask->head + 16];
}

uint8_t blk_lab_do(uint32_t type, uint64_t sector, uint32_t len)
{
	struct blk_ask ask = {
		.type = type, .sector = sector, .data = AREA_LOW, .len = len, .head = 0x7000
	};

	blk_lab_ask(&ask);
	lab_kick(&bl.q);
	blk_lab_run();
	return blk_lab_status(&ask);
}

uint8_t blk_lab_range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	memcpy(lab.ram + AREA_LOW, &sector, 8);
	memcpy(lab.ram + AREA_LOW + 8, &sectors, 4);
	memcpy(lab.ram + AREA_LOW + 12, &flags, 4);
	return blk_lab_do(type, 0, 16);
}
