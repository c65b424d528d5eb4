/* SPDX-License-Identifier: MIT */
/*
 * The sandbox from the inside: what a thread that was taken over can still do.
 *
 * Two kinds of test.  *State*: a process enters the sandbox, and another looks at it.  *Tables*:
 * for each role, a process enters, takes the role, and tries one thing that it must not; it must
 * die of it (SIGSYS).  takeover_test.c has a whole VM that is taken over.
 *
 * In sanitizer builds some calls are refused instead, so that reports get out.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <quire/types.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "vmm/vm/sandbox.h"
#include "tests/tap.h"
#include "sandbox_attempts.h"

#define INHERITED 700 /* a descriptor that the process was born with */

/* Any 32-bit call: another table of numbers, so all of it is forbidden. */
static void try_32_bit(void)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(20L) : "memory");
}

/* ---- processes in the sandbox ---- */

/* The process has one thread.  Each role has one of the two ways to end. */
static enum sandbox_role role_taken;

static void take_role(enum sandbox_role role)
{
	role_taken = role;
	sandbox_thread(role);
}

static _Noreturn void leave(int status)
{
	bool group = role_taken == SANDBOX_MAIN || role_taken == SANDBOX_IMAGE ||
		     role_taken == SANDBOX_CODE || role_taken == SANDBOX_MACHINE ||
		     role_taken == SANDBOX_MACHINE_BARE;

	for (;;)
		syscall(group ? SYS_exit_group : SYS_exit, status);
}

static void enter(enum sandbox_mode mode, int keep_fd)
{
	struct sandbox_keep keep = { .nr = 0 };
	struct quire_error err = { "" };

	sandbox_keep(&keep, keep_fd);
	if (sandbox_enter(mode, &keep, &err)) {
		fprintf(stderr, "# %s\n", err.text);
		_exit(ATTEMPT_NONE);
	}
}

/* ---- tables ---- */

/* How a process ends that enters, takes a role, and tries one thing. */
static int attempt_in(enum sandbox_role role, unsigned int index, pid_t it)
{
	int pipes[2];
	pid_t pid;

	if (pipe(pipes))
		tap_bail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		enter(SANDBOX_ON, pipes[0]);
		take_role(role);
		if (index == nr_attempts)
			try_32_bit();
		else if (attempt_make(index, it, pipes[0]) < 0)
			errno == EPERM ? leave(ATTEMPT_DENIED) : leave(ATTEMPT_NONE);
		leave(ATTEMPT_SUCCEEDED);
	}
	close(pipes[0]);
	close(pipes[1]);
	return attempt_wait(pid);
}

/* What some roles do as their work, the machine only where sandbox_places() lets it. */
static bool is_its_work(enum sandbox_role role, unsigned int index)
{
	static const struct {
		enum sandbox_role role;
		const char *attempt;
	} work[] = {
		{ SANDBOX_KEEPER, "KVM_SET_USER_MEMORY_REGION" },
		{ SANDBOX_VCPU, "KVM_SET_USER_MEMORY_REGION" },
		{ SANDBOX_MACHINE, "memfd_create" },
		{ SANDBOX_MACHINE, "truncate a descriptor" },
		{ SANDBOX_MACHINE, "userfaultfd" },
		{ SANDBOX_MACHINE, "unlink" },
		{ SANDBOX_MACHINE, "pidfd_send_signal" },
	};

	if (role == SANDBOX_MACHINE_BARE)
		role = SANDBOX_MACHINE;

	for (size_t i = 0; i < ARRAY_SIZE(work) && index < nr_attempts; i++)
		if (work[i].role == role && !strcmp(work[i].attempt, attempt_name(index)))
			return true;
	return false;
}

static void test_role(enum sandbox_role role, pid_t it)
{
	unsigned int denied = 0;

	for (unsigned int i = 0; i <= nr_attempts; i++) {
		int status = attempt_in(role, i, it);

		if (is_its_work(role, i) ? !attempt_was_killed(status) : attempt_was_denied(status))
			denied++;
		else
			tap_note("%s: %s: status %#x", sandbox_role_name[role],
				 i == nr_attempts ? "a 32-bit call" : attempt_name(i), status);
	}
	is(denied, nr_attempts + 1, "role %s: each of %zu forbidden things is the end",
	   sandbox_role_name[role], nr_attempts + 1);
}

