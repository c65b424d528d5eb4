/* SPDX-License-Identifier: MIT */
/*
 * Another user of the host who lies to an operator: a machine whose list never ends, a name of a
 * VM that is not a VM, a pid for a name; and a VM that neither answers nor ends.
 */
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "mmu/base/packet.h"
#include "mmu/base/wire.h"
#include "observe_lab.h"

#define STRANGER 65534u

/* ---- who listens ---- */

static int listen_at(const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	socklen_t len;

	snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "%s", name);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	return !bind(fd, (struct sockaddr *)&sun, len) && !listen(fd, 64) ? fd : -1;
}

/* A process of another user that listens at this name, and does `serve` with what comes. */
static pid_t stranger(const char *name, void (*serve)(int fd))
{
	int ready[2], listener;
	char byte;
	pid_t pid;

	if (pipe(ready))
		tap_bail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			tap_bail("no stranger at %s", name);
		close(ready[0]);
		return pid;
	}
	alarm(120);
	signal(SIGPIPE, SIG_IGN);
	if (setgroups(0, NULL) || setgid(STRANGER) || setuid(STRANGER))
		_exit(1);
	listener = listen_at(name);
	if (listener < 0 || write(ready[1], "", 1) != 1)
		_exit(1);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0)
			serve(fd);
		close(fd);
	}
}

/* ---- machines that lie ---- */

