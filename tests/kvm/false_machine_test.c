/* SPDX-License-Identifier: MIT */
/*
 * A machine that plays foul with real VMs: it answers as it must, and hands out frames that it or
 * others could change under the guest.  The VM maps none of them, says so in one line, and its
 * guest runs to its end.  stranger.t has machines of another user, which are not even spoken to.
 *
 * The false machine is the real one with another shelf: this file stands in for store/shelf.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/machine/server.h"
#include "mmu/machine/store/shelf.h"
#include "tests/tap.h"

#define FILE_NAME "false-store"
#define SEALS	  (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

/* ---- what it hands out ---- */

static int reopened(int fd)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int good(int fd)
{
	if (fchmod(fd, 0400) || fcntl(fd, F_ADD_SEALS, SEALS))
		return -1;
	return reopened(fd);
}

static int without_seals(int fd)
{
	return fchmod(fd, 0400) ? -1 : reopened(fd);
}

static int to_be_written(int fd)
{
	return fcntl(fd, F_ADD_SEALS, SEALS) ? -1 : dup(fd);
}

static int mode_to_write(int fd)
{
	return fcntl(fd, F_ADD_SEALS, SEALS) ? -1 : reopened(fd);
}

static int too_short(int fd)
{
	int other = memfd_create(FILE_NAME, MFD_ALLOW_SEALING | MFD_CLOEXEC);

	(void)fd;
	return ftruncate(other, QUIRE_PAGE_SIZE) ? -1 : good(other);
}

