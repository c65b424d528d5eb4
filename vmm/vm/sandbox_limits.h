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

/*
 * The same for signals that wait in this process.  To be called in its own user namespace, if it
 * gets one: the limit at that moment would otherwise hold for all processes of its user together.
 */
bool sandbox_limit_signals(void);

#endif
