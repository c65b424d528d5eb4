/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_FLUSH_H
#define QUIRE_VMM_MONITOR_FLUSH_H

/*
 * Who makes an entry of a shadow table weaker waits here until no processor can use it as it was.
 *
 * A processor that is out of the guest has the entry on its list, and flushes before it enters
 * (world.h).  One that is in the guest is kicked, and the caller waits until it has come out.  So
 * nobody waits for a flush itself, and nobody waits for a vCPU's thread outside KVM_RUN.
 *
 * A processor whose list would be too long has KVM forget all tables instead.  That is done for all
 * processors at once, whether they are in the guest or not, and by one of them at a time.  What
 * became weaker before it began need not be flushed by others either; they wait until it is over.
 * They are out of the guest meanwhile, hold no lock, and nobody waits for them.
 */
#include <stdbool.h>
#include "mmu/shadow/shadow.h"

struct flush;

struct flush_config {
	unsigned int nr_cpus;
	unsigned int max_list; /* a list that would be longer is "everything" */
	/* Make KVM_RUN of this processor return soon.  No lock of this room is held. */
	void (*kick)(void *ctx, unsigned int cpu);
	/*
	 * Return when no processor can use anything as it was before the call.  0 or -errno.  One
	 * call at a time, by a processor that is out of the guest, without a lock.
	 */
	int (*forget)(void *ctx);
	void *ctx;
};

/* NULL: there is no memory. */
struct flush *flush_create(const struct flush_config *config);

/* NULL is fine. */
void flush_destroy(struct flush *f);

/* shadow_config.flush.  The caller is not in flush_begin() to flush_end(), and holds LOCK_GMEM. */
void flush_stale(struct flush *f, const struct shadow_stale *stale);

/*
 * Processor `cpu` enters the guest now, after it has flushed the entries of list[], which are at
 * most `room`, and at most max_list.  Returns their number.  *forgotten: KVM has forgotten
 * everything since the last flush_end(), and these have become weaker after that.
 *
 * -errno of `forget`: the processor must not enter.
 */
int flush_begin(struct flush *f, unsigned int cpu, unsigned int room, maddr_t *list,
		bool *forgotten);

/*
 * KVM finishes an instruction of the guest now, and does not enter it: until flush_end() it counts
 * as in the guest.  What it has to flush stays for flush_begin().
 */
void flush_finishing(struct flush *f, unsigned int cpu);

/* It is out of the guest.  What it was given to flush is flushed, or will be when it enters. */
void flush_end(struct flush *f, unsigned int cpu);

#endif