static int another_file(int fd)
{
	(void)fd;
	return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static int directory(int fd)
{
	(void)fd;
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int device(int fd)
{
	(void)fd;
	return open("/dev/zero", O_RDONLY | O_CLOEXEC);
}

static int socket_end(int fd)
{
	int pair[2];

	(void)fd;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -1 : pair[0];
}

static const struct offer {
	const char *what;
	int (*make)(int fd); /* of the memfd that the machine writes */
	bool maps;
} offers[] = {
	{ "a sealed memfd", good, true },
	{ "a memfd without seals", without_seals, false },
	{ "a descriptor to write", to_be_written, false },
	{ "a file that others may open to write", mode_to_write, false },
	{ "a file that is too short", too_short, false },
	{ "a file of a disk", another_file, false },
	{ "a directory", directory, false },
	{ "a device", device, false },
	{ "a socket", socket_end, false },
};

static const struct offer *offer;

/* ---- its shelf ---- */

void shelf_open(struct shelf *s)
{
	*s = (struct shelf){ .ours = -1, .theirs = -1, .grow = -1, .setter = -1 };
	TAILQ_INIT(&s->stores);
}

void shelf_close(struct shelf *s)
{
	(void)s;
}

void shelf_start_setter(struct shelf *s, void (*hold)(void))
{
	(void)s, (void)hold;
}

void shelf_hold_setter(struct shelf *s)
{
	(void)s;
}

int shelf_make(struct shelf *s, uint64_t bytes, unsigned int *name)
{
	int fd = memfd_create(FILE_NAME, MFD_ALLOW_SEALING | MFD_CLOEXEC);

	*name = s->nr_made++;
	return ftruncate(fd, (off_t)bytes) ? -EIO : fd;
}

int shelf_read(const struct shelf *s, unsigned int name, int fd)
{
	(void)s, (void)name;
	return offer->make(fd);
}

void shelf_remove(struct shelf *s, unsigned int name)
{
	(void)s, (void)name;
}

void shelf_take(struct shelf *s, uint32_t frames)
{
	(void)s, (void)frames;
}

void shelf_give(struct shelf *s, uint32_t frames)
{
	(void)s, (void)frames;
}

void shelf_fit(struct shelf *s)
{
	(void)s;
}

/* ---- a scene: the machine, and a VM that merges its own pages ---- */

struct scene {
	pid_t machine, run;
	int input; /* of the guest, which verifies its memory when it has read a line */
	FILE *output;
	char name[40], errors[64];
};

static const char *build(void)
{
	const char *folder = getenv("QUIRE_BUILD");

	return folder ? folder : "build";
}

static _Noreturn void serve(const char *address)
{
	struct machine_config config = {
		.ledger = { .mode = OVERCOMMIT_ALWAYS,
			    .memory_pages = 256 * MiB / QUIRE_PAGE_SIZE },
	};
	struct machine *m;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (machine_create(&config, &m, NULL) || machine_listen(m, address, NULL))
		_exit(1);
	machine_run(m, -1);
	_exit(1);
}

static pid_t shell(const char *command, int input, int output)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(input, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

static int status_of(pid_t pid)
{
	int status;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void begin(struct scene *s, unsigned int i)
{
	char command[700], address[64];
	int input[2], output[2];

	offer = &offers[i];
	snprintf(s->name, sizeof(s->name), "false-%d-%u", (int)getpid(), i);
	snprintf(address, sizeof(address), "@quire/machine/%s", s->name);
	snprintf(s->errors, sizeof(s->errors), "/tmp/quire-%s.err", s->name);
	fflush(NULL);
	s->machine = fork();
	if (!s->machine)
		serve(address);
	snprintf(command, sizeof(command),
		 "exec timeout -s KILL 250 %s/quire run --name=%s --machine=%s -m 32M "
		 "%s/guest/quill.elf hold 7 3000 dup=2 seconds=250 2>%s",
		 build(), s->name, address, build(), s->errors);
	if (pipe2(input, O_CLOEXEC) || pipe2(output, O_CLOEXEC))
		tap_bail("no pipe");
	s->input = input[1];
	s->output = fdopen(output[0], "r");
	s->run = shell(command, input[0], output[1]);
	close(input[0]);
	close(output[1]);
}

/* Has the process, or a child of it, mapped a file of this name? */
static bool maps(const char *name, const char *file)
{
	char command[300];

	snprintf(command, sizeof(command),
		 "grep -q %s $(%s/quire ps --json %s | sed -n 's,.*\"pid\": \\([0-9]*\\).*,/proc/"
		 "\\1/maps,p') 2>/dev/null",
		 file, build(), name);
	return !system(command);
}

static bool merge_now(struct scene *s)
{
	char command[300], line[300];

	do
		if (!fgets(line, sizeof(line), s->output))
			return false;
	while (!strstr(line, "ready"));
	snprintf(command, sizeof(command), "timeout 100 %s/quire merge now %s >/dev/null 2>&1",
		 build(), s->name);
	return !system(command);
}

static unsigned int lines_of(const char *path, const char *text)
{
	char line[512];
	unsigned int nr = 0;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		nr++;
		if (!strstr(line, text))
			tap_note("%s", line);
	}
	if (f)
		fclose(f);
	return nr;
}

static void look(struct scene *s, const struct offer *o)
{
	bool merged = merge_now(s), mapped = merged && maps(s->name, FILE_NAME);

	ok(merged, "%s: a VM looks for equal pages", o->what);
	is(mapped, o->maps, "%s: it is %smapped", o->what, o->maps ? "" : "not ");
}

static void end(struct scene *s, const struct offer *o)
{
	if (write(s->input, "\n", 1) != 1)
		tap_note("the guest does not listen");
	close(s->input);
	is(status_of(s->run), 0, "%s: the guest finds its memory as it was", o->what);
	is(lines_of(s->errors, "offered shared frames that others could change"), !o->maps,
	   "... and there is %s", o->maps ? "nothing to say" : "one line");
	unlink(s->errors);
	fclose(s->output);
	kill(s->machine, SIGKILL);
	waitpid(s->machine, NULL, 0);
}

static const char *no_guest(void)
{
	char command[300];

	snprintf(command, sizeof(command),
		 "timeout 60 %s/quire run -m 32M %s/guest/quill.elf exit 0 >/dev/null 2>&1",
		 build(), build());
	return system(command) ? "no guest runs here" : NULL;
}

int main(void)
{
	struct scene scene[ARRAY_SIZE(offers)];

	tap_init();
	if (geteuid() || unshare(CLONE_NEWNET))
		tap_skip_all("only root sees what a VM has mapped");
	if (no_guest())
		tap_skip_all("%s", no_guest());
	for (unsigned int i = 0; i < ARRAY_SIZE(offers); i++)
		begin(&scene[i], i);
	for (unsigned int i = 0; i < ARRAY_SIZE(offers); i++)
		look(&scene[i], &offers[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(offers); i++)
		end(&scene[i], &offers[i]);
	return tap_done();
}
