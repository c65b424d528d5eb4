/* SPDX-License-Identifier: MIT */
/*
 * Guest memory on a host that is short of something: mappings (vm.max_map_count), address
 * space, descriptors, file size.  One line that names the limit, nothing left behind; and where
 * the guest runs already, it goes on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>
#include "mmu/memory/gmem_internal.h"
#include "tests/memory/files.h"
#include "tests/tap.h"

#define NR_BLOCKS 128
#define STRIDE	  16 /* far enough apart that none announces another */

/* ASan needs terabytes of address space, and mappings when there are none. */
#ifdef __SANITIZE_ADDRESS__
#define UNDER_ASAN true
#else
#define UNDER_ASAN false
#endif

static struct gmem *gm;

static int create(struct quire_error *err)
{
	static const struct gfn_range ram = { 0, NR_BLOCKS * QUIRE_BLOCK_PAGES };
	struct gmem_config config = { .ram = &ram, .nr_ram = 1 };

	int ret = gmem_create(&config, &gm, err);

	if (ret)
		return ret;
	ret = gmem_start(gm, err);
	if (ret)
		gmem_destroy(gm);
	return ret;
}

static void describe(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("audit: %s", what);
}

static unsigned int open_descriptors(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += dup2(fd, fd) == fd;
	return n;
}

static void test_limit(int resource, const char *name, rlim_t value, const char *hint)
{
	struct rlimit before, now;
	unsigned int descriptors = open_descriptors();
	struct quire_error err = { "" };
	int ret;

	getrlimit(resource, &before);
	now = before;
	now.rlim_cur = value;
	setrlimit(resource, &now);
	ret = create(&err);
	setrlimit(resource, &before);
	ok(ret < 0, "with little %s there is no guest memory", name);
	ok(strstr(err.text, hint), "and the reason says so: %s", err.text);
	is_hex(open_descriptors(), descriptors, "and no descriptor stays open");
	if (!ret)
		gmem_destroy(gm);
}

/* Take up mappings, each page of another protection than its neighbours, until none is left. */
static uint8_t *exhaust_mappings(size_t *bytes)
{
	uint8_t *p;

	*bytes = 140000 * QUIRE_PAGE_SIZE;
	p = mmap(NULL, *bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		tap_bail("mmap: %s", strerror(errno));
	for (size_t o = 0; o < *bytes; o += 2 * QUIRE_PAGE_SIZE)
		if (mprotect(p + o, QUIRE_PAGE_SIZE, PROT_READ))
			return p;
	return NULL;
}

static void test_mappings(void)
{
	struct quire_error err = { "" };
	struct gmem_stats s;
	uint8_t *hog;
	size_t bytes;
	bool right = true;

	if (create(&err))
		tap_bail("%s", err.text);
	hog = exhaust_mappings(&bytes);
	if (!hog) {
		tap_skip("vm.max_map_count is larger than this test wants to use up");
		gmem_destroy(gm);
		return;
	}
	/* Blocks apart, so that each would need mappings of its own. */
	for (unsigned int b = 1; b < NR_BLOCKS; b += STRIDE)
		((uint8_t *)gmem_hva(gm, b * QUIRE_BLOCK_SIZE))[b] = b;
	gmem_stats(gm, &s);
	is(s.s2.pages[PG_PRIVATE], NR_BLOCKS / STRIDE * QUIRE_BLOCK_PAGES,
	   "without mappings to spare, blocks still come in");
	ok(s.s2.large_leaves < NR_BLOCKS / STRIDE, "managed singly (%lu are large)",
	   (unsigned long)s.s2.large_leaves);
	munmap(hog, bytes);
	for (unsigned int b = 1; b < NR_BLOCKS; b += STRIDE)
		right &= ((uint8_t *)gmem_hva(gm, b * QUIRE_BLOCK_SIZE))[b] == b;
	ok(right, "and hold what was written");
	is(gmem_audit(gm, describe, NULL), 0, "and the audit is clean");
	gmem_destroy(gm);

	hog = exhaust_mappings(&bytes);
	is(create(&err), -ENOMEM, "a new VM finds no mappings");
	ok(strstr(err.text, "max_map_count"), "and the reason names the sysctl: %s", err.text);
	munmap(hog, bytes);
}

/* ---- blocks that become single together, or not at all ---- */

#define WHOLE 8u /* blocks */

/* Is the window registered at this block, by the kernel's word? */
static bool is_registered(gfn_t block)
{
	uintptr_t at = (uintptr_t)gmem_hva(gm, gfn_to_gpa(block)), start, end;
	FILE *f = fopen("/proc/self/smaps", "r");
	bool inside = false, registered = false;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= at && at < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			registered = strstr(line, " um") != NULL;
	}
	if (f)
		fclose(f);
	return registered;
}

