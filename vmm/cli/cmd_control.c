/* SPDX-License-Identifier: MIT */
/*
 * quire kill, pause, resume: steering running VMs.
 *
 * The command tries each VM, whatever became of those before it.  Each failure is one line, and
 * one failure is enough for the status.  The VM itself obeys: the request goes to its control
 * socket, so whoever may look at a VM may also steer it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "mmu/base/clock.h"
#include "vmm/look/ctl_client.h"
#include "vmm/look/named.h"

const char kill_usage[] =
	"usage: quire kill [--grace=SECONDS] VM...\n"
	"       quire kill [--grace=SECONDS] --all\n"
	"\n"
	"Ends running guests in order, as SIGTERM to their quire run does, and waits until\n"
	"they are gone.  The exit status of the quire run will be 143.  A guest that takes longer\n"
	"than the grace period is killed by SIGKILL, and the status is 121.\n" USAGE_VMS "\n"
	"  --grace=SECONDS  how long guests may take before they are killed (default: 10); with\n"
	"                   0 they are killed at once\n"
	"  --all            all guests of this user; for root, those of all users\n"
	"\n"
	"Exit status: 0, also if SIGKILL was needed; 2 wrong usage; 121 a VM does not exist, or\n"
	"does not end.\n";

const char pause_usage[] =
	"usage: quire pause VM...\n"
	"       quire pause --all\n"
	"\n"
	"Keeps guests from executing anything until quire resume.  A paused guest can be\n"
	"looked at and ended as any other.  Its clocks go on: to the guest, a pause is a moment\n"
	"in which it did nothing.\n" USAGE_VMS "\n"
	"  --all  all guests of this user; for root, those of all users\n"
	"\n"
	"Exit status: 0, also if a guest is paused already; 2 wrong usage; 121 a VM does not\n"
	"exist or does not answer, or a vCPU has not stopped after 2 s (it will).\n";

const char resume_usage[] =
	"usage: quire resume VM...\n"
	"       quire resume --all\n"
	"\n"
	"Lets paused guests go on.\n" USAGE_VMS "\n"
	"  --all  all guests of this user; for root, those of all users\n"
	"\n"
	"Exit status: 0, also if a guest is not paused; 2 wrong usage; 121 a VM does not exist or\n"
	"does not answer.\n";

struct control {
	const char *command;
	unsigned int op;
	unsigned int grace_s; /* kill: then comes SIGKILL */
	int status;	      /* of the command, so far */
};

static void complain(struct control *c, const char *text)
{
	fprintf(stderr, "quire %s: %s\n", c->command, text);
	c->status = QUIRE_STATUS_HOST;
}

/* A VM that was not named itself may end at any time. */
static void complain_of(struct control *c, const struct named_vm *vm, int code, const char *text)
{
	if (vm->alone || (code != -ECONNREFUSED && code != -ECONNRESET))
		complain(c, text);
}

/* Say which VM it was that gave this reason. */
static int fail_of(const struct named_vm *vm, int code, const struct quire_error *why,
		   struct quire_error *err)
{
	return code ? quire_fail(err, code, "%s: %.240s", vm->name, why->text) : 0;
}

/* ---- kill ---- */

/* A VM that ends has one second for its vCPUs and one for the reader of its output. */
#define GRACE_S	    10
#define MAX_GRACE_S 86400

/* So long after SIGKILL we say that a process does not end. */
#define KILLED_S 10

/* So many VMs are told to end before the command waits for them; it holds a descriptor for each. */
#define BATCH 128u

static bool has_ended_by(int process, uint64_t deadline_ns)
{
	struct pollfd pfd = { .fd = process, .events = POLLIN };
	int n;

	do
		n = poll(&pfd, 1, poll_ms(monotonic_ns(), deadline_ns));
	while (n < 0 && errno == EINTR);
	return n > 0;
}

/* Wait for the end of a process, and see to it that it comes. */
static int await_end(struct control *c, const struct named_vm *vm, int process,
		     uint64_t deadline_ns, struct quire_error *err)
{
	if (has_ended_by(process, deadline_ns))
		return 0;
	if (syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0) && errno != ESRCH)
		return quire_fail(err, -errno, "%s: cannot kill it: %s", vm->name, strerror(errno));
	if (!has_ended_by(process, monotonic_ns() + KILLED_S * NS_PER_S))
		return quire_fail(err, -ETIMEDOUT, "%s: it does not end, not even by SIGKILL",
				  vm->name);
	if (c->grace_s)
		fprintf(stderr, "quire %s: %s: did not end in %u s, killed\n", c->command, vm->name,
			c->grace_s);
	return 0;
}

/* Tell a VM to end.  Returns its process, a pidfd, also if it does not answer in time. */
static int tell_to_end(struct control *c, const struct named_vm *vm, struct quire_error *err)
{
	int fd = named_open(vm, err), process, code = 0;
	struct timeval patience = { .tv_sec = c->grace_s };
	struct quire_error why;

	if (fd < 0)
		return fd;
	process = ctl_peer_process(fd);
	if (c->grace_s && c->grace_s < CTL_PATIENCE_S)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (process < 0)
		code = quire_fail(err, -ECONNRESET, "VM %s has just ended", vm->name);
	else if (c->grace_s)
		code = fail_of(vm, ctl_command(fd, CTL_STOP, &why), &why, err);
	close(fd);
	if (!code || code == -ETIMEDOUT)
		return process;
	if (process >= 0)
		close(process);
	return code;
}

