/* SPDX-License-Identifier: MIT */
/*
 * VMs that were taken over, inside the sandbox that they really have.
 *
 * A machine serves a victim, whose guest verifies its memory at the end, and one attacker after the
 * other.  A thread of the attacker is made to do what the test wants (puppet.h).  So an attack has
 * that thread's filter, and the process's descriptors, identity, limits and namespaces.  The
 * attacker knows everything that can be known of the host, since the test tells it.
 *
 * An attack is a row of a table: which thread is taken over, what it does, and what it has won.  It
 * must win nothing.  After each attack the machine answers, its books add up, no descriptor is left
 * in it, and the victim runs.
 *
 * In sanitizer builds some calls are refused instead, so that reports get out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <quire/abi.h>
#include <quire/types.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/sanitized.h"
#include "attacks.h"
#include "mmu/machine/store/shelf.h"
#include "tests/tap.h"
#include "vmm/vm/sandbox_rules.h"

#define DIES_MS 20000 /* the machine looks every second, and kills at the second look */

static struct scene scene;

int attacker_fd(const struct attacker *a, enum puppet_file what)
{
	return puppet_find(a->vm.pid, what, a->vm.launcher, a->scene->machine);
}

uint64_t attacker_pages(const struct attacker *a, enum puppet_file what)
{
	int mine = puppet_dup(a->vm.pid, attacker_fd(a, what));
	struct stat st = { 0 };

	if (mine < 0 || fstat(mine, &st))
		return 0;
	close(mine);
	return (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;
}

bool attacker_is_killed(struct attacker *a)
{
	for (unsigned int ms = 0; ms < DIES_MS; ms += 20) {
		if (puppet_has_died(&a->thread))
			return true;
		usleep(20000);
	}
	return false;
}

/* ---- what no thread may do at all ---- */

/* X(what, call, arguments...): `it` is the victim's process, p the puppet. */
/* clang-format off */
#define FORBIDDEN(X)										\
	X("io_uring", io_uring_setup, 8, p->scratch)						\
	X("a userfaultfd of its own", userfaultfd, 0)						\
	X("ptrace of a sibling", ptrace, 16 /* PTRACE_ATTACH */, it, 0, 0)			\
	X("memory of a sibling", process_vm_writev, it, p->scratch, 1, p->scratch, 1, 0)	\
	X("a signal to a sibling", kill, it, SIGKILL)						\
	X("a signal to a thread of a sibling", tgkill, it, it, SIGSEGV)				\
	X("a pidfd of a sibling", pidfd_open, it, 0)						\
	X("a signal by a descriptor", fcntl, 1, F_SETOWN, it)					\
	X("a file", openat, (uint64_t)AT_FDCWD, p->scratch, O_RDONLY)				\
	X("a file beside an inherited one", openat, 0, p->scratch, O_RDONLY)			\
	X("a process", clone, SIGCHLD, 0, 0, 0, 0)						\
	X("a program", execve, p->scratch, 0, 0)						\
	X("a memfd", memfd_create, p->scratch, 0)						\
	X("a socket", socket, 1 /* AF_UNIX */, 5, 0)						\
	X("code", mmap, 0, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX, 0)		\
	X("a VM", ioctl, 3, KVM_CREATE_VM, 0)							\
	X("a namespace", unshare, 0x10000000 /* CLONE_NEWUSER */)				\
	X("a larger limit", prlimit64, 0, 9, p->scratch, 0)
/* clang-format on */

static int64_t forbidden(struct puppet *p, unsigned int index, uint64_t it)
{
	const struct {
		long nr;
		uint64_t arg[6];
	} calls[] = {
#define X(what, call, ...) { SYS_##call, { __VA_ARGS__ } },
		FORBIDDEN(X)
#undef X
	};
	const uint64_t *arg = calls[index].arg;

	return puppet_call(p, calls[index].nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

static const char *const forbidden_names[] = {
#define X(what, ...) what,
	FORBIDDEN(X)
#undef X
};

/* Did it end the process, or was it refused where that is all that can be asked? */
static bool was_denied(struct attacker *a, int64_t result)
{
#if QUIRE_SANITIZED
	if (result == -EPERM)
		return true;
#endif
	return result == PUPPET_DIED && scene_wait(&a->vm) == QUIRE_STATUS_INTERNAL;
}

static void test_forbidden(unsigned int index, const char *thread)
{
	struct attacker a = { .scene = &scene };
	int64_t result;

	if (!scene_start(&scene, &a.vm, 16, "", "hold 1 100 seconds=90") ||
	    !puppet_seize(&a.thread, a.vm.pid, thread))
		tap_bail("no %s thread to take over", thread);
	result = forbidden(&a.thread, index, (uint64_t)scene.victim.pid);
	puppet_let_go(&a.thread);
	if (result != PUPPET_DIED)
		tap_note("%ld", (long)result);
	ok(was_denied(&a, result), "%s: %s is the end", thread, forbidden_names[index]);
	scene_kill(&a.vm);
}

/* All of it by a vCPU, which is the thread that a guest would take over; and in turns by others. */
static void test_all_forbidden(void)
{
	static const char *const others[] = { "main", "pager", "channel", "keeper" };

	for (unsigned int i = 0; i < ARRAY_SIZE(forbidden_names); i++) {
		test_forbidden(i, "vcpu 0");
		test_forbidden(i, others[i % ARRAY_SIZE(others)]);
	}
}

/* ---- the table ---- */

static const char *perform(const struct attack *attack, struct attacker *a)
{
	const char *won;

	if (!scene_start(&scene, &a->vm, attack->ram_mib ? attack->ram_mib : 16,
			 attack->options ? attack->options : "",
			 attack->workload ? attack->workload : "hold 1 1000 own=500 seconds=90"))
		return "nothing yet: it did not start";
	if (attack->merge && !scene_command("merge now %s %s", scene.victim.name, a->vm.name))
		return "nothing yet: it does not merge";
	if (!puppet_seize(&a->thread, a->vm.pid, attack->thread))
		return "nothing yet: it was not taken over";
	won = attack->run(a);
	puppet_let_go(&a->thread);
	return won;
}

static void test_attack(const struct attack *attack)
{
	struct attacker a = { .scene = &scene };
	const char *won = perform(attack, &a), *fault;

	scene_kill(&a.vm);
	fault = scene_fault(&scene);
	if (fault)
		tap_note("%s", fault);
	if (won)
		tap_note("%s: %s", attack->name, won);
	ok(!won && !fault, "%s: %s wins nothing", attack->thread, attack->name);
}

static bool host_bounds_holes(void)
{
	struct shelf shelf;
	bool bounds;

	shelf_open(&shelf);
	bounds = shelf.ours >= 0;
	shelf_close(&shelf);
	return bounds;
}

static void test_attacks(const struct attack *attacks, unsigned int nr, const char *only)
{
	for (unsigned int i = 0; i < nr; i++) {
		if (only && !strstr(attacks[i].name, only))
			continue;
		if (attacks[i].holes && !host_bounds_holes())
			tap_skip("%s: this host permits no user namespace", attacks[i].name);
		else
			test_attack(&attacks[i]);
	}
}

static char directory[] = "/tmp/quire-attack.XXXXXX";

/* A directory for files of attackers, which shells find as ATTACK_DIR. */
static void make_directory(void)
{
	if (!mkdtemp(directory) || setenv("ATTACK_DIR", directory, 1))
		tap_bail("no temporary directory: %s", strerror(errno));
}

static void remove_directory(void)
{
	if (system("rm -rf \"$ATTACK_DIR\""))
		tap_note("%s is left behind", directory);
}

/* An argument names the attacks to be made, by a part of their names. */
int main(int argc, char **argv)
{
	const char *only = argc > 1 ? argv[1] : NULL, *why;

	tap_init();
	if (geteuid() != 0)
		tap_skip_all("only root may take a VM over");
	if (unshare(CLONE_NEWNET)) /* here nobody else asks our machine */
		tap_skip_all("cannot have a network namespace");
	if (!scene_begin(&scene, &why))
		tap_skip_all("%s", why);
	make_directory();
	if (!only)
		test_all_forbidden();
	test_attacks(memory_attacks, nr_memory_attacks, only);
	test_attacks(machine_attacks, nr_machine_attacks, only);
	test_attacks(launcher_attacks, nr_launcher_attacks, only);
	disk_attacks_begin();
	test_attacks(disk_attacks, nr_disk_attacks, only);
	disk_attacks_end();
	remove_directory();
	ok(scene_end(&scene), "the victim's guest finds its memory as it was");
	return tap_done();
}
