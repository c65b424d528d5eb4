/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_SWEEP_H
#define QUIRE_MMU_MACHINE_STORE_SWEEP_H

/*
 * Stray pages: those that somebody brought into a segment by reading a hole of it through a
 * mapping.  A VM that obeys the rules never does: it reads frames to which it has a reference.  The
 * shelf bounds how many there can be.  To sweep a store is to punch them out.
 *
 * Every frame in use must have a reference when a store is swept.
 */
#include "store.h"

/*
 * Take stray pages out of a store, those of many holes a part at a time: it takes about 3 ms at
 * most.  Each segment counts what was found in it (`stray`).
 */
void store_sweep(struct store *s);

/*
 * A frame could not be brought in: sweep all stores of the shelf, unless that was done just now.
 * Returns true if something was found.
 */
bool sweep_for_room(struct shelf *shelf);

#endif
