/* SPDX-License-Identifier: MIT */
#include <unistd.h>
#include "waiting_lab.h"

atomic_int failures;
atomic_ulong failed_gpa;
atomic_int failed_err;

void on_failure(void *ctx, gpa_t gpa, int err)
{
	(void)ctx;
	atomic_store(&failed_gpa, gpa);
	atomic_store(&failed_err, err);
	atomic_fetch_add(&failures, 1);
}

struct gmem_stats stats(void)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s;
}

static void *touch(void *arg)
{
	struct toucher *t = arg;
	volatile uint64_t *word = (volatile uint64_t *)hva(t->gfn);

	if (t->write)
		put_into(word, t->gfn + 1);
	else
		look_at(word);
	atomic_store(&t->done, true);
	return NULL;
}

void toucher_start(struct toucher *t, gfn_t gfn, bool write)
{
	*t = (struct toucher){ .gfn = gfn, .write = write };
	pthread_create(&t->thread, NULL, touch, t);
}

bool toucher_is_done(struct toucher *t)
{
	for (unsigned int i = 0; i < PATIENCE_MS && !atomic_load(&t->done); i++)
		usleep(1000);
	return atomic_load(&t->done);
}

bool await_waiting(uint64_t nr)
{
	for (unsigned int i = 0; i < PATIENCE_MS && stats().waiting_pages != nr; i++)
		usleep(1000);
	return stats().waiting_pages == nr;
}

void toucher_end(struct toucher *t)
{
	pthread_join(t->thread, NULL);
}
