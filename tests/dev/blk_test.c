/* SPDX-License-Identifier: MIT */
/* virtio-blk: what a driver may ask, and what it may not; a disk that fails; both engines. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <stdlib.h>
#include "blk_lab.h"

static struct blk_stats stats;
static uint8_t image[BLK_BYTES];

static bool is_image(const uint8_t *data, uint64_t pos, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (data[i] != blk_lab_byte(pos + i))
			return false;
	return true;
}

static bool is_filled(const uint8_t *data, uint8_t with, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (data[i] != with)
			return false;
	return true;
}

static uint32_t last_len(void)
{
	return used_len(&bl.q, used_idx(&bl.q) - 1);
}

static void identity(void)
{
	blk_lab_create(DISK_READ_WRITE, &file_sync);
	is_hex(reg(0x008), 2, "the device's id is 2");
	is(reg(R_CONFIG), BLK_SECTORS, "the capacity is in sectors of 512");
	is(reg(R_CONFIG + 12), 254, "a request may have 254 segments");
	is(reg(R_CONFIG + 20), 512, "a block has 512 bytes");
	is_hex(lab_offered() & 0xffffff, 0x6246, "features of a disk that can be written");
	blk_lab_create(DISK_READ_ONLY, &file_sync);
	is_hex(lab_offered() & 0xffffff, 0x0266, "features of one that cannot");
	blk_lab_create(DISK_OVERLAY, &file_sync);
	is_hex(lab_offered() & 0xffffff, 0x6246, "an overlay can be written");
}

static void basics(const struct file_engine *engine)
{
	if (!blk_lab_create(DISK_READ_WRITE, engine)) {
		tap_skip("no %s on this host", engine->name);
		return;
	}
	blk_lab_drive(BLK_F_FLUSH);
	is(blk_lab_do(T_IN, 3, 1024), S_OK, "%s: a read", engine->name);
	ok(is_image(lab.ram + AREA_LOW, 3 * SECTOR, 1024), "... of what is in the image");
	is(last_len(), 1025, "... and a byte for the status");
	ok(lab_interrupted(), "... with an interrupt");
	memset(lab.ram + AREA_LOW, 0x5a, 98304);
	is(blk_lab_do(T_OUT, 8, 98304), S_OK, "a write larger than a buffer");
	is(last_len(), 1, "of which the guest gets the status");
	is(blk_lab_do(T_FLUSH, 0, 0), S_OK, "a flush");
	blk_lab_read_image(image);
	ok(is_image(image, 0, 8 * SECTOR) && is_filled(image + 8 * SECTOR, 0x5a, 98304) &&
		   is_image(image + 200 * SECTOR, 200 * SECTOR, BLK_BYTES - 200 * SECTOR),
	   "the file has it, and nothing else");
	is(blk_lab_do(T_IN, BLK_SECTORS - 1, SECTOR), S_OK, "the last sector can be read");
	is(blk_lab_range(T_ZEROES, 9, 100, UNMAP), S_OK, "zeroes");
	is(blk_lab_range(T_ZEROES, 120, 3, 0), S_OK, "zeroes without a hole");
	is(blk_lab_range(T_DISCARD, 160, 16, 0), S_OK, "a discard");
	is(blk_lab_do(T_IN, 8, 98304), S_OK, "reading them");
	ok(is_filled(lab.ram + AREA_LOW, 0x5a, 512) &&
		   is_filled(lab.ram + AREA_LOW + 512, 0, 51200) &&
		   is_filled(lab.ram + AREA_LOW + 51712, 0x5a, 11 * 512) &&
		   is_filled(lab.ram + AREA_LOW + 112 * 512, 0, 3 * 512) &&
		   is_filled(lab.ram + AREA_LOW + 115 * 512, 0x5a, 37 * 512),
	   "they are where they should be");
	is(blk_lab_do(T_GET_ID, 0, 20), S_OK, "its name");
	ok(!memcmp(lab.ram + AREA_LOW, "quire-7\0\0\0\0\0\0\0\0\0\0\0\0\0", 20), "is quire-7");
	is(blk_lab_do(T_IN, 5, 0), S_OK, "a read of nothing");
	blk_stats(bl.blk, &stats);
	ok(stats.reads == 4 && stats.writes == 1 && stats.flushes == 1 && stats.zeroes == 2 &&
		   stats.discards == 1 && !stats.errors && !stats.refused,
	   "all were counted");
	ok(stats.written_bytes == 98304 && stats.read_bytes == 1024 + 512 + 98304,
	   "and so were their bytes");
	for (uint64_t n = 0; n < 98304; n++)
		lab.ram[AREA_LOW + n] = blk_lab_byte(8 * SECTOR + n);
	blk_lab_do(T_OUT, 8, 98304);
}

static void refused(void)
{
	blk_lab_create(DISK_READ_WRITE, &file_sync);
	blk_lab_drive(BLK_F_FLUSH);
	is(blk_lab_do(T_IN, BLK_SECTORS, 512), S_IOERR, "a read behind the end");
	is(blk_lab_do(T_IN, BLK_SECTORS - 1, 1024), S_IOERR, "... or across it");
	is(blk_lab_do(T_OUT, BLK_SECTORS - 1, 1024), S_IOERR, "a write across it");
	is(blk_lab_do(T_IN, 1ULL << 55, 512), S_IOERR, "a sector whose bytes are 2^64");
	is(blk_lab_do(T_IN, UINT64_MAX, 1024), S_IOERR, "the last sector there can be");
	is(blk_lab_do(T_IN, 0, 511), S_IOERR, "511 bytes");
	is(blk_lab_do(T_OUT, 0, 513), S_IOERR, "513 bytes");
	is(blk_lab_do(2, 0, 512), S_UNSUPP, "a command of old");
	is(blk_lab_do(0xffffffff, 0, 512), S_UNSUPP, "a command that nobody knows");
	is(blk_lab_range(T_DISCARD, 0, 8, UNMAP), S_UNSUPP, "a discard with a flag");
	is(blk_lab_range(T_ZEROES, 0, 8, 2), S_UNSUPP, "zeroes with an unknown flag");
	is(blk_lab_range(T_DISCARD, BLK_SECTORS, 1, 0), S_IOERR, "a discard behind the end");
	is(blk_lab_range(T_DISCARD, 0, 0xffffffff, 0), S_IOERR, "a discard of too much");
	is(blk_lab_do(T_DISCARD, 0, 32), S_IOERR, "a discard of two ranges");
	is(blk_lab_do(T_DISCARD, 0, 8), S_IOERR, "a discard of half a range");
	blk_stats(bl.blk, &stats);
	is(stats.refused, 15, "all are counted");
	is(bl.errors, 0, "and no error of the host's");
	blk_lab_read_image(image);
	ok(is_image(image, 0, BLK_BYTES), "the image is as it was");
	blk_lab_create(DISK_READ_ONLY, &file_sync);
	blk_lab_drive(BLK_F_RO);
	is(blk_lab_do(T_OUT, 0, 512), S_IOERR, "a write to a disk for reading");
	is(blk_lab_range(T_ZEROES, 0, 8, 0), S_IOERR, "zeroes to it");
	is(blk_lab_range(T_DISCARD, 0, 8, 0), S_IOERR, "a discard of it");
	is(blk_lab_do(T_FLUSH, 0, 0), S_OK, "a flush of it is done");
	is(blk_lab_do(T_IN, 0, 512), S_OK, "and a read");
}

static void breaks(const char *rule, const char *what)
{
	const char *error;

	lab_offer(&bl.q, 0);
	lab_kick(&bl.q);
	blk_lab_run();
	error = virtio_error(blk_virtio(bl.blk));
	ok(error && !strcmp(error, rule), "%s breaks the queue: %s", what, rule);
	blk_lab_drive(0);
	is(blk_lab_do(T_IN, 0, 512), S_OK, "and after a reset it works");
	blk_lab_drive(0);
}

static void broken(void)
{
	blk_lab_create(DISK_READ_WRITE, &file_sync);
	blk_lab_drive(0);
	put_desc(bl.q.desc, 0, AREA_LOW, 15, D_NEXT, 1);
	put_desc(bl.q.desc, 1, AREA_LOW + 32, 1, D_WRITE, 0);
	breaks("a request without a header", "a header of 15 bytes");
	put_desc(bl.q.desc, 0, AREA_LOW, 16, 0, 0);
	memset(lab.ram + AREA_LOW, 0, 16);
	breaks("a request without room for its status", "a chain that is only read");
	put_desc(bl.q.desc, 0, AREA_LOW, 16, D_NEXT, 1);
	put_desc(bl.q.desc, 1, AREA_LOW + 32, 0, D_WRITE, 0);
	breaks("a request without room for its status", "an empty status");
	put_desc(bl.q.desc, 0, AREA_LOW, 512, D_WRITE | D_NEXT, 1);
	put_desc(bl.q.desc, 1, AREA_LOW + 1024, 16, 0, 0);
	breaks("a readable segment behind a writable one", "data before the header");
	put_desc(bl.q.desc, 0, AREA_LOW, 16, D_NEXT, 1);
	put_desc(bl.q.desc, 1, 0x20000, 512, D_WRITE, 0);
	breaks("a buffer outside RAM", "data where no RAM is");
}

/* ---- a disk that fails ---- */

