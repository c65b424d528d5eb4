/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_KVM_PUPPET_H
#define QUIRE_TESTS_KVM_PUPPET_H

/*
 * A thread of a real VM process that does what the test wants, as if its guest had taken it over.
 *
 * The thread is held by ptrace.  A few instructions are written where the program begins, which no
 * thread executes again, and the thread executes them with registers of the test's choice.  So its
 * system calls are made with the identity, the descriptors, the namespaces and the filter that this
 * thread has, whatever the VM did to give up the rest.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/user.h>

#define PUPPET_DIED    INT64_MIN /* instead of a result: the process has ended */
#define PUPPET_SCRATCH (1UL << 20)

struct puppet {
	pid_t pid, tid;
	bool dead;			/* it has ended, or is not held any more */
	struct user_regs_struct before; /* what it goes on with */
	uint64_t code;			/* where its instructions are written */
	uint64_t original[2];		/* ... and what was there */
	uint64_t scratch;		/* memory of its own, PUPPET_SCRATCH bytes */
	uint64_t used;			/* ... of which so much is in use */
};

/*
 * Seize the thread of this name, "main" for the first.  False: the process has no such thread any
 * more, or this host does not permit ptrace.
 */
bool puppet_seize(struct puppet *p, pid_t pid, const char *thread);

/* Let the thread go on where it was. */
void puppet_let_go(struct puppet *p);

/* Leave the thread asleep for ever, and hold it no longer. */
void puppet_park(struct puppet *p);

/* Has the process ended?  Asks without waiting. */
bool puppet_has_died(struct puppet *p);

/* A system call: what the kernel returned, or PUPPET_DIED. */
int64_t puppet_call(struct puppet *p, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
		    uint64_t e, uint64_t f);

/* The same so many times, as fast as the thread can.  The last result. */
int64_t puppet_repeat(struct puppet *p, uint64_t times, long nr, uint64_t a, uint64_t b, uint64_t c,
		      uint64_t d, uint64_t e, uint64_t f);

/* Write to, or read from, a byte of each page.  False: it died. */
bool puppet_touch(struct puppet *p, uint64_t address, uint64_t bytes, bool write);

/* Copy to or from its memory.  False: it has none there. */
bool puppet_put(struct puppet *p, uint64_t address, const void *data, size_t bytes);
bool puppet_get(struct puppet *p, uint64_t address, void *data, size_t bytes);

/* Copy data into its scratch memory, for a call's argument.  Returns where it is. */
uint64_t puppet_push(struct puppet *p, const void *data, size_t bytes);

/* Forget what was pushed. */
void puppet_clear(struct puppet *p);

/*
 * Write a struct msghdr into its memory, with this packet, descriptor (or -1) and name (or NULL).
 * Returns its address.
 */
uint64_t puppet_message(struct puppet *p, const void *packet, size_t bytes, int attach,
			const struct sockaddr *name, socklen_t name_bytes);

/* sendmsg() on one of its descriptors, without blocking. */
int64_t puppet_send(struct puppet *p, int fd, const void *packet, size_t bytes, int attach);

/* What its descriptors are. */
enum puppet_file {
	PUPPET_LEASH,	/* to the launcher */
	PUPPET_CHANNEL, /* to the machine */
	PUPPET_MERGE,	/* ... about equal pages */
	PUPPET_RAM,	/* guest memory */
	PUPPET_SEGMENT, /* of the store */
};

/* Such a descriptor of a VM's process, by the kernel's word; -1: it has none. */
int puppet_find(pid_t vm, enum puppet_file what, pid_t launcher, pid_t machine);

/* The test's own descriptor of the same file; -1. */
int puppet_dup(pid_t vm, int fd);

#endif
