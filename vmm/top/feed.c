/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "vmm/look/sharing.h"
#include "feed.h"

#define MAP_PATIENCE_S 1

/* ---- the map ---- */

/* After counting who shares pages, so many times as long nobody counts: it takes 5 % at most. */
#define OWNERS_REST 19

/* Ask for the pages in sight.  `map` becomes what is known; it has no states if it has a code. */
static void ask_for_pages(int fd, struct pagemap_place *place, struct pagemap *map)
{
	struct ctl_info info;

	map->code = ctl_get_info(fd, &info, &map->why);
	if (map->code)
		return;
	map->end = info.ram[info.nr_ram - 1].end;
	pagemap_fit(place, map->end);
	map->start = place->first;
	map->nr = min_u64(pagemap_pages(place), map->end - map->start);
	map->states = malloc(map->nr);
	if (!map->states)
		map->code = quire_fail(&map->why, -ENOMEM, "no memory for the map");
	else
		map->code = ctl_get_map(fd, map->start, map->nr, map->states, &map->why);
}

static struct pagemap fetch_map(const struct feed_vm *vm, struct pagemap_place place)
{
	struct pagemap map = { .pid = vm->pid };
	int fd = ctl_open(vm->name, MAP_PATIENCE_S);
	struct ucred peer;

	if (fd < 0 || ctl_peer(fd, &peer) || (uint32_t)peer.pid != vm->pid)
		map.code = quire_fail(&map.why, -ECONNRESET, "VM %s does not answer", vm->name);
	else
		ask_for_pages(fd, &place, &map);
	if (fd >= 0)
		close(fd);
	return map;
}

/* ---- looks ---- */

static const struct roster_vm *find(const struct roster *r, const struct feed_vm *vm)
{
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].pid == vm->pid)
			return &r->vm[i];
	return NULL;
}

static void lock(struct feed *f)
{
	pthread_mutex_lock(&f->lock);
}

static void unlock(struct feed *f)
{
	pthread_mutex_unlock(&f->lock);
}

static void publish(struct feed *f)
{
	eventfd_write(f->ready, 1);
}

static void look(struct feed *f)
{
	struct watch *w = &f->watch;
	struct quire_error why = { "" };
	struct look found = { .at_ns = 0 };
	int code = look_take(&found, w->address, NULL, &why);

	if (code)
		found = (struct look){ .at_ns = 0 };
	lock(f);
	look_finish(&w->look);
	w->look = found;
	w->away = code != 0;
	w->why = why;
	if (!code && watch_note(w))
		f->failed = true;
	unlock(f);
}

/* Count who shares the pages, if it is time, or else take the last answer if it still fits. */
static void count_owners(struct feed *f, const struct feed_vm *vm, struct pagemap *map)
{
	const struct roster *r = &f->watch.look.roster;
	const struct roster_vm *found = find(r, vm);
	uint64_t start_ns = monotonic_ns();
	size_t bytes = map->nr * sizeof(*map->owners);

	map->owners = calloc(map->nr, sizeof(*map->owners));
	if (!map->owners || !found || map->code)
		return;
	if (start_ns >= f->owners_ns || !f->map.owners) {
		sharing_count(r, found, map->start, map->nr, map->owners, NULL);
		f->owners_ns = monotonic_ns() + (monotonic_ns() - start_ns) * OWNERS_REST;
	} else if (f->map.pid == map->pid && f->map.start == map->start && f->map.nr == map->nr) {
		memcpy(map->owners, f->map.owners, bytes);
	}
}

static void update_map(struct feed *f, const struct feed_vm *vm, const struct pagemap_place *place)
{
	struct pagemap map = fetch_map(vm, *place);

	count_owners(f, vm, &map);
	lock(f);
	pagemap_finish(&f->map);
	f->map = map;
	unlock(f);
}

/* ---- acts ---- */

static void do_act(struct feed *f, const struct feed_vm *who, const struct act *act)
{
	const struct roster *r = &f->watch.look.roster;
	const struct roster_vm *vm = find(r, who);
	struct quire_error err = { "" };
	int code = vm ? act_on(r, vm, act, &err) :
			quire_fail(&err, -ESRCH, "VM %s has ended", who->name);

	lock(f);
	if (code)
		snprintf(f->outcome, sizeof(f->outcome), "%s: %.150s", act_names[act->kind],
			 err.text);
	else
		snprintf(f->outcome, sizeof(f->outcome), "%s %s: done", act_names[act->kind],
			 who->name);
	unlock(f);
}

/* ---- the thread ---- */

/* Until something is wanted, or it is time to look. */
static void sleep_until(struct feed *f, uint64_t deadline_ns)
{
	struct timespec deadline = ns_to_timespec(deadline_ns);

	while (!f->look_now && !f->acted_on.pid)
		if (pthread_cond_timedwait(&f->wake, &f->lock, &deadline))
			return;
}

static void run(void *arg)
{
	struct feed *f = arg;
	uint64_t next_ns = 0;

	for (;;) {
		struct feed_vm acted_on, mapped;
		struct pagemap_place place;
		struct act act;
		bool stop;

		lock(f);
		sleep_until(f, next_ns);
		acted_on = f->acted_on;
		act = f->act;
		mapped = f->mapped;
		place = f->place;
		stop = f->failed;
		f->acted_on.pid = 0;
		f->look_now = false;
		unlock(f);
		if (stop)
			return;
		if (acted_on.pid)
			do_act(f, &acted_on, &act);
		next_ns = monotonic_ns() + f->interval_ns;
		look(f);
		if (mapped.pid)
			update_map(f, &mapped, &place);
		publish(f);
	}
}

int feed_start(struct feed *f, const char *address, uint64_t interval_ns, struct quire_error *err)
{
	int code;

	*f = (struct feed){ .interval_ns = interval_ns };
	watch_init(&f->watch, address);
	pthread_mutex_init(&f->lock, NULL);
	cond_init_monotonic(&f->wake);
	f->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	code = f->ready < 0 ? -errno : thread_start(&f->thread, "feed", run, f);
	return code ? quire_fail(err, code, "cannot start to look: %s", strerror(-code)) : 0;
}

/* ---- what is wanted ---- */

static void name(struct feed_vm *out, const struct roster_vm *vm)
{
	out->pid = vm ? vm->pid : 0;
	snprintf(out->name, sizeof(out->name), "%s", vm ? vm->name : "");
}

void feed_look_now(struct feed *f)
{
	f->look_now = true;
	pthread_cond_signal(&f->wake);
}

void feed_map(struct feed *f, const struct roster_vm *vm, const struct pagemap_place *place)
{
	name(&f->mapped, vm);
	f->place = *place;
}

void feed_act(struct feed *f, const struct roster_vm *vm, const struct act *act)
{
	name(&f->acted_on, vm);
	f->act = *act;
	pthread_cond_signal(&f->wake);
}
