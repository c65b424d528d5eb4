/* SPDX-License-Identifier: MIT */
#include "pgwalk.h"

int pt_walk(const struct pt_format *fmt, const struct pt_rules *rules, uint64_t root, uint64_t addr,
	    pt_read_fn read, void *ctx, struct pt_result *res)
{
	return pt_walk_inline(fmt, rules, root, addr, read, ctx, res);
}
