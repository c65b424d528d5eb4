/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_SHELF_H
#define QUIRE_MMU_MACHINE_STORE_SHELF_H

/*
 * The shelf: where the segments of all stores of one machine lie.
 *
 * It is a tmpfs that is attached nowhere, and mounted twice: once for the machine, which writes,
 * and once read-only, for VMs.
 *
 * Who can write.  A VM's descriptor was opened on the read-only mount.  So the kernel refuses
 * whoever has it, root too, to open the file anew for writing, and to change its mode or its size
 * (EROFS).  Nobody can make that mount writable: it is in no mount namespace.  Only the machine has
 * descriptors of the other mount.
 *
 * What can exist.  Whoever reads a hole of a segment through a mapping brings a page in.  So the
 * tmpfs has room for the frames in use and little more (SHELF_SLACK).  Beyond that such a reader
 * gets no page, but SIGBUS or EFAULT.
 *
 * Privileges.  None is needed.  The tmpfs belongs to a user namespace whose owner is our user, so
 * we may set its size, whatever capabilities we have or gave up.
 *
 * Where the host does not permit such a namespace, segments are memfds: their size is sealed, and
 * their mode is 0400, but our own user may change the mode, and nothing bounds the holes.
 */
#include <quire/types.h>
#include <sys/queue.h>
#include "mmu/base/thread.h"

struct store;

/* There is room for at most twice so many frames beyond those in use. */
#define SHELF_SLACK 512u

/* How often making the room smaller may fail; see shelf.c. */
#define SHELF_SHRINKERS 4u

struct shelf {
	int ours, theirs;	     /* its root on either mount; -1: segments are memfds */
	int grow;		     /* sets a larger size */
	int shrink[SHELF_SHRINKERS]; /* each sets a smaller one; -1: it has failed */
	uint64_t used, room;	     /* frames: in use, and that may exist */
	int setter;		     /* to the thread that sets the size; -1: we do */
	int serving;		     /* ... its end */
	struct thread thread;
	void (*hold)(void);
	unsigned int nr_made; /* segments, which are named by number */
	uint64_t swept_ns;    /* when its stores were last swept for room (sweep.h) */
	TAILQ_HEAD(store_list, store) stores;
};

/* Set it up.  Needs /proc, and a process that may be dumped.  This cannot fail: see above. */
void shelf_open(struct shelf *s);

/*
 * For a process that is to open few files and to mount nothing: Landlock forbids it to set the size
 * of a file system, too.  The first starts a thread that will do that.  Once the process is as it
 * shall be, the second lets that thread call hold(), after which it makes no call but read, write,
 * fsconfig and exit.
 */
void shelf_start_setter(struct shelf *s, void (*hold)(void));
void shelf_hold_setter(struct shelf *s);

/* Close it; segments are memfds from then on.  Those that somebody has open live on. */
void shelf_close(struct shelf *s);

/*
 * Make a file of `bytes` bytes, all holes, to write and to map.  *name becomes its name.  Returns a
 * descriptor or -errno.
 */
int shelf_make(struct shelf *s, uint64_t bytes, unsigned int *name);

/* A new descriptor of the file `name`, which is open as fd, that can only read.  Or -errno. */
int shelf_read(const struct shelf *s, unsigned int name, int fd);

/* Forget the file's name. */
void shelf_remove(struct shelf *s, unsigned int name);

/*
 * So many frames more will be in use: make room for them.  And so many are free again.  Of those
 * there is always room for all, but others may have taken it (sweep.h).
 */
void shelf_take(struct shelf *s, uint32_t frames);
void shelf_give(struct shelf *s, uint32_t frames);

/* Make the room smaller if it is much more than what exists now. */
void shelf_fit(struct shelf *s);

#endif
