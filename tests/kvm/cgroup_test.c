/* SPDX-License-Identifier: MIT */
/*
 * VMs that were taken over and take as much memory as they can get, faster than the machine looks:
 * it is stopped meanwhile.  Where the launcher may make cgroups, the kernel ends such a VM when it
 * has more than a VM of its size can need, and its launcher says so.  Where it may not, the VM gets
 * its RAM and about as much again.  A neighbour's guest verifies its memory at the end.
 *
 * cgroup.t has what VMs do with a cgroup that keep to the rules.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <quire/abi.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "attack_scene.h"
#include "mmu/base/sanitized.h"
#include "tests/tap.h"
#include "vmm/launch/cgroup.h"

#define RAM_MIB 128u
#define STEP	MiB

static struct scene scene;
static char said[] = "/tmp/quire-cgroup-XXXXXX";

/* Fill RAM, whatever credits there are, and touch more.  Returns what it has then, in MiB. */
static unsigned int take_all(struct puppet *p, const struct scene_vm *vm)
{
	int fd = puppet_find(vm->pid, PUPPET_RAM, vm->launcher, scene.machine);
	unsigned int mib = 0;

	for (uint64_t at = 0; at < RAM_MIB * MiB && !p->dead; at += PUPPET_SCRATCH / 2)
		puppet_call(p, SYS_pwrite64, (uint64_t)fd, p->scratch, PUPPET_SCRATCH / 2, at, 0,
			    0);
	for (mib = RAM_MIB; !p->dead && mib < 8 * RAM_MIB; mib++) {
		int64_t at = puppet_call(p, SYS_mmap, 0, STEP, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, UINT64_MAX,
					 0);

		if (at < 0 || !puppet_touch(p, (uint64_t)at, STEP, true))
			break;
	}
	return mib;
}

static bool was_said(const char *text)
{
	char line[1000];
	int fd = open(said, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, line, sizeof(line) - 1);

	close(fd);
	line[n > 0 ? n : 0] = '\0';
	if (!strstr(line, text))
		tap_note("%s", line);
	return strstr(line, text);
}

/* A process that the kernel kills for memory ends a little later. */
static bool is_killed(struct puppet *p)
{
	for (unsigned int i = 0; p->dead && i < 20000; i++) {
		if (puppet_has_died(p))
			return true;
		usleep(1000);
	}
	return false;
}

/* Returns what a VM could take; 0: there was none to be taken over. */
static unsigned int attack(struct scene_vm *vm, bool *killed)
{
	struct puppet thread;
	char workload[200];
	unsigned int mib;

	snprintf(workload, sizeof(workload), "hold 1 100 seconds=250 2>%s", said);
	if (!scene_start(&scene, vm, RAM_MIB, "", workload) ||
	    !puppet_seize(&thread, vm->pid, "vcpu 0"))
		return 0;
	kill(scene.machine, SIGSTOP);
	mib = take_all(&thread, vm);
	*killed = is_killed(&thread);
	if (!*killed)
		puppet_let_go(&thread);
	return mib;
}

static void go_on(void)
{
	const char *fault;

	kill(scene.machine, SIGCONT);
	fault = scene_fault(&scene);
	ok(!fault, "the machine and the neighbour go on%s%s", fault ? ": " : "",
	   fault ? fault : "");
}

static void test_bounded(unsigned int most)
{
	struct scene_vm vm = { .pid = 0 };
	bool killed = false;
	unsigned int mib = attack(&vm, &killed);

	ok(killed, "in its cgroup: it is killed");
	ok(mib >= RAM_MIB + 16, "... not before it has more than a VM may need (%u MiB)", mib);
	ok(mib <= most, "... and before it has %u MiB", most);
	is(scene_wait(&vm), QUIRE_STATUS_INTERNAL, "... with the status of those who break out");
	ok(was_said("killed by the kernel: it took more memory than its cgroup permits"),
	   "... and a line that says so");
	go_on();
}

/* The same where there is no cgroup: nothing but its limits holds it. */
static void test_unbounded(unsigned int most)
{
	struct scene_vm vm = { .pid = 0 };
	bool killed = false;
	unsigned int mib;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/sys/fs/cgroup", "tmpfs", 0, NULL)) {
		tap_skip("cannot hide /sys/fs/cgroup");
		return;
	}
	mib = attack(&vm, &killed);
	ok(!killed && mib > most, "without a cgroup: it gets %u MiB", mib);
	scene_kill(&vm);
	go_on();
}

static bool have_cgroups(void)
{
	struct cgroup_home home;
	bool have;

	cgroup_home_open(&home);
	have = home.fd >= 0;
	cgroup_home_close(&home);
	return have;
}

int main(void)
{
	unsigned int most = (unsigned int)(cgroup_bounds_of(RAM_MIB * MiB, 1).memory_bytes / MiB);
	const char *why;
	int fd;

	tap_init();
#if QUIRE_SANITIZED
	tap_skip_all("nobody bounds a sanitizer's memory");
#endif
	if (geteuid() != 0)
		tap_skip_all("only root may take a VM over");
	if (unshare(CLONE_NEWNET))
		tap_skip_all("cannot have a network namespace");
	if (!scene_begin(&scene, &why))
		tap_skip_all("%s", why);
	fd = mkstemp(said);
	close(fd);
	if (have_cgroups())
		test_bounded(most);
	else
		tap_skip("no cgroup of version 2 with the memory controller is ours to divide");
	test_unbounded(most);
	unlink(said);
	ok(scene_end(&scene), "the neighbour's guest finds its memory as it was");
	return tap_done();
}
