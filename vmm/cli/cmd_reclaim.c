/* SPDX-License-Identifier: MIT */
/*
 * quire reclaim: compress what guests do not use, or swap it out.
 *
 * What is idle is found by waiting: each VM forgets what its guest has touched, the command waits,
 * and then the VM compresses, or swaps out, what was not touched again.  All VMs wait at the same
 * time.  Each request names a small part of RAM, so that no VM is held up for long.
 *
 * Each failure is one line, and one failure is enough for the status.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/look/ctl_client.h"
#include "mmu/base/clock.h"
#include "vmm/look/named.h"
#include "vmm/print/table.h"

#define STATUS_TOO_LITTLE 1

const char reclaim_usage[] =
	"usage: quire reclaim [OPTION...] VM...\n"
	"       quire reclaim [OPTION...] --all\n"
	"\n"
	"Compresses memory of guests that they have not touched for a while, or swaps it out,\n"
	"and says what became free.  It comes back page by page when the guest touches it, and\n"
	"the guest notices nothing but the time that this takes.\n" USAGE_VMS "\n"
	"  --to=pool|swap  pool: it is compressed (default).  swap: it goes to the guest's swap\n"
	"                  file (quire run --swap-dir), and compressed pages go there, too\n"
	"  --idle=SECONDS  what was not touched for so long (default: 1).  The command waits for\n"
	"                  it, once for all guests.  With 0 all memory goes that can\n"
	"  --size=SIZE     no more of each guest than so much becomes free (default: all that\n"
	"                  can)\n"
	"  --all           all guests of this user; for root, those of all users\n"
	"\n"
	"Exit status: 0; 1 less than --size became free; 2 wrong usage; 121 a VM does not exist,\n"
	"does not answer, or ended meanwhile although it was named.\n";

struct reclaim_options {
	bool all, swap;
	uint64_t idle_ns;
	uint64_t pages; /* UINT64_MAX: no --size */
};

struct subject {
	struct named_vm vm;
	int fd; /* -1: it has failed, or gone */
	struct ctl_info info;
};

struct request {
	struct reclaim_options opt;
	struct subject *subject;
	unsigned int nr;
	int status;
};

static void complain(struct request *r, const char *text)
{
	fprintf(stderr, "quire reclaim: %s\n", text);
	r->status = QUIRE_STATUS_HOST;
}

static void lose(struct request *r, struct subject *s, int code, const struct quire_error *why)
{
	char text[sizeof(why->text) + VM_NAME_MAX + 3];

	snprintf(text, sizeof(text), "%s: %s", s->vm.name, why->text);
	if (s->vm.alone || (code != -ECONNRESET && code != -ECONNREFUSED))
		complain(r, text);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* ---- who is meant ---- */

static int parse_idle(const char *text, void *value, struct quire_error *err)
{
	return strcmp(text, "0") ? parse_seconds(text, value, err) : (*(uint64_t *)value = 0, 0);
}

static int parse_to(const char *text, void *value, struct quire_error *err)
{
	*(bool *)value = !strcmp(text, "swap");
	if (*(bool *)value || !strcmp(text, "pool"))
		return 0;
	return quire_fail(err, -EINVAL, "it is pool or swap, not '%.100s'", text);
}

static int parse_pages(const char *text, void *value, struct quire_error *err)
{
	uint64_t bytes = 0;
	int code = parse_size(text, &bytes, err);

	*(uint64_t *)value = (bytes + QUIRE_PAGE_SIZE - 1) / QUIRE_PAGE_SIZE;
	return code;
}

static int parse_options(int argc, char **argv, struct reclaim_options *o, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "all", .flag = &o->all },
		{ .name = "idle", .read = parse_idle, .value = &o->idle_ns },
		{ .name = "size", .read = parse_pages, .value = &o->pages },
		{ .name = "to", .read = parse_to, .value = &o->swap },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (o->all && argv[optind])
		return quire_fail(err, -EINVAL, "--all goes without VMs");
	if (!o->all && !argv[optind])
		return quire_fail(err, -EINVAL, "say which VM, by name or pid, or --all");
	return 0;
}

