/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_CGROUP_H
#define QUIRE_VMM_LAUNCH_CGROUP_H

/*
 * A cgroup for each VM, in which the kernel bounds its memory and its threads.
 *
 * They are children of the launcher's own cgroup, its *home*, and of no other.  So a VM stays below
 * every limit that somebody set for the launcher, and nothing is made where others are at home.
 * The hierarchy is version 2, at /sys/fs/cgroup.  The launcher has to be allowed to write there,
 * and the memory controller must be available.  In version 2 only a cgroup without processes, or
 * the root, passes controllers on to its children.  So one of these must hold:
 *
 *   - the home is the root of the hierarchy;
 *   - the launcher is alone in it, as in `systemd-run --scope -p Delegate=yes quire run ...`.  Then
 *     it goes into a child itself, and comes back at its end.
 *
 * Elsewhere there is no home, and nothing is made.
 *
 * Cleaning up.  The launcher removes each cgroup when its VM has ended.  A launcher that is killed
 * leaves them behind, without processes; the next one with the same home removes them.
 */
#include <quire/types.h>
#include <sys/types.h>

#define CGROUP_NAME_MAX 64

struct cgroup_home {
	int fd;		/* -1: none */
	char label[40]; /* ours among those of all launchers */
	bool moved;	/* the launcher is in a child of it */
};

struct cgroup_bounds {
	uint64_t memory_bytes; /* of all that is charged to the VM */
	uint64_t swap_bytes;   /* ... and was swapped out */
	unsigned int threads;
};

/* Find the home, and remove what killed launchers left there. */
void cgroup_home_open(struct cgroup_home *h);

/* Leave it, after cgroup_remove() for each VM. */
void cgroup_home_close(struct cgroup_home *h);

/*
 * The most that a VM which keeps to its promise may ever be charged.  Whoever touches a page first
 * is charged for it, so these are the VM's:
 *
 *   - RAM, which its own threads touch first;
 *   - its process and its tables (launch_overhead_pages);
 *   - what KVM notes of each page, and the kernel of each mapping and each page of a file: an
 *     eighth of RAM is more than all of that, even with a mapping for each page;
 *   - page tables for the segments of the store that it looks at.  They come to 1/512 of the
 *     store, which is no larger than the host's memory and swap;
 *   - what the machine forgives (oom.h), caches of KVM's for each vCPU, and buffers.
 *
 * Frames of the store are charged to the machine, which writes them first, and the image's plan to
 * the launcher.  A balloon, or pages that were merged, only make it less.
 */
struct cgroup_bounds cgroup_bounds_of(uint64_t ram_bytes, unsigned int nr_vcpus);

/*
 * Is what is written to this file charged to who writes, for as long as it is there?  So it is on
 * a tmpfs, and may be on an overlay, which does not tell.  Pages of other files can be taken back.
 */
bool cgroup_charges(int fd);

/*
 * Make a cgroup for VM `index` with these bounds.  Returns a descriptor of it for cgroup_fork(), or
 * -errno: nothing is left of it.
 */
int cgroup_make(const struct cgroup_home *h, unsigned int index, const struct cgroup_bounds *b);

/*
 * A child that is in this cgroup from its first instruction on, with a copy of our memory.  The
 * C library does not know of it, so it may only make system calls, and executes a program.  Until
 * then, or its end, the caller waits.  Returns as fork() does; ENODEV if the cgroup was removed
 * meanwhile.
 */
pid_t cgroup_fork(int cgroup);

/* Did the kernel kill the VM because it reached the bound of its own cgroup? */
bool cgroup_was_exceeded(const struct cgroup_home *h, unsigned int index);

/* Remove the cgroup of VM `index`, whose process has been waited for. */
void cgroup_remove(const struct cgroup_home *h, unsigned int index);

#endif
