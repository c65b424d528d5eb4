/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_OWNERS_H
#define QUIRE_VMM_LOOK_OWNERS_H

/*
 * Who shares a page.
 *
 * No one process knows: a VM knows its own pages, and the machine only how many references a VM
 * holds.  So the VM that was named says which frame its page is, by a name that all VMs agree on,
 * and then each VM is asked for its pages of that frame.
 */
#include "ctl_client.h"
#include "roster.h"

/*
 * Ask this VM, by a connection to it, which frame gfn shares.  0; -ENOENT: it shares none, and
 * *state is what it is (PG_NR_STATES: no RAM); or another -errno with *err.
 */
int owners_find_frame(int fd, gfn_t gfn, struct gmem_frame *frame, uint8_t *state,
		      struct quire_error *err);

/*
 * Call `each` for every VM of the roster that has pages with this frame, and with NULL for every
 * one that does not answer.  Whoever has ended has no pages.  0 or -ENOMEM.
 */
int owners_ask(const struct roster *r, const struct gmem_frame *frame,
	       void (*each)(void *ctx, const struct roster_vm *vm,
			    const struct ctl_frame_users *users),
	       void *ctx);

#endif
