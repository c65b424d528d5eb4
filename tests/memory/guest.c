/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include "guest.h"
#include "mmu/format/x86pt.h"
#include "tests/tap.h"

#define ARENA_PAGES 256u
#define ARENA_MADDR (SHADOW_MONITOR_BASE + 16 * MiB)
#define ENTRIES	    512u
#define FAULT_WRITE 2 /* in the error code of a page fault */

bool guest_on_shadow;

/* The guest has its paging off, so that addresses are physical. */
static const struct walk_cpu cpu = { .cr0 = 1, .maxphyaddr = 46 };

static struct guest {
	struct gmem *gm; /* NULL: no guest is here */
	uint64_t (*arena)[ENTRIES];
	uint8_t *base;
	gfn_t span;
	maddr_t root;
	uint32_t (*path)[4]; /* by gfn: the entries that it is mapped by, + 1; 0: it is not */
	bool *stale;	     /* by entry */
} guests[GUEST_MAX];

static unsigned int nr_guests;
static struct sigaction before; /* there were guests */

/* --- what is mapped ---------------------------------------------------------------------- */

/* ThreadSanitizer would take mmap() for a write to all of the range, so it is not told. */
static void map_at(struct guest *g, gfn_t gfn, uint64_t nr, int prot, int flags, int fd,
		   uint64_t from)
{
	if (syscall(SYS_mmap, g->base + gfn_to_gpa(gfn), gfn_to_gpa(nr), prot, flags | MAP_FIXED,
		    fd, from) == -1)
		abort();
}

