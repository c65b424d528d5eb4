/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_SHADOW_WINDOW_H
#define QUIRE_MMU_MEMORY_SHADOW_WINDOW_H

/*
 * The back end over shadow tables (backend.h).
 *
 * KVM's memslots lie over the alias, and nothing is ever mapped elsewhere: which frame the guest
 * sees, and whether it may write it, is what our shadow tables say.  So a page that goes away costs
 * no mapping.  An access to a page that is not mapped is a page fault of the guest's, which its
 * vCPU brings here (gmem_shadow_fault).  That takes LOCK_GMEM, so a change that is made under the
 * lock is seen as a whole: entries go first, then the processors are flushed, and then pages change
 * their frames.
 */
#include <stdatomic.h>
#include "gmem.h"
#include "window.h"

struct shadow_window {
	struct backend backend;
	struct gmem_shadow config; /* [I] */
	struct window *window;	   /* [I] the alias; it has no userfaultfd */
	struct shadow *shadow;	   /* [g] NULL: this back end is not in use */
	uint64_t *away;		   /* [g] bit n: page n was sent away; for audits */
};

/*
 * Set it up over the window, with stage 2 and memory as the walk sees them.  0, or -errno with the
 * reason in *err (may be NULL).
 */
int shadow_window_create(struct shadow_window *w, struct window *window,
			 const struct gmem_config *config, const struct walk_stage2 *s2,
			 const struct walk_memory *memory, struct quire_error *err);

/* For struct store_view: a segment came, or goes (bytes is NULL).  ctx is a shadow_window. */
int shadow_window_segment(void *ctx, unsigned int place, const void *bytes);

/* Free it.  Fine if it is not in use. */
void shadow_window_destroy(struct shadow_window *w);

#endif
