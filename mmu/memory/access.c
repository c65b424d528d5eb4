/* SPDX-License-Identifier: MIT */
/*
 * The accessors: how the VMM itself reads and writes guest memory.
 *
 * A copy is made under LOCK_GMEM, so that no page can be given back in the middle of it.  A guest
 * that writes at the same moment races with it, as two processors would: words stay whole.
 */
#include <errno.h>
#include <string.h>
#include "mmu/base/clock.h"
#include "contents.h"
#include "gmem_internal.h"

/* --- the accessors ----------------------------------------------------------------------- */

/* Is [gpa, gpa + len) RAM?  If it is empty: is gpa? */
static bool range_is_ram(const struct gmem *gm, gpa_t gpa, size_t len)
{
	gpa_t last = gpa + (len ? len - 1 : 0);

	return last >= gpa &&
	       stage2_is_ram(gm->s2, gpa_to_gfn(gpa), gpa_to_gfn(last) - gpa_to_gfn(gpa) + 1);
}

/*
 * Read the beginning of [gpa, gpa + len), which is not empty.  Returns how many bytes: as many as
 * lie in one run, or in one page if it is swapped; or as swapped_fetch.
 */
static ssize_t read_part(struct gmem *gm, gpa_t gpa, void *to, size_t len)
{
	gfn_t gfn = gpa_to_gfn(gpa), end = gpa_to_gfn(gpa + len - 1) + 1;
	struct stage2_page page;
	uint64_t nr;
	int err = 0;

	gmem_await_filled(gm, gfn, end);
	nr = stage2_linear_run(gm->s2, gfn, end, &page);
	if (page.state == PG_SWAPPED) {
		err = swapped_fetch(gm, gfn, nr);
		nr = 1;
	}
	if (err)
		return err;
	len = min_u64(len, gfn_to_gpa(gfn + nr) - gpa);
	contents_copy(gm, gfn, &page, gpa % QUIRE_PAGE_SIZE, to, len);
	return (ssize_t)len;
}

int guest_read(struct gmem *gm, gpa_t gpa, void *buf, size_t len)
{
	size_t done = 0;
	ssize_t part = 0;

	if (!range_is_ram(gm, gpa, len))
		return -EFAULT;
	gmem_lock(gm, GMEM_ACCESS);
	while (done < len) {
		part = read_part(gm, gpa + done, (uint8_t *)buf + done, len - done);
		if (part > 0)
			done += (size_t)part;
		else if (part == -EINPROGRESS)
			swapped_await(gm);
		else
			break;
	}
	if (part < 0)
		gmem_fail(gm, gpa + done, (int)part);
	gmem_unlock(gm);
	return part < 0 ? (int)part : 0;
}

ssize_t guest_peek(struct gmem *gm, gpa_t gpa, void *buf, size_t len, uint64_t until_ns)
{
	size_t done = 0;
	ssize_t part = 0;

	if (!range_is_ram(gm, gpa, len))
		return -EFAULT;
	gmem_lock(gm, GMEM_LOOK);
	while (done < len) {
		part = read_part(gm, gpa + done, (uint8_t *)buf + done, len - done);
		if (part > 0)
			done += (size_t)part;
		else if (part != -EINPROGRESS || swapped_await_until(gm, until_ns))
			break;
	}
	gmem_unlock(gm);
	return done || !len ? (ssize_t)done : part;
}

/* The first page of [gfn, end) that is not private, or end. */
static gfn_t first_not_private(const struct gmem *gm, gfn_t gfn, gfn_t end)
{
	while (gfn < end) {
		enum page_state state;
		uint64_t nr = stage2_run(gm->s2, gfn, end, &state);

		if (state != PG_PRIVATE)
			return gfn;
		gfn += nr;
	}
	return end;
}

static int wait_for_credits(struct gmem *gm)
{
	uint64_t since = monotonic_ns();
	int err;

	gmem_unlock(gm);
	err = gmem_wait(gm);
	gmem_lock(gm, GMEM_ACCESS);
	waiting_count(gm, since);
	return err;
}

static int wait_for_load(struct gmem *gm)
{
	swapped_await(gm);
	return 0;
}

/*
 * Make the pages of [start, end) private, and note them as written.  If credits are short, wait for
 * them.  LOCK_GMEM is held, but may be dropped meanwhile, and then pages may go again: so this
 * looks at all of them anew each time.
 */
static int bring_in_for_access(struct gmem *gm, gfn_t start, gfn_t end)
{
	gfn_t gfn;

	while ((gfn = first_not_private(gm, start, end)) < end) {
		struct gfn_range in;
		int err = gmem_bring_in(gm, gfn, true, &in);

		gm->stats.accessor_pages += err ? 0 : in.end - in.start;
		if (err == -EDQUOT)
			err = wait_for_credits(gm);
		else if (err == -EINPROGRESS)
			err = wait_for_load(gm);
		else if (err == -EIO || err == -EBADMSG)
			gmem_fail(gm, gfn_to_gpa(gfn), err);
		if (err)
			return err;
	}
	share_note_written(gm, start, end - start);
	backend_changed(gm->backend, start, end - start);
	return 0;
}

int guest_write(struct gmem *gm, gpa_t gpa, const void *buf, size_t len)
{
	int err;

	if (!range_is_ram(gm, gpa, len))
		return -EFAULT;
	if (len == 0)
		return 0;
	gmem_lock(gm, GMEM_ACCESS);
	err = bring_in_for_access(gm, gpa_to_gfn(gpa), gpa_to_gfn(gpa + len - 1) + 1);
	if (!err)
		contents_write(gm, gpa, buf, len);
	gmem_unlock(gm);
	return err;
}

