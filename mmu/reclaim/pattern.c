/* SPDX-License-Identifier: MIT */
/*
 * Traces that are made.  There is no floating point, whose results could differ: the weight of rank
 * k is 2^32 / k, and the table has the sums of weights up to each rank.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "dice.h"
#include "pattern.h"

#define NR_PHASES 8u

struct maker {
	const struct pattern *p;
	uint64_t dice;
	uint64_t *sum;	/* of the weights of ranks [0, n] */
	uint32_t *page; /* of each rank */
	uint64_t scanned;
};

const char *const pattern_names[PATTERN_KINDS] = { "zipf", "scan", "random", "phases", "mixed" };

static int begin(struct maker *m, struct quire_error *err)
{
	uint64_t nr = m->p->nr_pages, sum = 0;

	m->sum = calloc(nr, sizeof(*m->sum));
	m->page = calloc(nr, sizeof(*m->page));
	if (!m->sum || !m->page)
		return quire_fail(err, -ENOMEM, "no memory for %" PRIu64 " pages", nr);
	for (uint64_t rank = 0; rank < nr; rank++) {
		uint64_t other = dice_below(&m->dice, rank + 1);

		m->sum[rank] = sum += (1ULL << 32) / (rank + 1);
		m->page[rank] = m->page[other];
		m->page[other] = (uint32_t)rank;
	}
	return 0;
}

static uint64_t any(struct maker *m, uint64_t i)
{
	(void)i;
	return dice_below(&m->dice, m->p->nr_pages);
}

static uint64_t zipf(struct maker *m, uint64_t i)
{
	uint64_t low = 0, high = m->p->nr_pages - 1, at = dice_below(&m->dice, m->sum[high]);

	(void)i;
	while (low < high) {
		uint64_t middle = (low + high) / 2;

		if (m->sum[middle] > at)
			high = middle;
		else
			low = middle + 1;
	}
	return m->page[low];
}

static uint64_t scan(struct maker *m, uint64_t i)
{
	(void)i;
	return m->scanned++ % m->p->nr_pages;
}

/* Which of nr equal parts of the trace access i is in. */
static uint64_t part(const struct maker *m, uint64_t i, unsigned int nr)
{
	return (uint64_t)((unsigned __int128)i * nr / m->p->length);
}

static uint64_t phases(struct maker *m, uint64_t i)
{
	uint64_t nr = m->p->nr_pages, set = nr / NR_PHASES + 1;

	if (!dice_below(&m->dice, 10))
		return any(m, i);
	return (part(m, i, NR_PHASES) * nr / NR_PHASES + dice_below(&m->dice, set)) % nr;
}

static uint64_t mixed(struct maker *m, uint64_t i)
{
	return part(m, i, 5) == 2 && i % 2 ? scan(m, i) : zipf(m, i);
}

int pattern_write(const struct pattern *pattern, FILE *f, struct quire_error *err)
{
	static uint64_t (*const next[PATTERN_KINDS])(struct maker * m, uint64_t i) = {
		zipf, scan, any, phases, mixed,
	};
	struct maker m = { .p = pattern, .dice = pattern->seed };
	int code = begin(&m, err);

	if (!code)
		fprintf(f, "# %s, %" PRIu32 " pages, seed %" PRIu64 "\n",
			pattern_names[pattern->kind], pattern->nr_pages, pattern->seed);
	for (uint64_t i = 0; i < pattern->length && !code && !ferror(f); i++) {
		uint64_t page = next[pattern->kind](&m, i);
		bool write = dice_below(&m.dice, 100) < pattern->write_percent;

		fprintf(f, "%" PRIu64 "%s\n", page, write ? " w" : "");
	}
	free(m.sum);
	free(m.page);
	return code;
}