static void fails(enum file_op_type type, int result, unsigned int times)
{
	fault.type = type;
	fault.result = result;
	fault.times = times;
}

static void errors(void)
{
	blk_lab_create(DISK_READ_WRITE, &disk_faulty);
	blk_lab_drive(BLK_F_FLUSH);
	fails(FILE_READ, -EIO, 1);
	is(blk_lab_do(T_IN, 0, 512), S_IOERR, "a read error is the guest's");
	is(last_len(), 1, "... which gets no data");
	ok(bl.errors == 1 && bl.last_error == -EIO, "... and the host hears of it");
	is(blk_lab_do(T_IN, 0, 512), S_OK, "the next read is fine");
	fails(FILE_WRITE, -ENOSPC, 1);
	is(blk_lab_do(T_OUT, 0, 512), S_IOERR, "a full disk is the guest's");
	fails(FILE_SYNC, -EIO, 1);
	is(blk_lab_do(T_FLUSH, 0, 0), S_IOERR, "a flush that fails is the guest's");
	fails(FILE_READ, 0, 1);
	is(blk_lab_do(T_IN, 0, 512), S_IOERR, "an image that became shorter is an error");
	fails(FILE_READ, 512, 3);
	is(blk_lab_do(T_IN, 4, 4 * 512), S_OK, "a read that takes four pieces");
	ok(is_image(lab.ram + AREA_LOW, 4 * 512, 4 * 512), "... is whole");
	fails(FILE_READ, 100, 1);
	is(blk_lab_do(T_IN, 0, 512), S_IOERR, "a piece of a sector is an error");
	fails(FILE_READ, -EAGAIN, 5);
	is(blk_lab_do(T_IN, 0, 512), S_OK, "what the kernel cannot do now is tried again");
	fails(FILE_READ, -EAGAIN, 1000);
	is(blk_lab_do(T_IN, 0, 512), S_OK, "... a thousand times");
	fails(FILE_READ, -EAGAIN, 5000);
	is(blk_lab_do(T_IN, 0, 512), S_IOERR, "but not for ever");
	fault.times = 0;
	fails(FILE_PUNCH, -EOPNOTSUPP, 1);
	is(blk_lab_range(T_ZEROES, 0, 16, UNMAP), S_OK, "zeroes where holes cannot be made");
	ok(fault.submitted[FILE_WRITE] == 2, "... are written");
	fails(FILE_PUNCH, -EOPNOTSUPP, 1);
	is(blk_lab_range(T_DISCARD, 0, 16, 0), S_UNSUPP, "a discard there is not possible");
	blk_stats(bl.blk, &stats);
	is(stats.errors, 6, "errors of the disk are counted");
	for (uint64_t n = 0; n < 16 * SECTOR; n++)
		lab.ram[AREA_LOW + n] = blk_lab_byte(n);
	blk_lab_do(T_OUT, 0, 16 * SECTOR);
}

