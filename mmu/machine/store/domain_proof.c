/* SPDX-License-Identifier: MIT */
/*
 * Reading pages, to see for ourselves what a VM only says, and how often a VM may be wrong.
 *
 * Reading costs a few hundred nanoseconds a page, so what follows each other is read together.  It
 * goes to a buffer in the domain first, and then the page cannot change any more: what was compared
 * is what becomes a frame.
 *
 * A page that has the hash of a frame is taken for equal to it, and its VM compares them.  Only
 * who knows the secret makes a page with the hash of another.  A VM that finds its page unequal
 * gives the frame back.  So a frame that was given back is *doubted*, and compared here with the
 * next page that has its hash.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "domain.h"
#include "mmu/base/clock.h"

uint32_t member_read(const struct member *m, uint64_t gfn, uint32_t n, void *bytes)
{
	size_t size = n * QUIRE_PAGE_SIZE, done = 0;

	while (done < size) {
		ssize_t got = pread(m->ram, (char *)bytes + done, size - done,
				    (off_t)(gfn * QUIRE_PAGE_SIZE + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return (uint32_t)(done / QUIRE_PAGE_SIZE);
}

/* How many of the n partners from p on are consecutive pages of one member. */
static uint32_t partner_run(const struct partner *p, uint32_t n)
{
	uint32_t run = 1;

	while (run < n && p[run].holder == p->holder && p[run].page == p->page + run)
		run++;
	return run;
}

void compare_partners(const struct member *m, uint32_t n, struct partner *p)
{
	struct domain *d = m->domain;

	for (uint32_t k = 0, run; k < n; k += run) {
		uint32_t readable;

		run = 1;
		p[k].is_equal = p[k].holder == m;
		if (p[k].is_equal)
			continue;
		run = partner_run(p + k, n - k);
		readable = member_read(p[k].holder, p[k].page, run, d->partners);
		for (uint32_t i = 0; i < readable; i++)
			p[k + i].is_equal =
				!memcmp(d->pages[k + i], d->partners[i], QUIRE_PAGE_SIZE);
	}
}

bool is_like_frame(struct domain *d, uint32_t frame, const void *page)
{
	if (!store_is_doubted(&d->store, frame))
		return true;
	store_read(&d->store, frame, d->partners);
	if (memcmp(page, d->partners, QUIRE_PAGE_SIZE))
		return false;
	store_doubt(&d->store, frame, false);
	return true;
}

/* A second is a quarter of the most.  Less than a millisecond is left to the next time. */
void member_forgive(struct member *m, uint64_t now_ns)
{
	uint64_t most = member_most_misses(m);
	uint64_t ms = min_u64((now_ns - m->forgiven_ns) / NS_PER_MS, 4000);

	if (!ms)
		return;
	m->may_miss = min_u64(m->may_miss + most / 4 * ms / 1000, most);
	m->forgiven_ns = now_ns;
}
