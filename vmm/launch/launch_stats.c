/* SPDX-License-Identifier: MIT */
/*
 * --stats: one document for all copies.  Each VM leaves its counters, at its end, in memory that
 * it shares with the launcher and with no other VM; one that was killed has left none, and is
 * listed with its name and status.  The machine's numbers are those of the end, when it has
 * heard of every VM's end.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "launch_impl.h"
#include "vmm/cli/stats.h"

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
	struct stats_vm *vm = calloc(l->nr, sizeof(*vm));
	struct machine_state state;
	bool have_state = l->machine && !machine_client_get(l->machine, &state, NULL);
	int ret = info && vm ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < l->nr && !ret; i++) {
		take(l, &l->copy[i], &info[i]);
		vm[i].info = &info[i];
	}
	if (!ret)
		ret = stats_document(l->config->stats, have_state ? &state : NULL, vm, l->nr);
	free(info);
	free(vm);
	return ret;
}
