/* SPDX-License-Identifier: MIT */
/* What is told of a VM's balloon, and its target. */
#include "vm_impl.h"

_Static_assert(VM_BALLOON_STATS == BALLOON_MAX_STATS, "all statistics are told");

void vm_set_balloon(struct vm *vm, uint64_t pages, bool manual)
{
	if (!vm->balloon || balloon_set_target(vm->balloon, pages))
		return;
	vm->balloon_manual = manual;
}

bool vm_balloon_is_manual(const struct vm *vm)
{
	return vm->balloon_manual;
}

static uint64_t age(uint64_t since_ns)
{
	uint64_t now = monotonic_ns();

	return since_ns && now > since_ns ? now - since_ns : 0;
}

void vm_balloon_info(struct vm *vm, struct vm_balloon_info *out)
{
	struct balloon_info b;

	*out = (struct vm_balloon_info){ .mode = vm->config.balloon };
	if (!vm->balloon)
		return;
	balloon_info(vm->balloon, &b);
	*out = (struct vm_balloon_info){
		.mode = vm->config.balloon,
		.manual = vm->balloon_manual,
		.driver = b.driver,
		.nr_stats = b.nr_stats,
		.features = b.features,
		.silent_ns = age(b.silent_since_ns),
		.target = b.target,
		.actual = b.actual,
		.requested = b.requested,
		.inflated = b.inflated,
		.deflated = b.deflated,
		.reported = b.reported,
		.duplicates = b.duplicates,
		.refused = b.refused,
		.kept = b.kept,
		.failed = b.failed,
		.hinted = b.hinted,
		.operations = b.operations,
		.stats_age_ns = age(b.stats_ns),
	};
	for (unsigned int i = 0; i < b.nr_stats; i++) {
		out->stat[i].tag = b.stat[i].tag;
		out->stat[i].value = b.stat[i].value;
	}
}