/* Without FLUSH what is written must be safe when the request is done. */
static void write_through(void)
{
	blk_lab_create(DISK_READ_WRITE, &disk_faulty);
	blk_lab_drive(0);
	blk_lab_do(T_IN, 0, 512);
	is(fault.submitted[FILE_SYNC], 0, "a read needs no flush");
	is(blk_lab_do(T_OUT, 0, 512), S_OK, "without the feature FLUSH, a write ...");
	is(fault.submitted[FILE_SYNC], 1, "... is flushed by itself");
	fails(FILE_SYNC, -EIO, 1);
	is(blk_lab_do(T_OUT, 0, 512), S_IOERR, "... and fails if that fails");
	for (uint64_t n = 0; n < SECTOR; n++)
		lab.ram[AREA_LOW + n] = blk_lab_byte(n);
	blk_lab_do(T_OUT, 0, 512);
}

/* ---- what is in flight at a reset ---- */

static void orphans(void)
{
	struct blk_ask ask = { .type = T_IN, .data = AREA_LOW, .len = 512, .head = 0x7000 };
	uint64_t seed = 1;

	blk_lab_create(DISK_READ_WRITE, &disk_faulty);
	blk_lab_drive(BLK_F_FLUSH);
	fault.slow = true;
	blk_lab_ask(&ask);
	lab_kick(&bl.q);
	blk_lab_run();
	is(file_io_in_flight(bl.io), 1, "a read is in flight");
	blk_lab_drive(BLK_F_FLUSH);
	memset(lab.ram + AREA_LOW, 0x77, 512);
	blk_lab_ask(&ask);
	lab_kick(&bl.q);
	blk_lab_run();
	is(fault.submitted[FILE_READ], 1, "after a reset the next request waits for it");
	blk_lab_let_go(&seed);
	fault.slow = true;
	blk_lab_run();
	ok(is_filled(lab.ram + AREA_LOW, 0x77, 512) && used_idx(&bl.q) == 0,
	   "the guest gets nothing of what it asked before the reset");
	is(fault.submitted[FILE_READ], 2, "then its turn comes");
	blk_lab_let_go(&seed);
	blk_lab_run();
	ok(blk_lab_status(&ask) == S_OK && is_image(lab.ram + AREA_LOW, 0, 512), "and is served");
}

