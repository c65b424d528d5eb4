/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <quire/types.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "attack_scene.h"
#include "mmu/machine/client.h"
#include "tests/tap.h"
#include "vmm/look/ctl_client.h"

#define MEMORY_MIB 256
#define SPARE	   4 /* descriptors that the machine may have for a moment, or for a new segment */

static const char *build(void)
{
	const char *folder = getenv("QUIRE_BUILD");

	return folder ? folder : "build";
}

/* ---- processes ---- */

/* Run a shell's command as a child that ends with us; in, out: its streams, or -1. */
static pid_t spawn(const char *command, int in, int out)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (in >= 0)
		dup2(in, STDIN_FILENO);
	if (out >= 0)
		dup2(out, STDOUT_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

static int status_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Wait for a line that has this text; false: the output ended first. */
static bool await_text(int fd, const char *text)
{
	char line[4096];
	size_t fill = 0;

	while (fill < sizeof(line) - 1 && read(fd, line + fill, 1) == 1) {
		line[++fill] = '\0';
		if (line[fill - 1] == '\n' && strstr(line, text))
			return true;
		if (line[fill - 1] == '\n')
			fill = 0;
	}
	return false;
}

/* ---- the machine ---- */

static struct machine_client *ask(const struct scene *s)
{
	struct machine_client *client;
	struct quire_error err;

	if (machine_client_look(s->address, &client, NULL, &err))
		tap_bail("the machine does not answer: %s", err.text);
	return client;
}

struct machine_state scene_books(const struct scene *s)
{
	struct machine_client *client = ask(s);
	struct machine_state state;
	struct quire_error err;

	if (machine_client_get(client, &state, &err))
		tap_bail("the machine does not tell its books: %s", err.text);
	machine_client_destroy(client);
	return state;
}

struct search {
	const char *name;
	struct machine_vm_record *found;
	unsigned int nr;
};

static void look_at(void *ctx, uint32_t id, const struct machine_vm_record *record)
{
	struct search *search = ctx;

	(void)id;
	if (strcmp(record->name, search->name) != 0)
		return;
	*search->found = *record;
	search->nr++;
}

unsigned int scene_account(const struct scene *s, const struct scene_vm *vm,
			   struct machine_vm_record *record)
{
	struct search search = { .name = vm->name, .found = record };
	struct machine_client *client = ask(s);
	struct quire_error err;

	if (machine_client_list(client, look_at, &search, &err))
		tap_bail("the machine does not list its VMs: %s", err.text);
	machine_client_destroy(client);
	return search.nr;
}

static bool start_machine(struct scene *s)
{
	struct machine_client *client;
	char command[300];

	snprintf(s->address, sizeof(s->address), "@quire/machine/attack-%d", (int)getpid());
	snprintf(command, sizeof(command),
		 "exec %s/quire machine --machine=%s --memory=%dM --overcommit=1 2>/dev/null",
		 build(), s->address, MEMORY_MIB);
	s->machine = spawn(command, -1, -1);
	s->memory_pages = MEMORY_MIB * MiB / QUIRE_PAGE_SIZE;
	while (machine_client_look(s->address, &client, NULL, NULL)) {
		if (waitpid(s->machine, NULL, WNOHANG))
			return false;
		usleep(1000);
	}
	machine_client_destroy(client);
	return true;
}

/* ---- VMs ---- */

/* The VM process is who listens at its name, or at that of the first copy. */
static pid_t process_of(const char *name)
{
	char copy[64];
	struct ucred cred;

	snprintf(copy, sizeof(copy), "%s-1", name);
	if (ctl_owner(name, &cred) && ctl_owner(copy, &cred))
		tap_bail("%s has no process", name);
	return cred.pid;
}

static bool start(struct scene *s, struct scene_vm *vm, unsigned int ram_mib, const char *options,
		  const char *workload, int in)
{
	char command[600], ready[64] = "ready";
	int pipes[2];

	snprintf(command, sizeof(command),
		 "exec 2>/dev/null %s/quire run --name=%s --machine=%s --domain=scene "
		 "--hugepages=never -m %uM %s %s/guest/quill.elf %s",
		 build(), vm->name, s->address, ram_mib, options, build(), workload);
	if (pipe(pipes))
		tap_bail("pipe: %s", strerror(errno));
	vm->launcher = spawn(command, in, pipes[1]);
	close(pipes[1]);
	vm->out = pipes[0];
	if (strstr(options, "-n ")) /* the first copy is meant, and another may be faster */
		snprintf(ready, sizeof(ready), "%s-1| hold: ready", vm->name);
	if (!await_text(vm->out, ready))
		return false;
	vm->pid = process_of(vm->name);
	return true;
}

bool scene_start(struct scene *s, struct scene_vm *vm, unsigned int ram_mib, const char *options,
		 const char *workload)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	bool started;

	*vm = (struct scene_vm){ .pid = 0 };
	snprintf(vm->name, sizeof(vm->name), "attacker-%d-%u", (int)getpid(), ++s->nr_attackers);
	started = start(s, vm, ram_mib, options, workload, null);
	close(null);
	return started;
}

