/* SPDX-License-Identifier: MIT */
/*
 * A whole VM that is taken over, in its sandbox: its main loop, by a signal handler that runs there
 * with all that the process has at that moment, and goes for another VM, whose guest verifies its
 * memory meanwhile.  And who may look into a VM from outside.
 *
 * attack_test.c takes each thread of `quire run`'s own VMs over, by ptrace.  In sanitizer builds
 * some calls are refused instead, so that reports get out.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "vmm/vm/ctl.h"
#include "vmm/vm/sandbox.h"
#include "vmm/vm/vm_impl.h"
#include "tests/tap.h"
#include "sandbox_attempts.h"

#define INHERITED 700 /* a descriptor that the process was born with */

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
		syscall(SYS_exit_group, found || read(INHERITED, byte, 1) >= 0 ? ATTEMPT_SUCCEEDED :
										 ATTEMPT_DENIED);
	}
	if (attempt_make(payload.index, payload.victim, INHERITED) < 0)
		syscall(SYS_exit_group, errno == EPERM ? ATTEMPT_DENIED : ATTEMPT_NONE);
	syscall(SYS_exit_group, ATTEMPT_SUCCEEDED);
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
		_exit(ATTEMPT_NONE);
	}
	if (guest_write(vm_gmem(vm), CODE, spin, sizeof(spin)) || vm_set_start(vm, &plan, &err))
		_exit(ATTEMPT_NONE);
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
		_exit(ATTEMPT_NONE);
	setitimer(ITIMER_REAL, &soon, NULL);
	(void)vm_run(vm, NULL);
	_exit(ATTEMPT_NONE);
}

/* A thread of the VM that gets its processor late: the guest must not have run by then. */
static void be_late(void *arg)
{
	struct vm *vm = arg;

	usleep(300000);
	if (atomic_load(&vm->ports.unclaimed))
		_exit(ATTEMPT_SUCCEEDED);
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
			_exit(ATTEMPT_NONE);
		(void)vm_run(vm, NULL);
		syscall(SYS_exit_group,
			atomic_load(&vm->ports.unclaimed) ? ATTEMPT_DENIED : ATTEMPT_NONE);
	}
	is(attempt_wait(pid), ATTEMPT_DENIED, "no guest runs before each thread has its filter");
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
			_exit(ATTEMPT_NONE);
		fexecve(binary, argv, environ);
		_exit(ATTEMPT_NONE);
	}
	return attempt_wait(pid);
}

static _Noreturn void run_as(uid_t uid, const char *name, int ready)
{
	struct sandbox_keep keep = { .nr = 0 };
	struct vm *vm = make_vm();
	struct quire_error err;
	struct ctl *ctl;

	if (setresuid(uid, uid, uid) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ||
	    ctl_create(name, &ctl, &err))
		_exit(ATTEMPT_NONE);
	vm_keep(vm, &keep);
	ctl_keep(ctl, &keep);
	if (sandbox_enter(SANDBOX_ON, &keep, &err) || write(ready, "", 1) != 1)
		_exit(ATTEMPT_NONE);
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
	attempt_wait(pid);
	close(pipes[0]);
}

static void test_takeover(void)
{
	unsigned int denied = 0;
	int result, mem, status;
	char path[32];
	pid_t victim = start_victim(&result);

	usleep(100000);
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)victim);
	mem = open(path, O_RDWR);
	ok(mem >= 0 && dup2(mem, INHERITED) == INHERITED, "who starts VMs may read their memory");
	close(mem);
	for (unsigned int i = 0; i <= nr_attempts; i++) {
		pid_t pid;

		fflush(NULL);
		pid = fork();
		if (!pid)
			run_taken(i, victim);
		status = attempt_wait(pid);
		if (i == nr_attempts)
			ok(WIFEXITED(status) && WEXITSTATUS(status) == ATTEMPT_DENIED,
			   "guessing finds no descriptor that was not the VM's own");
		else if (attempt_was_denied(status))
			denied++;
		else
			tap_note("taken over: %s: status %#x", attempt_name(i), status);
	}
	close(INHERITED);
	is(denied, nr_attempts, "a main loop taken over can do none of %zu things", nr_attempts);
	status = attempt_wait(victim);
	ok(WIFEXITED(status) && !WEXITSTATUS(status),
	   "the other VM's guest finds its memory intact");
	close(result);
}

/* ---- the program ---- */

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

	tap_init();
	setrlimit(RLIMIT_CORE, &no_core);
	if (!have_kvm())
		tap_skip_all("taking over a VM needs /dev/kvm and root");
	attempts_need_filters();
	test_late_thread();
	test_takeover();
	test_observers();
	return tap_done();
}