/* The next driver finds what is in the overlay, also if nobody was told that it got there. */
static void orphan_of_overlay(void)
{
	struct blk_ask ask = { .type = T_OUT, .data = AREA_LOW, .len = 4096, .head = 0x7000 };
	uint64_t seed = 1;

	blk_lab_create(DISK_OVERLAY, &disk_faulty);
	blk_lab_drive(BLK_F_FLUSH);
	memset(lab.ram + AREA_LOW, 0x55, 4096);
	fault.slow = true;
	blk_lab_ask(&ask);
	lab_kick(&bl.q);
	blk_lab_run();
	is(file_io_in_flight(bl.io), 1, "a write to an overlay is in flight");
	blk_lab_drive(BLK_F_FLUSH);
	blk_lab_let_go(&seed);
	fault.slow = false;
	blk_lab_run();
	is(blk_lab_do(T_IN, 0, 4096), S_OK, "after a reset the driver reads ...");
	ok(is_filled(lab.ram + AREA_LOW, 0x55, 4096), "... what got there");
}

static void system_calls(void)
{
	struct file_op op = { .type = FILE_READ, .fd = -1, .buf = lab.ram, .len = 512 };
	struct file_io *io;

	if (file_io_create_as(&file_sync, &op.fd, 1, &io))
		tap_bail("no system calls");
	file_io_submit(io, &op);
	file_io_flush(io);
	ok(file_io_reap(io) == &op && op.result == -EBADF, "a system call that fails says why");
	file_io_destroy(io);
}

