/* SPDX-License-Identifier: MIT */
/*
 * Faults of a guest on shadow tables.
 *
 * The vCPU's own thread brings them.  What the window's pager does for all, it does here for
 * itself: look, bring in what is missing, wait for credits without the lock, and look again.
 */
#include <errno.h>
#include <string.h>
#include "mmu/base/clock.h"
#include "gmem_internal.h"

#define TRIES 16u /* while the guest's other processors change its tables */

static int wait_for_credits(struct gmem *gm)
{
	uint64_t since = monotonic_ns();
	int err;

	if (!gm->vcpus_waiting++)
		gm->vcpus_waiting_since = since;
	gmem_stall_begin(gm, since);
	gmem_unlock(gm);
	err = gmem_wait(gm);
	gmem_lock(gm, GMEM_PAGER);
	gm->vcpus_waiting--;
	waiting_count(gm, since);
	gmem_stall_end(gm);
	return err;
}

static int wait_for_load(struct gmem *gm)
{
	gmem_stall_begin(gm, monotonic_ns());
	swapped_await(gm);
	gmem_stall_end(gm);
	return 0;
}

/* As gmem_bring_in, of a page that has to be loaded.  What this thread uses is no guest's work. */
static int load(struct gmem *gm, gfn_t gfn, bool write, struct gfn_range *in)
{
	uint64_t used = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	int err;

	gmem_stall_begin(gm, monotonic_ns());
	err = gmem_bring_in(gm, gfn, write, in);
	gm->stalled_cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - used;
	gmem_stall_end(gm);
	return err;
}

/* A fault that is being answered. */
struct fault {
	uint64_t since_ns; /* when the page that it needs now was first missed; 0: not yet */
	bool came;	   /* something came in */
};

/* LOCK_GMEM may be dropped meanwhile.  0: try again; or -errno: it cannot come in. */
static int bring_in(struct gmem *gm, gpa_t gpa, bool write, struct fault *f)
{
	gfn_t gfn = gpa_to_gfn(gpa);
	enum page_state state;
	bool loads = gmem_loads(gm, gfn, &state);
	struct gfn_range in;
	int err;

	f->since_ns = f->since_ns ? f->since_ns : monotonic_ns();
	err = loads ? load(gm, gfn, write, &in) : gmem_bring_in(gm, gfn, write, &in);
	if (err == -EDQUOT)
		return wait_for_credits(gm);
	if (err == -EINPROGRESS)
		return wait_for_load(gm);
	if (err)
		return err;
	if (loads)
		gmem_count_load(gm, state, f->since_ns);
	gmem_count_fault(gm, &in);
	*f = (struct fault){ .came = true };
	return 0;
}

int gmem_shadow_fault(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
		      struct walk_access access, struct walk_result *res)
{
	struct shadow *s = gm->shadow.shadow;
	struct fault f = { 0 };
	unsigned int tries = 0;
	int answer;

	gmem_lock(gm, GMEM_PAGER);
	for (;;) {
		gmem_await_filled(gm, 0, UINT64_MAX);
		answer = shadow_fault(s, cpu, gva, access, res);
		if (answer == SHADOW_NEEDS_PAGE)
			answer = bring_in(gm, res->gpa, res->qualification & PT_PERM_W, &f);
		else if (answer == SHADOW_AGAIN && ++tries < TRIES)
			answer = 0;
		else
			break;
		shadow_flush(s);
		if (answer) {
			gmem_fail(gm, res->gpa, answer);
			break;
		}
	}
	shadow_flush(s);
	gmem_unlock(gm);
	if (f.came)
		gmem_stir(gm);
	/* The guest tries again, and faults again. */
	return answer == SHADOW_AGAIN ? SHADOW_MAPPED : answer;
}

/* There is always a page after a flush: only those in use by other processors are kept. */
maddr_t gmem_shadow_root(struct gmem *gm, unsigned int vcpu, maddr_t now,
			 const struct walk_cpu *cpu, bool user)
{
	maddr_t root;

	gmem_lock(gm, GMEM_PAGER);
	while (!(root = shadow_root(gm->shadow.shadow, vcpu, now, cpu, user)))
		shadow_flush(gm->shadow.shadow);
	gmem_unlock(gm);
	return root;
}

void gmem_shadow_invlpg(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva)
{
	gmem_lock(gm, GMEM_PAGER);
	gmem_await_filled(gm, 0, UINT64_MAX);
	shadow_invlpg(gm->shadow.shadow, cpu, gva);
	shadow_flush(gm->shadow.shadow);
	gmem_unlock(gm);
}

void gmem_shadow_resync(struct gmem *gm)
{
	gmem_lock(gm, GMEM_PAGER);
	gmem_await_filled(gm, 0, UINT64_MAX);
	shadow_resync(gm->shadow.shadow);
	shadow_flush(gm->shadow.shadow);
	gmem_unlock(gm);
}

void gmem_shadow_stats(struct gmem *gm, struct shadow_stats *out)
{
	memset(out, 0, sizeof(*out));
	if (!gm->shadow.shadow)
		return;
	gmem_lock(gm, GMEM_LOOK);
	shadow_stats(gm->shadow.shadow, out);
	gmem_unlock(gm);
}
