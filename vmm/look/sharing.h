/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_SHARING_H
#define QUIRE_VMM_LOOK_SHARING_H

/*
 * How many VMs share each page.
 *
 * No one process knows: a VM knows the frames of its own pages, and the machine how many references
 * there are.  So each VM of the same domain is asked for its frames.  That is a walk through the
 * stage 2 of each, some milliseconds for a GiB; whoever does it again and again takes his time.
 */
#include "roster.h"

/*
 * Count the VMs that share the pages [gfn, gfn + nr) of a VM of the roster, which is one of them.
 * owners[i] becomes the number for page gfn + i; 0: it is not shared.  VMs that do not answer are
 * left out.  0; -ENOMEM; or as ctl_get_frames() if the VM itself does not answer.
 */
int sharing_count(const struct roster *r, const struct roster_vm *vm, gfn_t gfn, uint64_t nr,
		  uint16_t *owners, struct quire_error *err);

#endif
