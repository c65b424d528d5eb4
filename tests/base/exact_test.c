/* SPDX-License-Identifier: MIT */
/* Exact mappings: exactly the pages come in that were asked for, on every policy of huge pages. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <quire/types.h>
#include "mmu/base/exact.h"
#include "tests/memory/files.h"
#include "tests/tap.h"

#define BYTES (4 * QUIRE_BLOCK_SIZE)
#define PAGES 3u

static sigjmp_buf refused;

static void on_bus_error(int sig)
{
	(void)sig;
	siglongjmp(refused, 1);
}

static bool may_touch(volatile uint8_t *at)
{
	if (sigsetjmp(refused, 1))
		return false;
	*at = 1;
	return true;
}

static uint64_t pages_of(int fd)
{
	struct stat st = { 0 };

	fstat(fd, &st);
	return (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;
}

static void test_policy(const char *huge)
{
	int exact = exact_open(), fd = tmpfs_file(huge, 4 * QUIRE_PAGE_SIZE, BYTES);
	static uint8_t bytes[PAGES * QUIRE_PAGE_SIZE];
	uint8_t *at;

	if (fd < 0)
		tap_skip_all("no privilege to mount a tmpfs of its own");
	at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (exact < 0 || at == MAP_FAILED || exact_map(exact, at, BYTES))
		tap_bail("%s", strerror(errno));
	memset(bytes, 'q', sizeof(bytes));
	is(exact_copy(exact, at + QUIRE_PAGE_SIZE, bytes, sizeof(bytes)), 0,
	   "huge=%s: pages come in", huge);
	is(pages_of(fd), PAGES, "huge=%s: and no others", huge);
	ok(!memcmp(at + QUIRE_PAGE_SIZE, bytes, sizeof(bytes)), "huge=%s: with their bytes", huge);
	ok(may_touch(at + QUIRE_PAGE_SIZE), "huge=%s: they can be written", huge);
	ok(!may_touch(at), "huge=%s: a hole cannot be touched", huge);
	is(exact_copy(exact, at + QUIRE_BLOCK_SIZE, bytes, sizeof(bytes)), -ENOMEM,
	   "huge=%s: without room there is no memory", huge);
	is(pages_of(fd), PAGES + 1, "huge=%s: but for a prefix", huge);
	munmap(at, BYTES);
	close(exact);
	close(fd);
}

int main(void)
{
	tap_init();
	signal(SIGBUS, on_bus_error);
	test_policy("always");
	test_policy("within_size");
	test_policy("advise");
	test_policy("never");
	return tap_done();
}
