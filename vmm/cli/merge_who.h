/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_MERGE_WHO_H
#define QUIRE_VMM_CLI_MERGE_WHO_H

#include <quire/error.h>

/*
 * quire merge --who: print every page of every VM that shares the frame of this VM's page.  Returns
 * the exit status; unless it is 0, *err has the line to print.
 */
int merge_who(const char *vm, const char *gfn, struct quire_error *err);

#endif
