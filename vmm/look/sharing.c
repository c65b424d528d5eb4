/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ctl_client.h"
#include "sharing.h"

#define PATIENCE_S 1

/* A frame that is asked about. */
struct wanted {
	struct gmem_frame frame;
	uint64_t page;	 /* of the range */
	uint16_t owners; /* so far */
	bool counted;	 /* this VM is among them */
};

struct count {
	struct wanted *frame; /* sorted */
	size_t nr;
};

static int compare(const struct gmem_frame *a, const struct gmem_frame *b)
{
	if (a->segment != b->segment)
		return a->segment < b->segment ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

static int compare_wanted(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	return compare(&x->frame, &y->frame);
}

/* ---- asking a VM ---- */

typedef void run_fn(struct count *c, const struct gmem_shared_run *run, gfn_t gfn, uint64_t pages);

/* Call fn for each run of shared pages of the VM from gfn on; it ends when a run is behind them. */
static int each_run(const char *name, uint32_t pid, gfn_t gfn, uint64_t pages, run_fn *fn,
		    struct count *c, struct quire_error *err)
{
	struct gmem_shared_run *run = malloc(CTL_MAX_RUNS * sizeof(*run));
	int fd = run ? ctl_open(name, PATIENCE_S) : -ENOMEM, code = fd < 0 ? fd : 0;
	gfn_t next = gfn, end = gfn + pages;
	unsigned int nr = CTL_MAX_RUNS;
	struct ucred peer;

	if (!code && (ctl_peer(fd, &peer) || (uint32_t)peer.pid != pid))
		code = -ECONNRESET;
	if (code)
		quire_fail(err, code, "VM %s does not answer", name);
	while (!code && nr == CTL_MAX_RUNS && next < end) {
		code = ctl_get_frames(fd, next, run, &nr, err);
		for (unsigned int i = 0; i < nr && !code; i++) {
			fn(c, &run[i], gfn, pages);
			next = run[i].gfn + run[i].nr;
		}
	}
	if (fd >= 0)
		close(fd);
	free(run);
	return code;
}

/* ---- what is asked about ---- */

/* c->frame has room for a frame of each page of the range. */
static void want(struct count *c, const struct gmem_shared_run *run, gfn_t gfn, uint64_t pages)
{
	for (uint64_t i = 0; i < run->nr && run->gfn + i < gfn + pages; i++)
		c->frame[c->nr++] = (struct wanted){
			.frame = { run->frame.segment, run->frame.index + i },
			.page = run->gfn + i - gfn,
		};
}

/* The first frame that is asked about and not before this one. */
static size_t at_or_after(const struct count *c, const struct gmem_frame *frame)
{
	size_t low = 0, high = c->nr;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare(&c->frame[middle].frame, frame) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void note(struct count *c, const struct gmem_shared_run *run, gfn_t gfn, uint64_t pages)
{
	(void)gfn;
	(void)pages;
	for (size_t i = at_or_after(c, &run->frame); i < c->nr; i++) {
		struct wanted *wanted = &c->frame[i];

		if (wanted->frame.segment != run->frame.segment ||
		    wanted->frame.index >= run->frame.index + run->nr)
			return;
		wanted->owners += !wanted->counted;
		wanted->counted = true;
	}
}

/* A VM counts once for a frame, however many of its pages have it. */
static void ask(struct count *c, const struct roster_vm *vm)
{
	for (size_t i = 0; i < c->nr; i++)
		c->frame[i].counted = false;
	each_run(vm->name, vm->pid, 0, UINT64_MAX, note, c, NULL);
}

static bool is_in_domain(const struct roster_vm *a, const struct roster_vm *b)
{
	return a->pid == b->pid ||
	       (b->answers && *b->info.domain && a->machine == b->machine && a->id && b->id &&
		!strncmp(a->info.domain, b->info.domain, sizeof(a->info.domain)));
}

int sharing_count(const struct roster *r, const struct roster_vm *vm, gfn_t gfn, uint64_t nr,
		  uint16_t *owners, struct quire_error *err)
{
	struct count c = { .frame = calloc(nr + 1, sizeof(*c.frame)) };
	int code = c.frame ? 0 : quire_fail(err, -ENOMEM, "no memory for %" PRIu64 " pages", nr);

	memset(owners, 0, nr * sizeof(*owners));
	if (!code)
		code = each_run(vm->name, vm->pid, gfn, nr, want, &c, err);
	if (!code)
		qsort(c.frame, c.nr, sizeof(*c.frame), compare_wanted);
	for (unsigned int i = 0; i < r->nr_vms && !code && c.nr; i++)
		if (is_in_domain(vm, &r->vm[i]))
			ask(&c, &r->vm[i]);
	for (size_t i = 0; i < c.nr && !code; i++)
		owners[c.frame[i].page] = c.frame[i].owners;
	free(c.frame);
	return code;
}