/* What only one role may do. */
static void test_separation(void)
{
	static const struct {
		enum sandbox_role role;
		long nr, arg1;
		const char *what;
	} cases[] = {
		{ SANDBOX_MAIN, SYS_ioctl, KVM_RUN, "the main loop cannot enter the guest" },
		{ SANDBOX_PAGER, SYS_ioctl, KVM_RUN, "nor can the pager" },
		{ SANDBOX_CHANNEL, SYS_ioctl, KVM_IRQ_LINE, "the channel cannot raise interrupts" },
		{ SANDBOX_VCPU, SYS_read, 0, "a vCPU cannot read from descriptors" },
		{ SANDBOX_VCPU, SYS_accept4, 0, "... nor take clients" },
		{ SANDBOX_PAGER, SYS_recvmsg, 0, "the pager cannot receive descriptors" },
		{ SANDBOX_VCPU, SYS_recvmsg, 0, "... nor can a vCPU" },
		{ SANDBOX_CHANNEL, SYS_ioctl, (long)UFFDIO_ZEROPAGE,
		  "the channel brings nothing in" },
		{ SANDBOX_CHANNEL, SYS_fallocate, 3, "the channel punches no holes" },
		{ SANDBOX_VCPU, SYS_fallocate, 0, "a vCPU cannot make the RAM file grow" },
		{ SANDBOX_KEEPER, SYS_fallocate, 0, "nor can the keeper" },
		{ SANDBOX_KEEPER, SYS_ioctl, KVM_RUN, "the keeper cannot enter the guest" },
		{ SANDBOX_KEEPER, SYS_read, 0, "... nor read from descriptors" },
		{ SANDBOX_PAGER, SYS_ioctl, KVM_GET_DIRTY_LOG, "the pager watches no writes" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (!pid) {
			enter(SANDBOX_ON, -1);
			take_role(cases[i].role);
			syscall(cases[i].nr, -1, cases[i].arg1, 0, 0, 0, 0);
			leave(ATTEMPT_SUCCEEDED);
		}
		ok(attempt_was_killed(attempt_wait(pid)), "%s", cases[i].what);
	}
}

/* The conditions of rows let through what they are for. */
static void test_permitted(void)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		void *p;
		char *heap;

		enter(SANDBOX_ON, -1);
		sandbox_thread(SANDBOX_MAIN);
		p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		heap = malloc(8 << 20);
		if (p == MAP_FAILED || !heap || munmap(p, 1 << 20) || raise(SIGURG) ||
		    geteuid() != 0 || write(STDERR_FILENO, "", 0))
			syscall(SYS_exit_group, 1);
		free(heap);
		abort();
	}
	status = attempt_wait(pid);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
	   "memory, signals to oneself and abort() work (status %#x)", status);
}

/* ---- state ---- */

