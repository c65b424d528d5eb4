/* SPDX-License-Identifier: MIT */
/*
 * The pager: one thread that answers userfaultfd events of the window.
 *
 * Life of an event.  Somebody touched a page and sleeps: a vCPU inside KVM_RUN, a kworker on its
 * behalf when the local APIC is in the kernel, or a test's thread.  The pager reads the event,
 * takes LOCK_GMEM, asks stage 2 what the page is *now*, and acts on that:
 *
 *   absent, ballooned   bring it in, with others around it (bring_in.c)
 *   shared, zero        for a write, bring it home; for a read of a zero page that is not mapped,
 *                       map the page of zeroes
 *   compressed          bring it home
 *   swapped             have it read, and bring it home then
 *   otherwise           the event is late or a duplicate: count it as spurious, and see that a
 *                       private page can be written
 *
 * Then the sleeper is woken (follow_up).
 *
 * The pager sleeps in its poll and nowhere else.  A break and a read of a zero page need no credit
 * of the machine's, so they must not wait for a first touch that does.  And that touch may wait for
 * what another vCPU does next: a balloon driver that gives pages back, for example.  So an access
 * for which there is no credit goes onto a list (waiting.h).  The pager asks for credits, and tries
 * the list again, the oldest entry first, when it hears that there may be some.  While others wait,
 * each gets its page alone.  A page that has to be read from the swap file goes onto another list
 * until it is there.  If the machine denies the credits, the VM ends (on_host_failure).
 *
 * What may hold the pager up is bounded.  LOCK_GMEM is held for short changes only.  If an accessor
 * fills a block, or the keeper collapses one, the pager may wait for that (gmem_await_filled): it
 * is one block, it takes about as long as to fill one, and it waits for nothing but the host.
 *
 * Answering an event twice must do no harm.  A vCPU that is signalled while it sleeps queues its
 * event again, hundreds of times a second.  Two vCPUs may touch one page.  The accessors bring
 * pages in without any event.  So nothing is decided by what the event says, but for its address,
 * and for its word that the access was *not* a write.  Its word that it was one need not be true:
 * with the local APIC in the kernel, KVM's asynchronous page faults make every access look like a
 * write.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include "mmu/base/clock.h"
#include "gmem_internal.h"

#define BATCH 32u /* events read at once */

static void host_failure(struct gmem *gm, gfn_t gfn, int err)
{
	if (gm->host_failed)
		return;
	gm->host_failed = true;
	if (gm->config.on_host_failure)
		gm->config.on_host_failure(gm->config.ctx, gfn_to_gpa(gfn), err);
}

/* Somebody, perhaps not the pager, lost a page (backend.h). */
static void report_loss(struct gmem *gm)
{
	gfn_t lost = atomic_load(&gm->backend->lost);

	if (lost != BACKEND_NOTHING_LOST)
		host_failure(gm, lost, -ENOMEM);
}

/* If a private page is write-protected, that is left over from a merge that was called off. */
static void answer_spurious(struct gmem *gm, gfn_t gfn, bool write)
{
	struct stage2_page page;

	if (write && !stage2_lookup(gm->s2, gfn, &page) && page.state == PG_PRIVATE &&
	    page.level == 1)
		backend_protect(gm->backend, gfn, 1, false);
	backend_wake(gm->backend, gfn, 1);
}

/* As gmem_bring_in; if the page has to be loaded for that, the vCPU stalls since since_ns. */
static int bring_in(struct gmem *gm, gfn_t gfn, bool write, uint64_t since_ns, struct gfn_range *in)
{
	enum page_state state;
	int err;

	if (!gmem_loads(gm, gfn, &state))
		return gmem_bring_in(gm, gfn, write, in);
	gmem_stall_begin(gm, since_ns);
	err = gmem_bring_in(gm, gfn, write, in);
	if (!err)
		gmem_count_load(gm, state, since_ns);
	gmem_stall_end(gm);
	return err;
}

/* As bring_in; *in is empty if the event was late. */
static int resolve(struct gmem *gm, gfn_t gfn, bool write, uint64_t since_ns, struct gfn_range *in)
{
	int err = 0;

	*in = (struct gfn_range){ gfn, gfn };
	if (stage2_is_ram(gm->s2, gfn, 1))
		err = bring_in(gm, gfn, write, since_ns, in);
	if (err)
		return err;
	gmem_count_fault(gm, in);
	if (in->start == in->end)
		answer_spurious(gm, gfn, write);
	return 0;
}

/*
 * What follows from resolve(), without the lock.  Who is woken on our processor may run at once,
 * and the lock would be held until he sleeps again.
 */
static void follow_up(struct gmem *gm, gfn_t gfn, int err, const struct gfn_range *in)
{
	if (!err && in->start < in->end) {
		backend_wake(gm->backend, in->start, in->end - in->start);
		gmem_stir(gm);
	} else if (err && err != -EDQUOT && err != -EINPROGRESS)
		host_failure(gm, gfn, err);
}

/* ---- accesses that wait ---- */

