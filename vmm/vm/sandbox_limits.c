/* SPDX-License-Identifier: MIT */
/*
 * How much memory a VM process may have, by the kernel's word.
 *
 * The machine counts what a VM occupies, but only once a second (mmu/machine/server_measure.c).
 * What a VM that was taken over can touch until then is bounded here:
 *
 *   RLIMIT_DATA    its private writable memory.  A run of pages that are away is mapped privately,
 *                  so all of RAM may be that for a moment.  Besides there are the threads' stacks,
 *                  notes on the pages of RAM, and what the C library and we allocate
 *   RLIMIT_AS      all that is mapped, which bounds its page tables.  Besides the above there are
 *                  the segments of the store
 *   RLIMIT_FSIZE   no file grows beyond the largest that it has now, which is RAM.  If standard
 *                  output or error is a file, that may grow, so there is no such limit
 *
 * And one thing that the kernel counts for each uid, so that one VM could use up what its siblings
 * need to wake their vCPUs:
 *
 *   RLIMIT_SIGPENDING   signals that wait
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mmu/base/merge_protocol.h"
#include "mmu/base/sanitized.h"
#include "mmu/base/thread.h"
#include "sandbox.h"
#include "sandbox_limits.h"

#define SLACK_BYTES (QUIRE_SANITIZED ? 1024 * GiB : 48 * MiB) /* a sanitizer maps terabytes */
#define STORE_BYTES ((uint64_t)MERGE_MAX_FRAMES * QUIRE_PAGE_SIZE)
#define MAX_SIGNALS 1024 /* some for each vCPU that is being woken */
#define NOTES_SHARE 64	 /* of RAM: stage 2, and notes on its pages, are far less */

/* What is mapped now, in bytes: everything, and what is private and writable. */
static bool mapped_now(uint64_t *all, uint64_t *data)
{
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	char line[160], *at = line;
	uint64_t field[6];
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n <= 0)
		return false;
	line[n] = '\0';
	for (unsigned int i = 0; i < ARRAY_SIZE(field); i++)
		field[i] = strtoull(at, &at, 10);
	*all = field[0] * QUIRE_PAGE_SIZE;
	*data = field[5] * QUIRE_PAGE_SIZE;
	return *data != 0;
}

static bool limit(__rlimit_resource_t which, uint64_t most)
{
	struct rlimit r;

	if (getrlimit(which, &r))
		return false;
	if (most < r.rlim_max)
		r.rlim_max = most;
	if (r.rlim_cur > r.rlim_max)
		r.rlim_cur = r.rlim_max;
	return !setrlimit(which, &r);
}

static bool is_file(int fd, uint64_t *bytes)
{
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return false;
	*bytes = (uint64_t)st.st_size;
	return true;
}

static bool limit_files(const struct sandbox_keep *keep)
{
	uint64_t most = 0, bytes;

	if (is_file(STDOUT_FILENO, &bytes) || is_file(STDERR_FILENO, &bytes))
		return true;
	for (unsigned int i = 0; i < keep->nr; i++)
		if (is_file(keep->fd[i], &bytes))
			most = max_u64(most, bytes);
	return limit(RLIMIT_FSIZE, most);
}

bool sandbox_limit(const struct sandbox_keep *keep)
{
	uint64_t more = keep->ram_bytes + keep->ram_bytes / NOTES_SHARE +
			keep->nr_threads * THREAD_STACK_BYTES + SLACK_BYTES;
	uint64_t all, data;

	if (!limit_files(keep))
		return false;
	return mapped_now(&all, &data) && limit(RLIMIT_DATA, data + more) &&
	       limit(RLIMIT_AS, all + more + STORE_BYTES);
}

bool sandbox_limit_signals(void)
{
	return limit(RLIMIT_SIGPENDING, MAX_SIGNALS);
}