static char *slurp(const char *path)
{
	static char text[16384];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static const char *proc(pid_t pid, const char *name)
{
	static char path[80];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return path;
}

static unsigned int entries(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	unsigned int nr = 0;

	while (dir && (e = readdir(dir)))
		nr += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return nr;
}

static bool own_namespace(pid_t pid, const char *name)
{
	char file[32], theirs[64] = "", ours[64] = "";

	snprintf(file, sizeof(file), "ns/%s", name);
	return readlink(proc(pid, file), theirs, sizeof(theirs) - 1) > 0 &&
	       readlink(proc(getpid(), file), ours, sizeof(ours) - 1) > 0 && strcmp(theirs, ours);
}

static void look_at(pid_t pid, unsigned int pieces)
{
	static const struct {
		enum sandbox_piece piece;
		const char *ns;
	} namespaces[] = {
		{ SANDBOX_USER_NS, "user" }, { SANDBOX_IPC_NS, "ipc" }, { SANDBOX_UTS_NS, "uts" },
		{ SANDBOX_MOUNT_NS, "mnt" }, { SANDBOX_NET_NS, "net" },
	};
	const char *status = slurp(proc(pid, "status"));

	ok(strstr(status, "NoNewPrivs:\t1"), "no new privileges");
	ok(strstr(status, "Seccomp:\t2"), "a filter of system calls");
	for (unsigned int i = 0; i < 4; i++) {
		static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd" };
		char line[40];

		snprintf(line, sizeof(line), "%s:\t0000000000000000", sets[i]);
		ok(!(pieces & 1u << SANDBOX_NO_CAPS) || strstr(status, line), "%s is empty",
		   sets[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		ok(own_namespace(pid, namespaces[i].ns) == !!(pieces & 1u << namespaces[i].piece),
		   "its %s namespace is what it says", namespaces[i].ns);
	if (pieces & 1u << SANDBOX_EMPTY_ROOT) {
		const char *mounts = slurp(proc(pid, "mounts"));

		is(entries(proc(pid, "root/")), 0, "its root directory is empty");
		ok(!strncmp(mounts, "none / tmpfs ro,", 16) &&
			   !strchr(strchr(mounts, '\n') + 1, '\n'),
		   "... read-only, and the only mount");
	}
	is(entries(proc(pid, "fd")), 4, "it has the standard descriptors and the one to keep");
	ok(strstr(slurp(proc(pid, "limits")), "Max core file size        0 "), "no core dumps");
}

/* Enters with these ids, says what pieces it has, and waits for the end. */
static void test_state(enum sandbox_mode mode, uid_t uid, const char *what)
{
	unsigned int pieces = 0;
	int pipes[2], inherited = dup2(STDIN_FILENO, INHERITED);
	pid_t pid;

	if (inherited < 0 || pipe(pipes))
		tap_bail("descriptors: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		if (uid && (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
			_exit(ATTEMPT_NONE);
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		enter(mode, pipes[1]);
		sandbox_thread(SANDBOX_MAIN);
		pieces = sandbox_pieces();
		for (;;)
			if (write(pipes[1], &pieces, sizeof(pieces)) < 0 || poll(NULL, 0, -1))
				syscall(SYS_exit_group, 1);
	}
	close(pipes[1]);
	if (read(pipes[0], &pieces, sizeof(pieces)) != sizeof(pieces))
		pieces = 0;
	tap_note("%s: pieces %#x of %#x", what, pieces, (1u << SANDBOX_NR_PIECES) - 1);
	ok(pieces, "%s enters the sandbox", what);
	look_at(pid, pieces);
	close(pipes[0]);
	close(inherited);
	kill(pid, SIGKILL);
	attempt_wait(pid);
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* A user namespace of our own, in which no further namespace may be made. */
static bool refuse_namespaces(void)
{
	static const char *const kinds[] = { "user", "mnt", "ipc", "uts", "net" };
	char line[32], path[64];
	bool done = true;

	snprintf(line, sizeof(line), "0 %u 1", geteuid());
	if (unshare(CLONE_NEWUSER) || !put("/proc/self/uid_map", line))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces", kinds[i]);
		done = done && put(path, "0");
	}
	return done;
}

/* Exit status: 0 if the sandbox is what it should be where namespaces are refused. */
static int enter_refused(enum sandbox_mode mode)
{
	const unsigned int namespaces = 1u << SANDBOX_OWN_UID | 1u << SANDBOX_CGROUP |
					1u << SANDBOX_USER_NS | 1u << SANDBOX_IPC_NS |
					1u << SANDBOX_UTS_NS | 1u << SANDBOX_NET_NS |
					1u << SANDBOX_MOUNT_NS | 1u << SANDBOX_EMPTY_ROOT;
	struct sandbox_keep keep = { .nr = 0 };
	struct quire_error err = { "" };

	if (!refuse_namespaces())
		return ATTEMPT_NONE;
	if (sandbox_enter(mode, &keep, &err))
		return mode == SANDBOX_STRICT && strstr(err.text, "does not permit") ? 0 : 1;
	return mode != SANDBOX_STRICT &&
			       sandbox_pieces() == (((1u << SANDBOX_NR_PIECES) - 1) & ~namespaces) ?
		       0 :
		       1;
}

static void test_refused(enum sandbox_mode mode, const char *what)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(enter_refused(mode));
	status = attempt_wait(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == ATTEMPT_NONE)
		tap_skip("this host has no user namespaces to refuse others in");
	else
		is(status, 0, "where namespaces are refused, %s", what);
}

/* ---- the program ---- */

int main(void)
{
	struct rlimit no_core = { 0, 0 };
	pid_t it;

	tap_init();
	setrlimit(RLIMIT_CORE, &no_core);
	attempts_need_filters();
	it = bystander();
	test_state(SANDBOX_ON, 0, "this user");
	if (geteuid() == 0)
		test_state(SANDBOX_ON, 1234, "an unprivileged user");
	test_refused(SANDBOX_ON, "all else is still on");
	test_refused(SANDBOX_STRICT, "strict does not run");
	for (int role = 0; role < SANDBOX_NR_ROLES; role++)
		test_role((enum sandbox_role)role, it);
	test_separation();
	test_permitted();
	ok(!kill(it, 0), "the bystander was not touched");
	kill(it, SIGKILL);
	attempt_wait(it);
	return tap_done();
}
