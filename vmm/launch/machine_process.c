/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "mmu/base/packet.h"
#include "mmu/machine/server.h"
#include "confine.h"
#include "launch.h"
#include "machine_process.h"
#include "self_exec.h"
#include "vmm/vm/message.h"

/*
 * Signals for the run are the launcher's business: those of the terminal, and those that timeout(1)
 * and shells send to the whole process group.  One of these may have come since we were born, and
 * is pending because the launcher blocks it; to ignore a signal discards it.
 */
static void leave_process_group(void)
{
	setpgid(0, 0);
	signal(SIGTERM, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
}

/* SIGTERM to the machine alone stops its guests; no other signal means anything to it. */
static int catch_sigterm(void)
{
	sigset_t all, term;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	return signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
}

/*
 * Whoever reads our standard output waits for the launcher and not for the machine.  Standard error
 * stays, so that the machine can say why it aborts.
 */
static void leave_streams(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
}

static int serve(struct machine *m)
{
	char address[64];
	int stop = catch_sigterm();

	snprintf(address, sizeof(address), LAUNCH_MACHINE_ADDRESS, geteuid(), getpid());
	machine_listen(m, address, NULL); /* if that fails, others do not find it */
	if (machine_adopt_control(m, SELF_EXEC_FD))
		return -EPROTO;
	confine_machine(m);
	return machine_run(m, stop);
}

int machine_process(void)
{
	struct machine_config config = { .exit_when_idle = true };
	struct machine *m;
	int ret, attached;

	leave_process_group();
	prctl(PR_SET_NAME, "quire-machine");
	fcntl(SELF_EXEC_FD, F_SETFD, FD_CLOEXEC);
	ret = packet_recv(SELF_EXEC_FD, &config.ledger, sizeof(config.ledger), &attached);
	if (attached >= 0)
		close(attached);
	if (ret != 1) {
		message("this is not how a machine process is started: use quire machine");
		return QUIRE_STATUS_USAGE;
	}
	leave_streams();
	if (machine_create(&config, &m, NULL))
		return QUIRE_STATUS_INTERNAL;
	ret = serve(m);
	machine_destroy(m);
	return ret ? QUIRE_STATUS_INTERNAL : 0;
}
