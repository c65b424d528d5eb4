/* SPDX-License-Identifier: MIT */
/*
 * A VM process that was taken over, and takes memory: how much the kernel lets it have.  Nobody
 * looks at it meanwhile, as the machine does once a second.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/sanitized.h"
#include "mmu/memory/ramfile.h"
#include "vmm/vm/sandbox.h"
#include "tests/tap.h"

#define RAM_BYTES  (16 * MiB)
#define NR_THREADS 5
#define NO_TRY	   2

/* What the process got, told through memory that it shares with the test. */
struct haul {
	uint64_t touched_mib, mapped_gib, ram_pages;
	int64_t grown; /* bytes written beyond the end of RAM, or -errno */
};

static struct haul *haul;

static void *map(size_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void touch(int ram)
{
	char *p;

	(void)ram;
	for (; haul->touched_mib < 600 && (p = map(MiB, PROT_READ | PROT_WRITE));
	     haul->touched_mib++)
		for (unsigned int i = 0; i < MiB; i += QUIRE_PAGE_SIZE)
			p[i] = 1;
}

/* Read-only, so that no page of it is charged, but page tables would be needed. */
static void map_much(int ram)
{
	(void)ram;
	while (haul->mapped_gib < 1024 && map(GiB, PROT_READ))
		haul->mapped_gib++;
}

static void grow(int ram)
{
	static char page[QUIRE_PAGE_SIZE];
	ssize_t n = pwrite(ram, page, sizeof(page), RAM_BYTES);

	haul->grown = n < 0 ? -errno : n;
}

static void fill(int ram)
{
	static char page[QUIRE_PAGE_SIZE];
	struct stat st;

	for (uint64_t at = 0; at < 2 * RAM_BYTES; at += sizeof(page))
		if (pwrite(ram, page, sizeof(page), (off_t)at) < 0)
			break;
	haul->ram_pages = fstat(ram, &st) ? 0 : (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;
}

/* Returns how the process ended. */
static int take_over(uid_t uid, bool sandbox, void (*attack)(int ram))
{
	struct sandbox_keep keep = { .ram_bytes = RAM_BYTES, .nr_threads = NR_THREADS };
	struct quire_error err;
	int ram, status;
	bool exact;
	pid_t pid;

	*haul = (struct haul){ 0 };
	fflush(NULL);
	pid = fork();
	if (pid) {
		waitpid(pid, &status, 0);
		return status;
	}
	if (uid && (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		_exit(NO_TRY);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	ram = ramfile_create(RAM_BYTES, RAM_BYTES, false, &exact, &err);
	if (ram < 0)
		_exit(NO_TRY);
	/* A signal that a process ignores does not end it: the call tells why it fails. */
	signal(SIGXFSZ, SIG_IGN);
	sandbox_keep(&keep, ram);
	if (sandbox) {
		/* What is written to a pipe is no file that grows. */
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (sandbox_enter(SANDBOX_ON, &keep, &err))
			_exit(NO_TRY);
		sandbox_thread(SANDBOX_MAIN);
	}
	attack(ram);
	syscall(SYS_exit_group, 0);
	_exit(NO_TRY);
}

static void test_as(uid_t uid, const char *who)
{
	is(take_over(uid, true, touch), 0, "%s: takes memory", who);
	ok(haul->touched_mib < 100, "%s: it gets %lu MiB, which is not much more than its RAM", who,
	   haul->touched_mib);
	ok(haul->touched_mib >= 16 + NR_THREADS, "%s: and as much as it may need", who);
	is(take_over(uid, true, map_much), 0, "%s: maps memory", who);
	ok(haul->mapped_gib < 70, "%s: it gets %lu GiB: the store's, and a little", who,
	   haul->mapped_gib);
	is(take_over(uid, true, grow), 0, "%s: writes beyond the end of RAM", who);
	ok(haul->grown == -EFBIG || haul->grown == -EPERM, "%s: in vain (%ld)", who, haul->grown);
	is(take_over(uid, false, fill), 0, "%s: without a sandbox, fills twice its RAM", who);
	is(haul->ram_pages, RAM_BYTES / QUIRE_PAGE_SIZE, "%s: it gets what RAM has", who);
}

/* Standard output may be a file, and has no such limit. */
static void test_output(void)
{
	struct sandbox_keep keep = { .ram_bytes = RAM_BYTES };
	int file = memfd_create("output", MFD_CLOEXEC), status;
	struct quire_error err;
	struct rlimit r;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		dup2(file, STDOUT_FILENO);
		if (sandbox_enter(SANDBOX_ON, &keep, &err) || getrlimit(RLIMIT_FSIZE, &r))
			_exit(NO_TRY);
		_exit(r.rlim_cur != RLIM_INFINITY);
	}
	waitpid(pid, &status, 0);
	is(status, 0, "a file that standard output goes to may grow");
	close(file);
}

int main(void)
{
	tap_init();
	haul = mmap(NULL, sizeof(*haul), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
#if QUIRE_SANITIZED
	tap_skip_all("a sanitizer maps terabytes");
#endif
	test_as(0, "this user");
	if (geteuid() == 0)
		test_as(1234, "an ordinary user");
	else
		tap_skip("only root can become another user");
	test_output();
	return tap_done();
}
