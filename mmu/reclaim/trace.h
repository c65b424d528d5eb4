/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_TRACE_H
#define QUIRE_MMU_RECLAIM_TRACE_H

/*
 * A trace: which pages were accessed, in their order.  As text it has a line for each access:
 *
 *	# a comment, to the end of the line; empty lines are left out
 *	17
 *	0x2a w		a write; r, or nothing, is a read
 *
 * In memory a page has a number of its own, by the order of first accesses: what a gfn is to the
 * policies.  The accesses are kept on disk (spool.h), 4 bytes each.  So memory is needed for the
 * pages of a trace, some 32 bytes each, and not for its length.
 */
#include "spool.h"

/* OPT numbers accesses, and has to say "never" as well. */
#define TRACE_MAX_ACCESSES (UINT32_MAX - 1ULL)

#define TRACE_MAX_LINE 1024u /* bytes, with the newline */

struct trace {
	struct spool access; /* of each the page, times two, plus one for a write */
	uint64_t nr_writes;
	uint32_t nr_pages;
};

static inline uint64_t trace_length(const struct trace *t)
{
	return t->access.nr;
}

static inline uint32_t trace_page(const struct trace *t, uint64_t access)
{
	return t->access.number[access] >> 1;
}

static inline bool trace_writes(const struct trace *t, uint64_t access)
{
	return t->access.number[access] & 1;
}

/*
 * Read a trace as text, to its end.  `name` is what *err calls it.  trace_finish() is due after
 * success only.  Returns 0, or with a line in *err:
 *   -EINVAL   a line is no access; *err has its number.  Or there are no accesses
 *   -E2BIG    there are more than TRACE_MAX_ACCESSES, or RECLAIM_MAX_PAGES pages
 *   -ENOMEM
 *   else      it cannot be read, or as spool_init()
 */
int trace_read(struct trace *t, FILE *f, const char *name, struct quire_error *err);

void trace_finish(struct trace *t);

#endif
