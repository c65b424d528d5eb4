/* SPDX-License-Identifier: MIT */
/*
 * The sandbox from the inside: what a thread that was taken over can still do.
 *
 * Three kinds of test.  *State*: a process enters the sandbox, and another looks at it.
 * *Tables*: for each role, a process enters, takes the role, and tries one thing that it must
 * not; it must die of it (SIGSYS).  *Takeover*: a real VM whose main loop is taken over, by a
 * signal handler that runs there with all the process has at that moment, and goes for another
 * VM; meanwhile that one's guest verifies its memory.
 *
 * In sanitizer builds some calls are refused instead, so that reports get out.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../vmm/sandbox.h"
#include "../../vmm/vm_impl.h"
#include "../tap.h"

#define INHERITED 700		/* a descriptor that the process was born with */
#define DENIED	  0		/* exit statuses of a process that tried something */
#define SUCCEEDED 1
#define NO_TRY	  2

/* ---- things to try ---- */

struct attempt {
	const char *what;
	long nr, arg[6];
};

#define PAGE 4096L
#define ANYWHERE MAP_PRIVATE | MAP_ANONYMOUS

static char buf[4096];
static struct iovec local = { buf, 64 }, remote = { buf, 64 };
static char *no_args[] = { NULL };

/* X(description, call, arguments...); `it` is another process, `fd` a descriptor to try on. */
#define ATTEMPTS(X)									\
	X("open a file", open, (long)"/etc/passwd", O_RDONLY)				\
	X("openat a file", openat, AT_FDCWD, (long)"/etc/passwd", O_RDONLY)		\
	X("openat2", 437, AT_FDCWD, (long)"/", (long)buf, 24)				\
	X("creat", creat, (long)"/tmp/x", 0600)						\
	X("unlink", unlink, (long)"/tmp/x")						\
	X("stat", stat, (long)"/etc/passwd", (long)buf)					\
	X("execve", execve, (long)"/bin/true", (long)no_args, (long)no_args)		\
	X("memfd_create", memfd_create, (long)"x", 0)					\
	X("open_by_handle_at", open_by_handle_at, fd, (long)buf, O_RDONLY)		\
	X("truncate a descriptor", ftruncate, fd, 0)					\
	X("read another's memory", process_vm_readv, it, (long)&local, 1, (long)&remote, 1, 0) \
	X("write another's memory", process_vm_writev, it, (long)&local, 1, (long)&remote, 1, 0) \
	X("ptrace", ptrace, 16 /* PTRACE_ATTACH */, it, 0, 0)				\
	X("kcmp", kcmp, it, it, 0, 0, 0)						\
	X("kill", kill, it, SIGTERM)							\
	X("kill itself", kill, getpid(), SIGURG)					\
	X("tgkill another", tgkill, it, it, SIGTERM)					\
	X("tkill", tkill, it, SIGTERM)							\
	X("rt_sigqueueinfo", rt_sigqueueinfo, it, SIGTERM, (long)buf)			\
	X("pidfd_open", 434, it, 0)							\
	X("pidfd_send_signal", 424, fd, SIGTERM, 0, 0)					\
	X("pidfd_getfd", 438, fd, 0, 0)							\
	X("socket", socket, AF_UNIX, SOCK_STREAM, 0)					\
	X("socketpair", socketpair, AF_UNIX, SOCK_STREAM, 0, (long)buf)			\
	X("connect", connect, fd, (long)buf, 16)					\
	X("bind", bind, fd, (long)buf, 16)						\
	X("listen", listen, fd, 1)							\
	X("sendto an address", sendto, fd, (long)buf, 1, 0, (long)buf, 16)		\
	X("attach a socket filter", setsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, (long)buf, 16) \
	X("fork", fork)									\
	X("vfork", vfork)								\
	X("clone", clone, SIGCHLD, 0, 0, 0, 0)						\
	X("clone3", 435, (long)buf, 64)							\
	X("make memory executable", mprotect, (long)buf & -PAGE, PAGE, PROT_READ | PROT_EXEC) \
	X("map executable memory", mmap, 0, PAGE, PROT_READ | PROT_EXEC, ANYWHERE, -1, 0) \
	X("pkey_mprotect", pkey_mprotect, (long)buf & -PAGE, PAGE, PROT_EXEC, 0)		\
	X("remap_file_pages", remap_file_pages, (long)buf & -PAGE, PAGE, 0, 0, 0)	\
	X("other advice", madvise, (long)buf & -PAGE, PAGE, 100 /* MADV_HWPOISON */)	\
	X("process_madvise", 440, fd, (long)&local, 1, 0, 0)				\
	X("mount", mount, (long)"none", (long)"/", (long)"tmpfs", 0, 0)			\
	X("umount2", umount2, (long)"/", MNT_DETACH_)					\
	X("pivot_root", pivot_root, (long)".", (long)".")				\
	X("chroot", chroot, (long)"/")							\
	X("unshare", unshare, 0x10000000 /* CLONE_NEWUSER */)				\
	X("setns", setns, fd, 0)							\
	X("fsopen", 430, (long)"tmpfs", 0)						\
	X("open_tree", 428, AT_FDCWD, (long)"/", 0)					\
	X("bpf", bpf, 0, (long)buf, 64)							\
	X("perf_event_open", perf_event_open, (long)buf, 0, -1, -1, 0)			\
	X("keyctl", keyctl, 0, -1, 0, 0, 0)						\
	X("add_key", add_key, (long)"user", (long)"x", (long)buf, 1, -1)		\
	X("userfaultfd", userfaultfd, 0)						\
	X("io_uring_setup", 425, 1, (long)buf)						\
	X("seccomp", seccomp, 1, 0, (long)buf)						\
	X("prctl", prctl, PR_SET_DUMPABLE, 1, 0, 0, 0)					\
	X("personality", personality, 0x0400000 /* READ_IMPLIES_EXEC */)		\
	X("setuid", setuid, 0)								\
	X("capset", capset, (long)buf, (long)buf)					\
	X("raise a limit", prlimit64, 0, RLIMIT_CORE, (long)buf, 0)			\
	X("reboot", reboot, 0, 0, 0, 0)							\
	X("init_module", init_module, (long)buf, 1, (long)"")				\
	X("mq_open", mq_open, (long)"x", O_RDONLY, 0, 0)					\
	X("shmget", shmget, 0, PAGE, 0600)						\
	X("semget", semget, 0, 1, 0600)							\
	X("inotify_init1", inotify_init1, 0)						\
	X("timer_create", timer_create, 0, 0, (long)buf)				\
	X("signalfd, a new one", signalfd4, -1, (long)buf, 8, 0)				\
	X("fcntl F_SETOWN", fcntl, fd, F_SETOWN, it)					\
	X("fcntl F_SETFL", fcntl, fd, F_SETFL, O_ASYNC)					\
	X("dup3", dup3, fd, 900, 0)							\
	X("vmsplice", vmsplice, fd, (long)&local, 1, 0)					\
	X("sendfile", sendfile, fd, fd, 0, 1)						\
	X("KVM_CREATE_VM", ioctl, fd, KVM_CREATE_VM, 0)					\
	X("KVM_CREATE_VCPU", ioctl, fd, KVM_CREATE_VCPU, 1)				\
	X("KVM_SET_USER_MEMORY_REGION", ioctl, fd, KVM_SET_USER_MEMORY_REGION, (long)buf) \
	X("KVM_IRQFD", ioctl, fd, KVM_IRQFD, (long)buf)					\
	X("UFFDIO_COPY", ioctl, fd, UFFDIO_COPY, (long)buf)				\
	X("TIOCSTI", ioctl, fd, TIOCSTI, (long)"x")					\
	X("TIOCLINUX", ioctl, fd, TIOCLINUX, (long)buf)					\
	X("FIOASYNC", ioctl, fd, FIOASYNC, (long)buf)					\
	X("a call of the x32 ABI", x32_getpid)

