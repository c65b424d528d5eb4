/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <quire/types.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "vmm/vm/signals.h"
#include "detach.h"

static void leave_terminal(void)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setsid();
	dup2(null, STDIN_FILENO);
	if (null != STDIN_FILENO)
		close(null);
}

static int status_of(pid_t child)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void pass_on(pid_t child, int signal_fd)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) == sizeof(info))
		kill(child, (int)info.ssi_signo);
}

/* The pipe hangs up when the child has ended, or before, if it has nothing more to say. */
static int wait_for(pid_t child, int from_child, int signal_fd)
{
	struct pollfd fd[] = {
		{ .fd = from_child, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};
	char byte;

	for (;;) {
		if (poll(fd, ARRAY_SIZE(fd), -1) < 0)
			continue;
		if (fd[1].revents)
			pass_on(child, signal_fd);
		if (fd[0].revents)
			return read(from_child, &byte, 1) == 1 ? 0 : status_of(child);
	}
}

int detach(int *caller, int *status)
{
	int end[2], signal_fd;
	sigset_t set;
	pid_t child;

	if (pipe2(end, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	child = fork();
	if (!child) {
		close(end[0]);
		*caller = end[1];
		leave_terminal();
		return 0;
	}
	close(end[1]);
	if (child < 0) {
		close(end[0]);
		return -errno;
	}
	signal_fd = signals_open(false, &set);
	*status = wait_for(child, end[0], signal_fd);
	close(end[0]);
	if (signal_fd >= 0)
		close(signal_fd);
	return 1;
}