/* Tell a quire run to end.  Returns its pidfd; -ESRCH: it has ended. */
static int tell_run_to_end(struct control *c, pid_t run, struct quire_error *err)
{
	int fd = (int)syscall(SYS_pidfd_open, run, 0), code;

	if (fd >= 0 && (!c->grace_s || !syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)))
		return fd;
	code = -errno;
	if (fd >= 0)
		close(fd);
	return quire_fail(err, code, "cannot end the quire run of pid %d: %s", (int)run,
			  strerror(-code));
}

/* The copies of a run end with it, and so do those that it has not started yet. */
static bool is_told(const struct named_vm *vm, unsigned int i)
{
	for (unsigned int k = 0; k < i; k++)
		if (vm[i].run && vm[k].run == vm[i].run)
			return true;
	return false;
}

static void kill_batch(struct control *c, const struct named_vm *vm, unsigned int nr)
{
	uint64_t deadline_ns = monotonic_ns() + c->grace_s * NS_PER_S;
	struct quire_error err;
	int fd[BATCH], code;

	for (unsigned int i = 0; i < nr; i++) {
		fd[i] = is_told(vm, i) ? -ESRCH :
			vm[i].run      ? tell_run_to_end(c, vm[i].run, &err) :
					 tell_to_end(c, &vm[i], &err);
		if (fd[i] < 0 && fd[i] != -ESRCH)
			complain_of(c, &vm[i], fd[i], err.text);
	}
	for (unsigned int i = 0; i < nr; i++) {
		if (fd[i] < 0)
			continue;
		code = await_end(c, &vm[i], fd[i], deadline_ns, &err);
		if (code)
			complain_of(c, &vm[i], code, err.text);
		close(fd[i]);
	}
}

static void kill_all(struct control *c, const struct named *list)
{
	for (unsigned int i = 0; i < list->nr; i += BATCH)
		kill_batch(c, list->vm + i, list->nr - i < BATCH ? list->nr - i : BATCH);
}

/* ---- pause and resume ---- */

static void steer(struct control *c, const struct named_vm *vm)
{
	struct quire_error err, why;
	int fd = named_open(vm, &err), code = fd;

	if (fd >= 0) {
		code = c->op == CTL_PAUSE ? ctl_pause(fd, &why) : ctl_command(fd, c->op, &why);
		fail_of(vm, code, &why, &err);
		close(fd);
	}
	if (code)
		complain_of(c, vm, code, err.text);
}

/* ---- the commands ---- */

struct words {
	bool all;
	const char *grace; /* NULL: not given */
};

/* --grace, the first, is for kill alone. */
static int parse_options(int argc, char **argv, unsigned int op, struct words *words,
			 struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "grace", .word = &words->grace },
		{ .name = "all", .flag = &words->all },
	};
	unsigned int skip = op != CTL_STOP;
	int code = read_plain_options(argc, argv, options + skip, ARRAY_SIZE(options) - skip, err);

	if (code)
		return code;
	if (words->all && optind < argc)
		return quire_fail(err, -EINVAL, "%s: --all means all VMs, leave the names out",
				  argv[optind]);
	if (!words->all && optind == argc)
		return quire_fail(err, -EINVAL, "say which VMs, by name or pid, or --all");
	return 0;
}

static int parse_grace(const char *word, unsigned int *seconds, struct quire_error *err)
{
	struct quire_error why;
	uint64_t value = GRACE_S;

	if (word && parse_count(word, 0, MAX_GRACE_S, &value, &why))
		return quire_fail(err, -EINVAL, "--grace: %.200s", why.text);
	*seconds = (unsigned int)value;
	return 0;
}

static void find(struct control *c, struct named *list, bool all, char **words)
{
	struct quire_error err;

	if (all && named_add_all(list, &err))
		complain(c, err.text);
	for (; !all && *words; words++)
		if (named_add(list, *words, &err))
			complain(c, err.text);
}

static int control(int argc, char **argv, unsigned int op)
{
	struct control c = { .command = argv[0], .op = op };
	struct named list = { 0 };
	struct words words = { 0 };
	struct quire_error err;

	if (parse_options(argc, argv, op, &words, &err) ||
	    parse_grace(words.grace, &c.grace_s, &err)) {
		fprintf(stderr, "quire %s: %s\n", argv[0], err.text);
		return QUIRE_STATUS_USAGE;
	}
	find(&c, &list, words.all, argv + optind);
	if (op == CTL_STOP)
		kill_all(&c, &list);
	for (unsigned int i = 0; i < list.nr && op != CTL_STOP; i++)
		steer(&c, &list.vm[i]);
	named_finish(&list);
	return c.status;
}

int cmd_kill(int argc, char **argv)
{
	return control(argc, argv, CTL_STOP);
}

int cmd_pause(int argc, char **argv)
{
	return control(argc, argv, CTL_PAUSE);
}

int cmd_resume(int argc, char **argv)
{
	return control(argc, argv, CTL_RESUME);
}
