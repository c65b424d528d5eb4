/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "share_lab.h"
#include "mmu/pool/archive.h"
#include "tests/memory/files.h"

struct gmem *gm;
uint64_t rng;

/* ---- the machine ---- */

static int segment = -1, segment_for_vm;
uint8_t *frames;
uint64_t references[CONTENTS * 3];
static int archived_at[CONTENTS];

void fill_page(uint64_t *page, uint64_t content)
{
	for (unsigned int i = 0; i < QUIRE_PAGE_SIZE / sizeof(*page); i++)
		page[i] = content ? content * 0x9e3779b97f4a7c15ULL + i / 4 : 0;
}

void fill_frames(void)
{
	for (unsigned int c = 0; c < 2 * CONTENTS; c++)
		fill_page((uint64_t *)(frames + c * QUIRE_PAGE_SIZE), c);
	for (unsigned int c = 0; c < CONTENTS; c++) {
		struct archive a = { .used = 0 };

		archive_add(&a, frames);
		archived_at[c] = archive_add(&a, frames + c * QUIRE_PAGE_SIZE);
		if (archived_at[c] <= 0)
			tap_bail("content %u does not pack", c);
		memcpy(frames + (2 * CONTENTS + c) * QUIRE_PAGE_SIZE, a.bytes, sizeof(a.bytes));
	}
}

struct archived_place archive_of(unsigned int content)
{
	return (struct archived_place){ frame_of(2 * CONTENTS + content),
					(unsigned int)archived_at[content] };
}

void make_segment(void)
{
	segment = segment_file((uint64_t)MERGE_SEGMENT_FRAMES << QUIRE_PAGE_SHIFT, &segment_for_vm);
	if (segment < 0)
		tap_bail("no segment");
	frames = mmap(NULL, 3 * CONTENTS * QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		      segment, 0);
	if (frames == MAP_FAILED)
		tap_bail("no frames");
	fill_frames();
}

pfn_t frame_of(unsigned int content)
{
	return STAGE2_STORE_PFN + content;
}

void take_back(void)
{
	uint32_t back[64];
	unsigned int nr;

	gmem_lock(gm, GMEM_LOOK);
	while ((nr = share_take_dropped(gm, back, ARRAY_SIZE(back))))
		for (unsigned int i = 0; i < nr; i++)
			references[back[i]]--;
	gmem_unlock(gm);
}

uint8_t *hva(gfn_t gfn)
{
	return guest_hva(gm, gfn_to_gpa(gfn));
}

void describe(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("audit: %s", what);
}

bool references_agree(void)
{
	static uint64_t named[3 * CONTENTS];

	memset(named, 0, sizeof(named));
	take_back();
	for (gfn_t g = 0; g < NR_PAGES; g++) {
		struct stage2_page page;

		gmem_lookup(gm, g, &page);
		if (page.state == PG_SHARED)
			named[page.pfn - STAGE2_STORE_PFN]++;
		if (page.state == PG_ARCHIVED)
			named[archived_frame(&page) - STAGE2_STORE_PFN]++;
	}
	return !memcmp(named, references, sizeof(named));
}

uint64_t kernel_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	uintptr_t start, end;
	uint64_t nr = 0;

	if (guest_on_shadow)
		nr = gm->backend->mappings;
	while (f && !guest_on_shadow && fscanf(f, "%lx-%lx%*[^\n]", &start, &end) == 2)
		nr += start >= (uintptr_t)hva(0) && end <= (uintptr_t)hva(NR_PAGES);
	if (f)
		fclose(f);
	return nr;
}

uint64_t mappings_of(uint64_t window)
{
	return guest_on_shadow ? 1 : window;
}

bool mappings_agree(void)
{
	uint64_t ours = gm->backend->mappings, truth = kernel_mappings();

	if (tap_deviates("joins") && truth > ours && truth - ours <= NR_BLOCKS)
		truth = ours;
	if (ours != truth)
		tap_note("%lu mappings by our count, the kernel has %lu", (long)ours, (long)truth);
	return ours == truth;
}

/* ---- credits: a count, to see that none is lost ---- */

atomic_long taken, most_taken = LONG_MAX;

static bool take(void *ctx, uint64_t pages)
{
	(void)ctx;
	if (atomic_fetch_add(&taken, (long)pages) + (long)pages <= atomic_load(&most_taken))
		return true;
	atomic_fetch_sub(&taken, (long)pages);
	return false;
}