/* ---- the overlay ---- */

static void overlay(void)
{
	struct blk_ask first = {
		.type = T_OUT, .sector = 8, .data = AREA_LOW, .len = 512, .head = 0x7000
	};
	struct blk_ask second = {
		.type = T_IN,
		.sector = 15,
		.data = AREA_HIGH,
		.len = 512,
		.head = 0x7100,
		.desc = 12,
	};
	uint64_t seed = 1;
	struct stat st;

	blk_lab_create(DISK_OVERLAY, &disk_faulty);
	blk_lab_drive(BLK_F_FLUSH);
	memset(lab.ram + AREA_LOW, 0x66, 4096);
	fails(FILE_WRITE, -ENOSPC, 1);
	is(blk_lab_do(T_OUT, 16, 4096), S_IOERR, "a write for which there is no room");
	is(blk_lab_do(T_IN, 16, 4096), S_OK, "leaves the cluster ...");
	ok(is_image(lab.ram + AREA_LOW, 16 * SECTOR, 4096), "... as the image has it");
	memset(lab.ram + AREA_LOW, 0x66, 4096);
	fault.slow = true;
	blk_lab_ask(&first);
	blk_lab_ask(&second);
	lab_kick(&bl.q);
	blk_lab_run();
	ok(fault.submitted[FILE_WRITE] == 2 && fault.submitted[FILE_READ] == 1,
	   "a read of a cluster that is being written waits");
	blk_lab_let_go(&seed);
	blk_lab_run();
	ok(blk_lab_status(&first) == S_OK && blk_lab_status(&second) == S_OK, "and is done then");
	ok(is_image(lab.ram + AREA_HIGH, 15 * SECTOR, 512),
	   "what was not written of the cluster is the image's");
	is(blk_lab_do(T_FLUSH, 0, 0), S_OK, "a flush ...");
	is(fault.submitted[FILE_SYNC], 0, "... of what will be forgotten is nothing to do");
	is(blk_lab_range(T_DISCARD, 24, 8, 0), S_OK, "a discarded cluster ...");
	blk_lab_do(T_IN, 24, 4096);
	ok(is_filled(lab.ram + AREA_LOW, 0, 4096), "... reads as zeroes");
	is(blk_lab_range(T_ZEROES, 33, 2, UNMAP), S_OK, "zeroes in a cluster ...");
	blk_lab_do(T_IN, 32, 4096);
	ok(is_image(lab.ram + AREA_LOW, 32 * SECTOR, 512) &&
		   is_filled(lab.ram + AREA_LOW + 512, 0, 1024) &&
		   is_image(lab.ram + AREA_LOW + 1536, 35 * SECTOR, 2560),
	   "... leave the rest of it");
	blk_lab_read_image(image);
	ok(is_image(image, 0, BLK_BYTES), "and the image is untouched");
	ok(!fstat(bl.disk->delta_fd, &st) && st.st_nlink == 0 && st.st_blocks < 64,
	   "changes are in a sparse file without a name");
}

