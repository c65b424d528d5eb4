/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_RUN_SWAP_H
#define QUIRE_VMM_LAUNCH_RUN_SWAP_H

#include "run.h"

/*
 * If there is a --swap-dir: will VMs be able to swap there, and in which units?  Each of them gets
 * a file of its own when it starts.  0; or -errno with *err.
 */
int run_prepare_swap(struct run *run, struct quire_error *err);

#endif
