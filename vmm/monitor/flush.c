/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include "mmu/base/locks.h"
#include "flush.h"

/* All of it is under the lock. */
struct cpu {
	bool in_guest;
	uint64_t stays; /* how often it has come out */
	bool all;	/* everything is stale, and the list is empty ... */
	uint64_t needs; /* ... until so many times KVM has forgotten all */
	unsigned int nr;
	maddr_t *list;
};

struct flush {
	struct flush_config config;
	struct lock lock;
	pthread_cond_t out;    /* a processor has come out of the guest */
	pthread_cond_t forgot; /* nobody forgets any more */
	bool forgetting;
	uint64_t begun, done; /* how often somebody began to forget, and how often it was done */
	struct cpu *cpu;
	maddr_t *lists;
};

struct flush *flush_create(const struct flush_config *config)
{
	struct flush *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->config = *config;
	lock_init(&f->lock, LOCK_FLUSH);
	pthread_cond_init(&f->out, NULL);
	pthread_cond_init(&f->forgot, NULL);
	f->cpu = calloc(config->nr_cpus, sizeof(*f->cpu));
	f->lists = calloc((size_t)config->nr_cpus * config->max_list, sizeof(*f->lists));
	if (!f->cpu || !f->lists) {
		flush_destroy(f);
		return NULL;
	}
	for (unsigned int i = 0; i < config->nr_cpus; i++)
		f->cpu[i].list = f->lists + (size_t)i * config->max_list;
	return f;
}

void flush_destroy(struct flush *f)
{
	if (!f)
		return;
	pthread_cond_destroy(&f->out);
	pthread_cond_destroy(&f->forgot);
	lock_finish(&f->lock);
	free(f->cpu);
	free(f->lists);
	free(f);
}

/* What is being forgotten just now may have been too early. */
static void add_all(const struct flush *f, struct cpu *c)
{
	c->all = true;
	c->needs = f->begun + 1;
	c->nr = 0;
}

static void add(const struct flush *f, struct cpu *c, const struct shadow_stale *stale)
{
	if (c->all || stale->all || stale->nr > f->config.max_list - c->nr) {
		add_all(f, c);
		return;
	}
	memcpy(c->list + c->nr, stale->entry, stale->nr * sizeof(*c->list));
	c->nr += stale->nr;
}

/* Tell one processor.  If it must come out first, *stays is the number of its stays until then. */
static bool must_come_out(struct flush *f, unsigned int cpu, const struct shadow_stale *stale,
			  uint64_t *stays)
{
	struct cpu *c = &f->cpu[cpu];
	bool in_guest;

	lock(&f->lock);
	add(f, c, stale);
	in_guest = c->in_guest;
	*stays = c->stays;
	unlock(&f->lock);
	return in_guest;
}

static void wait_for(struct flush *f, unsigned int cpu, uint64_t stays)
{
	lock(&f->lock);
	while (f->cpu[cpu].stays == stays)
		pthread_cond_wait(&f->out, &f->lock.mutex);
	unlock(&f->lock);
}

void flush_stale(struct flush *f, const struct shadow_stale *stale)
{
	uint64_t stays[SHADOW_MAX_VCPUS];
	bool waits[SHADOW_MAX_VCPUS];

	for (unsigned int i = 0; i < f->config.nr_cpus; i++) {
		waits[i] = must_come_out(f, i, stale, &stays[i]);
		if (waits[i])
			f->config.kick(f->config.ctx, i);
	}
	for (unsigned int i = 0; i < f->config.nr_cpus; i++)
		if (waits[i])
			wait_for(f, i, stays[i]);
}

/* Have KVM forget everything.  The lock is dropped meanwhile.  0 or -errno. */
static int forget(struct flush *f)
{
	uint64_t turn = ++f->begun;
	int ret;

	f->forgetting = true;
	unlock(&f->lock);
	ret = f->config.forget(f->config.ctx);
	lock(&f->lock);
	f->forgetting = false;
	if (!ret)
		f->done = turn;
	pthread_cond_broadcast(&f->forgot);
	return ret;
}

/* Return when the processor has a list, if only an empty one.  0 or -errno. */
static int await_list(struct flush *f, struct cpu *c, unsigned int room, bool *forgotten)
{
	int ret = 0;

	*forgotten = false;
	while (!ret && (c->all || c->nr > room)) {
		if (!c->all)
			add_all(f, c);
		if (f->done >= c->needs) {
			c->all = false;
			*forgotten = true;
			room = f->config.max_list;
		} else if (f->forgetting) {
			pthread_cond_wait(&f->forgot, &f->lock.mutex);
		} else {
			ret = forget(f);
		}
	}
	return ret;
}

int flush_begin(struct flush *f, unsigned int cpu, unsigned int room, maddr_t *list,
		bool *forgotten)
{
	struct cpu *c = &f->cpu[cpu];
	int ret;

	lock(&f->lock);
	ret = await_list(f, c, room, forgotten);
	if (!ret) {
		ret = (int)c->nr;
		memcpy(list, c->list, c->nr * sizeof(*list));
		c->nr = 0;
		c->in_guest = true;
	}
	unlock(&f->lock);
	return ret;
}

void flush_finishing(struct flush *f, unsigned int cpu)
{
	lock(&f->lock);
	f->cpu[cpu].in_guest = true;
	unlock(&f->lock);
}

void flush_end(struct flush *f, unsigned int cpu)
{
	lock(&f->lock);
	f->cpu[cpu].in_guest = false;
	f->cpu[cpu].stays++;
	pthread_cond_broadcast(&f->out);
	unlock(&f->lock);
}
