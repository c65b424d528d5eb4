/* SPDX-License-Identifier: MIT */
/*
 * A VM's disks: each is a virtio-blk device, with a thread and an engine (file_io.h) of its own.
 * So a disk that is slow keeps no other waiting.
 *
 * Files are opened by the launcher, which keeps images locked.  It hands them, and the files of
 * overlays, to the VM's process, because a guest that resets itself is to find them again, in
 * another process, and nobody else is to have them meanwhile.  A process that only reads an image
 * opens it again, before it changes its user and enters the sandbox.
 *
 * A pause stops the guest's processors and no disk.  What is in flight ends, but the guest hears
 * of it, and its memory changes, only when it goes on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "message.h"
#include "sandbox.h"
#include "vm_impl.h"

#define RETRY_MS	  1
#define COMPLAIN_EVERY_NS (60 * NS_PER_S)

struct vm_disk {
	struct blk *blk;
	struct file_io *io;
	const struct disk *disk;
	char serial[20];
	bool complained;
	uint64_t complained_ns, silent; /* errors since then */
};

static _Thread_local bool serving; /* this is a disk's thread, which looks before it sleeps */

/* ---- files ---- */

int vm_open_disks(struct vm_config *config, const struct disk_kept *kept, struct quire_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < config->nr_disks && !ret; i++)
		ret = disk_open(&config->disk[i], kept ? &kept[i] : NULL, &config->open_disk[i],
				err);
	return ret;
}

void vm_close_disks(struct vm_config *config)
{
	for (unsigned int i = 0; i < config->nr_disks; i++) {
		disk_close(config->open_disk[i]);
		config->open_disk[i] = NULL;
	}
}

void vm_hold_disks(struct vm_config *config, int image[DISK_MOST])
{
	for (unsigned int i = 0; i < config->nr_disks; i++) {
		image[i] = config->open_disk[i] ? disk_hold(config->open_disk[i]) : -1;
		config->open_disk[i] = NULL;
	}
}

uint64_t vm_disks_memory(const struct vm_config *config)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < config->nr_disks; i++) {
		const struct disk *d = config->open_disk[i];

		bytes += BLK_MEMORY_BYTES;
		if (d && d->changed)
			bytes += d->bytes / DISK_CLUSTER / 8;
	}
	return bytes;
}

/* ---- the thread ---- */

static void on_wake(void *ctx)
{
	if (!serving)
		vm_slot_knock(ctx);
}

/* One line a minute for each disk: a guest may ask a broken disk again and again. */
static void on_error(void *ctx, const struct file_op *op, int err)
{
	static const char *const what[] = {
		[FILE_READ] = "reading from",
		[FILE_WRITE] = "writing to",
		[FILE_SYNC] = "flushing",
		[FILE_PUNCH] = "discarding of",
	};
	struct vm_disk *d = ((struct vm_slot *)ctx)->dev;
	uint64_t now = monotonic_ns();

	if (d->complained && now - d->complained_ns < COMPLAIN_EVERY_NS) {
		d->silent++;
		return;
	}
	message("disk: %s %.200s at byte %llu: %s; the guest has an I/O error%s", what[op->type],
		d->disk->path, (unsigned long long)op->offset, strerror(-err),
		d->silent ? ", and had more since the last line" : "");
	d->complained = true;
	d->complained_ns = now;
	d->silent = 0;
}

static struct pollfd serve(struct vm_slot *slot)
{
	struct vm_disk *d = slot->dev;

	serving = true;
	blk_notify(d->blk);
	if (atomic_load(&slot->vm->paused))
		blk_reap(d->blk);
	else
		while (!blk_serve(d->blk))
			poll(NULL, 0, RETRY_MS);
	return (struct pollfd){ .fd = file_io_fd(d->io), .events = POLLIN };
}

static void set_pause(struct vm_slot *slot, bool on)
{
	if (!on)
		vm_slot_knock(slot);
}

static void drain(struct vm_slot *slot)
{
	struct vm_disk *d = slot->dev;

	while (blk_reap(d->blk), file_io_in_flight(d->io)) {
		struct pollfd fd = { .fd = file_io_fd(d->io), .events = POLLIN };

		poll(&fd, 1, file_io_flush(d->io) ? -1 : RETRY_MS);
	}
}

/* ---- life ---- */

static unsigned int count(const struct vm_config *config)
{
	return config->nr_disks;
}

static int create_io(struct vm_disk *d)
{
	int fds[FILE_IO_MAX_FDS] = { d->disk->fd, d->disk->delta_fd };

	return file_io_create(fds, d->disk->delta_fd < 0 ? 1 : 2, &d->io);
}

static int create(struct vm_slot *slot, unsigned int nth, struct quire_error *err)
{
	struct vm_disk *d = calloc(1, sizeof(*d));
	struct blk_config config = {
		.virtio = vm_slot_virtio(slot),
		.disk = slot->vm->config.open_disk[nth],
		.on_error = on_error,
	};
	int ret = d ? 0 : -ENOMEM;

	config.virtio.wake = on_wake;
	slot->dev = d;
	if (!ret)
		ret = vm_slot_open_doorbell(slot);
	if (!ret) {
		snprintf(d->serial, sizeof(d->serial), "quire-%u", nth);
		d->disk = config.disk;
		config.serial = d->serial;
		ret = create_io(d);
		config.io = d->io;
	}
	if (!ret)
		ret = blk_create(&config, &slot->vm->mmio, &d->blk);
	return ret ? quire_fail(err, ret, "cannot create a disk: %s", strerror(-ret)) : 0;
}

static void destroy(struct vm_slot *slot)
{
	struct vm_disk *d = slot->dev;

	if (!d)
		return;
	file_io_destroy(d->io);
	blk_destroy(d->blk);
	free(d);
}

static void keep(const struct vm_slot *slot, struct sandbox_keep *to)
{
	const struct vm_disk *d = slot->dev;

	sandbox_keep(to, file_io_fd(d->io));
	sandbox_keep(to, d->disk->fd);
	sandbox_keep(to, d->disk->delta_fd);
}

const struct vm_device vm_disk_device = {
	.name = "disk",
	.count = count,
	.create = create,
	.destroy = destroy,
	.keep = keep,
	.pause = set_pause,
	.start = vm_slot_start,
	.stop = vm_slot_stop,
	.serve = serve,
	.drain = drain,
};

/* ---- counters ---- */

static void add_stats(struct blk_stats *to, const struct blk_stats *s)
{
	to->reads += s->reads;
	to->writes += s->writes;
	to->flushes += s->flushes;
	to->discards += s->discards;
	to->zeroes += s->zeroes;
	to->read_bytes += s->read_bytes;
	to->written_bytes += s->written_bytes;
	to->errors += s->errors;
	to->refused += s->refused;
}

void vm_disk_info(const struct vm *vm, struct vm_info *out)
{
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++) {
		const struct vm_slot *slot = &vm->slot[i];
		const struct vm_disk *d = slot->dev;
		struct blk_stats stats;

		if (slot->device != &vm_disk_device || !d || !d->blk)
			continue;
		blk_stats(d->blk, &stats);
		add_stats(&out->disk, &stats);
		out->nr_disks++;
		out->buffered_disks += !d->disk->direct;
	}
}
