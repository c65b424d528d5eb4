/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_FILE_IO_H
#define QUIRE_MMU_BASE_FILE_IO_H

/*
 * Input and output on files, for one thread: operations go in, and come out done.  A guest's disks
 * use it, and the swap area (mmu/swap).
 *
 * There are two engines.  file_uring.c has an io_uring, by which many operations are in flight.
 * file_sync.c is for hosts that have none, or do not let us: it does each operation at once, by a
 * system call of its own.
 *
 * The ring is part of the sandbox.  What is asked through a ring passes no seccomp filter, and a
 * ring can open files and connect sockets.  So ours has restrictions (IORING_REGISTER_RESTRICTIONS,
 * Linux 5.10): it reads, writes, syncs, allocates and punches, on the files that it was made with,
 * and nothing else.  They are set before the ring is enabled, and nobody can take them off.  A host
 * whose rings have no restrictions gets the other engine.
 */
#include <quire/types.h>

#define FILE_MAX_IN_FLIGHT 32u

enum file_op_type { FILE_READ, FILE_WRITE, FILE_SYNC, FILE_PUNCH, FILE_ALLOCATE };

struct file_op {
	enum file_op_type type;
	int fd;		 /* one of the files of the engine */
	void *buf;	 /* READ, WRITE */
	uint64_t offset; /* READ, WRITE, PUNCH, ALLOCATE: [offset, offset + len) */
	uint64_t len;	 /* READ, WRITE: fits into 31 bits */
	int64_t result;	 /* READ, WRITE: bytes; others: 0; or -errno */
	bool done;	 /* it came out */
	void *owner;
	struct file_op *next; /* the engine's */
};

struct file_io;

/* A row of the table of engines.  The functions below are its. */
struct file_engine {
	const char *name;
	/* 0; -errno: this host does not have it. */
	int (*create)(struct file_io *io, const int *fds, unsigned int nr);
	void (*destroy)(struct file_io *io);
	void (*submit)(struct file_io *io, struct file_op *op);
	bool (*flush)(struct file_io *io);
	struct file_op *(*reap)(struct file_io *io);
};

extern const struct file_engine file_uring, file_sync;

/* Make the first engine that works, for these files.  0 or -ENOMEM. */
#define FILE_IO_MAX_FDS 2u
int file_io_create(const int *fds, unsigned int nr, struct file_io **out);

/* Make this engine.  0 or -errno. */
int file_io_create_as(const struct file_engine *engine, const int *fds, unsigned int nr,
		      struct file_io **out);

/* Nothing is in flight.  NULL is fine. */
void file_io_destroy(struct file_io *io);

/* A descriptor that is readable when something is done; -1: look after each flush. */
int file_io_fd(const struct file_io *io);

/* The name of the engine, for people. */
const char *file_io_name(const struct file_io *io);

/* *op is to be done; it stays where it is until it is reaped.  At most FILE_MAX_IN_FLIGHT. */
void file_io_submit(struct file_io *io, struct file_op *op);

/* Hand over what was submitted.  False: the kernel does not take all of it now; try again later. */
bool file_io_flush(struct file_io *io);

/* The next operation that is done, with its result; NULL: none is. */
struct file_op *file_io_reap(struct file_io *io);

/* How many are submitted and not reaped. */
unsigned int file_io_in_flight(const struct file_io *io);

#endif
