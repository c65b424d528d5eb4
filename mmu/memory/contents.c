/* SPDX-License-Identifier: MIT */
/*
 * What is in a page.
 *
 * A private page is shown in the window, as the guest has it mapped.  It exists, so that raises no
 * event; to read it through the alias would map it there too, one more entry to make and to take
 * away again.  It is copied, and written, through the alias: that works whatever KVM can or cannot
 * do in the window just now.  What leaves is read by a system call.
 */
#include <errno.h>
#include <string.h>
#include "away.h"
#include "contents.h"
#include "ramfile.h"

/* --- words ------------------------------------------------------------------------------- */

/* What a processor reads and writes at once.  memcpy() may take it in parts, and glibc's does. */
static bool is_word(const void *at, size_t bytes)
{
	return (bytes == 2 || bytes == 4 || bytes == 8) && (uintptr_t)at % bytes == 0;
}

static void load_word(void *to, const void *at, size_t bytes)
{
	uint64_t word;

	switch (bytes) {
	case 2: word = __atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED); break;
	case 4: word = __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED); break;
	default: word = __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED); break;
	}
	memcpy(to, &word, bytes);
}

static void store_word(void *at, const void *from, size_t bytes)
{
	uint64_t word = 0;

	memcpy(&word, from, bytes);
	switch (bytes) {
	case 2: __atomic_store_n((uint16_t *)at, (uint16_t)word, __ATOMIC_RELAXED); break;
	case 4: __atomic_store_n((uint32_t *)at, (uint32_t)word, __ATOMIC_RELAXED); break;
	default: __atomic_store_n((uint64_t *)at, word, __ATOMIC_RELAXED); break;
	}
}

/* --- any page ---------------------------------------------------------------------------- */

int contents_show(const struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page,
		  const struct page_look *look)
{
	const struct away_provider *provider = away_providers[page->state];
	int ret = 0;

	assert_held(&gm->lock);
	if (page_states[page->state].resident)
		return look->fn(look->ctx, 0, nr, gm->window.base + gfn_to_gpa(gfn));
	if (provider && provider->show)
		return provider->show(gm, page, nr, look);
	for (uint64_t i = 0; i < nr && !ret; i++)
		ret = look->fn(look->ctx, i, 1, zero_page);
	return ret;
}

struct copy {
	uint8_t *to;
	uint64_t offset; /* in the next part */
	size_t left;
};

static int copy_part(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes)
{
	struct copy *copy = ctx;
	size_t part = min_u64(copy->left, (nr << QUIRE_PAGE_SHIFT) - copy->offset);

	(void)first;
	memcpy(copy->to, bytes + copy->offset, part);
	copy->to += part;
	copy->left -= part;
	copy->offset = 0;
	return 0;
}

void contents_copy(const struct gmem *gm, gfn_t gfn, const struct stage2_page *page,
		   uint64_t offset, void *to, size_t bytes)
{
	struct copy copy = { to, offset, bytes };
	uint64_t nr = align_up(offset + bytes, QUIRE_PAGE_SIZE) >> QUIRE_PAGE_SHIFT;
	const uint8_t *at = gm->window.alias + gfn_to_gpa(gfn) + offset;

	assert_held(&gm->lock);
	if (page_states[page->state].resident && is_word(at, bytes))
		load_word(to, at, bytes);
	else if (page_states[page->state].resident)
		memcpy(to, at, bytes);
	else
		contents_show(gm, gfn, nr, page, &(struct page_look){ copy_part, &copy });
}

static int copy_page(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes)
{
	(void)first;
	(void)nr;
	memcpy(ctx, bytes, QUIRE_PAGE_SIZE);
	return 0;
}

int contents_read(const struct gmem *gm, gfn_t gfn, const struct stage2_page *page, uint8_t *bytes)
{
	assert_held(&gm->lock);
	if (page_states[page->state].resident)
		return window_read(&gm->window, gfn, bytes);
	return contents_show(gm, gfn, 1, page, &(struct page_look){ copy_page, bytes });
}

struct comparison {
	const struct gmem *gm;
	const struct stage2_page *other;
	const uint8_t *bytes; /* of the page that is compared with it */
};

static int look_at_other(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes)
{
	const struct comparison *c = ctx;

	(void)first;
	(void)nr;
	return memcmp(c->bytes, bytes, QUIRE_PAGE_SIZE) != 0;
}

static int look_at_page(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes)
{
	struct comparison *c = ctx;

	(void)first;
	(void)nr;
	c->bytes = bytes;
	return contents_show(c->gm, 0, 1, c->other, &(struct page_look){ look_at_other, c });
}

bool contents_same(const struct gmem *gm, gfn_t gfn, const struct stage2_page *page,
		   const struct stage2_page *other)
{
	struct comparison c = { gm, other, NULL };

	return !contents_show(gm, gfn, 1, page, &(struct page_look){ look_at_page, &c });
}

struct way_home {
	struct gmem *gm;
	gfn_t gfn;
};

static int take_part_home(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes)
{
	const struct way_home *way = ctx;

	return window_write(&way->gm->window, way->gfn + first, nr, bytes);
}

int contents_take_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page)
{
	struct way_home way = { gm, gfn };
	int err = contents_show(gm, gfn, nr, page, &(struct page_look){ take_part_home, &way });

	if (err)
		ramfile_punch(gm->window.ram_fd, gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT);
	return err;
}

/* --- private pages ----------------------------------------------------------------------- */

void contents_write(struct gmem *gm, gpa_t gpa, const void *from, size_t bytes)
{
	uint8_t *at = gm->window.alias + gpa;

	assert_held(&gm->lock);
	if (is_word(at, bytes))
		store_word(at, from, bytes);
	else
		memcpy(at, from, bytes);
}

void contents_exchange(struct gmem *gm, gpa_t gpa, uint64_t old[2], const uint64_t new[2])
{
	uint64_t *to = (uint64_t *)(gm->window.alias + gpa);

	assert_held(&gm->lock);
	__asm__ volatile("lock cmpxchg16b %0"
			 : "+m"(*(uint64_t(*)[2])to), "+a"(old[0]), "+d"(old[1])
			 : "b"(new[0]), "c"(new[1])
			 : "cc", "memory");
}

int contents_set_bits(struct gmem *gm, gpa_t gpa, unsigned int bytes, uint64_t value, uint64_t bits)
{
	void *entry = gm->window.alias + gpa;
	uint32_t low = value;
	bool same;

	assert_held(&gm->lock);
	if (bytes == sizeof(low))
		same = __atomic_compare_exchange_n((uint32_t *)entry, &low, low | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	else
		same = __atomic_compare_exchange_n((uint64_t *)entry, &value, value | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return same ? 0 : -EAGAIN;
}