#define MNT_DETACH_	2
#define SYS_x32_getpid	(0x40000000L + SYS_getpid)
#define SYS_434 434
#define SYS_424 424
#define SYS_438 438
#define SYS_437 437
#define SYS_435 435
#define SYS_440 440
#define SYS_430 430
#define SYS_428 428
#define SYS_425 425

static long try_one(unsigned int index, pid_t it, int fd)
{
	const struct attempt attempts[] = {
#define X(what_, call, ...) { .what = what_, .nr = SYS_##call, .arg = { __VA_ARGS__ } },
		ATTEMPTS(X)
#undef X
	};
	const struct attempt *a = &attempts[index];

	return syscall(a->nr, a->arg[0], a->arg[1], a->arg[2], a->arg[3], a->arg[4], a->arg[5]);
}

static const char *const attempt_name[] = {
#define X(what_, ...) what_,
	ATTEMPTS(X)
#undef X
};

#define NR_ATTEMPTS ARRAY_SIZE(attempt_name)

/* Any 32-bit call: another table of numbers, so all of it is forbidden. */
static void try_32_bit(void)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(20L) : "memory");
}

/* ---- processes in the sandbox ---- */

/* In a role without exit_group; the process has one thread. */
static _Noreturn void leave(int status)
{
	for (;;)
		syscall(SYS_exit, status);
}