int guest_exchange(struct gmem *gm, gpa_t gpa, uint64_t old[2], const uint64_t new[2])
{
	gfn_t gfn = gpa_to_gfn(gpa);
	int err;

	if (!range_is_ram(gm, gpa, 2 * sizeof(*old)))
		return -EFAULT;
	gmem_lock(gm, GMEM_ACCESS);
	err = bring_in_for_access(gm, gfn, gfn + 1);
	if (!err)
		contents_exchange(gm, gpa, old, new);
	gmem_unlock(gm);
	return err;
}

/* --- held pages -------------------------------------------------------------------------- */

static struct gfn_range pages_of(gpa_t gpa, size_t len)
{
	return (struct gfn_range){ gpa_to_gfn(gpa), gpa_to_gfn(gpa + len - 1) + 1 };
}

int gmem_hold(struct gmem *gm, gpa_t gpa, size_t len)
{
	struct gfn_range range = pages_of(gpa, len);
	int err;

	if (len == 0 || !range_is_ram(gm, gpa, len))
		return -EFAULT;
	gmem_lock(gm, GMEM_ACCESS);
	err = bring_in_for_access(gm, range.start, range.end);
	if (!err && gm->nr_held == GMEM_MAX_HELD)
		err = -ENOSPC;
	if (!err)
		gm->held[gm->nr_held++] = range;
	gmem_unlock(gm);
	return err;
}

void gmem_release(struct gmem *gm, gpa_t gpa, size_t len)
{
	struct gfn_range range = pages_of(gpa, len);
	unsigned int i = 0;

	gmem_lock(gm, GMEM_ACCESS);
	while (i < gm->nr_held && memcmp(&gm->held[i], &range, sizeof(range)))
		i++;
	assert(i < gm->nr_held);
	gm->held[i] = gm->held[--gm->nr_held];
	gmem_unlock(gm);
}

bool gmem_is_held(const struct gmem *gm, gfn_t gfn, uint64_t *nr)
{
	gfn_t next = gfn + *nr, end = gfn;

	for (unsigned int i = 0; i < gm->nr_held; i++) {
		const struct gfn_range *held = &gm->held[i];

		if (held->start <= gfn && gfn < held->end)
			end = max_u64(end, held->end);
		else if (held->start > gfn)
			next = min_u64(next, held->start);
	}
	*nr = end > gfn ? min_u64(end - gfn, *nr) : next - gfn;
	return end > gfn;
}

/* --- the 2D walk ------------------------------------------------------------------------- */

/* Which page has frame pfn?  False: there is no such frame. */
static bool page_of_frame(const struct gmem *gm, pfn_t pfn, struct stage2_page *page)
{
	if (pfn < STAGE2_STORE_PFN)
		return !stage2_lookup(gm->s2, pfn, page) && page->state == PG_PRIVATE;
	*page = (struct stage2_page){
		.state = pfn == STAGE2_ZERO_PFN ? PG_ZERO : PG_SHARED,
		.level = 1,
		.mapped = true,
		.pfn = pfn,
	};
	return pfn <= STAGE2_ZERO_PFN;
}

static int read_machine(void *ctx, maddr_t addr, unsigned int bytes, uint64_t *value)
{
	pfn_t pfn = addr >> QUIRE_PAGE_SHIFT;
	struct stage2_page page;

	*value = 0;
	if (!page_of_frame(ctx, pfn, &page))
		return -EFAULT;
	contents_copy(ctx, pfn, &page, addr % QUIRE_PAGE_SIZE, value, bytes);
	return 0;
}

/* The walk sets bits only in pages that stage 2 lets it write: private ones. */
static int set_bits_machine(void *ctx, maddr_t addr, unsigned int bytes, uint64_t value,
			    uint64_t bits)
{
	if (!range_is_ram(ctx, addr, bytes))
		return -EFAULT;
	share_note_written(ctx, gpa_to_gfn(addr), 1);
	return contents_set_bits(ctx, addr, bytes, value, bits);
}

struct walk_stage2 gmem_walk_stage2(struct gmem *gm)
{
	return (struct walk_stage2){
		.format = &ept4_format,
		.rules = stage2_rules,
		.root = stage2_root(gm->s2),
		.read = stage2_read_entry,
		.ctx = gm->s2,
	};
}

struct walk_memory gmem_walk_memory(struct gmem *gm)
{
	return (struct walk_memory){
		.read = read_machine,
		.set_bits = set_bits_machine,
		.ctx = gm,
	};
}

/* LOCK_GMEM is held. */
static enum walk_outcome walk(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			      struct walk_access access, struct walk_result *res)
{
	const struct walk_stage2 s2 = gmem_walk_stage2(gm);
	const struct walk_memory mem = gmem_walk_memory(gm);

	gmem_await_filled(gm, 0, UINT64_MAX);
	return walk_2d(cpu, &s2, &mem, gva, access, res);
}

enum walk_outcome gmem_walk(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res)
{
	enum walk_outcome outcome;

	gmem_lock(gm, GMEM_ACCESS);
	outcome = walk(gm, cpu, gva, access, res);
	gmem_unlock(gm);
	return outcome;
}

enum walk_outcome gmem_look(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res,
			    struct shadow_look *look)
{
	enum walk_outcome outcome;

	gmem_lock(gm, GMEM_LOOK);
	outcome = walk(gm, cpu, gva, access, res);
	memset(look, 0, sizeof(*look));
	if (gm->shadow.shadow)
		shadow_look(gm->shadow.shadow, cpu, access.user, gva, res, look);
	gmem_unlock(gm);
	return outcome;
}
