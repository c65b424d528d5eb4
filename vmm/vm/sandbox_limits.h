/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SANDBOX_LIMITS_H
#define QUIRE_VMM_VM_SANDBOX_LIMITS_H

#include <stdbool.h>

struct sandbox_keep;

/*
 * Limit the memory of this process, and how large its files may become, for good.  It has mapped
 * RAM, and may still start keep->nr_threads threads.  Needs /proc.  Returns false if the kernel
 * refused a part.
 */
bool sandbox_limit(const struct sandbox_keep *keep);

#endif
