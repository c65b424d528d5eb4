/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_CREDITS_INTERNAL_H
#define QUIRE_MMU_MACHINE_CREDITS_INTERNAL_H

/* What the files of a VM's credits share: credits.c, and credits_swap.c for the swap area. */
#include <assert.h>
#include "mmu/base/locks.h"
#include "mmu/base/thread.h"
#include "mmu/base/wire.h"
#include "credits.h"

/* [I] immutable   [m] lock   [t] listener only */
struct credits {
	struct credits_config config; /* [I] */
	struct lock lock;
	pthread_cond_t changed; /* any [m] that a waiter looks at */
	struct thread listener;
	int wake;		       /* [I] eventfd that makes the listener look again */
	int channel;		       /* [m] -1: the machine is lost */
	int next_channel;	       /* [m] for the listener to adopt; -1: none */
	int ram;		       /* [m] the RAM file to attach; -1: none yet */
	uint64_t spare, held;	       /* [m] */
	uint64_t to_give;	       /* [m] spare credits to be returned when there is room */
	uint64_t batch;		       /* [m] size of the last generous grant */
	uint64_t asked_need;	       /* [m] of the CREDIT under way */
	uint64_t denials;	       /* [m] how many DENIED have come */
	unsigned int waiters;	       /* [m] threads in credits_wait(), and who seeks */
	void (*news)(void *arg);       /* [m] of who seeks; NULL: nobody does */
	void *news_arg;		       /* [m] */
	uint64_t denials_before;       /* [m] denials when it began to seek */
	bool asked;		       /* [m] a CREDIT is under way */
	bool called_off;	       /* [m] ... and nobody waits for it any more */
	bool scarce, congested;	       /* [m] */
	bool owes_return, owes_attach; /* [m] */
	bool owes_balloon;	       /* [m] */
	bool has_balloon;	       /* [m] `balloon` was filled in */
	struct balloon_record balloon; /* [m] what the machine is told of the balloon */
	bool owes_reclaim;	       /* [m] */
	bool has_reclaim;	       /* [m] `reclaim` was filled in */
	struct reclaim_record reclaim; /* [m] what the machine is told of reclaim */
	bool suspended;		       /* [m] the machine wants the guest to stand still */
	uint64_t swap_spare;	       /* [m] of the swap area: at hand */
	uint64_t swap_held;	       /* [m] ... and altogether */
	uint64_t swap_batch;	       /* [m] size of the last grant of it */
	uint64_t swap_asked;	       /* [m] of the SWAP_CREDIT under way; 0: none is */
	bool swap_useless;	       /* [m] the VM's disk has no room: nothing is kept */
	bool joining, joined;	       /* [m] a JOIN is under way; it was answered */
	int link;		  /* [m] what it brought, until credits_join() takes it; or -1 */
	bool cancelled, quitting; /* [m] */
};

/* Send a packet if the machine reads now.  False: it was not sent. */
bool credits_say(struct credits *c, const struct machine_msg *msg, int attach);

/* ---- credits_swap.c; the caller holds the lock ---- */

/* A SWAP_GRANT.  False: a machine would not say that. */
bool credits_swap_granted(struct credits *c, uint64_t pages);

/* Ask for swap, and give swap back, as far as the machine reads. */
void credits_swap_flush(struct credits *c);

#endif
