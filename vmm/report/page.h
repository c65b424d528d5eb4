/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_REPORT_PAGE_H
#define QUIRE_VMM_REPORT_PAGE_H

/*
 * Results of scenarios as a page of HTML, for light and dark.  It has its pictures inside, asks
 * nobody for anything, and runs no program.
 */
#include "gather.h"

/* One result, with its maps.  f may fail; the caller looks. */
void page_of_result(FILE *f, const json_t *result);

/* All that were gathered: a table, and each result below it. */
void page_of_all(FILE *f, const struct gathered *all);

#endif
