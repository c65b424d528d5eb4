/* SPDX-License-Identifier: MIT */
#include "workload.h"
int selftest_run(struct args *a)
{
	return args_done(a) ? STATUS_OK : STATUS_USAGE;
}
