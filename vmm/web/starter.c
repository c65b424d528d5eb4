/* SPDX-License-Identifier: MIT */
#include "starter.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "mmu/base/clock.h"
#include "mmu/machine/server.h"

#define WHY_BYTES 160

unsigned int starter_rest_ms(unsigned int n)
{
	uint64_t ms = STARTER_FIRST_MS;

	while (--n && ms < STARTER_MOST_MS)
		ms *= 2;
	return (unsigned int)min_u64(ms, STARTER_MOST_MS);
}

/* All that comes until the end of file, as text. */
static void read_all(int fd, char *text, size_t room)
{
	size_t bytes = 0;
	ssize_t n = 1;

	while (n && bytes < room - 1) {
		n = read(fd, text + bytes, room - 1 - bytes);
		if (n < 0 && errno != EINTR)
			break;
		bytes += n > 0 ? (size_t)n : 0;
	}
	text[bytes] = '\0';
}

/* Start an observer, and wait until it serves.  Its pid; or 0 with why[]. */
static pid_t start(const struct starter *s, char why[WHY_BYTES])
{
	int report[2];
	pid_t pid;

	if (pipe2(report, O_CLOEXEC)) {
		snprintf(why, WHY_BYTES, "cannot make a pipe: %s", strerror(errno));
		return 0;
	}
	pid = fork();
	if (pid == 0) {
		close(report[0]);
		close(s->news);
		if (s->report >= 0)
			close(s->report);
		s->observe(s->ctx, report[1]);
	}
	close(report[1]);
	if (pid < 0)
		snprintf(why, WHY_BYTES, "cannot start a process: %s", strerror(errno));
	else
		read_all(report[0], why, WHY_BYTES);
	close(report[0]);
	if (pid > 0 && *why)
		waitpid(pid, NULL, 0);
	return *why ? 0 : pid;
}

static void await_end(pid_t pid, char why[WHY_BYTES])
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		snprintf(why, WHY_BYTES, "signal %d", WTERMSIG(status));
	else
		snprintf(why, WHY_BYTES, "status %d", WEXITSTATUS(status));
}

/* Wait so long at most for the machine's end. */
static bool machine_ends(const struct starter *s, unsigned int ms)
{
	struct pollfd pfd = { .fd = s->life };

	return poll(&pfd, 1, (int)ms) > 0;
}

static void tell(const struct starter *s, const char *why, unsigned int starts, unsigned int ms)
{
	struct machine_news news = { .number = { (int64_t)starts, (int64_t)ms } };

	snprintf(news.reason, sizeof(news.reason), "%s", why);
	snprintf(news.text, sizeof(news.text),
		 "the observer has ended (%s), starting it again in %u ms", why, ms);
	/* A machine that does not read has no use for more of them. */
	(void)!write(s->news, &news, sizeof(news));
}

_Noreturn void starter_run(struct starter *s)
{
	unsigned int starts = 0, in_a_row = 0;
	char why[WHY_BYTES] = "";
	pid_t pid = start(s, why);

	if (!pid) {
		(void)!write(s->report, why, strlen(why));
		_exit(1);
	}
	close(s->report);
	s->report = -1;
	for (;;) {
		uint64_t began_ns = monotonic_ns();

		if (pid)
			await_end(pid, why);
		if (machine_ends(s, 0))
			_exit(0);
		if (monotonic_ns() - began_ns >= STARTER_HEALTHY_MS * NS_PER_MS)
			in_a_row = 0;
		in_a_row++;
		tell(s, why, ++starts, starter_rest_ms(in_a_row));
		if (machine_ends(s, starter_rest_ms(in_a_row)))
			_exit(0);
		why[0] = '\0';
		pid = start(s, why);
	}
}
