/* SPDX-License-Identifier: MIT */
/*
 * --stats: the counters of all copies at the end.  Each VM leaves its own, when it ends, in memory
 * that it shares with the launcher and with no other VM.  A VM that was killed left none, and is
 * listed with its name and status.  The machine's numbers are those of the moment when it has
 * heard of every VM's end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "vmm/vm/vm_info.h"
#include "launch_impl.h"

int launch_stats_share(struct copy *c)
{
	void *p = mmap(NULL, sizeof(*c->info), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	c->info = p;
	return 0;
}

void launch_stats_forked(struct copy *c)
{
	if (c->info)
		madvise(c->info, sizeof(*c->info), MADV_DONTFORK);
}

void launch_stats_unshare(struct copy *c)
{
	if (c->info)
		munmap(c->info, sizeof(*c->info));
}

/* A VM may have written anything. */
static void take(const struct launch *l, const struct copy *c, struct vm_info *info)
{
	uint64_t pages = l->config->ram_bytes / QUIRE_PAGE_SIZE;

	*info = (struct vm_info){ 0 };
	if (c->info)
		*info = *c->info;
	if (info->ram_bytes == 0) {
		info->pid = (uint32_t)c->pid;
		info->nr_vcpus = l->config->nr_vcpus;
		info->ram_bytes = l->config->ram_bytes;
		info->mem.s2.ram_pages = info->mem.s2.pages[PG_ABSENT] = pages;
	}
	snprintf(info->name, sizeof(info->name), "%s", c->name);
	snprintf(info->domain, sizeof(info->domain), "%s", l->config->domain);
	info->state = VM_ENDED;
	info->exit_status = (uint32_t)c->status;
}

int launch_stats_write(struct launch *l)
{
	struct vm_info *info = calloc(l->nr, sizeof(*info));
	struct machine_state state;
	bool have_state = l->machine && !machine_client_get(l->machine, &state, NULL);
	int ret;

	if (!info)
		return -ENOMEM;
	for (unsigned int i = 0; i < l->nr; i++)
		take(l, &l->copy[i], &info[i]);
	ret = l->config->write_stats(l->config->ctx, have_state ? &state : NULL, info, l->nr);
	free(info);
	return ret;
}
