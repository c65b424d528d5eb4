/* SPDX-License-Identifier: MIT */
/*
 * A vCPU that never leaves KVM_RUN must not keep the user waiting.
 *
 * The guest reads from a memslot whose pages are under a userfaultfd that nobody serves,
 * so its thread sleeps in the kernel for good.  --timeout must still end the VM, and _exit()
 * the process; a pause must be answered in time and not claim what is not so.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "vmm/look/ctl_client.h"
#include "vmm/vm/ctl.h"
#include "vmm/vm/vm_impl.h"
#include "tests/tap.h"

#define CODE  0x10000u
#define TRAP  0x80000000u
#define BYTES 0x10000u

static const uint8_t code[] = {
	0xa1, 0x00, 0x00, 0x00, 0x80, /* mov eax, [TRAP] */
	0xeb, 0xfe,		      /* jmp . */
};

/* Memory that a reader waits for for ever. */
static void *bottomless(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	void *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	reg.range.start = (uintptr_t)p;
	reg.range.len = BYTES;
	if (fd < 0 || p == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return NULL;
	return p;
}

static struct vm *make_vm(uint64_t timeout_ns)
{
	struct vm_config config = {
		.name = "stuck",
		.ram_bytes = 16 * MiB,
		.nr_vcpus = 1,
		.timeout_ns = timeout_ns,
	};
	struct kvm_userspace_memory_region slot = {
		.slot = 100,
		.guest_phys_addr = TRAP,
		.memory_size = BYTES,
	};
	struct image_plan plan = { .kind = IMAGE_PVH64, .entry = CODE };
	struct quire_error err = { "" };
	struct vm *vm;

	if (vm_create(&config, &vm, &err))
		tap_skip_all("%s", err.text);
	if (vm_set_start(vm, &plan, &err) || guest_write(vm->gm, CODE, code, sizeof(code)))
		tap_bail("cannot prepare the guest: %s", err.text);
	slot.userspace_addr = (uintptr_t)bottomless();
	if (!slot.userspace_addr)
		tap_skip_all("no userfaultfd for kernel faults: %s", strerror(errno));
	if (ioctl(vm->kvm.vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
		tap_bail("cannot add a memslot: %s", strerror(errno));
	return vm;
}

/* In a process of its own, as `quire run` is: 100 if the vCPU did leave. */
static int run_and_leave(struct vm *vm, struct ctl *ctl)
{
	int null = open("/dev/null", O_WRONLY), status;

	dup2(null, STDERR_FILENO);
	status = vm_run(vm, ctl);
	_exit(vm_is_stuck(vm) ? status : 100);
}

/* Wait for pid, at most ms; false: it is still there. */
static bool reap(pid_t pid, int *status, unsigned int ms)
{
	for (unsigned int i = 0; i < ms / 10; i++) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		usleep(10000);
	}
	return false;
}

/* The guest is in its one instruction soon after the socket answers. */
static int connect_stuck(const char *name)
{
	int fd = -1;

	for (unsigned int i = 0; i < 500 && fd < 0; i++) {
		usleep(10000);
		fd = ctl_open(name, CTL_PATIENCE_S);
	}
	if (fd < 0)
		tap_bail("the VM does not listen: %s", strerror(-fd));
	usleep(200000);
	return fd;
}

static uint32_t state_of(int fd)
{
	struct quire_error err;
	struct ctl_info info;

	return ctl_get_info(fd, &info, &err) ? VM_NR_STATES : info.vm.state;
}

static void test_pause(void)
{
	struct quire_error err = { "" };
	struct ctl *ctl;
	int fd, paused, status = 0;
	uint64_t start;
	char name[32];
	pid_t pid;

	snprintf(name, sizeof(name), "stuck_test.%d", (int)getpid());
	pid = fork();
	if (!pid) {
		struct vm *vm = make_vm(60000000000);

		_exit(ctl_create(name, &ctl, &err) ? 101 : run_and_leave(vm, ctl));
	}
	fd = connect_stuck(name);
	start = monotonic_ns();
	paused = ctl_command(fd, CTL_PAUSE, &err);
	ok(monotonic_ns() - start < 2000000000, "a pause is answered in time (%d)", paused);
	ok(paused == -ETIMEDOUT ? state_of(fd) == VM_PAUSING : !paused && state_of(fd) == VM_PAUSED,
	   "the VM is paused, or does not say so: %s", err.text);
	ok(!ctl_command(fd, CTL_RESUME, &err) && state_of(fd) == VM_RUNNING, "it can be resumed");
	ctl_command(fd, CTL_PAUSE, &err);
	ok(!ctl_command(fd, CTL_STOP, &err), "and stopped while it is paused");
	close(fd);
	if (!reap(pid, &status, 10000))
		kill(pid, SIGKILL);
	ok(WIFEXITED(status) && (WEXITSTATUS(status) == 143 || WEXITSTATUS(status) == 100),
	   "it ends (%#x)", status);
}

int main(void)
{
	uint64_t start;
	int status = 0;
	pid_t pid;
	bool gone;

	tap_init();
	vm_destroy(make_vm(1)); /* skips here if it cannot be done */
	test_pause();
	pid = fork();
	if (!pid)
		run_and_leave(make_vm(300000000), NULL);
	start = monotonic_ns();
	gone = reap(pid, &status, 10000);
	if (!gone)
		kill(pid, SIGKILL);
	ok(gone, "the process is gone after %.1f s", (double)(monotonic_ns() - start) / 1e9);
	if (!gone && !reap(pid, &status, 5000))
		tap_bail("not even SIGKILL ends it");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 100)
		tap_skip("this host interrupts a vCPU that waits for memory");
	else
		ok(WIFEXITED(status) && WEXITSTATUS(status) == QUIRE_STATUS_TIMEOUT,
		   "with the status of a timeout (%#x)", status);
	return tap_done();
}
