/* SPDX-License-Identifier: MIT */
/*
 * quire kill, pause, resume: steering running VMs.
 *
 * Each VM named is tried, whatever became of those before it; each failure is one line, and one
 * is enough for the status.  The VM decides: a request travels through its control socket, so
 * what may look at a VM may also steer it.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <quire/abi.h>
#include "cmd.h"
#include "mmu/base/clock.h"
#include "ctl_client.h"

const char kill_usage[] =
	"usage: quire kill VM...\n"
	"\n"
	"Ends running VMs in order, as SIGTERM to a quire run does, and waits until they are\n"
	"gone.  VM is the name or the pid of a quire run, whose exit status will be 143.\n"
	"\n"
	"Exit status: 0; 2 wrong usage; 121 for one of them there is no such VM, or it does not\n"
	"answer or end.\n";

const char pause_usage[] =
	"usage: quire pause VM...\n"
	"\n"
	"Keeps running VMs from executing anything, until quire resume.  A paused VM can be\n"
	"looked at and ended as any other.  Its clocks go on: to the guest, a pause is a moment\n"
	"in which it did nothing.  VM is the name or the pid of a quire run.\n"
	"\n"
	"Exit status: 0, also if it is paused already; 2 wrong usage; 121 for one of them there\n"
	"is no such VM, or it does not answer, or a vCPU has not stopped after 2 s (it will).\n";

const char resume_usage[] =
	"usage: quire resume VM...\n"
	"\n"
	"Lets paused VMs go on.  VM is the name or the pid of a quire run.\n"
	"\n"
	"Exit status: 0, also if it is not paused; 2 wrong usage; 121 for one of them there is no\n"
	"such VM, or it does not answer.\n";

/* A VM that ends has one second for its vCPUs and one for the reader of its output. */
#define GONE_S 10

/* A pidfd of the VM is readable when it has ended; without one, the connection, a little early. */
static int process_of(int fd)
{
	struct ucred cred;

	return ctl_peer(fd, &cred) < 0 ? -1 : (int)syscall(SYS_pidfd_open, cred.pid, 0);
}

static int wait_gone(int fd, struct quire_error *err)
{
	uint64_t deadline_ns = monotonic_ns() + GONE_S * NS_PER_S;
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int n;

	do {
		n = poll(&pfd, 1, poll_ms(monotonic_ns(), deadline_ns));
	} while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : quire_fail(err, -ETIMEDOUT, "it takes more than %d s to end", GONE_S);
}

/* The VM's main loop waits for its vCPUs a moment only: on a busy host they may need longer. */
#define PAUSED_S 2

static bool comes_to_pause(int fd)
{
	uint64_t deadline_ns = monotonic_ns() + PAUSED_S * NS_PER_S;
	struct ctl_info info = { .vm.state = VM_PAUSING };

	while (!ctl_get_info(fd, &info, NULL) && info.vm.state == VM_PAUSING) {
		if (monotonic_ns() > deadline_ns)
			return false;
		usleep(10000);
	}
	return info.vm.state == VM_PAUSED;
}

static int command_one(const char *vm, unsigned int op, struct quire_error *err)
{
	int fd = ctl_connect(vm, err), process, code;
	struct quire_error why;

	if (fd < 0)
		return fd;
	process = op == CTL_STOP ? process_of(fd) : -1;
	code = ctl_command(fd, op, &why);
	if (!code && op == CTL_STOP)
		code = wait_gone(process >= 0 ? process : fd, &why);
	if (process >= 0)
		close(process);
	if (code == -ETIMEDOUT && op == CTL_PAUSE && comes_to_pause(fd))
		code = 0;
	close(fd);
	return code ? quire_fail(err, code, "%s: %s", vm, why.text) : 0;
}

static int command_all(int argc, char **argv, unsigned int op)
{
	static const struct option none[] = { { 0 } };
	struct quire_error err;
	int status = 0;

	opterr = 0;
	optind = 1;
	if (getopt_long(argc, argv, "", none, NULL) != -1) {
		fprintf(stderr, "quire %s: %s: there are no options; see quire help %s\n", argv[0],
			argv[optind - 1], argv[0]);
		return QUIRE_STATUS_USAGE;
	}
	if (optind == argc) {
		fprintf(stderr, "quire %s: say which VMs, by name or pid\n", argv[0]);
		return QUIRE_STATUS_USAGE;
	}
	for (int i = optind; i < argc; i++)
		if (command_one(argv[i], op, &err)) {
			fprintf(stderr, "quire %s: %s\n", argv[0], err.text);
			status = QUIRE_STATUS_HOST;
		}
	return status;
}

int cmd_kill(int argc, char **argv)
{
	return command_all(argc, argv, CTL_STOP);
}

int cmd_pause(int argc, char **argv)
{
	return command_all(argc, argv, CTL_PAUSE);
}

int cmd_resume(int argc, char **argv)
{
	return command_all(argc, argv, CTL_RESUME);
}
