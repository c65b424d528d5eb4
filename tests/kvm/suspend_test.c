/* SPDX-License-Identifier: MIT */
/*
 * A guest that the machine suspends: it stands still, whatever an operator says meanwhile, and goes
 * on where it was.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "vmm/look/ctl_client.h"
#include "vmm/vm/ctl.h"
#include "vmm/vm/vm_impl.h"
#include "tests/tap.h"

#define CODE	0x10000u
#define COUNTER 0x20000u
#define TRIES	20000u /* of a millisecond: far more than it takes */

static const uint8_t code[] = {
	0xff, 0x05, 0x00, 0x00, 0x02, 0x00, /* inc dword [COUNTER] */
	0xeb, 0xf8,			    /* jmp there */
};

static struct vm *make_vm(void)
{
	struct vm_config config = { .name = "suspend", .ram_bytes = 16 * MiB, .nr_vcpus = 1 };
	struct image_plan plan = { .kind = IMAGE_PVH64, .entry = CODE };
	struct quire_error err = { "" };
	struct vm *vm;

	if (vm_create(&config, &vm, &err))
		tap_skip_all("%s", err.text);
	if (vm_set_start(vm, &plan, &err) || guest_write(vm->gm, CODE, code, sizeof(code)))
		tap_bail("cannot prepare the guest: %s", err.text);
	return vm;
}

/* ---- the VM's process: it does what it reads, and answers with the guest's counter ---- */

struct puppet {
	struct vm *vm;
	int fd;
};

static void *obey(void *arg)
{
	struct puppet *p = arg;
	uint32_t counter;
	char c;

	while (read(p->fd, &c, 1) == 1) {
		if (c != '?')
			vm_suspend(p->vm, c == '1');
		guest_read(p->vm->gm, COUNTER, &counter, sizeof(counter));
		if (write(p->fd, &counter, sizeof(counter)) < 0)
			break;
	}
	return NULL;
}

static _Noreturn void run(const char *name, int fd)
{
	struct puppet p = { .vm = make_vm(), .fd = fd };
	struct quire_error err;
	pthread_t thread;
	struct ctl *ctl;

	if (ctl_create(name, &ctl, &err))
		_exit(101);
	pthread_create(&thread, NULL, obey, &p);
	close(STDERR_FILENO);
	_exit(vm_run(p.vm, ctl));
}

/* ---- the test ---- */

static int puppet = -1, ctl = -1;

static uint32_t say(char c)
{
	uint32_t counter = 0;

	if (write(puppet, &c, 1) != 1 || read(puppet, &counter, sizeof(counter)) < 0)
		tap_bail("the VM does not answer");
	return counter;
}

static bool becomes(uint32_t state)
{
	struct quire_error err;
	struct ctl_info info = { .vm.state = VM_NR_STATES };

	for (unsigned int i = 0; i < TRIES; i++) {
		if (!ctl_get_info(ctl, &info, &err) && info.vm.state == state)
			return true;
		usleep(1000);
	}
	tap_note("state %u, not %u", info.vm.state, state);
	return false;
}

static bool goes_on(void)
{
	uint32_t before = say('?');

	for (unsigned int i = 0; i < TRIES; i++) {
		if (say('?') != before)
			return true;
		usleep(1000);
	}
	return false;
}

static bool stands_still(void)
{
	uint32_t before = say('?');

	usleep(20000);
	return say('?') == before;
}

static void test_alone(void)
{
	ok(goes_on(), "a guest runs");
	say('1');
	ok(becomes(VM_SUSPENDED), "it is suspended");
	ok(stands_still(), "and does nothing");
	say('1');
	ok(becomes(VM_SUSPENDED) && stands_still(), "twice is once");
	say('0');
	ok(becomes(VM_RUNNING) && goes_on(), "it goes on when it may");
}

static void test_with_pause(void)
{
	struct quire_error err;

	say('1');
	becomes(VM_SUSPENDED);
	ok(!ctl_command(ctl, CTL_RESUME, &err) && becomes(VM_SUSPENDED) && stands_still(),
	   "an operator cannot make it go on");
	ok(!ctl_command(ctl, CTL_PAUSE, &err) && becomes(VM_PAUSED), "but can pause it");
	say('0');
	ok(becomes(VM_PAUSED) && stands_still(), "then the machine cannot make it go on either");
	say('1');
	ok(!ctl_command(ctl, CTL_RESUME, &err) && becomes(VM_SUSPENDED) && stands_still(),
	   "it runs when neither");
	say('0');
	ok(becomes(VM_RUNNING) && goes_on(), "wants it to stand still");
}

static void test_end(pid_t pid)
{
	struct quire_error err;
	int status = 0;

	say('1');
	becomes(VM_SUSPENDED);
	ok(!ctl_command(ctl, CTL_STOP, &err), "it can be stopped meanwhile");
	if (waitpid(pid, &status, 0) != pid)
		tap_bail("no child");
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGTERM, "and ends (%#x)", status);
}

int main(void)
{
	char name[32];
	int pair[2];
	pid_t pid;

	tap_init();
	vm_destroy(make_vm()); /* skips here if it cannot be done */
	snprintf(name, sizeof(name), "suspend_test.%d", (int)getpid());
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		tap_bail("no socketpair");
	pid = fork();
	if (!pid)
		run(name, pair[1]);
	close(pair[1]);
	puppet = pair[0];
	for (unsigned int i = 0; i < TRIES && ctl < 0; i++) {
		ctl = ctl_open(name, CTL_PATIENCE_S);
		usleep(1000);
	}
	test_alone();
	test_with_pause();
	test_end(pid);
	return tap_done();
}