static void enter(enum sandbox_mode mode, int keep_fd)
{
	struct sandbox_keep keep = { .nr = 0 };
	struct quire_error err = { "" };

	sandbox_keep(&keep, keep_fd);
	if (sandbox_enter(mode, &keep, &err)) {
		fprintf(stderr, "# %s\n", err.text);
		_exit(NO_TRY);
	}
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			tap_bail("waitpid: %s", strerror(errno));
	return status;
}

static bool killed_by_filter(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool was_denied(int status)
{
#ifdef QUIRE_SANITIZED
	if (WIFEXITED(status) && WEXITSTATUS(status) != SUCCEEDED)
		return true;
#endif
	return killed_by_filter(status);
}

static pid_t bystander(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
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
		sandbox_thread(role);
		if (index == NR_ATTEMPTS)
			try_32_bit();
		else if (try_one(index, it, pipes[0]) < 0)
			errno == EPERM ? leave(DENIED) : leave(NO_TRY);
		leave(SUCCEEDED);
	}
	close(pipes[0]);
	close(pipes[1]);
	return wait_for(pid);
}

static void test_role(enum sandbox_role role, pid_t it)
{
	unsigned int denied = 0;

	for (unsigned int i = 0; i <= NR_ATTEMPTS; i++) {
		int status = attempt_in(role, i, it);

		if (was_denied(status))
			denied++;
		else
			tap_note("%s: %s: status %#x", sandbox_role_name[role],
				 i == NR_ATTEMPTS ? "a 32-bit call" : attempt_name[i], status);
	}
	is_hex(denied, NR_ATTEMPTS + 1, "role %s: each of %zu forbidden things is the end",
	       sandbox_role_name[role], NR_ATTEMPTS + 1);
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
		{ SANDBOX_MAIN, SYS_ioctl, (long)UFFDIO_ZEROPAGE, "the main loop brings nothing in" },
		{ SANDBOX_CHANNEL, SYS_fallocate, 3, "the channel punches no holes" },
		{ SANDBOX_VCPU, SYS_fallocate, 0, "a vCPU cannot make the RAM file grow" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (!pid) {
			enter(SANDBOX_ON, -1);
			sandbox_thread(cases[i].role);
			syscall(cases[i].nr, -1, cases[i].arg1, 0, 0, 0, 0);
			leave(SUCCEEDED);
		}
		ok(killed_by_filter(wait_for(pid)), "%s", cases[i].what);
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
		heap = malloc(1 << 20);
		heap = realloc(heap, 8 << 20);
		if (p == MAP_FAILED || !heap || munmap(p, 1 << 20) || raise(SIGURG) ||
		    geteuid() != 0 || write(STDERR_FILENO, "", 0))
			syscall(SYS_exit_group, 1);
		free(heap);
		abort();
	}
	status = wait_for(pid);
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
		ok(!(pieces & 1u << SANDBOX_NO_CAPS) || strstr(status, line), "%s is empty", sets[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		ok(own_namespace(pid, namespaces[i].ns) == !!(pieces & 1u << namespaces[i].piece),
		   "its %s namespace is what it says", namespaces[i].ns);
	if (pieces & 1u << SANDBOX_EMPTY_ROOT) {
		const char *mounts = slurp(proc(pid, "mounts"));

		is_hex(entries(proc(pid, "root/")), 0, "its root directory is empty");
		ok(!strncmp(mounts, "none / tmpfs ro,", 16) && !strchr(strchr(mounts, '\n') + 1, '\n'),
		   "... read-only, and the only mount");
	}
	is_hex(entries(proc(pid, "fd")), 4, "it has the standard descriptors and the one to keep");
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
			_exit(NO_TRY);
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
	wait_for(pid);
}

/* ---- takeover ---- */

#define CODE 0x10000u

static const uint8_t spin[] = {
	0xe6, 0x80,	/* out 0x80, al: nobody's port, so it is counted */
	0xeb, 0xfe,	/* jmp . */
};

static struct {
	struct vm *vm;
	unsigned int index;
	pid_t victim;
} payload;

/* In the main loop, in the middle of poll(). */
static void on_takeover(int sig)
{
	(void)sig;
	if (!atomic_load(&payload.vm->ports.unclaimed))
		return;		/* the guest does not run yet */
	if (payload.index == NR_ATTEMPTS) {
		/* Guessing: nothing that was inherited, and no descriptor but our own. */
		unsigned int found = 0;

		for (int fd = 0; fd < 1024; fd++)
			found += read(fd, buf, 0) == 0 && fd > 40;
		syscall(SYS_exit_group, found || read(INHERITED, buf, 1) >= 0 ? SUCCEEDED : DENIED);
	}
	if (try_one(payload.index, payload.victim, INHERITED) < 0)
		syscall(SYS_exit_group, errno == EPERM ? DENIED : NO_TRY);
	syscall(SYS_exit_group, SUCCEEDED);
}

static struct vm *make_vm(void)
{
	struct vm_config config = {
		.name = "taken", .ram_bytes = 16 * MiB, .nr_vcpus = 1, .timeout_ns = 5000000000,
	};
	struct image_plan plan = { .kind = IMAGE_PVH64, .entry = CODE };
	struct quire_error err = { "" };
	struct vm *vm;

	if (vm_create(&config, &vm, &err)) {
		fprintf(stderr, "# %s\n", err.text);
		_exit(NO_TRY);
	}
	if (guest_write(vm_gmem(vm), CODE, spin, sizeof(spin)) || vm_set_start(vm, &plan, &err))
		_exit(NO_TRY);
	return vm;
}

/* A VM process with a spinning guest, until the payload ends it. */
static _Noreturn void run_taken(unsigned int index, pid_t victim)
{
	const struct itimerval soon = { .it_value = { .tv_usec = 5000 },
					.it_interval = { .tv_usec = 5000 } };
	struct sandbox_keep keep = { .nr = 0 };
	struct quire_error err;
	struct vm *vm = make_vm();

	payload.vm = vm;
	payload.index = index;
	payload.victim = victim;
	signal(SIGALRM, on_takeover);
	vm_keep(vm, &keep);
	if (sandbox_enter(SANDBOX_ON, &keep, &err))
		_exit(NO_TRY);
	setitimer(ITIMER_REAL, &soon, NULL);
	(void)vm_run(vm, NULL);
	_exit(NO_TRY);
}

/* Another VM: its guest fills memory and verifies it all the time. */
static pid_t start_victim(int *result)
{
	const char *build = getenv("QUIRE_BUILD");
	char quire[256], guest[256];
	int pipes[2];
	pid_t pid;

	snprintf(quire, sizeof(quire), "%s/quire", build ? build : "build");
	snprintf(guest, sizeof(guest), "%s/guest/quill.elf", build ? build : "build");
	if (pipe(pipes))
		tap_bail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		execl(quire, quire, "run", "-m", "64M", guest, "stress", "3", (char *)NULL);
		_exit(127);
	}
	close(pipes[1]);
	*result = pipes[0];
	return pid;
}

static void test_takeover(void)
{
	unsigned int denied = 0;
	int result, mem, status;
	pid_t victim = start_victim(&result);

	usleep(100000);
	mem = open(proc(victim, "mem"), O_RDWR);
	ok(mem >= 0 && dup2(mem, INHERITED) == INHERITED, "who starts VMs may read their memory");
	close(mem);
	for (unsigned int i = 0; i <= NR_ATTEMPTS; i++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (!pid)
			run_taken(i, victim);
		status = wait_for(pid);
		if (i == NR_ATTEMPTS)
			ok(WIFEXITED(status) && WEXITSTATUS(status) == DENIED,
			   "guessing finds no descriptor that was not the VM's own");
		else if (was_denied(status))
			denied++;
		else
			tap_note("taken over: %s: status %#x", attempt_name[i], status);
	}
	close(INHERITED);
	is_hex(denied, NR_ATTEMPTS, "a main loop taken over can do none of %zu things", NR_ATTEMPTS);
	status = wait_for(victim);
	ok(WIFEXITED(status) && !WEXITSTATUS(status), "the other VM's guest finds its memory intact");
	close(result);
}

/* ---- the program ---- */

static void require_filters(void)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		enter(SANDBOX_ON, -1);
		_exit(sandbox_pieces() & 1u << SANDBOX_SECCOMP ? 0 : 1);
	}
	status = wait_for(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
		tap_skip_all("this kernel has no seccomp filters");
	is_hex((uint64_t)status, 0, "this host has a sandbox");
}

static bool have_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0 && geteuid() == 0;
}

int main(void)
{
	struct rlimit no_core = { 0, 0 };
	pid_t it;

	tap_init();
	setrlimit(RLIMIT_CORE, &no_core);
	require_filters();
	it = bystander();
	test_state(SANDBOX_ON, 0, "this user");
	if (geteuid() == 0)
		test_state(SANDBOX_ON, 1234, "an unprivileged user");
	for (int role = 0; role < SANDBOX_NR_ROLES; role++)
		test_role((enum sandbox_role)role, it);
	test_separation();
	test_permitted();
	if (have_kvm())
		test_takeover();
	else
		tap_skip("taking over a VM needs /dev/kvm and root");
	ok(!kill(it, 0), "the bystander was not touched");
	kill(it, SIGKILL);
	wait_for(it);
	return tap_done();
}
