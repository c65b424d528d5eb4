/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for virtio-blk: the input is a program of a driver's starts, buffers, register
 * accesses and changes of RAM, and of turns of the device's thread, in which operations end in any
 * order, and some fail.  Whatever it is,
 *
 *   operations are on the disk, and no two that change a cluster of an overlay are in flight;
 *   a disk for reading and an overlay's image do not change;
 *   a reset brings a device that works.
 */
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/dev/blk.h"
#include "mmu/base/file_io_impl.h"
#include "must.h"
#include "virtio_input.h"

#define SECTORS 133u /* the last cluster is not whole */
#define BYTES	(SECTORS * DISK_SECTOR)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct disk disk;
static struct file_io *io;
static struct blk *blk;
static struct lab_queue queue;
static uint8_t changed[4], cluster[DISK_CLUSTER] __attribute__((aligned(4096)));
static struct file_op *flying[FILE_MAX_IN_FLIGHT], *ended;
static unsigned int nr_flying;

/* ---- the engine ---- */

static int create_engine(struct file_io *dev, const int *fds, unsigned int nr)
{
	(void)dev, (void)fds, (void)nr;
	return 0;
}

static void destroy_engine(struct file_io *dev)
{
	(void)dev;
}

static bool writes(const struct file_op *op)
{
	return op->type == FILE_WRITE || op->type == FILE_PUNCH;
}

static bool meet(const struct file_op *a, const struct file_op *b)
{
	return a->offset / DISK_CLUSTER <= (b->offset + b->len - 1) / DISK_CLUSTER &&
	       b->offset / DISK_CLUSTER <= (a->offset + a->len - 1) / DISK_CLUSTER;
}

static void submit(struct file_io *dev, struct file_op *op)
{
	(void)dev;
	must(op->type == FILE_SYNC ||
		     (op->len && op->offset <= BYTES && op->len <= BYTES - op->offset),
	     "an operation outside the disk");
	must(!writes(op) || !disk.read_only, "a write to a disk for reading");
	must(!writes(op) || op->fd == disk_write_fd(&disk), "a write to an overlay's image");
	for (unsigned int i = 0; i < nr_flying && disk.changed; i++)
		must(op->type == FILE_SYNC || !writes(op) || !writes(flying[i]) ||
			     !meet(op, flying[i]),
		     "two writes to a cluster");
	must(nr_flying < FILE_MAX_IN_FLIGHT, "too many operations");
	flying[nr_flying++] = op;
}

static bool flush(struct file_io *dev)
{
	(void)dev;
	return true;
}

static struct file_op *reap(struct file_io *dev)
{
	struct file_op *op = ended;

	(void)dev;
	if (op)
		ended = op->next;
	return op;
}

static const struct file_engine engine = {
	.name = "fuzz",
	.create = create_engine,
	.destroy = destroy_engine,
	.submit = submit,
	.flush = flush,
	.reap = reap,
};

static int64_t perform(const struct file_op *op)
{
	if (op->type == FILE_READ)
		return pread(op->fd, op->buf, op->len, (off_t)op->offset);
	return op->type == FILE_WRITE ? pwrite(op->fd, op->buf, op->len, (off_t)op->offset) : 0;
}

/* Operation i ends: well, in part, or not. */
static void end(unsigned int i, unsigned int how)
{
	struct file_op *op = flying[i];

	op->result = perform(op);
	if (how % 8 == 1)
		op->result = -EIO;
	if (how % 8 == 2)
		op->result = -EAGAIN;
	if (how % 8 == 3)
		op->result = op->type == FILE_PUNCH ? -EOPNOTSUPP : op->result / 2;
	flying[i] = flying[--nr_flying];
	op->next = ended;
	ended = op;
}

static void turn(void)
{
	blk_notify(blk);
	blk_serve(blk);
}

/* ---- the disk ---- */

static void on_arm(void *ctx, unsigned int n, bool on)
{
	(void)ctx, (void)n, (void)on;
}