static int wait_for(void *ctx, uint64_t need, uint64_t want)
{
	(void)ctx, (void)want;
	while (atomic_load(&taken) + (long)need > atomic_load(&most_taken))
		usleep(100);
	return 0;
}

static pthread_mutex_t seeker_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*seeker_news)(void *arg);
static void *seeker_arg;

static void set_seeker(void (*news)(void *arg), void *arg)
{
	pthread_mutex_lock(&seeker_lock);
	seeker_news = news;
	seeker_arg = arg;
	pthread_mutex_unlock(&seeker_lock);
}

static int seek(void *ctx, uint64_t need, uint64_t want, void (*news)(void *arg), void *arg)
{
	(void)ctx, (void)want;
	set_seeker(news, arg);
	return atomic_load(&taken) + (long)need > atomic_load(&most_taken) ? -EAGAIN : 0;
}

static void stop_seeking(void *ctx)
{
	set_seeker(NULL, ctx);
}

static void tell_seeker(void)
{
	pthread_mutex_lock(&seeker_lock);
	if (seeker_news)
		seeker_news(seeker_arg);
	pthread_mutex_unlock(&seeker_lock);
}

void give_credits(long pages)
{
	atomic_fetch_add(&most_taken, pages);
	tell_seeker();
}

static void put(void *ctx, uint64_t pages)
{
	(void)ctx;
	atomic_fetch_sub(&taken, (long)pages);
	tell_seeker();
}

void create_with(struct gmem_config config)
{
	static const struct gfn_range ram[] = { { 0, NR_PAGES } };
	struct quire_error err;
	int fd = dup(segment_for_vm);

	config.ram = ram;
	config.nr_ram = 1;
	if (guest_create(&config, &gm, &err)) {
		if (geteuid() != 0)
			tap_skip_all("%s", err.text);
		tap_bail("%s", err.text);
	}
	gmem_lock(gm, GMEM_LOOK);
	if (store_view_add(&gm->share.store, 0, fd))
		tap_bail("store_view_add");
	gmem_unlock(gm);
	memset(references, 0, sizeof(references));
}

const struct gmem_credits counted_credits = {
	.take = take,
	.wait = wait_for,
	.seek = seek,
	.stop_seeking = stop_seeking,
	.put = put,
};

int ram_file;

void create(enum gmem_hugepages hugepages)
{
	create_with((struct gmem_config){
		.hugepages = hugepages, .credits = &counted_credits, .ram_fd = ram_file });
	atomic_store(&taken, 0);
}

void destroy(void)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	is(atomic_load(&taken), s.s2.pages[PG_PRIVATE] + s.pool.pool_pages + gm->share.reserve,
	   "a credit for each private page, for the pool and for the reserve, no other%s",
	   guest_kind());
	guest_destroy(gm);
}

atomic_ulong refused;

/* A second one in the same place ends the test. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
	static _Thread_local uint8_t *last;
	uint8_t *at = info->si_addr;

	(void)context;
	if (at == last || at < hva(0) || at >= hva(NR_PAGES))
		signal(sig, SIG_DFL);
	last = at;
	gmem_repair(gm);
	atomic_fetch_add(&refused, 1);
}

void count_refusals(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	atomic_store(&refused, 0);
	if (!guest_on_shadow)
		sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

unsigned long end_refusals(void)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	return atomic_load(&refused);
}

/* ---- for threads that write three words of a page, each of them 0, 1 or 2 ---- */

uint64_t writer_seed;

GUEST uint64_t look_at(const volatile uint64_t *word)
{
	return *word;
}

GUEST void put_into(volatile uint64_t *word, uint64_t value)
{
	*word = value;
}

unsigned int frame_for(const uint64_t *page)
{
	return (unsigned int)(page[0] + 3 * page[1] + 9 * page[2]);
}

void make_race_frames(void)
{
	memset(frames, 0, 27 * QUIRE_PAGE_SIZE);
	for (unsigned int f = 0; f < 27; f++) {
		uint64_t *w = (uint64_t *)(frames + f * QUIRE_PAGE_SIZE);

		w[0] = f % 3;
		w[1] = f / 3 % 3;
		w[2] = f / 9;
	}
}
