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
 *   otherwise           the event is late or a duplicate: count it as spurious, and see that a
 *                       private page can be written
 *
 * All of these wake the sleeper.
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

/* If a private page is write-protected, that is left over from a merge that was called off. */
static void answer_spurious(struct gmem *gm, gfn_t gfn, uint64_t flags)
{
	struct stage2_page page;

	if ((flags & UFFD_PAGEFAULT_FLAG_WP) && !stage2_lookup(gm->s2, gfn, &page) &&
	    page.state == PG_PRIVATE)
		backend_protect(gm->backend, gfn, 1, false);
	backend_wake(gm->backend, gfn, 1);
}

/* As gmem_bring_in; *in is empty if the event was late. */
static int resolve(struct gmem *gm, gfn_t gfn, uint64_t flags, struct gfn_range *in)
{
	bool write = flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
	int err = 0;

	*in = (struct gfn_range){ gfn, gfn };
	if (stage2_is_ram(gm->s2, gfn, 1))
		err = gmem_bring_in(gm, gfn, write, in);
	if (err)
		return err;
	gm->stats.faults++;
	if (in->start == in->end) {
		gm->stats.faults_spurious++;
		answer_spurious(gm, gfn, flags);
	}
	gm->stats.faulted_in_pages += in->end - in->start;
	gm->stats.faulted_in_blocks += in->end - in->start == QUIRE_BLOCK_PAGES;
	return 0;
}

/* Pages came in or home: the guest is active again, which a dozing keeper wants to know. */
static void stir(struct share *share)
{
	if (atomic_load(&share->still) && atomic_exchange(&share->still, false))
		share->stir(share->stir_ctx);
}

static void violation(struct gmem *gm, gfn_t gfn, uint64_t flags)
{
	struct gfn_range in;
	int err;

	do {
		gmem_lock(gm, GMEM_PAGER);
		err = resolve(gm, gfn, flags, &in);
		gmem_unlock(gm);
	} while (err == -EDQUOT && !(err = gmem_wait(gm)));
	if (err)
		host_failure(gm, gfn, err);
	else if (in.start < in.end)
		stir(&gm->share);
}

/* Answer the events that are queued, at most BATCH of them. */
static void serve(struct gmem *gm)
{
	struct uffd_msg msg[BATCH];
	ssize_t n = read(gm->window.uffd, msg, sizeof(msg));

	for (ssize_t i = 0; i < n / (ssize_t)sizeof(msg[0]); i++) {
		uint64_t offset = msg[i].arg.pagefault.address - (uintptr_t)gm->window.base;

		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			violation(gm, gpa_to_gfn(offset), msg[i].arg.pagefault.flags);
	}
}

static void pager_main(void *arg)
{
	struct gmem *gm = arg;
	struct pollfd p[] = {
		{ .fd = gm->window.uffd, .events = POLLIN },
		{ .fd = gm->stop_event, .events = POLLIN },
	};

	if (gm->config.on_thread_start)
		gm->config.on_thread_start(gm->config.ctx);
	for (;;) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
			return;
		if (p[1].revents)
			return;
		if (p[0].revents & POLLIN)
			serve(gm);
	}
}

int pager_start(struct gmem *gm, struct quire_error *err)
{
	int error;

	gm->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (gm->stop_event < 0)
		return quire_fail(err, -errno, "cannot create an eventfd: %s", strerror(errno));
	error = thread_start(&gm->pager, "pager", pager_main, gm);
	if (!error)
		return 0;
	close(gm->stop_event);
	return quire_fail(err, error, "cannot start the pager thread: %s", strerror(-error));
}

void pager_stop(struct gmem *gm)
{
	eventfd_write(gm->stop_event, 1);
	thread_join(&gm->pager);
	close(gm->stop_event);
}