/* Answer the oldest of them.  False: there is none, or it has to wait on. */
static bool answer_oldest(struct gmem *gm)
{
	struct waiting_page page;
	struct gfn_range in;
	int err;

	gmem_lock(gm, GMEM_PAGER);
	if (!waiting_take(gm, &page)) {
		gmem_unlock(gm);
		return false;
	}
	err = resolve(gm, page.gfn, page.write, page.since_ns, &in);
	if (err == -EDQUOT)
		waiting_put_back(gm, &page);
	else if (err == -EINPROGRESS)
		waiting_wait_on(gm, &page);
	else
		waiting_end(gm, &page);
	gmem_unlock(gm);
	follow_up(gm, page.gfn, err, &in);
	return !err || err == -EINPROGRESS;
}

static void answer_waiting(struct gmem *gm)
{
	while (waiting_any(&gm->waiting) && answer_oldest(gm))
		;
}

/* 0: try again; -EAGAIN: nothing waits, or the pager will be told; -EDQUOT: *gfn is denied. */
static int seek(struct gmem *gm, gfn_t *gfn)
{
	bool any;
	int err = -EAGAIN;

	gmem_lock(gm, GMEM_PAGER);
	any = waiting_any(&gm->waiting) && !gm->host_failed;
	if (any) {
		*gfn = gm->waiting.page[0].gfn;
		err = gm->waiting.page[0].untried ? 0 : gmem_seek(gm);
	}
	if (!any || err == -EDQUOT)
		gmem_stop_seeking(gm);
	gmem_unlock(gm);
	return err;
}

/* Ask for credits as long as something waits, and no longer. */
static void seek_for_waiting(struct gmem *gm)
{
	gfn_t gfn;
	int err;

	if (!waiting_any(&gm->waiting) && !atomic_load(&gm->seeking))
		return;
	while (!(err = seek(gm, &gfn)))
		answer_waiting(gm);
	if (err == -EDQUOT)
		host_failure(gm, gfn, err);
}

/* ---- events ---- */

static void violation(struct gmem *gm, gfn_t gfn, bool write, uint64_t since_ns)
{
	struct gfn_range in;
	int err;

	gmem_lock(gm, GMEM_PAGER);
	err = resolve(gm, gfn, write, since_ns, &in);
	if (err == -EDQUOT)
		waiting_add(gm, gfn, write, since_ns);
	else if (err == -EINPROGRESS)
		waiting_add_load(gm, gfn, write, since_ns);
	gmem_unlock(gm);
	follow_up(gm, gfn, err, &in);
}

/* Answer the events that are queued, at most BATCH of them.  Older accesses have credits first. */
static void serve(struct gmem *gm)
{
	struct uffd_msg msg[BATCH];
	ssize_t n = read(gm->window.uffd, msg, sizeof(msg));
	uint64_t now_ns = monotonic_ns();

	for (ssize_t i = 0; i < n / (ssize_t)sizeof(msg[0]); i++) {
		uint64_t offset = msg[i].arg.pagefault.address - (uintptr_t)gm->window.base;
		uint64_t flags = msg[i].arg.pagefault.flags;

		if (msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		answer_waiting(gm);
		violation(gm, gpa_to_gfn(offset),
			  flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP), now_ns);
	}
}

static void pager_main(void *arg)
{
	struct gmem *gm = arg;
	struct pollfd p[] = {
		{ .fd = gm->window.uffd, .events = POLLIN },
		{ .fd = gm->pager_event, .events = POLLIN },
	};
	eventfd_t count;

	if (gm->config.on_thread_start)
		gm->config.on_thread_start(gm->config.ctx);
	for (;;) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
			return;
		if (p[1].revents && eventfd_read(gm->pager_event, &count))
			continue;
		if (atomic_load(&gm->stopping))
			return;
		report_loss(gm);
		answer_waiting(gm);
		if (p[0].revents & POLLIN)
			serve(gm);
		seek_for_waiting(gm);
	}
}

/* On shadow tables there is no pager, and no event. */
void pager_news(void *gm)
{
	eventfd_write(((struct gmem *)gm)->pager_event, 1);
}

int pager_start(struct gmem *gm, struct quire_error *err)
{
	int error;

	gm->pager_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (gm->pager_event < 0)
		return quire_fail(err, -errno, "cannot create an eventfd: %s", strerror(errno));
	error = thread_start(&gm->pager, "pager", pager_main, gm);
	if (!error)
		return 0;
	close(gm->pager_event);
	gm->pager_event = -1;
	return quire_fail(err, error, "cannot start the pager thread: %s", strerror(-error));
}

/* The eventfd is closed when nobody can write news to it. */
void pager_stop(struct gmem *gm)
{
	atomic_store(&gm->stopping, true);
	pager_news(gm);
	thread_join(&gm->pager);
	gmem_lock(gm, GMEM_PAGER);
	gmem_stop_seeking(gm);
	gmem_unlock(gm);
	close(gm->pager_event);
	gm->pager_event = -1;
}
