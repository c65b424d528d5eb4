/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SANDBOX_PLACES_H
#define QUIRE_VMM_VM_SANDBOX_PLACES_H

/*
 * Files, for a process of the sandbox that has to open some.  A filter of system calls cannot look
 * at a path.  Landlock can, and needs no privilege.
 */
#include <stdbool.h>
#include "mmu/base/place.h"

/*
 * Let this process, which has set no_new_privs, use files below these places only, and only in
 * these ways.  Descriptors that are open stay as they are.  False: the host has no Landlock, and
 * nothing has changed.
 */
bool sandbox_places(const struct place *place, unsigned int nr);

#endif