static void unmap(struct guest *g, gfn_t gfn, uint64_t nr)
{
	map_at(g, gfn, nr, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	memset(g->path + gfn, 0, nr * sizeof(*g->path));
}

static bool is_stale(const struct guest *g, gfn_t gfn)
{
	for (unsigned int i = 0; i < 4; i++)
		if (g->path[gfn][i] && g->stale[g->path[gfn][i] - 1])
			return true;
	return false;
}

static void mark(struct guest *g, const struct shadow_stale *stale, bool as)
{
	for (unsigned int i = 0; i < stale->nr; i++)
		g->stale[(stale->entry[i] - ARENA_MADDR) / sizeof(uint64_t)] = as;
}

static void flush(void *ctx, const struct shadow_stale *stale)
{
	struct guest *g = ctx;

	if (stale->all) {
		unmap(g, 0, g->span);
		return;
	}
	mark(g, stale, true);
	for (gfn_t gfn = 0, nr; gfn < g->span; gfn += nr) {
		for (nr = 0; gfn + nr < g->span && is_stale(g, gfn + nr); nr++)
			;
		if (nr)
			unmap(g, gfn, nr);
		nr += !nr;
	}
	mark(g, stale, false);
}

static int segment(void *ctx, maddr_t at, const void *hva, uint64_t bytes)
{
	(void)ctx, (void)at, (void)hva, (void)bytes;
	return 0;
}

/* --- the processor ----------------------------------------------------------------------- */

/* What is at the leaf's address.  The caller holds LOCK_GMEM. */
static void map(struct guest *g, gfn_t gfn, uint64_t nr, uint64_t leaf)
{
	maddr_t at = leaf & X86_ADDR_MASK, store = at - SHADOW_STORE_BASE;
	int prot = PROT_READ | (leaf & X86_W ? PROT_WRITE : 0), flags = 0;
	int fd = -1;

	if (at >= SHADOW_LOW_RAM && at < SHADOW_LOW_RAM + SHADOW_LOW_END)
		at -= SHADOW_LOW_RAM;
	if (at < SHADOW_GUEST_END) {
		fd = g->gm->window.ram_fd;
		flags |= MAP_SHARED;
	} else if (at == SHADOW_ZERO_PAGE) {
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		at = 0;
	} else {
		fd = g->gm->share.store.segment[store / STORE_SEGMENT_BYTES].fd;
		flags |= MAP_SHARED;
		at = store % STORE_SEGMENT_BYTES;
	}
	map_at(g, gfn, nr, prot, flags, fd, at);
}

/* Map the page as the tables have it, if they do. */
static void look_up(struct guest *g, gfn_t gfn)
{
	uint32_t table = (uint32_t)((g->root - ARENA_MADDR) / QUIRE_PAGE_SIZE);
	uint32_t path[4] = { 0 };

	for (unsigned int level = 4;; level--) {
		unsigned int index = gfn >> 9 * (level - 1) & (ENTRIES - 1);
		uint64_t e = g->arena[table][index], nr = 1ULL << 9 * (level - 1);

		path[4 - level] = table * ENTRIES + index + 1;
		if (!e)
			return;
		if (level == 1 || (e & X86_PS)) {
			map(g, align_down(gfn, nr), nr, e);
			for (gfn_t at = align_down(gfn, nr); nr--; at++)
				memcpy(g->path[at], path, sizeof(path));
			return;
		}
		table = (uint32_t)(((e & X86_ADDR_MASK) - ARENA_MADDR) / QUIRE_PAGE_SIZE);
	}
}

/* Other guests may come and go meanwhile. */
#define RACES __attribute__((no_sanitize("thread")))
RACES static struct guest *guest_at(const uint8_t *at)
{
	for (struct guest *g = guests; g < guests + GUEST_MAX; g++)
		if (g->gm && g->base <= at && at < g->base + gfn_to_gpa(g->span))
			return g;
	return NULL;
}

/* A vCPU that gets no memory ends with its VM; a thread of a test tries again. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	struct guest *g = guest_at(info->si_addr);
	uint64_t offset = g ? (uint64_t)((uint8_t *)info->si_addr - g->base) : 0;
	struct walk_access access = {
		.write = uc->uc_mcontext.gregs[REG_ERR] & FAULT_WRITE,
	};
	struct walk_result res;
	int answer = g ? gmem_shadow_fault(g->gm, &cpu, offset, access, &res) : SHADOW_PAGE_FAULT;

	if (answer < 0) {
		usleep(1000);
		return;
	}
	if (answer != SHADOW_MAPPED) {
		signal(sig, SIG_DFL);
		return;
	}
	gmem_lock(g->gm, GMEM_LOOK);
	look_up(g, gpa_to_gfn(offset));
	gmem_unlock(g->gm);
}

/* --- create and destroy ------------------------------------------------------------------ */

RACES static struct guest *guest_of(const struct gmem *gm)
{
	for (struct guest *g = guests; g < guests + GUEST_MAX; g++)
		if (g->gm == gm)
			return g;
	return NULL;
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	if (!nr_guests++)
		sigaction(SIGSEGV, &action, &before);
}

static struct guest *begin(const struct gmem_config *config)
{
	struct guest *g = guest_of(NULL);

	if (!g)
		abort();
	g->span = align_up(config->ram[config->nr_ram - 1].end, QUIRE_BLOCK_PAGES);
	g->arena = aligned_alloc(QUIRE_PAGE_SIZE, ARENA_PAGES * QUIRE_PAGE_SIZE);
	g->base = mmap(NULL, gfn_to_gpa(g->span), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	g->path = calloc(g->span, sizeof(*g->path));
	g->stale = calloc(ARENA_PAGES, ENTRIES);
	catch_faults();
	return g;
}

static void end(struct guest *g)
{
	munmap(g->base, gfn_to_gpa(g->span));
	free(g->arena);
	free(g->path);
	free(g->stale);
	memset(g, 0, sizeof(*g));
	if (!--nr_guests)
		sigaction(SIGSEGV, &before, NULL);
}

static int create(const struct gmem_config *config, struct gmem **gm, struct quire_error *err)
{
	int error = gmem_create(config, gm, err);

	return error ? error : gmem_start(*gm, err);
}

int guest_create(const struct gmem_config *config, struct gmem **gm, struct quire_error *err)
{
	struct guest *g = guest_on_shadow ? begin(config) : NULL;
	struct gmem_config its = *config;
	struct gmem_shadow shadow = {
		.arena = g ? g->arena : NULL,
		.arena_maddr = ARENA_MADDR,
		.arena_pages = ARENA_PAGES,
		.maxphyaddr = 46,
		.flush = flush,
		.segment = segment,
		.ctx = g,
	};
	int error;

	if (!g)
		return create(config, gm, err);
	its.shadow = &shadow;
	error = create(&its, gm, err);
	if (error) {
		end(g);
		return error;
	}
	g->root = gmem_shadow_root(*gm, 0, 0, &cpu, false);
	g->gm = *gm;
	return 0;
}

void guest_destroy(struct gmem *gm)
{
	struct guest *g = guest_of(gm);

	gmem_destroy(gm);
	if (gm && g)
		end(g);
}

uint8_t *guest_hva(const struct gmem *gm, gpa_t gpa)
{
	const struct guest *g = guest_of(gm);

	return g ? g->base + gpa : gmem_hva(gm, gpa);
}

void guest_take_mode(void)
{
	const char *mode = getenv("QUIRE_PAGING");

	guest_on_shadow = mode && !strcmp(mode, "shadow");
	if (guest_on_shadow)
		tap_note("guests are on shadow tables");
}

const char *guest_kind(void)
{
	return guest_on_shadow ? " on shadow tables" : "";
}
