/* SPDX-License-Identifier: MIT */
/*
 * A machine that was taken over.  A process becomes a machine as `quire machine` does, with a
 * client, and then tries what it must not: it has all that the machine has at that moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <quire/types.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/machine/server.h"
#include "tests/kvm/sandbox_attempts.h"
#include "tests/tap.h"
#include "vmm/launch/confine.h"

#define DENIED	  3
#define SUCCEEDED 4

static char dir[] = "/tmp/quire-confine-XXXXXX";
static char socket_dir[64], socket_path[80], other_file[64];
static pid_t it;

/* ---- a machine ---- */

static void become_machine(void)
{
	struct machine_config config = { .ledger = { .memory_pages = 65536, .ratio = 50 } };
	struct machine *m;
	int pair[2];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) ||
	    machine_create(&config, &m, NULL) || machine_listen(m, socket_path, NULL) ||
	    machine_adopt_control(m, pair[0]))
		_exit(1);
	confine_machine(m);
	if (machine_serve(m))
		_exit(1);
}

/* How a machine ends that does this when it has been taken over. */
static int taken_over(int (*deed)(size_t), size_t arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		become_machine();
		_exit(deed(arg));
	}
	waitpid(pid, &status, 0);
	unlink(socket_path);
	return status;
}

static bool was_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool was_denied(int status)
{
	return was_killed(status) || (WIFEXITED(status) && WEXITSTATUS(status) == DENIED);
}

/* ---- forbidden calls ---- */

static int make_attempt(size_t index)
{
	return attempt_make(index, it, 2) < 0 ? DENIED : SUCCEEDED;
}

/* These have no effect beyond the process itself, and are the machine's work. */
static bool is_its_work(size_t index)
{
	const char *name = attempt_name(index);

	return !strcmp(name, "socketpair") || !strcmp(name, "memfd_create") ||
	       !strcmp(name, "userfaultfd") || !strcmp(name, "truncate a descriptor");
}

static void test_attempts(void)
{
	unsigned int denied = 0, tried = 0;

	for (size_t i = 0; i < nr_attempts; i++) {
		if (is_its_work(i))
			continue;
		tried++;
		if (was_denied(taken_over(make_attempt, i)))
			denied++;
		else
			tap_note("%s: not denied", attempt_name(i));
	}
	is(denied, tried, "a machine that was taken over can do none of %u things", tried);
	ok(!kill(it, 0), "the bystander was not touched");
}

/* ---- files ---- */

static const struct {
	const char *what, *path;
	int flags;
	bool for_landlock; /* the filter alone lets it through */
} files[] = {
	{ "read a file", "/etc/passwd", O_RDONLY | O_CLOEXEC, true },
	{ "write one", "/etc/passwd", O_WRONLY | O_CLOEXEC, false },
	{ "write one that is open to all", "/dev/null", O_RDWR | O_CLOEXEC, false },
	{ "make one", "/tmp/quire-confine", O_CREAT | O_WRONLY | O_CLOEXEC, false },
	{ "write to /proc", "/proc/sys/kernel/core_pattern", O_WRONLY | O_CLOEXEC, false },
	{ "list a directory", "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, true },
	{ "see the host's root through /proc", "/proc/1/root/etc/passwd", O_RDONLY | O_CLOEXEC,
	  true },
	{ "read another's memory", "/proc/1/mem", O_RDONLY | O_CLOEXEC, true },
	{ "read another's environment", "/proc/1/environ", O_RDONLY | O_CLOEXEC, true },
};

static int open_file(size_t i)
{
	long fd = syscall(SYS_openat, AT_FDCWD, files[i].path, files[i].flags, 0600);
	char byte;

	return fd < 0 || (!(files[i].flags & (O_DIRECTORY | O_ACCMODE)) &&
			  read((int)fd, &byte, 1) < 0) ?
		       DENIED :
		       SUCCEEDED;
}

static int remove_file(size_t i)
{
	(void)i;
	return unlink(other_file) ? DENIED : SUCCEEDED;
}

static int remove_socket(size_t i)
{
	(void)i;
	return unlink(socket_path) ? DENIED : SUCCEEDED;
}

static bool have_landlock(void)
{
	return syscall(444 /* landlock_create_ruleset */, NULL, 0, 1 /* its version */) > 0;
}

static void test_files(void)
{
	bool landlock = have_landlock();

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int status = taken_over(open_file, i);

		if (files[i].for_landlock && !landlock)
			tap_skip("%s: this kernel has no Landlock", files[i].what);
		else
			ok(was_denied(status), "it cannot %s (status %#x)", files[i].what, status);
	}
	if (landlock)
		ok(was_denied(taken_over(remove_file, 0)), "it cannot remove another's file");
	else
		tap_skip("removing a file: this kernel has no Landlock");
	is(WEXITSTATUS(taken_over(remove_socket, 0)), SUCCEEDED, "it removes its own socket");
}

/* ---- what it is ---- */

static const char *slurp(pid_t pid, const char *name)
{
	static char text[16384];
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < n; i++)
		text[i] = text[i] ? text[i] : '\n';
	return text;
}

static void test_state(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready))
		tap_bail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		become_machine();
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;) /* nothing but the end comes of it */
			poll(NULL, 0, -1);
	}
	ok(read(ready[0], &byte, 1) == 1, "a machine serves");
	ok(strstr(slurp(pid, "status"), "NoNewPrivs:\t1"), "no new privileges");
	ok(strstr(slurp(pid, "status"), "Seccomp:\t2"), "a filter of system calls");
	ok(strstr(slurp(pid, "status"),
		  geteuid() ? "CapEff:\t0000000000000000" : "CapEff:\t0000000000000020"),
	   "no capability but, of root's, to end processes");
	ok(strstr(slurp(pid, "limits"), "Max core file size        0 "), "no core dumps");
	ok(!strstr(slurp(pid, "environ"), "SECRET_TOKEN"), "its starter's secrets are gone");
	ok(strstr(slurp(getpid(), "environ"), "SECRET_TOKEN"), "... which its starter still has");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(socket_path);
}

/* ---- the program ---- */

static void be_started_with_a_secret(char **argv)
{
	if (getenv("SECRET_TOKEN"))
		return;
	setenv("SECRET_TOKEN", "of the caller", 1);
	execv("/proc/self/exe", argv);
	tap_bail("execv: %s", strerror(errno));
}

static void make_files(void)
{
	int fd;

	if (!mkdtemp(dir))
		tap_bail("mkdtemp: %s", strerror(errno));
	snprintf(socket_dir, sizeof(socket_dir), "%s/machine", dir);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", socket_dir);
	snprintf(other_file, sizeof(other_file), "%s/precious", dir);
	fd = open(other_file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (mkdir(socket_dir, 0700) || fd < 0)
		tap_bail("%s: %s", dir, strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	(void)argc;
	be_started_with_a_secret(argv);
	tap_init();
	make_files();
	it = bystander();
	test_attempts();
	test_files();
	test_state();
	kill(it, SIGKILL);
	waitpid(it, NULL, 0);
	unlink(other_file);
	rmdir(socket_dir);
	rmdir(dir);
	return tap_done();
}
