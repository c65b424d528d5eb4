/* SPDX-License-Identifier: MIT */
#include "maps.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/look/ctl_client.h"
#include "vmm/print/mapview.h"

#define PATIENCE_S 1
#define SAME	   (-1)

struct maps_vm {
	uint32_t pid;
	bool seen;		   /* by this look */
	bool refused;		   /* there was no room for its map */
	int fd;			   /* of its control socket; -1: not connected */
	uint64_t changes;	   /* as counted when it was asked */
	struct stage2_counters s2; /* ... then */
	uint64_t nr;		   /* pages, from gfn 0 */
	uint8_t *states, *next;
	uint64_t *changed; /* by block: in which generation */
};

/* Whatever changes the state of a page counts one of these, or one of stage 2's. */
static uint64_t count_changes(const struct vm_info *info)
{
	const struct gmem_stats *m = &info->mem;

	return m->faults + m->accessor_pages + m->dropped_pages + m->zero_read_pages +
	       m->ballooned_pages + m->unshared_pages + m->packed_pages + m->loaded_pages +
	       m->swapped_out_pages + m->swapped_in_pages + m->archived_pages +
	       m->unarchived_pages + info->merge.merged_pages + info->merge.zeroed_pages;
}

static uint64_t nr_blocks(uint64_t pages)
{
	return (pages + MAPS_BLOCK - 1) / MAPS_BLOCK;
}

static uint64_t bytes_of(uint64_t pages)
{
	return 2 * pages + nr_blocks(pages) * sizeof(uint64_t);
}

/* ---- who is there ---- */

static struct maps_vm *find(struct maps *maps, uint32_t pid)
{
	for (unsigned int i = 0; i < maps->nr; i++)
		if (maps->vm[i].pid == pid)
			return &maps->vm[i];
	return NULL;
}

static struct maps_vm *add(struct maps *maps, uint32_t pid)
{
	struct maps_vm *vm = reallocarray(maps->vm, maps->nr + 1, sizeof(*vm));

	if (!vm)
		return NULL;
	maps->vm = vm;
	vm += maps->nr++;
	*vm = (struct maps_vm){ .pid = pid, .fd = -1 };
	return vm;
}

static void hang_up(struct maps_vm *vm)
{
	if (vm->fd >= 0)
		close(vm->fd);
	vm->fd = -1;
}

static void forget(struct maps *maps, struct maps_vm *vm)
{
	hang_up(vm);
	maps->bytes -= bytes_of(vm->nr);
	free(vm->states);
	free(vm->next);
	free(vm->changed);
}

static void drop_unseen(struct maps *maps)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < maps->nr; i++) {
		if (maps->vm[i].seen)
			maps->vm[kept++] = maps->vm[i];
		else
			forget(maps, &maps->vm[i]);
	}
	maps->nr = kept;
}

/* ---- asking ---- */

static int make_room(struct maps *maps, struct maps_vm *vm, uint64_t nr)
{
	vm->refused = maps->bytes + bytes_of(nr) > MAPS_MAX_BYTES;
	if (vm->refused)
		return -EFBIG;
	vm->states = malloc(nr);
	vm->next = malloc(nr);
	vm->changed = calloc(nr_blocks(nr), sizeof(*vm->changed));
	if (!vm->states || !vm->next || !vm->changed) {
		free(vm->states);
		free(vm->next);
		free(vm->changed);
		vm->states = vm->next = NULL;
		vm->changed = NULL;
		return -ENOMEM;
	}
	memset(vm->states, UINT8_MAX, nr); /* so that all of it is new */
	vm->nr = nr;
	maps->bytes += bytes_of(nr);
	return 0;
}

/* Who listens may have changed since the look. */
static int connect_to(struct maps *maps, struct maps_vm *vm, const char *name)
{
	struct ctl_info info;
	struct ucred peer;

	if (vm->fd >= 0)
		return 0;
	vm->fd = ctl_open(name, PATIENCE_S);
	if (vm->fd < 0)
		return vm->fd;
	if (ctl_peer(vm->fd, &peer) || (uint32_t)peer.pid != vm->pid)
		return -ESRCH;
	if (vm->nr)
		return 0;
	if (ctl_get_info(vm->fd, &info, NULL))
		return -EPROTO;
	return make_room(maps, vm, info.ram[info.nr_ram - 1].end);
}