static void open_subject(struct request *r, const struct named_vm *vm)
{
	struct subject *s = &r->subject[r->nr++];
	struct quire_error err;
	int code;

	*s = (struct subject){ .vm = *vm, .fd = named_open(vm, &err) };
	code = s->fd < 0 ? s->fd : ctl_get_info(s->fd, &s->info, &err);
	if (code)
		lose(r, s, code, &err);
}

static int find_subjects(struct request *r, char **words, struct quire_error *err)
{
	struct named list = { 0 };
	struct quire_error why;
	int code = r->opt.all ? named_add_all(&list, err) : 0;

	for (; *words; words++)
		if (named_add(&list, *words, &why))
			complain(r, why.text);
	r->subject = code ? NULL : calloc(list.nr + 1, sizeof(*r->subject));
	if (!code && !r->subject)
		code = quire_fail(err, -ENOMEM, "no memory for %u VMs", list.nr);
	for (unsigned int i = 0; i < list.nr && !code; i++)
		open_subject(r, &list.vm[i]);
	named_finish(&list);
	return code;
}

/* ---- parts of RAM ---- */

/* Go through a VM's RAM in parts of so many pages, until `each` says that it is enough. */
static int each_part(const struct subject *s, uint64_t pages,
		     int (*each)(int fd, gfn_t gfn, uint64_t nr, void *ctx, struct quire_error *),
		     void *ctx, struct quire_error *err)
{
	int code = 0;

	for (uint64_t i = 0; i < s->info.nr_ram && !code; i++) {
		gfn_t end = s->info.ram[i].end;

		for (gfn_t g = s->info.ram[i].start; g < end && !code; g += pages)
			code = each(s->fd, g, min_u64(pages, end - g), ctx, err);
	}
	return code;
}

static int forget_part(int fd, gfn_t gfn, uint64_t nr, void *ctx, struct quire_error *err)
{
	(void)ctx;
	return ctl_forget_touches(fd, gfn, nr, err);
}

static void forget(struct request *r, struct subject *s)
{
	struct quire_error err;
	int code = each_part(s, CTL_MOST_FORGET, forget_part, NULL, &err);

	if (code)
		lose(r, s, code, &err);
}

/* What compressing comes to, as far as it got. */
struct work {
	const struct reclaim_options *opt;
	uint64_t pool_before;
	struct gmem_packed sum;
};

static uint64_t freed(const struct work *w)
{
	uint64_t pool = w->sum.pool_pages - min_u64(w->sum.pool_pages, w->pool_before);

	return w->sum.compressed - min_u64(w->sum.compressed, pool);
}

/* Returns 1 when it is enough. */
static int compress_part(int fd, gfn_t gfn, uint64_t nr, void *ctx, struct quire_error *err)
{
	struct gmem_packed out;
	struct work *w = ctx;
	int code;

	if (freed(w) >= w->opt->pages)
		return 1;
	code = ctl_compress(fd, gfn, nr, w->opt->idle_ns == 0, &out, err);
	if (code)
		return code;
	w->sum.compressed += out.compressed;
	w->sum.refused += out.refused;
	w->sum.kept += out.kept;
	w->sum.touched += out.touched;
	w->sum.pool_pages = out.pool_pages;
	return 0;
}

static const char *pages_text(uint64_t pages)
{
	return size_text(pages * QUIRE_PAGE_SIZE);
}

static void say(const struct subject *s, const struct work *w)
{
	const struct gmem_packed *p = &w->sum;

	printf("%s: %s free: %s compressed", s->vm.name, pages_text(freed(w)),
	       pages_text(p->compressed));
	if (p->touched)
		printf(", %s in use", pages_text(p->touched));
	if (p->refused)
		printf(", %s do not compress", pages_text(p->refused));
	if (p->kept)
		printf(", %s have to stay", pages_text(p->kept));
	putchar('\n');
}