static void answer(int fd, struct machine_msg *msg)
{
	while (send(fd, msg, sizeof(*msg), MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return;
}

/* Serve HELLO, GET and LIST; `lie` answers LIST until it returns false. */
static void serve_machine(int fd, void (*lie)(int fd))
{
	struct machine_msg msg;

	while (recv(fd, &msg, sizeof(msg), 0) == sizeof(msg)) {
		struct machine_msg reply = wire_msg(MACHINE_HELLO, 0);

		reply.pid = getpid();
		if (msg.type == MACHINE_GET)
			reply = wire_msg(MACHINE_STATE, 0);
		if (msg.type == MACHINE_LIST)
			lie(fd);
		else
			answer(fd, &reply);
	}
}

static struct machine_msg vm_record(uint32_t id, pid_t pid)
{
	struct machine_msg msg = wire_msg(MACHINE_VM, id);

	msg.vm_record.ram_pages = 1;
	msg.vm_record.pid = pid;
	snprintf(msg.vm_record.name, sizeof(msg.vm_record.name), "liar-%u", (unsigned int)id);
	return msg;
}

/* So many that to keep them takes gigabytes. */
#define ENDLESS 1000000u

static void endless(int fd)
{
	for (uint32_t id = 1; id < ENDLESS; id++) {
		struct machine_msg msg = vm_record(id, getpid());

		if (send(fd, &msg, sizeof(msg), MSG_NOSIGNAL) < 0)
			return;
	}
}

static void serve_endless(int fd)
{
	serve_machine(fd, endless);
}

static void same_id(int fd)
{
	for (unsigned int i = 0; i < ENDLESS; i++) {
		struct machine_msg msg = vm_record(7, getpid());

		if (send(fd, &msg, sizeof(msg), MSG_NOSIGNAL) < 0)
			return;
	}
}

static void serve_same_id(int fd)
{
	serve_machine(fd, same_id);
}

static void gone_for_ever(int fd)
{
	for (unsigned int i = 0; i < ENDLESS; i++) {
		struct machine_msg msg = wire_msg(MACHINE_GONE, i);

		if (send(fd, &msg, sizeof(msg), MSG_NOSIGNAL) < 0)
			return;
	}
}

static void serve_gone(int fd)
{
	serve_machine(fd, gone_for_ever);
}

static pid_t others;

/* A list that ends, of processes of others, and of its own twice. */
static void lie_of_others(int fd)
{
	pid_t pid[] = { others, 1, getpid(), getpid() };
	struct machine_msg end = wire_msg(MACHINE_END, 0);

	for (uint32_t i = 0; i < ARRAY_SIZE(pid); i++) {
		struct machine_msg msg = vm_record(i + 1, pid[i]);

		answer(fd, &msg);
	}
	answer(fd, &end);
}

static void serve_others(int fd)
{
	serve_machine(fd, lie_of_others);
}

static void test_endless(const char *what, void (*serve)(int fd))
{
	pid_t liar = stranger("quire/machine/liar", serve);
	struct rusage before, after;
	long grown;

	getrusage(RUSAGE_CHILDREN, &before);
	is(lab_quire("ps"), 0, "%s: ps goes on", what);
	getrusage(RUSAGE_CHILDREN, &after);
	grown = after.ru_maxrss - before.ru_maxrss;
	ok(grown < 64 * 1024, "... and keeps little of it: %ld KiB", grown);
	is(lab_lines(), 2, "... and says one line: %s", lab_said());
	ok(strstr(lab_out, "@quire/machine/liar"), "... that has the machine's address");
	lab_end(liar, SIGKILL);
}

static void test_others(void)
{
	pid_t liar;

	others = lab_start_vm("mine", VM_RUNNING);
	liar = stranger("quire/machine/liar", serve_others);
	is(lab_quire("ps --wide"), 0, "a machine that has VMs of others on its list");
	is(lab_lines(), 3, "... gets on ps with its own process, once");
	ok(lab_line("mine")[strspn(lab_line("mine"), " ")] == '-',
	   "... our VM is not on its books");
	ok(strstr(lab_line("liar-3"), "nobody"), "... and ps says whose it is");
	lab_end(liar, SIGKILL);
	lab_end(others, SIGKILL);
}

static void ignore(int fd)
{
	char byte[64];

	while (recv(fd, byte, sizeof(byte), 0) > 0)
		;
}

/* So many that the patience for one of them is too much for all: lab_quire() waits a minute. */
#define SILENT 8

static void test_silent(void)
{
	pid_t squatter[SILENT];
	char name[64];

	for (unsigned int i = 0; i < SILENT; i++) {
		snprintf(name, sizeof(name), "quire/machine/silent-%u", i);
		squatter[i] = stranger(name, ignore);
	}
	is(lab_quire("ps"), 0, "machines of others that say nothing do not keep ps waiting");
	is(lab_lines(), SILENT + 1, "... which says so of each");
	for (unsigned int i = 0; i < SILENT; i++)
		lab_end(squatter[i], SIGKILL);
}

/* ---- names ---- */

/* quire as an ordinary user who is not the stranger. */
static int lab_quire_as_user(const char *command)
{
	const char *build = getenv("QUIRE_BUILD");
	char line[256];
	FILE *f;
	size_t n;
	int status;

	snprintf(line, sizeof(line),
		 "timeout 60 setpriv --reuid=1000 --clear-groups %s/quire %s 2>&1",
		 build ? build : "build", command);
	f = popen(line, "r");
	n = fread(lab_out, 1, sizeof(lab_out) - 1, f);
	lab_out[n] = '\0';
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_squatter(void)
{
	pid_t squatter = stranger("quire/vm/web", ignore);
	char whose[64];
	struct ctl *ctl;
	struct quire_error err;

	is(lab_quire("ps"), 0, "a stranger has the name of a VM");
	ok(strstr(lab_line("web"), "nobody"), "ps says whose it is: %s", lab_line("web"));
	snprintf(whose, sizeof(whose), "process %d of user %u", (int)squatter, STRANGER);
	is(lab_quire_as_user("pause web"), 121, "another user does not speak to it");
	ok(strstr(lab_out, whose) && lab_lines() == 1, "... and hears who it is: %s", lab_said());
	is(ctl_create("web", &ctl, &err), -EADDRINUSE, "a VM of that name does not start");
	ok(strstr(err.text, whose) && strstr(err.text, "--name"), "... and says why: %s", err.text);
	lab_end(squatter, SIGKILL);
}

/* A socket whose name is the pid of a VM. */
static void test_digits(void)
{
	pid_t vm = lab_start_vm("meant", VM_RUNNING), squatter;
	char name[64];

	snprintf(name, sizeof(name), "quire/vm/%d", (int)vm);
	squatter = stranger(name, ignore);
	is(lab_quire("kill %d", (int)vm), 0, "a pid means the VM of this pid");
	is(waitpid(vm, NULL, WNOHANG), vm, "... which ends");
	is(waitpid(squatter, NULL, WNOHANG), 0, "... and not who has it for a name");
	lab_end(squatter, SIGKILL);
}

/* ---- a VM that does not end ---- */

static void test_stopped(void)
{
	pid_t vm = lab_start_vm("stuck", VM_RUNNING);

	kill(vm, SIGSTOP);
	is(lab_quire("kill --grace=1 stuck"), 0, "kill of a VM that does not answer");
	is(waitpid(vm, NULL, WNOHANG), vm, "... ends it");
	ok(strstr(lab_out, "did not end in 1 s, killed"), "... and says how");
	vm = lab_start_vm("stuck", VM_RUNNING);
	kill(vm, SIGSTOP);
	is(lab_quire("kill --grace=0 stuck"), 0, "kill without a grace period");
	is(waitpid(vm, NULL, WNOHANG), vm, "... ends it at once");
	is(lab_quire("kill --grace=soon stuck"), 2, "a grace period is a number");
	is(lab_quire("pause --grace=1 stuck"), 2, "... and only kill has one");
}

int main(void)
{
	tap_init();
	if (geteuid() != 0 || !lab_isolate()) {
		tap_skip("only root can become another user, in a network namespace");
		return tap_done();
	}
	test_stopped();
	test_digits();
	test_squatter();
	test_others();
	test_silent();
	test_endless("a list of VMs that never ends", serve_endless);
	test_endless("a VM that is listed again and again", serve_same_id);
	test_endless("ends of VMs that never were", serve_gone);
	return tap_done();
}
