/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_WINDOW_INTERNAL_H
#define QUIRE_MMU_MEMORY_WINDOW_INTERNAL_H

/* What the parts of the window share. */
#include <linux/userfaultfd.h>
#include "window.h"

#define WINDOW_MISSING_WP (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP)

/* What the window does as a back end. */
extern const struct backend_ops window_ops;

/* Map [start, start + bytes) of the RAM file at base + start, by itself.  0 or -errno. */
int window_map_ram(struct window *w, uint8_t *base, uint64_t start, uint64_t bytes);

/* Keep it out of core dumps.  Only now it joins its neighbours, of which that is true already. */
void window_leave_undumped(uint8_t *base, uint64_t start, uint64_t bytes);

/* Touches of [start, start + bytes) raise events; `mode` says which.  0 or -errno. */
int window_register(struct window *w, uint64_t start, uint64_t bytes, uint64_t mode);

#endif
