/* SPDX-License-Identifier: MIT */
/*
 * The kernel has no memory for its own tables when a page has just been mapped home.  No byte may
 * be wrong, and the VM is told to end, whoever brought the page home.
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include "share_lab.h"
#include "mmu/memory/away.h"
#include "mmu/memory/zero.h"

#define FIRST 100u
#define MANY  8u

static atomic_bool refusing; /* the kernel refuses to register */
static atomic_uint told;
static atomic_ulong told_gpa;

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == UFFDIO_REGISTER && atomic_load(&refusing)) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

static void on_failure(void *ctx, gpa_t gpa, int err)
{
	(void)ctx;
	atomic_store(&told_gpa, gpa);
	atomic_fetch_add(&told, err == -ENOMEM ? 1 : 100);
}

/* Pages FIRST.. are shared, and have content 1 and on. */
static void begin(void)
{
	struct share_run run = { FIRST, MANY, PG_SHARED, frame_of(1) };
	struct share_result res = { 0 };

	atomic_store(&told, 0);
	create_with((struct gmem_config){ .hugepages = GMEM_HUGE_NEVER,
					  .on_host_failure = on_failure });
	for (unsigned int i = 0; i < MANY; i++)
		fill_page((uint64_t *)hva(FIRST + i), 1 + i);
	gmem_lock(gm, GMEM_LOOK);
	share_commit(gm, &run, &res);
	gmem_unlock(gm);
	is(res.merged, MANY, "pages are shared");
	atomic_store(&refusing, true);
}

static void end(const char *who)
{
	uint64_t want[QUIRE_PAGE_SIZE / sizeof(uint64_t)];
	bool right = true;

	while (!atomic_load(&told))
		usleep(1000);
	atomic_store(&refusing, false);
	for (unsigned int i = 0; i < MANY; i++) {
		fill_page(want, 1 + i);
		want[0] = *(uint64_t *)hva(FIRST + i) == 1 ? 1 : want[0];
		right &= !memcmp(hva(FIRST + i), want, sizeof(want));
	}
	ok(right, "%s: every byte is right", who);
	/* The pager looks around again, and says no more. */
	gmem_lock(gm, GMEM_LOOK);
	gmem_unlock(gm);
	gmem_destroy(gm);
	is(atomic_load(&told), 1, "... and it was said once that the VM has to end");
	is(atomic_load(&told_gpa), gfn_to_gpa(FIRST + 3), "... because of that page");
}

static void test_writer(void)
{
	begin();
	*(volatile uint64_t *)hva(FIRST + 3) = 1;
	end("a guest that writes");
}

static void test_keeper(void)
{
	begin();
	gmem_lock(gm, GMEM_KEEPER);
	is(away_bring_home(gm, FIRST + 3, 2), 0, "the keeper brings two pages home");
	gmem_unlock(gm);
	end("a keeper that undoes");
}

int main(void)
{
	tap_init();
	make_segment();
	test_writer();
	test_keeper();
	return tap_done();
}