static void compress(struct request *r, struct subject *s)
{
	struct work w = {
		.opt = &r->opt,
		.pool_before = s->info.vm.mem.pool.pool_pages,
		.sum.pool_pages = s->info.vm.mem.pool.pool_pages,
	};
	struct quire_error err;
	int code = each_part(s, CTL_MOST_COMPRESS, compress_part, &w, &err);

	if (code < 0) {
		lose(r, s, code, &err);
		return;
	}
	say(s, &w);
	if (r->opt.pages != UINT64_MAX && freed(&w) < r->opt.pages && !r->status)
		r->status = STATUS_TOO_LITTLE;
}

/* ---- to the swap file ---- */

/* What swapping out comes to, as far as it got. */
struct swapping {
	const struct reclaim_options *opt;
	struct gmem_swapped sum;
	int64_t code; /* why pages had to stay; 0: for no such reason */
};

#define QUOTA_TRIES 10u
#define QUOTA_NS    (20 * NS_PER_MS)

/* A VM that has no quota left has asked the machine for more, which takes a moment. */
static int swap_out_part(int fd, gfn_t gfn, uint64_t nr, void *ctx, struct quire_error *err)
{
	const struct timespec moment = { .tv_nsec = QUOTA_NS };
	struct swapping *w = ctx;
	struct ctl_swapped out;
	int code;

	if (w->sum.swapped >= w->opt->pages || w->code)
		return 1;
	for (unsigned int i = 0; i < QUOTA_TRIES; i++) {
		code = ctl_swap_out(fd, gfn, nr, w->opt->idle_ns == 0, &out, err);
		if (code)
			return code;
		w->sum.swapped += out.pages.swapped;
		w->sum.clean += out.pages.clean;
		w->code = out.code;
		if (out.code != -ENOSPC)
			break;
		nanosleep(&moment, NULL);
	}
	w->sum.touched += out.pages.touched;
	w->sum.kept += out.pages.kept;
	return 0;
}

static void say_swapped(const struct subject *s, const struct swapping *w)
{
	const struct gmem_swapped *p = &w->sum;

	printf("%s: %s swapped out", s->vm.name, pages_text(p->swapped));
	if (p->clean)
		printf(", of which %s were in the file already", pages_text(p->clean));
	if (p->touched)
		printf(", %s in use", pages_text(p->touched));
	if (p->kept)
		printf(", %s have to stay", pages_text(p->kept));
	if (w->code)
		printf(": %s",
		       w->code == -ENOSPC ? "the swap area is full" : strerror((int)-w->code));
	putchar('\n');
}

static void swap_out(struct request *r, struct subject *s)
{
	struct swapping w = { .opt = &r->opt };
	struct quire_error err;
	int code = each_part(s, CTL_MOST_SWAP, swap_out_part, &w, &err);

	if (code < 0) {
		lose(r, s, code, &err);
		return;
	}
	say_swapped(s, &w);
	if (r->opt.pages != UINT64_MAX && w.sum.swapped < r->opt.pages && !r->status)
		r->status = STATUS_TOO_LITTLE;
}

/* ---- the command ---- */

static void each_subject(struct request *r, void (*fn)(struct request *r, struct subject *s))
{
	for (unsigned int i = 0; i < r->nr; i++)
		if (r->subject[i].fd >= 0)
			fn(r, &r->subject[i]);
}

static void wait_idle(uint64_t ns)
{
	struct timespec left = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = ns % NS_PER_S };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void let_go(struct request *r, struct subject *s)
{
	(void)r;
	close(s->fd);
}

int cmd_reclaim(int argc, char **argv)
{
	struct request r = { .opt = { .idle_ns = NS_PER_S, .pages = UINT64_MAX } };
	struct quire_error err;

	if (parse_options(argc, argv, &r.opt, &err)) {
		complain(&r, err.text);
		return QUIRE_STATUS_USAGE;
	}
	if (find_subjects(&r, argv + optind, &err)) {
		complain(&r, err.text);
		return r.status;
	}
	if (r.opt.idle_ns) {
		each_subject(&r, forget);
		wait_idle(r.opt.idle_ns);
	}
	each_subject(&r, r.opt.swap ? swap_out : compress);
	each_subject(&r, let_go);
	free(r.subject);
	return r.status;
}
