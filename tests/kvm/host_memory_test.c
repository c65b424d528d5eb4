/* SPDX-License-Identifier: MIT */
/*
 * The host has no memory for a page that the guest touches.
 *
 * Exactly: quire runs under a seccomp filter that answers UFFDIO_ZEROPAGE with ENOMEM.  Blocks
 * of 2 MiB come in by another call, so a guest of 65 MiB starts and runs until it gets to its
 * last MiB, which is no whole block.  Whatever mode the guest is in and whoever takes the fault,
 * the end is one line and status 121, soon, and the name is free again.
 *
 * Really: in a memory cgroup of its own, below the one we are in.  The kernel's OOM killer comes
 * first there, as a rule: then nothing can be said, but everything must be given back.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <quire/abi.h>
#include <quire/types.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "tests/tap.h"

#define LIMIT	    (64 * MiB)
#define PATIENCE_MS 30000u

static char quire[4096], quill[4096], payload[4096], errors[] = "/tmp/quire-memory-XXXXXX";
static char group[4096]; /* "": none */
static volatile pid_t running;

/* ---- running quire ---- */

/* ioctl(fd, UFFDIO_ZEROPAGE, ...) fails with ENOMEM, all else is as ever. */
static void refuse_pages(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)UFFDIO_ZEROPAGE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(111);
}

static bool write_file(const char *dir, const char *name, const char *text)
{
	char path[sizeof(group) + 64];
	int fd;
	bool done;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return done;
}

static void nothing(void)
{
}

static void join_group(void)
{
	if (!write_file(group, "cgroup.procs", "0"))
		_exit(112);
}

/* Run quire with args after prepare(); its wait status, standard error in `errors`, and time. */
static int run(void (*prepare)(void), const char *const *args, unsigned long *ms)
{
	unsigned long start = monotonic_ns() / NS_PER_MS;
	int status = 0;
	pid_t pid = running = fork();

	if (!pid) {
		int out = open("/dev/null", O_WRONLY), err = open(errors, O_WRONLY | O_TRUNC);

		dup2(out, STDOUT_FILENO);
		dup2(err, STDERR_FILENO);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prepare();
		execv(quire, (char **)args);
		_exit(113);
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		if (monotonic_ns() / NS_PER_MS - start > PATIENCE_MS)
			kill(pid, SIGKILL);
		usleep(2000);
	}
	running = 0;
	*ms = monotonic_ns() / NS_PER_MS - start;
	return status;
}