/* A process after the other, on the same file. */
static void overlay_again(void)
{
	static struct disk_spec spec = { .mode = DISK_OVERLAY };
	uint64_t last = BLK_SECTORS - BLK_SECTORS % 8;
	struct disk *d = NULL;
	struct stat st;
	int delta, small;

	blk_lab_create(DISK_OVERLAY, &file_sync);
	delta = dup(bl.disk->delta_fd);
	blk_lab_drive(BLK_F_FLUSH);
	memset(lab.ram + AREA_LOW, 0x77, 4096);
	blk_lab_do(T_OUT, 9, 512);
	blk_lab_do(T_OUT, last, (BLK_SECTORS - last) * SECTOR);
	blk_lab_range(T_DISCARD, 24, 8, 0);
	ok(!fstat(delta, &st) && st.st_size >= (off_t)BLK_BYTES + 1, "what is changed is noted");
	blk_lab_create_on(fcntl(delta, F_DUPFD_CLOEXEC, 3), DISK_OVERLAY, &file_sync);
	blk_lab_drive(BLK_F_FLUSH);
	blk_lab_do(T_IN, 8, 4096);
	ok(is_image(lab.ram + AREA_LOW, 8 * SECTOR, 512) &&
		   is_filled(lab.ram + AREA_LOW + 512, 0x77, 512) &&
		   is_image(lab.ram + AREA_LOW + 1024, 10 * SECTOR, 3072),
	   "an overlay that is opened again has what was written");
	blk_lab_do(T_IN, last, (uint32_t)(BLK_SECTORS - last) * SECTOR);
	ok(is_filled(lab.ram + AREA_LOW, 0x77, (BLK_SECTORS - last) * SECTOR),
	   "... up to the last sector");
	blk_lab_do(T_IN, 24, 4096);
	ok(is_filled(lab.ram + AREA_LOW, 0, 4096), "... and what was discarded");
	blk_lab_do(T_IN, 16, 4096);
	ok(is_image(lab.ram + AREA_LOW, 16 * SECTOR, 4096), "... the rest is the image's");
	ok(!fstat(delta, &st) && st.st_blocks < 64, "... and takes no room");
	blk_lab_destroy();
	snprintf(spec.path, sizeof(spec.path), "%s", bl.path);
	small = memfd_create("delta", MFD_CLOEXEC);
	ok(!ftruncate(small, 4096), "a file of another size ...");
	is(disk_open(&spec, &(struct disk_kept){ -1, small }, &d, NULL), -EINVAL,
	   "... is no overlay of this image");
	ok(fcntl(small, F_GETFD) < 0, "... and is closed");
	close(delta);
}

/* ---- opening ---- */

static int opening(const char *path, enum disk_mode mode, const char *say)
{
	static struct disk_spec spec;
	struct disk *d = NULL;
	struct quire_error err = { "" };
	int ret;

	spec = (struct disk_spec){ .mode = mode };
	snprintf(spec.path, sizeof(spec.path), "%s", path);
	snprintf(spec.overlay_dir, sizeof(spec.overlay_dir), "%s", bl.dir);
	ret = disk_open(&spec, NULL, &d, &err);
	disk_close(d);
	if (!ok(!!strstr(err.text, say), "%s: %s", path, say))
		tap_note("got \"%s\"", err.text);
	return ret;
}

/* An image that was kept is that one, although its path names another file by now. */
static void kept_image(enum disk_mode mode, const char *how)
{
	static struct disk_spec spec;
	struct disk *first, *next;
	struct quire_error err;
	struct stat was, is_now;
	struct disk_kept kept;
	int fd;

	spec = (struct disk_spec){ .mode = mode };
	snprintf(spec.path, sizeof(spec.path), "%s", bl.path);
	snprintf(spec.overlay_dir, sizeof(spec.overlay_dir), "%s", bl.dir);
	ok(!disk_open(&spec, NULL, &first, &err) && !fstat(first->fd, &was), "an image, %s", how);
	kept = (struct disk_kept){ disk_hold(first), -1 };
	snprintf(spec.path, sizeof(spec.path), "/no/file");
	is(disk_open(&spec, &kept, &next, &err), 0, "... is opened again without its path");
	ok(!fstat(next->fd, &is_now) && is_now.st_ino == was.st_ino, "... the same file");
	is(fcntl(next->fd, F_GETFL) & O_ACCMODE, mode == DISK_READ_WRITE ? O_RDWR : O_RDONLY,
	   "... to be used so");
	is(!!(fcntl(next->fd, F_GETFL) & O_DIRECT), next->direct, "... by the page cache or not");
	fd = next->fd;
	disk_close(next);
	ok(fcntl(fd, F_GETFD) < 0, "... and closed at the end");
}

