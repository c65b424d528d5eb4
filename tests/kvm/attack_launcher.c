/* SPDX-License-Identifier: MIT */
/* Attacks on the launcher, its console and its report, and on those who look at VMs. */
#include <quire/types.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/sanitized.h"
#include "attacks.h"
#include "mmu/base/wire.h"
#include "tests/tap.h"
#include "vmm/launch/leash.h"
#include "vmm/vm/sandbox_rules.h"

/* ---- the leash ---- */

/* All that a VM could say, and all that it could not, each with a descriptor. */
static const char *spam_leash(struct attacker *a)
{
	int leash = attacker_fd(a, PUPPET_LEASH), ram = attacker_fd(a, PUPPET_RAM);
	struct machine_vm_record before = { 0 }, after = { 0 };

	scene_account(a->scene, &a->vm, &before);
	for (uint32_t type = 0; type < 16; type++) {
		struct leash_msg msg = { .type = type, .status = -1, .pages = 1ULL << 50 };
		uint64_t packet = puppet_message(&a->thread, &msg, sizeof(msg), ram, NULL, 0);

		puppet_repeat(&a->thread, 2000, SYS_sendmsg, (uint64_t)leash, packet,
			      MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0, 0);
	}
	if (waitpid(a->vm.launcher, NULL, WNOHANG))
		return "its launcher has ended";
	if (scene_account(a->scene, &a->vm, &after) != 1)
		return "it has another number of accounts";
	return after.credit_pages > before.credit_pages + MACHINE_NEED_MAX ?
		       "it has credits that it did not ask for" :
		       NULL;
}

/* ---- the console ---- */

/* A sanitizer's run time keeps what was freed. */
#if QUIRE_SANITIZED
#define MAY_KEEP_KIB (512 * 1024)
#else
#define MAY_KEEP_KIB (8 * 1024)
#endif

static uint64_t resident_kib(pid_t pid)
{
	char path[64], line[128];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* Whoever reads the launcher's output reads all of it. */
static pid_t read_all(int fd)
{
	char bytes[65536];
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
	_exit(0);
}

/* One line without an end, 64 MiB long; and then many short ones. */
static const char *spam_console(struct attacker *a)
{
	uint64_t before = resident_kib(a->vm.launcher), after;
	pid_t reader = read_all(a->vm.out);
	char lines[4096];

	puppet_repeat(&a->thread, 128, SYS_write, 1, a->thread.scratch, PUPPET_SCRATCH / 2, 0, 0,
		      0);
	memset(lines, '\n', sizeof(lines));
	puppet_repeat(&a->thread, 200, SYS_write, 1, puppet_push(&a->thread, lines, sizeof(lines)),
		      sizeof(lines), 0, 0, 0);
	after = resident_kib(a->vm.launcher);
	kill(reader, SIGKILL);
	waitpid(reader, NULL, 0);
	if (!after)
		return "its launcher has ended";
	return after > before + MAY_KEEP_KIB ? "its launcher keeps all that it prints" : NULL;
}

/* ---- what it leaves at its end ---- */

/* Small memory that it shares with whoever started it: not RAM, and not KVM's. */
static void scribble(struct attacker *a, uint8_t with)
{
	unsigned long begin, end;
	uint64_t seed = with;
	char path[64], line[300];
	uint8_t page[4096];
	FILE *f;

	for (size_t i = 0; i < sizeof(page); i++)
		page[i] = with == 0xff ? with : (uint8_t)tap_random(&seed);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)a->vm.pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx rw-s", &begin, &end) != 2 || !strstr(line, " rw-s ") ||
		    strstr(line, "kvm") || end - begin > 64 * KiB)
			continue;
		for (; begin < end; begin += sizeof(page))
			puppet_put(&a->thread, begin, page, sizeof(page));
	}
	if (f)
		fclose(f);
}

#define STATS "\"$ATTACK_DIR\"/stats" /* for a shell: attack_test.c */

static const char *leave_statistics(struct attacker *a, uint8_t with)
{
	int status;

	scribble(a, with);
	puppet_call(&a->thread, SYS_exit_group, 0, 0, 0, 0, 0, 0);
	status = scene_wait(&a->vm);
	if (status != 0)
		return "its launcher did not end in order";
	status = system("test -s " STATS " && perl -MJSON::PP -0777 -ne 'decode_json($_)' " STATS
			" 2>/dev/null");
	return status ? "its launcher's --stats is no JSON" : NULL;
}

static const char *leave_ones(struct attacker *a)
{
	return leave_statistics(a, 0xff);
}

static const char *leave_noise(struct attacker *a)
{
	return leave_statistics(a, 0x51);
}

/* ---- signals ---- */

/* Those that wait in a process; the kernel counts them for its uid too. */
static unsigned long waiting_signals(pid_t pid)
{
	char path[64], line[128];
	unsigned long nr = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SigQ: %lu", &nr) == 1)
			break;
	if (f)
		fclose(f);
	return nr;
}

/* Each of them waits, because the thread blocks it, and none is the same as another. */
static const char *storm_signals(struct attacker *a)
{
	puppet_repeat(&a->thread, 20000, SYS_tgkill, (uint64_t)a->vm.pid, (uint64_t)a->thread.tid,
		      (uint64_t)SIGRTMAX, 0, 0, 0);
	return waiting_signals(a->vm.pid) > 2000 ? "signals that siblings lack" : NULL;
}

/* ---- those who look ---- */

/* The main loop is held, so nobody answers on the control socket. */
static const char *say_nothing(struct attacker *a)
{
	if (!scene_command("ps"))
		return "quire ps shows nobody";
	if (!scene_command("stat --machine=%s", a->scene->address))
		return "quire stat shows nobody";
	return scene_command("stat %s", a->scene->victim.name) ? NULL :
								 "quire stat does not see others";
}

#define PLAIN(name_, thread_, run_) \
	{ \
		.name = (name_), .thread = (thread_), .run = (run_) \
	}
#define RUN_AS(name_, thread_, run_, options_) \
	{ \
		.name = (name_), .thread = (thread_), .run = (run_), .options = (options_) \
	}

const struct attack launcher_attacks[] = {
	PLAIN("spam on the leash", "vcpu 0", spam_leash),
	RUN_AS("spam on the console", "vcpu 0", spam_console, "-n 2"),
	RUN_AS("statistics of ones", "main", leave_ones, "--stats=" STATS),
	RUN_AS("statistics of noise", "main", leave_noise, "--stats=" STATS),
	PLAIN("a storm of signals", "vcpu 0", storm_signals),
	PLAIN("a control socket that says nothing", "main", say_nothing),
};

const unsigned int nr_launcher_attacks = ARRAY_SIZE(launcher_attacks);