bool scene_command(const char *format, ...)
{
	char words[300], command[500];
	va_list ap;
	int status;
	pid_t pid;

	va_start(ap, format);
	vsnprintf(words, sizeof(words), format, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "exec %s/quire %s >/dev/null 2>&1", build(), words);
	pid = spawn(command, -1, -1);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return !status_of(status);
}

static int finish(struct scene_vm *vm)
{
	int status = 0;

	while (vm->launcher && waitpid(vm->launcher, &status, 0) < 0 && errno == EINTR)
		;
	vm->launcher = 0;
	close(vm->out);
	return status;
}

int scene_wait(struct scene_vm *vm)
{
	return status_of(finish(vm));
}

void scene_kill(struct scene_vm *vm)
{
	if (!vm->launcher)
		return;
	kill(vm->launcher, SIGKILL);
	finish(vm);
}

/* ---- the scene ---- */

static unsigned int count_descriptors(pid_t pid)
{
	unsigned int nr = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		nr++;
	if (dir)
		closedir(dir);
	return nr;
}

/* May this process hold a thread of that one? */
static bool can_ptrace(pid_t vm)
{
	struct puppet p;
	bool can = puppet_seize(&p, vm, "pager");

	if (can)
		puppet_let_go(&p);
	return can;
}

/* The victim's guest waits for a line, and then verifies its memory. */
static int victims_input[2];

/* Once pages were shared, the machine has all descriptors that it will have for the victim. */
static void merge_once(struct scene *s)
{
	struct scene_vm friend;

	if (!scene_start(s, &friend, 48, "", "hold 1 6000 own=3000 zero=500 dup=2 seconds=90") ||
	    !scene_command("merge now %s %s", s->victim.name, friend.name))
		tap_bail("the victim does not merge");
	scene_kill(&friend);
	while (scene_books(s).nr_vms > 1)
		usleep(1000);
}

bool scene_begin(struct scene *s, const char **why)
{
	struct scene_vm *vm = &s->victim;

	*s = (struct scene){ .machine = 0 };
	if (!start_machine(s)) {
		*why = "the machine does not start";
		return false;
	}
	snprintf(vm->name, sizeof(vm->name), "victim-%d", (int)getpid());
	if (pipe(victims_input))
		tap_bail("pipe: %s", strerror(errno));
	fcntl(victims_input[1], F_SETFD, FD_CLOEXEC);
	if (!start(s, vm, 48, "", "hold 1 6000 own=3000 zero=500 dup=2 seconds=250",
		   victims_input[0])) {
		*why = "no guest runs here";
		scene_kill(vm);
		return false;
	}
	if (can_ptrace(vm->pid)) {
		merge_once(s);
		s->descriptors = count_descriptors(s->machine);
		return true;
	}
	*why = "this host permits no ptrace";
	scene_kill(vm);
	return false;
}

/* The machine learns of the ends of clients and VMs by events, of which each GET serves some. */
static bool settles(struct scene *s)
{
	for (unsigned int i = 0; i < 1000; i++) {
		if (count_descriptors(s->machine) <= s->descriptors + SPARE)
			return true;
		(void)scene_books(s);
		usleep(1000);
	}
	return false;
}

const char *scene_fault(struct scene *s)
{
	static char text[200];
	struct machine_state m;
	uint64_t used, excess;

	if (waitpid(s->machine, NULL, WNOHANG))
		return "the machine has ended";
	m = scene_books(s);
	used = m.credit_pages + m.store_pages + m.overhead_pages;
	excess = used > s->memory_pages ? used - s->memory_pages : 0;
	if (m.free_pages + used != s->memory_pages + excess) {
		snprintf(text, sizeof(text),
			 "the books do not add up: %" PRIu64 " free, %" PRIu64 " used of %" PRIu64,
			 m.free_pages, used, s->memory_pages);
		return text;
	}
	if (!settles(s)) {
		snprintf(text, sizeof(text), "the machine has %u descriptors, and had %u",
			 count_descriptors(s->machine), s->descriptors);
		return text;
	}
	if (waitpid(s->victim.launcher, NULL, WNOHANG)) {
		s->victim.launcher = 0;
		return "the victim has ended";
	}
	return NULL;
}

bool scene_end(struct scene *s)
{
	bool asked = write(victims_input[1], "\n", 1) == 1;
	bool verified = asked && await_text(s->victim.out, "verified=6000");
	int status = scene_wait(&s->victim);

	kill(s->machine, SIGTERM);
	waitpid(s->machine, NULL, 0);
	if (!verified || status)
		tap_note("the victim: %sverified, status %d", verified ? "" : "not ", status);
	return verified && status == 0;
}
