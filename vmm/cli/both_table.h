/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_BOTH_TABLE_H
#define QUIRE_VMM_CLI_BOTH_TABLE_H

/* What came of the two runs of --paging=both: as a table, as JSON, and as an exit status. */
#include "both.h"

/* Did the run come to an end of the guest's own, which the other's can be compared with? */
bool both_is_over(const struct both_side *side);

/* Say that it did not. */
void both_say_why(enum vm_paging paging, const struct both_side *side);

/*
 * Compare two runs that are over; side is by enum vm_paging.  Prints the table on standard error,
 * and writes run->stats, unless it is NULL.  Returns the exit status of the command.
 */
int both_tell(const struct run *run, const struct both_side side[VM_NR_PAGINGS]);

#endif
