/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <quire/types.h>
#include <sys/signalfd.h>
#include "signals.h"

int signals_open(bool job, sigset_t *set)
{
	static const int ours[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };
	struct sigaction old;
	int fd;

	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(ours) - (job ? 0 : 3); i++)
		if (!sigaction(ours[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaddset(set, ours[i]);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}
