/* SPDX-License-Identifier: MIT */
/*
 * What it costs to compress pages, to swap them out, to bring them home, and to look which are
 * touched; without KVM.  The contents are those of a file: a library's, unless the command has
 * another's name.  Beside it is what LZ4 alone takes for the same pages.  The swap file is in
 * TMPDIR, or else /var/tmp.  Processor time is of the thread that does the work.  key=value lines;
 * medians of RUNS runs.
 */
#include <fcntl.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/memory/gmem_internal.h"
#include "mmu/swap/swap_file.h"

#define PAGES  16384u
#define RUNS   7u
#define A_FILE "/lib/x86_64-linux-gnu/libc.so.6"

static struct gmem *gm;
static const uint8_t *contents;
static uint64_t nr_contents;
static uint64_t took[PAGES];

static void die(const char *what)
{
	printf("# compress_bench: %s: not measured\n", what);
	exit(0);
}

static uint8_t *page_at(gfn_t gfn)
{
	return gmem_hva(gm, gfn_to_gpa(gfn));
}

static void read_contents(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) || st.st_size < (off_t)QUIRE_PAGE_SIZE)
		die(name);
	nr_contents = (uint64_t)st.st_size / QUIRE_PAGE_SIZE;
	p = mmap(NULL, nr_contents * QUIRE_PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		die(name);
	contents = p;
	close(fd);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint64_t median(uint64_t *v, unsigned int nr)
{
	qsort(v, nr, sizeof(*v), by_value);
	return v[nr / 2];
}

/* Pages of the guest, in an order in which no two neighbours follow each other. */
static gfn_t nth(unsigned int i)
{
	return i * 5119ULL % PAGES;
}

static void fill(void)
{
	for (gfn_t g = 0; g < PAGES; g++)
		memcpy(page_at(g), contents + g % nr_contents * QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
}

static void test_lz4(void)
{
	uint64_t pack[RUNS], unpack[RUNS];
	char out[QUIRE_PAGE_SIZE], back[QUIRE_PAGE_SIZE];

	for (unsigned int r = 0; r < RUNS; r++) {
		pack[r] = unpack[r] = 0;
		for (uint64_t i = 0; i < nr_contents; i++) {
			const char *page = (const char *)contents + i * QUIRE_PAGE_SIZE;
			uint64_t start = cpu_ns(), middle;
			int bytes = LZ4_compress_default(page, out, QUIRE_PAGE_SIZE, sizeof(out));

			middle = cpu_ns();
			if (bytes > 0)
				LZ4_decompress_safe(out, back, bytes, sizeof(back));
			unpack[r] += cpu_ns() - middle;
			pack[r] += middle - start;
		}
	}
	printf("lz4_alone_pack_ns=%lu unpack_ns=%lu pages=%lu\n",
	       (unsigned long)(median(pack, RUNS) / nr_contents),
	       (unsigned long)(median(unpack, RUNS) / nr_contents), (unsigned long)nr_contents);
}

static void home(void)
{
	for (gfn_t g = 0; g < PAGES; g++)
		*(volatile uint8_t *)page_at(g);
}

static void test_compress(void)
{
	struct gmem_packed out = { 0 };
	struct gmem_stats s;
	uint64_t ns[RUNS];

	for (unsigned int r = 0; r < RUNS; r++) {
		uint64_t start;

		home();
		out = (struct gmem_packed){ 0 };
		start = cpu_ns();
		gmem_compress(gm, 0, PAGES, GMEM_NR_WATCHERS, &out);
		ns[r] = cpu_ns() - start;
	}
	gmem_stats(gm, &s);
	printf("compress_ns_per_page=%lu compressed=%lu refused=%lu\n",
	       (unsigned long)(median(ns, RUNS) / PAGES), (unsigned long)out.compressed,
	       (unsigned long)out.refused);
	printf("pool_bytes_per_page=%lu of which objects=%lu\n",
	       (unsigned long)(s.pool.pool_pages * QUIRE_PAGE_SIZE / out.compressed),
	       (unsigned long)(s.pool.object_bytes / out.compressed));
}

/* From the touch to its end, by a thread that is no vCPU. */
static void time_touches(const char *name)
{
	for (unsigned int i = 0; i < PAGES; i++) {
		volatile uint8_t *at = page_at(nth(i));
		uint64_t start = monotonic_ns();

		*at;
		took[i] = monotonic_ns() - start;
	}
	median(took, PAGES);
	printf("touch_%s_median_ns=%lu p99_ns=%lu\n", name, (unsigned long)took[PAGES / 2],
	       (unsigned long)took[PAGES / 100 * 99]);
}

static void test_touches(void)
{
	struct gmem_packed out = { 0 };
	uint64_t ns[RUNS], start;

	time_touches("compressed"); /* as test_compress left them; those that stayed are few */
	time_touches("mapped");
	for (unsigned int r = 0; r < RUNS; r++) {
		home();
		start = cpu_ns();
		gmem_forget_touches(gm, GMEM_BY_HAND, 0, PAGES);
		ns[r] = cpu_ns() - start;
	}
	printf("forget_touches_ns_per_page=%lu\n", (unsigned long)(median(ns, RUNS) / PAGES));
	time_touches("forgotten");
	start = cpu_ns();
	gmem_compress(gm, 0, PAGES, GMEM_BY_HAND, &out);
	printf("look_at_touches_ns_per_page=%lu touched=%lu\n",
	       (unsigned long)((cpu_ns() - start) / PAGES), (unsigned long)out.touched);
	gmem_drop(gm, 0, PAGES, NULL);
	time_touches("absent");
}

static void test_swap(void)
{
	struct gmem_swapped out = { 0 };
	struct gmem_stats s;
	uint64_t start;

	fill();
	start = monotonic_ns();
	if (gmem_swap_out(gm, 0, PAGES, GMEM_NR_WATCHERS, &out))
		die("pages cannot be swapped out");
	gmem_stats(gm, &s);
	printf("swap_out_ns_per_page=%lu swapped=%lu copy_bytes_per_page=%lu\n",
	       (unsigned long)((monotonic_ns() - start) / PAGES), (unsigned long)out.swapped,
	       (unsigned long)(s.swap.copy_bytes / out.swapped));
	time_touches("swapped");
	gmem_stats(gm, &s);
	printf("swapped_in=%lu ahead_of_a_touch=%lu\n", (unsigned long)s.swapped_in_pages,
	       (unsigned long)s.swap_ahead_pages);
}

/* A swap file, or false and a line that says why there is none. */
static bool make_swap_file(struct gmem_swap *swap)
{
	const char *dir = getenv("TMPDIR");
	struct quire_error err;

	swap->fd =
		swap_file_make(dir ? dir : "/var/tmp", SWAP_FILE_BYTES(PAGES), &swap->unit, &err);
	if (swap->fd < 0)
		printf("# compress_bench: %s: swapped pages are not measured\n", err.text);
	return swap->fd >= 0;
}

int main(int argc, char **argv)
{
	static const struct gfn_range ram[] = { { 0, PAGES } };
	struct gmem_swap swap = { .quota = NULL };
	struct gmem_config config = { .ram = ram, .nr_ram = 1, .hugepages = GMEM_HUGE_NEVER };
	struct quire_error err;

	read_contents(argc > 1 ? argv[1] : A_FILE);
	if (make_swap_file(&swap))
		config.swap = &swap;
	if (gmem_create(&config, &gm, &err) || gmem_start(gm, &err))
		die(err.text);
	fill();
	test_lz4();
	test_compress();
	test_touches();
	if (config.swap)
		test_swap();
	gmem_destroy(gm);
	return 0;
}