static void create(unsigned int mode)
{
	static int image = -1, delta = -1;
	struct blk_config config = {
		.virtio.mem = lab_memory,
		.disk = &disk,
		.virtio.base = LAB_BASE,
		.serial = "fuzz",
		.virtio.interrupt = lab_interrupt,
		.virtio.arm = on_arm,
	};

	if (image < 0) {
		image = memfd_create("image", 0);
		delta = memfd_create("delta", 0);
		must(!ftruncate(image, BYTES) && !ftruncate(delta, BYTES), "no files");
	}
	memset(changed, 0, sizeof(changed));
	disk = (struct disk){
		.path = "fuzz",
		.fd = image,
		.delta_fd = mode == 2 ? delta : -1,
		.changed = mode == 2 ? changed : NULL,
		.bytes = BYTES,
		.read_only = mode == 1,
		.punch = mode != 1,
		.cluster = cluster,
	};
	memset(&lab, 0, sizeof(lab));
	nr_flying = 0;
	ended = NULL;
	must(!file_io_create_as(&engine, &image, 1, &io), "no engine");
	config.io = io;
	must(!blk_create(&config, &lab.bus, &blk), "no device");
}

/* ---- the input ---- */

static void start_driver(struct input *in)
{
	uint64_t features = F_VERSION_1 | (input_take(in, 2) & lab_offered()) |
			    (uint64_t)(input_take(in, 1) & 0x30) << 24;

	if (!lab_negotiate(features))
		return;
	queue = lab_queue(0, 64, 0);
	lab_driver_ok();
}

/* A request as it should be, but for what the input says. */
static void put_request(struct input *in)
{
	unsigned int how = (unsigned int)input_take(in, 1);
	uint32_t type = (uint32_t)input_take(in, 1) % 16,
		 len = (uint32_t)input_take(in, 2) * (how & 1 ? 1 : 64);
	uint64_t sector = input_take(in, how & 2 ? 8 : 1);
	uint16_t head = queue.free % 60;
	uint8_t *at = lab.ram + 0x4000 + 64 * head;
	uint32_t range[4] = { (uint32_t)sector, 0, len / 64, how >> 2 & 1 };

	if (!queue.num)
		return;
	memset(at, 0, 16);
	memcpy(at, &type, 4);
	memcpy(at + 8, &sector, 8);
	memcpy(at + 24, range, sizeof(range));
	put_desc(queue.desc, head, (gpa_t)(at - lab.ram), 16, D_NEXT, head + 1);
	if (type == 11 || type == 13)
		put_desc(queue.desc, head + 1, (gpa_t)(at - lab.ram + 24), 16, D_NEXT, head + 2);
	else
		put_desc(queue.desc, head + 1, how & 8 ? 0x6000 : 0x30000, len % 0x10000,
			 D_NEXT | (type == 1 ? 0 : D_WRITE), head + 2);
	put_desc(queue.desc, head + 2, (gpa_t)(at - lab.ram + 16), how & 16 ? 0 : 1, D_WRITE, 0);
	queue.free = (head + 3) % 60;
	lab_offer(&queue, head);
	lab_kick(&queue);
}

static void settle(void)
{
	do {
		while (nr_flying)
			end(0, 0);
		turn();
	} while (nr_flying || file_io_in_flight(io));
}

static void revive(void)
{
	lab.write_error = 0;
	must(lab_negotiate(F_VERSION_1), "a reset device does not negotiate");
	queue = lab_queue(0, 64, 0);
	lab_driver_ok();
	settle();
	memset(lab.ram + 0x4000, 0, 64);
	put_desc(queue.desc, 0, 0x4000, 16, D_NEXT, 1);
	put_desc(queue.desc, 1, 0x4020, 1, D_WRITE, 0);
	lab.ram[0x4020] = 0xee;
	lab_offer(&queue, 0);
	lab_kick(&queue);
	settle();
	must(used_idx(&queue) == 1 && !lab.ram[0x4020], "a reset device does not work");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = { data, bytes };
	unsigned int what;

	create((unsigned int)input_take(&in, 1) % 3);
	memset(&queue, 0, sizeof(queue));
	start_driver(&in);
	while (in.bytes) {
		what = (unsigned int)input_take(&in, 1);
		switch (what % 8) {
		case 0: start_driver(&in); break;
		case 1:
		case 2:
		case 3: put_request(&in); break;
		case 4: input_ram(&in); break;
		case 5: input_register(&in, what & 8, set_reg); break;
		case 6: turn(); break;
		default:
			if (nr_flying)
				end((what >> 3) % nr_flying, (unsigned int)input_take(&in, 1));
		}
	}
	revive();
	file_io_destroy(io);
	blk_destroy(blk);
	return 0;
}
