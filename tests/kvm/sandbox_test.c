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
#include <sched.h>
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
#include "mmu/base/sanitized.h"
#include "vmm/vm/ctl.h"
#include "vmm/vm/ctl_protocol.h"
#include "vmm/vm/sandbox.h"
#include "vmm/vm/vm_impl.h"
#include "tests/tap.h"
#include "sandbox_attempts.h"

#define INHERITED 700 /* a descriptor that the process was born with */
#define DENIED	  0   /* exit statuses of a process that tried something */
#define SUCCEEDED 1
#define NO_TRY	  2

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
#if QUIRE_SANITIZED
	if (WIFEXITED(status) && WEXITSTATUS(status) != SUCCEEDED)
		return true;
#endif
	return killed_by_filter(status);
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
			errno == EPERM ? leave(DENIED) : leave(NO_TRY);
		leave(SUCCEEDED);
	}
	close(pipes[0]);
	close(pipes[1]);
	return wait_for(pid);
}

/* What some roles do as their work, the machine only where sandbox_places() lets it. */
static bool is_its_work(enum sandbox_role role, unsigned int index)
{
	static const struct {
		enum sandbox_role role;
		const char *attempt;
	} work[] = {
		{ SANDBOX_KEEPER, "KVM_SET_USER_MEMORY_REGION" },
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

		if (is_its_work(role, i) ? !killed_by_filter(status) : was_denied(status))
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
		heap = malloc(8 << 20);
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
		return NO_TRY;
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
	status = wait_for(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_TRY)
		tap_skip("this host has no user namespaces to refuse others in");
	else
		is(status, 0, "where namespaces are refused, %s", what);
}

/* ---- takeover ---- */

#define CODE 0x10000u

static const uint8_t spin[] = {
	0xe6, 0x80, /* out 0x80, al: nobody's port, so it is counted */
	0xeb, 0xfe, /* jmp . */
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
		return; /* the guest does not run yet */
	if (payload.index == nr_attempts) {
		/* Guessing: nothing that was inherited, and no descriptor but our own. */
		unsigned int found = 0;
		char byte[1];

		for (int fd = 0; fd < 1024; fd++)
			found += read(fd, byte, 0) == 0 && fd > 40;
		syscall(SYS_exit_group,
			found || read(INHERITED, byte, 1) >= 0 ? SUCCEEDED : DENIED);
	}
	if (attempt_make(payload.index, payload.victim, INHERITED) < 0)
		syscall(SYS_exit_group, errno == EPERM ? DENIED : NO_TRY);
	syscall(SYS_exit_group, SUCCEEDED);
}

static struct vm *make_vm(void)
{
	struct vm_config config = {
		.name = "taken",
		.ram_bytes = 16 * MiB,
		.nr_vcpus = 1,
		.timeout_ns = 5000000000,
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

/* A thread of the VM that gets its processor late: the guest must not have run by then. */
static void be_late(void *arg)
{
	struct vm *vm = arg;

	usleep(300000);
	if (atomic_load(&vm->ports.unclaimed))
		_exit(SUCCEEDED);
	sandbox_thread(SANDBOX_CHANNEL);
	for (;;)
		poll(NULL, 0, -1);
}

static void test_late_thread(void)
{
	struct sandbox_keep keep = { .nr = 0 };
	struct quire_error err;
	struct thread late;
	struct vm *vm;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		vm = make_vm();
		vm->config.timeout_ns = NS_PER_S;
		vm_keep(vm, &keep);
		if (sandbox_enter(SANDBOX_ON, &keep, &err) ||
		    thread_start(&late, "late", be_late, vm))
			_exit(NO_TRY);
		(void)vm_run(vm, NULL);
		syscall(SYS_exit_group, atomic_load(&vm->ports.unclaimed) ? DENIED : NO_TRY);
	}
	is(wait_for(pid), DENIED, "no guest runs before each thread has its filter");
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

/* ---- observers ---- */

/* quire map of a VM, as some user. */
static int map_as(uid_t uid, const char *name)
{
	const char *build = getenv("QUIRE_BUILD");
	char quire[256];
	pid_t pid;

	snprintf(quire, sizeof(quire), "%s/quire", build ? build : "build");
	fflush(NULL);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_WRONLY), binary = open(quire, O_RDONLY);
		char *argv[] = { quire, (char *)"map", (char *)(uintptr_t)name, NULL };

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (setresuid(uid, uid, uid))
			_exit(NO_TRY);
		fexecve(binary, argv, environ);
		_exit(NO_TRY);
	}
	return wait_for(pid);
}

static _Noreturn void run_as(uid_t uid, const char *name, int ready)
{
	struct sandbox_keep keep = { .nr = 0 };
	struct vm *vm = make_vm();
	struct quire_error err;
	struct ctl *ctl;

	if (setresuid(uid, uid, uid) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ||
	    ctl_create(name, &ctl, &err))
		_exit(NO_TRY);
	vm_keep(vm, &keep);
	ctl_keep(ctl, &keep);
	if (sandbox_enter(SANDBOX_ON, &keep, &err) || write(ready, "", 1) != 1)
		_exit(NO_TRY);
	(void)vm_run(vm, ctl);
	_exit(0);
}

static void test_observers(void)
{
	char name[32], c;
	int pipes[2];
	pid_t pid;

	snprintf(name, sizeof(name), "observed-%d", getpid());
	if (pipe(pipes))
		tap_bail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		dup2(pipes[1], STDIN_FILENO); /* kept open by its number */
		run_as(1234, name, STDIN_FILENO);
	}
	close(pipes[1]);
	ok(read(pipes[0], &c, 1) == 1, "a VM of an ordinary user runs in the sandbox");
	is(map_as(1234, name), 0, "that user may look into it");
	is(map_as(0, name), 0, "so may root");
	ok(WEXITSTATUS(map_as(4321, name)) == QUIRE_STATUS_HOST, "another user may not");
	ok(WEXITSTATUS(map_as(65534, name)) == QUIRE_STATUS_HOST, "not even nobody");
	kill(pid, SIGTERM);
	wait_for(pid);
	close(pipes[0]);
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
	for (unsigned int i = 0; i <= nr_attempts; i++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (!pid)
			run_taken(i, victim);
		status = wait_for(pid);
		if (i == nr_attempts)
			ok(WIFEXITED(status) && WEXITSTATUS(status) == DENIED,
			   "guessing finds no descriptor that was not the VM's own");
		else if (was_denied(status))
			denied++;
		else
			tap_note("taken over: %s: status %#x", attempt_name(i), status);
	}
	close(INHERITED);
	is(denied, nr_attempts, "a main loop taken over can do none of %zu things", nr_attempts);
	status = wait_for(victim);
	ok(WIFEXITED(status) && !WEXITSTATUS(status),
	   "the other VM's guest finds its memory intact");
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
	is(status, 0, "this host has a sandbox");
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
	test_refused(SANDBOX_ON, "all else is still on");
	test_refused(SANDBOX_STRICT, "strict does not run");
	for (int role = 0; role < SANDBOX_NR_ROLES; role++)
		test_role((enum sandbox_role)role, it);
	test_separation();
	test_permitted();
	if (have_kvm()) {
		test_late_thread();
		test_takeover();
		test_observers();
	} else {
		tap_skip("taking over a VM needs /dev/kvm and root");
	}
	ok(!kill(it, 0), "the bystander was not touched");
	kill(it, SIGKILL);
	wait_for(it);
	return tap_done();
}