static void take_in(struct maps_vm *vm, uint64_t generation)
{
	uint8_t *states = vm->states;

	for (uint64_t at = 0; at < vm->nr; at += MAPS_BLOCK) {
		size_t nr = (size_t)min_u64(MAPS_BLOCK, vm->nr - at);

		if (memcmp(states + at, vm->next + at, nr))
			vm->changed[at / MAPS_BLOCK] = generation;
	}
	vm->states = vm->next;
	vm->next = states;
}

static void update(struct maps *maps, struct maps_vm *vm, const struct roster_vm *now)
{
	uint64_t changes = count_changes(&now->info);

	if (vm->nr && changes == vm->changes && !memcmp(&vm->s2, &now->info.mem.s2, sizeof(vm->s2)))
		return;
	if (connect_to(maps, vm, now->name) || ctl_get_map(vm->fd, 0, vm->nr, vm->next, NULL)) {
		hang_up(vm);
		return;
	}
	take_in(vm, maps->generation);
	vm->changes = changes;
	vm->s2 = now->info.mem.s2;
}

int maps_update(struct maps *maps, const struct roster *r)
{
	maps->generation++;
	for (unsigned int i = 0; i < maps->nr; i++)
		maps->vm[i].seen = false;
	for (unsigned int i = 0; i < r->nr_vms; i++) {
		struct maps_vm *vm = find(maps, r->vm[i].pid);

		if (!r->vm[i].answers)
			continue;
		if (!vm)
			vm = add(maps, r->vm[i].pid);
		if (!vm)
			return -ENOMEM;
		vm->seen = true;
		update(maps, vm, &r->vm[i]);
	}
	drop_unseen(maps);
	return 0;
}

bool maps_refused(const struct maps *maps, uint32_t pid)
{
	for (unsigned int i = 0; i < maps->nr; i++)
		if (maps->vm[i].pid == pid)
			return maps->vm[i].refused;
	return false;
}

/* ---- writing ---- */

static bool is_new(const struct maps_vm *vm, uint64_t gfn, uint64_t since)
{
	return vm->changed[gfn / MAPS_BLOCK] > since;
}

static int index_of(uint8_t state)
{
	return (state & ~GMEM_STATE_LARGE) < PG_NR_STATES ? (int)mapview_png_index(state) : SAME;
}

/* The end of the run at gfn, which goes on through blocks that are all new, or all not. */
static uint64_t end_of_run(const struct maps_vm *vm, uint64_t gfn, uint64_t end, uint64_t since)
{
	uint8_t state = vm->states[gfn];
	bool new = is_new(vm, gfn, since);

	while (gfn < end) {
		if (gfn % MAPS_BLOCK == 0 && is_new(vm, gfn, since) != new)
			return gfn;
		if (!new)
			gfn = (gfn / MAPS_BLOCK + 1) * MAPS_BLOCK;
		else if (vm->states[gfn] == state)
			gfn++;
		else
			return gfn;
	}
	return end;
}

static void write_vm(const struct maps_vm *vm, uint64_t since, FILE *f)
{
	uint64_t at = 0, end = vm->nr, next;

	while (at < vm->nr && !is_new(vm, at, since))
		at += MAPS_BLOCK;
	while (end > at && !is_new(vm, end - 1, since))
		end = (end - 1) / MAPS_BLOCK * MAPS_BLOCK;
	fprintf(f, "{\"pid\":%u,\"pages\":%" PRIu64 ",\"from\":%" PRIu64 ",\"runs\":[", vm->pid,
		vm->nr, at);
	for (; at < end; at = next) {
		next = end_of_run(vm, at, end, since);
		fprintf(f, "%d,%" PRIu64 "%s",
			is_new(vm, at, since) ? index_of(vm->states[at]) : SAME, next - at,
			next < end ? "," : "");
	}
	fputs("]}", f);
}

static bool has_news(const struct maps_vm *vm, uint64_t since)
{
	for (uint64_t i = 0; i < nr_blocks(vm->nr); i++)
		if (vm->changed[i] > since)
			return true;
	return false;
}

void maps_write(const struct maps *maps, uint64_t since, FILE *f, const char *before,
		const char *after)
{
	for (unsigned int i = 0; i < maps->nr; i++) {
		if (!has_news(&maps->vm[i], since))
			continue;
		fputs(before, f);
		write_vm(&maps->vm[i], since, f);
		fputs(after, f);
	}
}
