/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_STATS_END_H
#define QUIRE_VMM_LOOK_STATS_END_H

/*
 * VMs at their end, in `quire run --stats`: who they were, how they ended, and nothing that is not
 * known.
 */
#include "stats.h"
#include "vmm/launch/launch.h"

/* The VM of this end, which had so many vCPUs and so much RAM, or was to have. */
struct stats_vm stats_of_end(const struct launch_end *end, uint32_t nr_vcpus, uint64_t ram_bytes);

/* The first members of its object in "vms"; vm->end is not NULL. */
void stats_end(struct json *json, const struct stats_vm *vm);

#endif