static const char *error_text(void)
{
	static char text[4096];
	int fd = open(errors, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static bool is_one_line(const char *text)
{
	const char *end = strchr(text, '\n');

	return end && !end[1] && !strncmp(text, "quire: ", 7);
}

/* ---- exactly ---- */

static void exactly(void)
{
	char name[80];
	const struct {
		const char *what, *image, *irqchip, *hugepages, *says;
	} cases[] = {
		{ "user code", quill, "--irqchip=off", "--hugepages=auto",
		  "the host has no memory for guest page 0x4" },
		{ "user code, with an irqchip", quill, "--irqchip=on", "--hugepages=auto",
		  "the host has no memory for guest page 0x4" },
		{ "ring 0", payload, "--irqchip=off", "--hugepages=auto",
		  "the host has no memory for guest page 0x4" },
		{ "ring 0, with an irqchip", payload, "--irqchip=on", "--hugepages=auto",
		  "the host has no memory for guest page 0x4" },
		{ "before the guest runs", quill, "--irqchip=off", "--hugepages=never", "memory" },
	};

	snprintf(name, sizeof(name), "--name=no-memory-%d", getpid());
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *args[] = { quire,
				       "run",
				       "-m",
				       "65M",
				       "--timeout=20",
				       name,
				       cases[i].irqchip,
				       cases[i].hugepages,
				       cases[i].image,
				       "selftest",
				       NULL };
		unsigned long ms;
		int status = run(refuse_pages, args, &ms);
		const char *text = error_text();

		if (!ok(WIFEXITED(status) && WEXITSTATUS(status) == QUIRE_STATUS_HOST &&
				is_one_line(text) && strstr(text, cases[i].says),
			"%s: one line and status 121, after %lu ms", cases[i].what, ms))
			tap_note("status %#x: %s", (unsigned int)status, text);
	}
}

/* ---- really ---- */

static bool read_number(const char *name, uint64_t *value)
{
	char path[sizeof(group) + 64];
	unsigned long long n;
	FILE *f;
	bool found;

	snprintf(path, sizeof(path), "%s/%s", group, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	found = fscanf(f, "%llu", &n) == 1;
	*value = n;
	fclose(f);
	return found;
}

/* Our own group of the hierarchy that has `memory` (v1), or of the only one (v2). */
static bool own_group(char *path, size_t size, bool v2)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[4096];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, v2 ? "0::/" : ":memory:/");

		line[strcspn(line, "\n")] = '\0';
		if (!at || (v2 && at != line))
			continue;
		at = strchr(at, '/');
		snprintf(path, size, "%s%s", v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory",
			 at[1] ? at : "");
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

/* A launcher that was killed in it may have left some below it. */
static void remove_group(void)
{
	char command[sizeof(group) + 64];

	snprintf(command, sizeof(command), "rmdir '%s'/quire-* 2>/dev/null", group);
	if (group[0])
		(void)!system(command);
	for (int i = 0; group[0] && rmdir(group) && errno == EBUSY && i < 500; i++)
		usleep(10000);
	group[0] = '\0';
}

static bool make_group(bool v2)
{
	char own[2048], limit[32];

	if (!own_group(own, sizeof(own), v2))
		return false;
	snprintf(group, sizeof(group), "%s/quire-test-%d", own, getpid());
	if (mkdir(group, 0755)) {
		group[0] = '\0';
		return false;
	}
	snprintf(limit, sizeof(limit), "%lu", LIMIT);
	if (write_file(group, v2 ? "memory.max" : "memory.limit_in_bytes", limit))
		return true;
	remove_group();
	return false;
}

static void really(void)
{
	const char *args[] = { quire, "run",   "-m",  "256M", "--timeout=20",
			       quill, "touch", "all", NULL };
	const char *usage;
	bool v2 = false;
	uint64_t used = UINT64_MAX;
	unsigned long ms;
	int status;

	if (!make_group(false)) {
		v2 = true;
		if (!make_group(true)) {
			tap_skip("no memory cgroup can be made below our own");
			return;
		}
	}
	status = run(join_group, args, &ms);
	ok((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
		   (WIFEXITED(status) && WEXITSTATUS(status) == QUIRE_STATUS_HOST &&
		    is_one_line(error_text())),
	   "a cgroup's limit ends it with status 121, or the kernel does (%#x after %lu ms)",
	   (unsigned int)status, ms);
	usage = v2 ? "memory.current" : "memory.usage_in_bytes";
	for (int i = 0; i < 300 && (!read_number(usage, &used) || used > LIMIT / 8); i++)
		usleep(10000);
	ok(used <= LIMIT / 8, "and its memory went back: %lu KiB are left",
	   (unsigned long)used / 1024);
	remove_group();
}

static void clean_up(int sig)
{
	(void)sig;
	if (running > 0) {
		kill(running, SIGKILL);
		waitpid(running, NULL, 0);
	}
	if (group[0])
		rmdir(group);
	unlink(errors);
	_exit(1);
}

int main(void)
{
	const char *build = getenv("QUIRE_BUILD");
	const char *args[] = { quire, "run", "-m", "65M", "--irqchip=off", payload, NULL };
	unsigned long ms;
	int fd, status;

	tap_init();
	build = build ? build : "build";
	snprintf(quire, sizeof(quire), "%s/quire", build);
	snprintf(quill, sizeof(quill), "%s/guest/quill.elf", build);
	snprintf(payload, sizeof(payload), "%s/payload/pvh32_write.elf", build);
	if (access(quire, X_OK) || access(quill, R_OK) || access(payload, R_OK))
		tap_skip_all("no %s, %s or %s", quire, quill, payload);
	fd = mkstemp(errors);
	if (fd < 0)
		tap_bail("cannot make %s", errors);
	close(fd);
	signal(SIGTERM, clean_up);
	signal(SIGINT, clean_up);
	status = run(nothing, args, &ms);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 9) {
		unlink(errors);
		tap_skip_all("quire does not run here (status %#x): %s", (unsigned int)status,
			     strtok((char *)error_text(), "\n"));
	}
	exactly();
	really();
	unlink(errors);
	return tap_done();
}
