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

static struct {
	struct gmem *gm; /* NULL: no guest is on shadow tables */
	uint64_t (*arena)[ENTRIES];
	uint8_t *base;
	gfn_t span;
	maddr_t root;
	uint32_t (*path)[4]; /* by gfn: the entries that it is mapped by, + 1; 0: it is not */
	bool *stale;	     /* by entry */
} guest;

/* --- what is mapped ---------------------------------------------------------------------- */

/* ThreadSanitizer would take mmap() for a write to all of the range, so it is not told. */
static void map_at(gfn_t gfn, uint64_t nr, int prot, int flags, int fd, uint64_t from)
{
	if (syscall(SYS_mmap, guest.base + gfn_to_gpa(gfn), gfn_to_gpa(nr), prot, flags | MAP_FIXED,
		    fd, from) == -1)
		abort();
}

static void unmap(gfn_t gfn, uint64_t nr)
{
	map_at(gfn, nr, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	memset(guest.path + gfn, 0, nr * sizeof(*guest.path));
}

static bool is_stale(gfn_t gfn)
{
	for (unsigned int i = 0; i < 4; i++)
		if (guest.path[gfn][i] && guest.stale[guest.path[gfn][i] - 1])
			return true;
	return false;
}

static void mark(const struct shadow_stale *stale, bool as)
{
	for (unsigned int i = 0; i < stale->nr; i++)
		guest.stale[(stale->entry[i] - ARENA_MADDR) / sizeof(uint64_t)] = as;
}

static void flush(void *ctx, const struct shadow_stale *stale)
{
	(void)ctx;
	if (stale->all) {
		unmap(0, guest.span);
		return;
	}
	mark(stale, true);
	for (gfn_t gfn = 0, nr; gfn < guest.span; gfn += nr) {
		for (nr = 0; gfn + nr < guest.span && is_stale(gfn + nr); nr++)
			;
		if (nr)
			unmap(gfn, nr);
		nr += !nr;
	}
	mark(stale, false);
}

static int segment(void *ctx, maddr_t at, const void *hva, uint64_t bytes)
{
	(void)ctx, (void)at, (void)hva, (void)bytes;
	return 0;
}

/* --- the processor ----------------------------------------------------------------------- */

/* What is at the leaf's address.  The caller holds LOCK_GMEM. */
static void map(gfn_t gfn, uint64_t nr, uint64_t leaf)
{
	maddr_t at = leaf & X86_ADDR_MASK, store = at - SHADOW_STORE_BASE;
	int prot = PROT_READ | (leaf & X86_W ? PROT_WRITE : 0), flags = 0;
	int fd = -1;

	if (at < SHADOW_GUEST_END) {
		fd = guest.gm->window.ram_fd;
		flags |= MAP_SHARED;
	} else if (at == SHADOW_ZERO_PAGE) {
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		at = 0;
	} else {
		fd = guest.gm->share.store.segment[store / STORE_SEGMENT_BYTES].fd;
		flags |= MAP_SHARED;
		at = store % STORE_SEGMENT_BYTES;
	}
	map_at(gfn, nr, prot, flags, fd, at);
}

/* Map the page as the tables have it, if they do. */
static void look_up(gfn_t gfn)
{
	uint32_t table = (uint32_t)((guest.root - ARENA_MADDR) / QUIRE_PAGE_SIZE);
	uint32_t path[4] = { 0 };

	for (unsigned int level = 4;; level--) {
		unsigned int index = gfn >> 9 * (level - 1) & (ENTRIES - 1);
		uint64_t e = guest.arena[table][index], nr = 1ULL << 9 * (level - 1);

		path[4 - level] = table * ENTRIES + index + 1;
		if (!e)
			return;
		if (level == 1 || (e & X86_PS)) {
			map(align_down(gfn, nr), nr, e);
			for (gfn_t g = align_down(gfn, nr); nr--; g++)
				memcpy(guest.path[g], path, sizeof(path));
			return;
		}
		table = (uint32_t)(((e & X86_ADDR_MASK) - ARENA_MADDR) / QUIRE_PAGE_SIZE);
	}
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	uint64_t offset = (uint64_t)((uint8_t *)info->si_addr - guest.base);
	struct walk_access access = {
		.write = uc->uc_mcontext.gregs[REG_ERR] & FAULT_WRITE,
	};
	struct walk_result res;

	if (!guest.gm || offset >= gfn_to_gpa(guest.span) ||
	    gmem_shadow_fault(guest.gm, &cpu, offset, access, &res) != SHADOW_MAPPED) {
		signal(sig, SIG_DFL);
		return;
	}
	gmem_lock(guest.gm, GMEM_LOOK);
	look_up(gpa_to_gfn(offset));
	gmem_unlock(guest.gm);
}

/* --- create and destroy ------------------------------------------------------------------ */

static void begin(const struct gmem_config *config)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	guest.span = align_up(config->ram[config->nr_ram - 1].end, QUIRE_BLOCK_PAGES);
	guest.arena = aligned_alloc(QUIRE_PAGE_SIZE, ARENA_PAGES * QUIRE_PAGE_SIZE);
	guest.base = mmap(NULL, gfn_to_gpa(guest.span), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	guest.path = calloc(guest.span, sizeof(*guest.path));
	guest.stale = calloc(ARENA_PAGES, ENTRIES);
	sigaction(SIGSEGV, &action, NULL);
}

static void end(void)
{
	munmap(guest.base, gfn_to_gpa(guest.span));
	free(guest.arena);
	free(guest.path);
	free(guest.stale);
	memset(&guest, 0, sizeof(guest));
	signal(SIGSEGV, SIG_DFL);
}

int guest_create(const struct gmem_config *config, struct gmem **gm, struct quire_error *err)
{
	struct gmem_config its = *config;
	struct gmem_shadow shadow = {
		.arena_maddr = ARENA_MADDR,
		.arena_pages = ARENA_PAGES,
		.maxphyaddr = 46,
		.flush = flush,
		.segment = segment,
	};
	int error;

	if (guest_on_shadow) {
		begin(config);
		shadow.arena = guest.arena;
		its.shadow = &shadow;
	}
	error = gmem_create(&its, gm, err);
	if (!error)
		error = gmem_start(*gm, err);
	if (error || !guest_on_shadow)
		return error;
	guest.gm = *gm;
	guest.root = gmem_shadow_root(*gm, 0, &cpu, false);
	return 0;
}

void guest_destroy(struct gmem *gm)
{
	gmem_destroy(gm);
	if (guest.gm == gm)
		end();
}

uint8_t *guest_hva(const struct gmem *gm, gpa_t gpa)
{
	return guest.gm == gm ? guest.base + gpa : gmem_hva(gm, gpa);
}

const char *guest_kind(void)
{
	return guest_on_shadow ? " on shadow tables" : "";
}
