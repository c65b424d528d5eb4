/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <pthread.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "storm.h"

static atomic_bool over;
static atomic_ulong steps[WRITERS];
static unsigned int rounds, nr_threads;
static pthread_t thread[WRITERS + 1];
static uint64_t deadline;
static uint64_t word[WRITERS][NR_PAGES];

void storm_begin(unsigned int ms, void *(*writer)(void *))
{
	memset(word, 0, sizeof(word));
	memset(steps, 0, sizeof(steps));
	rounds = 0;
	atomic_store(&over, false);
	writer_seed = tap_random(&rng);
	deadline = monotonic_ns() + (uint64_t)ms * tap_storm() * NS_PER_MS;
	for (nr_threads = 0; nr_threads < WRITERS;)
		storm_join(writer);
}

void storm_join(void *(*run)(void *))
{
	uintptr_t number = nr_threads;

	if (pthread_create(&thread[nr_threads++], NULL, run, (void *)number))
		tap_bail("no thread");
}

bool storm_step(uint64_t writer)
{
	if (atomic_load(&over))
		return false;
	atomic_fetch_add(&steps[writer], 1);
	return true;
}

bool storm_is_over(void)
{
	return atomic_load(&over);
}

static unsigned long fewest_steps(void)
{
	unsigned long fewest = ULONG_MAX;

	for (unsigned int i = 0; i < WRITERS; i++)
		fewest = min_u64(fewest, atomic_load(&steps[i]));
	return fewest;
}

bool storm_goes_on(void)
{
	while (rounds > STORM_LEAD * (fewest_steps() + 1))
		usleep(100);
	rounds++;
	return monotonic_ns() < deadline || fewest_steps() < STORM_STEPS;
}

uint64_t storm_end(void)
{
	uint64_t sum = 0;

	atomic_store(&over, true);
	for (unsigned int i = 0; i < nr_threads; i++) {
		void *wrong;

		pthread_join(thread[i], &wrong);
		sum += (uintptr_t)wrong;
	}
	return sum;
}

unsigned int storm_rounds(void)
{
	return rounds;
}

void *storm_words(void *arg)
{
	uint64_t me = (uintptr_t)arg, seed = writer_seed + me, bad = 0;
	gfn_t gfn = 0;

	while (storm_step(me)) {
		volatile uint64_t *at;

		gfn = tap_random(&seed) % 4 ? tap_random(&seed) % NR_PAGES : gfn + 1;
		gfn %= NR_PAGES;
		at = (uint64_t *)hva(gfn) + 8 * me;
		bad += look_at(at) != word[me][gfn];
		if (tap_random(&seed) % 2) {
			word[me][gfn] = tap_random(&seed) % 3;
			put_into(at, word[me][gfn]);
		}
		if (tap_random(&seed) % 64 == 0)
			usleep(100);
	}
	return (void *)bad;
}
