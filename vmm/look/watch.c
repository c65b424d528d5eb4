/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "watch.h"

const struct watch_rate_row watch_rates[WATCH_NR_RATES] = {
	[WATCH_FAULTS] = { "faults", "touches of pages that were not there" },
	[WATCH_MERGES] = { "merges", "pages that became shared, or pages of zeroes" },
	[WATCH_UNSHARES] = { "unshares", "shared and zero pages that were written" },
	[WATCH_BALLOON] = { "balloon", "pages that balloons took or gave back" },
	[WATCH_EVICTIONS] = { "evictions", "pages that were compressed, swapped out or archived" },
	[WATCH_LOADS] = { "loads", "such pages that came home" },
};

struct watch_vm {
	uint32_t pid;
	bool seen; /* by this look */
	uint64_t at_ns;
	uint64_t count[WATCH_NR_RATES], stall_ns;
	struct watch_ring *ring;
};

const struct watch_point *watch_point(const struct watch_ring *ring, unsigned int back)
{
	if (back >= ring->nr || back >= WATCH_POINTS)
		return NULL;
	return &ring->point[(ring->nr - 1 - back) % WATCH_POINTS];
}

static void ring_put(struct watch_ring *ring, const struct watch_point *point)
{
	ring->point[ring->nr++ % WATCH_POINTS] = *point;
}

void watch_init(struct watch *w, const char *address)
{
	*w = (struct watch){ .address = address };
}

/* ---- a VM ---- */

static int compare_vms(const void *a, const void *b)
{
	const struct watch_vm *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static struct watch_vm *find(const struct watch *w, unsigned int nr, uint32_t pid)
{
	const struct watch_vm key = { .pid = pid };

	return nr ? bsearch(&key, w->vm, nr, sizeof(key), compare_vms) : NULL;
}

static struct watch_vm *add(struct watch *w, uint32_t pid)
{
	struct watch_vm *vm = reallocarray(w->vm, w->nr_vms + 1, sizeof(*vm));
	struct watch_ring *ring = calloc(1, sizeof(*ring));

	if (vm)
		w->vm = vm;
	if (!vm || !ring) {
		free(ring);
		return NULL;
	}
	vm += w->nr_vms++;
	*vm = (struct watch_vm){ .pid = pid, .ring = ring };
	return vm;
}

static void count(const struct vm_info *info, uint64_t *to)
{
	const struct gmem_stats *mem = &info->mem;

	to[WATCH_FAULTS] = mem->faults;
	to[WATCH_MERGES] = info->merge.merged_pages + info->merge.zeroed_pages;
	to[WATCH_UNSHARES] = mem->unshared_pages;
	to[WATCH_BALLOON] = info->balloon.inflated + info->balloon.deflated;
	to[WATCH_EVICTIONS] = mem->packed_pages + mem->swapped_out_pages + mem->archived_pages;
	to[WATCH_LOADS] = mem->loaded_pages + mem->swapped_in_pages + mem->unarchived_pages;
}

/* What a counter that may have begun anew has grown by. */
static uint64_t growth(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

static uint64_t per_second(uint64_t n, uint64_t ns)
{
	return ns ? (uint64_t)((double)n * 1e9 / (double)ns + 0.5) : 0;
}

static void measure(struct watch_vm *vm, const struct vm_info *info, struct watch_point *point)
{
	uint64_t now[WATCH_NR_RATES], stall_ns = info->mem.stall.total_ns[STALL_SOME];
	bool first = !vm->ring->nr;
	uint64_t permille;

	count(info, now);
	*point = (struct watch_point){ .at_ns = info->now_ns, .nr_vms = 1 };
	if (!first)
		point->over_ns = growth(info->now_ns, vm->at_ns);
	memcpy(point->state_pages, info->mem.s2.pages, sizeof(point->state_pages));
	for (unsigned int i = 0; i < WATCH_NR_RATES; i++)
		point->per_second[i] = per_second(growth(now[i], vm->count[i]), point->over_ns);
	if (point->over_ns) {
		permille = growth(stall_ns, vm->stall_ns) / (point->over_ns / 1000 + 1);
		point->stall_permille = permille < 1000 ? (uint32_t)permille : 1000;
	}
	memcpy(vm->count, now, sizeof(now));
	vm->stall_ns = stall_ns;
	vm->at_ns = info->now_ns;
	ring_put(vm->ring, point);
}

static void drop_unseen(struct watch *w)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < w->nr_vms; i++) {
		if (w->vm[i].seen)
			w->vm[kept++] = w->vm[i];
		else
			free(w->vm[i].ring);
	}
	w->nr_vms = kept;
}

/* ---- all of them ---- */

static void describe_machine(const struct look *look, struct watch_point *point)
{
	const struct machine_state *state = &look->machine->state;

	point->memory = state->settings.memory_pages;
	point->free = state->free_pages;
	point->credits = state->credit_pages;
	point->store = state->store_pages;
	point->overhead = state->overhead_pages;
	point->committed = state->committed_pages;
	point->commit_limit = state->commit_limit_pages;
}

static void add_up(struct watch_point *all, const struct watch_point *one)
{
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		all->state_pages[i] += one->state_pages[i];
	for (unsigned int i = 0; i < WATCH_NR_RATES; i++)
		all->per_second[i] += one->per_second[i];
	all->stall_permille += one->stall_permille;
	all->nr_vms++;
}

int watch_note(struct watch *w)
{
	const struct watch_point *last = watch_point(&w->all, 0);
	struct watch_point all = { .at_ns = w->look.at_ns }, one;
	unsigned int sorted = w->nr_vms;

	for (unsigned int i = 0; i < w->nr_vms; i++)
		w->vm[i].seen = false;
	for (unsigned int i = 0; i < w->look.roster.nr_vms; i++) {
		const struct roster_vm *found = &w->look.roster.vm[i];
		struct watch_vm *vm = find(w, sorted, found->pid);

		if (vm)
			vm->seen = true;
		if (!found->answers)
			continue;
		if (!vm)
			vm = add(w, found->pid);
		if (!vm)
			return -ENOMEM;
		vm->seen = true;
		measure(vm, &found->info, &one);
		add_up(&all, &one);
	}
	drop_unseen(w);
	if (w->nr_vms)
		qsort(w->vm, w->nr_vms, sizeof(*w->vm), compare_vms);
	all.over_ns = last ? growth(all.at_ns, last->at_ns) : 0;
	if (all.nr_vms)
		all.stall_permille /= all.nr_vms;
	if (w->look.machine)
		describe_machine(&w->look, &all);
	ring_put(&w->all, &all);
	return 0;
}

int watch_step(struct watch *w, struct quire_error *err)
{
	int code;

	look_finish(&w->look);
	code = look_take(&w->look, w->address, NULL, &w->why);
	w->away = code != 0;
	if (!code && (code = watch_note(w)))
		look_finish(&w->look);
	return code == -ENOMEM ? quire_fail(err, code, "no memory to watch so many VMs") : 0;
}

const struct watch_ring *watch_ring_of(const struct watch *w, const struct roster_vm *vm)
{
	const struct watch_vm *found = find(w, w->nr_vms, vm->pid);

	return found ? found->ring : NULL;
}

void watch_finish(struct watch *w)
{
	look_finish(&w->look);
	for (unsigned int i = 0; i < w->nr_vms; i++)
		free(w->vm[i].ring);
	free(w->vm);
	w->vm = NULL;
	w->nr_vms = 0;
}
