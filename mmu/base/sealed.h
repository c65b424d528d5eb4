/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_SEALED_H
#define QUIRE_MMU_BASE_SEALED_H

/*
 * A file in memory that has no name.  It is written once and then sealed: from then on nobody can
 * change its bytes or its size.  So other processes may map it, and need not copy what they check.
 */
#include <stdint.h>

/* Make an empty file to be written.  Returns its descriptor, close-on-exec, or -errno. */
int sealed_create(const char *name);

/* Seal it.  Nobody may have it mapped to write.  0 or -errno. */
int sealed_finish(int fd);

/*
 * Map all of a sealed file to be read.  *bytes becomes its size.  NULL: it is not sealed, or empty,
 * or there is no address space; errno says which (EINVAL, ENOMEM).  The caller unmaps it.
 */
const void *sealed_map(int fd, uint64_t *bytes);

#endif
