/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_MAP_JSON_H
#define QUIRE_VMM_PRINT_MAP_JSON_H

#include "mapview.h"
#include "vmm/vm/vm_info.h"

/*
 * Print the view of this VM as one JSON object, quire.map/1: exact counts, and the runs of pages
 * that are in one state.  What is not RAM is in no run.
 */
void map_json(FILE *f, const struct vm_info *vm, const struct mapview *view);

#endif
