/* SPDX-License-Identifier: MIT */
#include "pages.h"

void fill_text(uint64_t *page, uint64_t number)
{
	uint64_t seed = number;

	for (unsigned int i = 0; i < QUIRE_PAGE_SIZE / sizeof(*page); i++)
		page[i] = i % 16 ? number + i / 64 : tap_random(&seed);
}

void fill_random(uint64_t *page, uint64_t number)
{
	for (unsigned int i = 0; i < QUIRE_PAGE_SIZE / sizeof(*page); i++)
		page[i] = tap_random(&number);
}

void fill(gfn_t gfn, uint64_t nr, fill_fn *with)
{
	for (uint64_t i = 0; i < nr; i++)
		with((uint64_t *)hva(gfn + i), gfn + i);
}

uint64_t wrong(gfn_t gfn, uint64_t nr, fill_fn *with, bool guest)
{
	uint64_t want[QUIRE_PAGE_SIZE / 8], got[QUIRE_PAGE_SIZE / 8], sum = 0;

	for (uint64_t i = 0; i < nr; i++) {
		with(want, gfn + i);
		if (guest)
			memcpy(got, hva(gfn + i), sizeof(got));
		else
			guest_read(gm, gfn_to_gpa(gfn + i), got, sizeof(got));
		sum += memcmp(got, want, sizeof(want)) != 0;
	}
	return sum;
}

void is_sound(const char *when)
{
	is(gmem_audit(gm, describe, NULL), 0, "the audit finds nothing %s%s", when, guest_kind());
}