/* Do host and stage 2 agree about which blocks are managed singly? */
static bool blocks_agree(void)
{
	bool agree = true;

	for (gfn_t b = 0; b < WHOLE * QUIRE_BLOCK_PAGES; b += QUIRE_BLOCK_PAGES) {
		struct stage2_page page;

		gmem_lookup(gm, b, &page);
		if ((page.level == 1) != is_registered(b)) {
			tap_note("block %#lx: level %u, registered %d", (unsigned long)b,
				 page.level, is_registered(b));
			agree = false;
		}
	}
	return agree;
}

/*
 * Blocks in two mappings are given back, from the middle of one to the middle of the other, with
 * ever more mappings left, until there are enough.
 */
static void test_single_at_once(void)
{
	uint8_t *whole, *hog;
	struct quire_error err;
	unsigned int left = 0;
	size_t bytes;
	int ret;

	if (create(&err))
		tap_bail("%s", err.text);
	whole = gmem_hva(gm, 0);
	for (unsigned int b = 0; b < WHOLE; b++)
		whole[b * QUIRE_BLOCK_SIZE] = 1;
	madvise(whole + WHOLE / 2 * QUIRE_BLOCK_SIZE, WHOLE / 2 * QUIRE_BLOCK_SIZE, MADV_DONTFORK);
	hog = exhaust_mappings(&bytes);
	if (!hog) {
		tap_skip("vm.max_map_count is larger than this test wants to use up");
		gmem_destroy(gm);
		return;
	}
	do {
		struct gmem_gone gone = { 0 };

		ret = gmem_drop(gm, QUIRE_BLOCK_PAGES, (WHOLE - 2) * QUIRE_BLOCK_PAGES, &gone);
		is(gone.gone, ret ? 0 : (WHOLE - 2) * QUIRE_BLOCK_PAGES,
		   "%u mappings are left: all blocks go, or none", left);
		ok(blocks_agree(), "... and host and stage 2 agree about them");
		munmap(hog + left++ * QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
	} while (ret == -ENOMEM && left < 8);
	is(ret, 0, "with mappings enough they go");
	munmap(hog, bytes);
	is(gmem_audit(gm, describe, NULL), 0, "and the audit is clean");
	gmem_destroy(gm);
}

/* ---- a RAM file for which its file system has no room ---- */

#define FULL_BLOCKS 4
#define TOLD	    42

static void on_failure(void *ctx, gpa_t gpa, int err)
{
	(void)ctx;
	(void)gpa;
	_exit(err == -ENOMEM || err == -ENOSPC ? TOLD : 1);
}

/* Touch a page more than there is room for, in a guest whose RAM file is `fd`. */
static _Noreturn void touch_in(int fd)
{
	static const struct gfn_range ram = { 0, FULL_BLOCKS * QUIRE_BLOCK_PAGES };
	struct gmem_config config = {
		.ram = &ram, .nr_ram = 1, .ram_fd = fd, .on_host_failure = on_failure
	};

	if (gmem_create(&config, &gm, NULL) || gmem_start(gm, NULL))
		_exit(2);
	*(volatile char *)gmem_hva(gm, 0) = 1;
	*(volatile char *)gmem_hva(gm, QUIRE_BLOCK_SIZE) = 1;
	_exit(3);
}

static void test_no_room(void)
{
	int fd = tmpfs_file("advise", QUIRE_PAGE_SIZE, FULL_BLOCKS * QUIRE_BLOCK_SIZE), status;
	pid_t pid;

	if (fd < 0) {
		tap_skip("no privilege to mount a tmpfs of its own");
		return;
	}
	pid = fork();
	if (!pid)
		touch_in(fd);
	waitpid(pid, &status, 0);
	close(fd);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == TOLD,
	   "no room in the RAM file is a failure of the host, and no signal (status %#x)", status);
}

int main(void)
{
	struct quire_error err;

	tap_init();
	signal(SIGXFSZ, SIG_IGN);
	if (create(&err))
		tap_skip_all("%s", err.text);
	gmem_destroy(gm);
	test_limit(RLIMIT_NOFILE, "room for descriptors", 3, "ulimit -n");
	test_limit(RLIMIT_FSIZE, "file size", MiB, "ulimit -f");
	if (!UNDER_ASAN)
		test_limit(RLIMIT_AS, "address space", 64 * MiB, "ulimit -v");
	test_mappings();
	if (!UNDER_ASAN)
		test_single_at_once();
	test_no_room();
	return tap_done();
}