static void files(void)
{
	static struct disk_spec spec;
	struct disk *one, *other;
	struct quire_error err;
	char path[128];
	int fd;

	blk_lab_destroy();
	snprintf(spec.path, sizeof(spec.path), "%s", bl.path);
	is(opening(bl.dir, DISK_READ_WRITE, "is a directory"), -EINVAL, "a directory");
	is(opening(bl.dir, DISK_READ_ONLY, "is a directory"), -EINVAL, "... also to read");
	is(opening("/dev/null", DISK_READ_WRITE, "neither a file nor a block device"), -EINVAL,
	   "a device of characters");
	is(opening("/no/file", DISK_READ_ONLY, "No such file"), -ENOENT, "no file");
	snprintf(path, sizeof(path), "%s/odd", bl.dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	is(opening(path, DISK_READ_WRITE, "is empty"), -EINVAL, "an empty file");
	ok(!ftruncate(fd, 700), "a file ...");
	is(opening(path, DISK_READ_WRITE, "truncate -s %512"), -EINVAL, "... of 700 bytes");
	close(fd);
	unlink(path);
	snprintf(path, sizeof(path), "%s/pipe", bl.dir);
	ok(!mkfifo(path, 0600), "a pipe ...");
	is(opening(path, DISK_READ_ONLY, "neither a file"), -EINVAL, "... is not waited for");
	unlink(path);
	spec.mode = DISK_READ_ONLY;
	is(disk_open(&spec, NULL, &one, &err), 0, "who reads ...");
	is(disk_open(&spec, NULL, &other, &err), 0, "... lets others read");
	is(opening(bl.path, DISK_OVERLAY, ""), 0, "... or have an overlay");
	is(opening(bl.path, DISK_READ_WRITE, "in use by another VM"), -EBUSY, "... but not write");
	disk_close(one);
	disk_close(other);
	spec.mode = DISK_READ_WRITE;
	is(disk_open(&spec, NULL, &one, &err), 0, "who writes ...");
	is(opening(bl.path, DISK_READ_ONLY, "another VM writes"), -EBUSY, "... lets nobody read");
	disk_close(one);
	is(opening(bl.path, DISK_READ_WRITE, ""), 0, "... until it lets go");
	kept_image(DISK_READ_WRITE, "to write");
	kept_image(DISK_READ_ONLY, "to read");
	kept_image(DISK_OVERLAY, "under an overlay");
}

/* ---- the ring ---- */

/* What comes of an entry that was made ready in the ring. */
static int outcome(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int result;

	io_uring_submit(ring);
	if (io_uring_wait_cqe(ring, &cqe))
		return 0;
	result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

static void ring(void)
{
	struct io_uring_restriction none = { 0 };
	struct io_uring *u;
	char byte[SECTOR];

	if (!blk_lab_create(DISK_READ_WRITE, &file_uring)) {
		tap_skip("no io_uring on this host");
		return;
	}
	u = &bl.io->ring;
	io_uring_prep_openat(io_uring_get_sqe(u), AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	is(outcome(u), -EACCES, "the ring opens no file");
	io_uring_prep_connect(io_uring_get_sqe(u), 0, (struct sockaddr *)byte, 16);
	is(outcome(u), -EACCES, "... connects no socket");
	io_uring_prep_read(io_uring_get_sqe(u), bl.disk->fd, byte, 1, 0);
	is(outcome(u), -EACCES, "... reads no descriptor but the disk's");
	io_uring_prep_nop(io_uring_get_sqe(u));
	is(outcome(u), -EACCES, "... and not even does nothing");
	is(io_uring_register_restrictions(u, &none, 1), -EACCES, "nobody can take that off");
	is(io_uring_register_files_update(u, 0, &bl.disk->fd, 1), -EACCES, "or give it a file");
	blk_lab_drive(0);
	is(blk_lab_do(T_IN, 0, 512), S_OK, "the disk still works");
}

int main(void)
{
	tap_init();
	blk_lab_image();
	identity();
	basics(&file_uring);
	basics(&file_sync);
	refused();
	broken();
	errors();
	write_through();
	orphans();
	orphan_of_overlay();
	system_calls();
	overlay();
	overlay_again();
	files();
	ring();
	blk_lab_destroy();
	blk_lab_remove();
	return tap_done();
}
