/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_DISK_IO_H
#define QUIRE_VMM_DEV_DISK_IO_H

/*
 * Input and output on disks' files, for one thread: operations go in, and come out done.
 *
 * There are two engines.  disk_uring.c has an io_uring, by which many operations are in flight.
 * disk_sync.c is for hosts that have none, or do not let us: it does each operation at once, by a
 * system call of its own.
 *
 * The ring is part of the sandbox.  What is asked through a ring passes no seccomp filter, and a
 * ring can open files and connect sockets.  So ours has restrictions (IORING_REGISTER_RESTRICTIONS,
 * Linux 5.10): it reads, writes, syncs and punches, on the files that it was made with, and nothing
 * else.  They are set before the ring is enabled, and nobody can take them off.  A host whose rings
 * have no restrictions gets the other engine.
 */
#include <quire/types.h>

#define DISK_MAX_IN_FLIGHT 32u

enum disk_op_type { DISK_READ, DISK_WRITE, DISK_SYNC, DISK_PUNCH };

struct disk_op {
	enum disk_op_type type;
	int fd;		 /* one of the files of the engine */
	void *buf;	 /* READ, WRITE */
	uint64_t offset; /* READ, WRITE, PUNCH: [offset, offset + len) */
	uint64_t len;	 /* READ, WRITE: fits into 31 bits */
	int64_t result;	 /* READ, WRITE: bytes; others: 0; or -errno */
	bool done;	 /* it came out */
	void *owner;
	struct disk_op *next; /* the engine's */
};

struct disk_io;

/* A row of the table of engines.  The functions below are its. */
struct disk_engine {
	const char *name;
	/* 0; -errno: this host does not have it. */
	int (*create)(struct disk_io *io, const int *fds, unsigned int nr);
	void (*destroy)(struct disk_io *io);
	void (*submit)(struct disk_io *io, struct disk_op *op);
	bool (*flush)(struct disk_io *io);
	struct disk_op *(*reap)(struct disk_io *io);
};

extern const struct disk_engine disk_uring, disk_sync;

/* Make the first engine that works, for these files.  0 or -ENOMEM. */
#define DISK_IO_MAX_FDS 2u
int disk_io_create(const int *fds, unsigned int nr, struct disk_io **out);

/* Make this engine.  0 or -errno. */
int disk_io_create_as(const struct disk_engine *engine, const int *fds, unsigned int nr,
		      struct disk_io **out);

/* Nothing is in flight.  NULL is fine. */
void disk_io_destroy(struct disk_io *io);

/* A descriptor that is readable when something is done; -1: look after each flush. */
int disk_io_fd(const struct disk_io *io);

/* The name of the engine, for people. */
const char *disk_io_name(const struct disk_io *io);

/* *op is to be done; it stays where it is until it is reaped.  At most DISK_MAX_IN_FLIGHT. */
void disk_io_submit(struct disk_io *io, struct disk_op *op);

/* Hand over what was submitted.  False: the kernel does not take all of it now; try again later. */
bool disk_io_flush(struct disk_io *io);

/* The next operation that is done, with its result; NULL: none is. */
struct disk_op *disk_io_reap(struct disk_io *io);

/* How many are submitted and not reaped. */
unsigned int disk_io_in_flight(const struct disk_io *io);

#endif
