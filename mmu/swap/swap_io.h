/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_SWAP_SWAP_IO_H
#define QUIRE_MMU_SWAP_SWAP_IO_H

/*
 * The thread that reads and writes a swap file.  Whoever wants something of the disk hands an
 * operation over, and hears when it is done; nobody else ever waits for the disk.
 */
#include "fault.h"

struct swap_io;

struct swap_op {
	/* The file's descriptor is filled in.  When it is done, result is 0 or -errno. */
	struct file_op file;
	/* The thread calls it, without any lock, and touches the operation no more. */
	void (*done)(struct swap_op *op);
	uint64_t since_ns; /* when it was handed over */
	uint64_t due_ns;   /* the thread's own */
	struct swap_op *next;
};

/*
 * For the file fd, which is the caller's, in units of `unit` bytes.  Buffers begin at multiples of
 * a page.  Nothing is done before swap_io_start().  0 or -ENOMEM, or what the host says.
 */
int swap_io_create(int fd, uint32_t unit, const struct swap_faults *faults, struct swap_io **out);

/*
 * Start the thread.  The first that it does is to call on_start(ctx), which may be NULL, to give up
 * privileges.  0, or -errno.
 */
int swap_io_start(struct swap_io *io, void (*on_start)(void *ctx), void *ctx);

/* Finish what was handed over, and free it.  NULL is fine. */
void swap_io_destroy(struct swap_io *io);

/* Hand an operation over; it stays where it is until it is done.  LOCK_GMEM may be held. */
void swap_io_submit(struct swap_io *io, struct swap_op *op);

/* The descriptors that it needs as long as it lives, besides the file's; -1: there is none. */
#define SWAP_IO_DESCRIPTORS 2u
void swap_io_descriptors(const struct swap_io *io, int fds[SWAP_IO_DESCRIPTORS]);

/* The engine that does the work (file_io.h), for people. */
const char *swap_io_engine(const struct swap_io *io);

#endif
