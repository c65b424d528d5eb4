/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "vmm/launch/self_exec.h"
#include "process.h"

#define FAREWELL_NS (10 * NS_PER_S) /* who is asked to end has so long, and then is killed */

void words_add(struct words *w, const char *fmt, ...)
{
	char *at = w->text + w->used;
	size_t room = sizeof(w->text) - w->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(at, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room || w->nr == WORDS_MAX - 1) {
		w->lost = true;
		return;
	}
	w->used += (size_t)n + 1;
	w->word[w->nr++] = at;
	w->word[w->nr] = NULL;
}

struct child {
	pid_t parent;
	int input, output, errors;
};

/* self_exec.prepare */
static int prepare(void *ctx)
{
	const struct child *c = ctx;
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != c->parent)
		return ESRCH;
	if (dup2(c->input, STDIN_FILENO) < 0 || dup2(c->output, STDOUT_FILENO) < 0 ||
	    dup2(c->errors, STDERR_FILENO) < 0)
		return errno;
	return 0;
}

pid_t process_start(const struct words *words, int input, int output, int errors)
{
	struct child child = {
		.parent = getpid(), .input = input, .output = output, .errors = errors
	};
	struct words all = { .lost = words->lost };
	const struct self_exec what = {
		.args = all.word,
		.cgroup = -1,
		.prepare = prepare,
		.ctx = &child,
	};

	words_add(&all, "quire");
	for (unsigned int i = 0; i < words->nr; i++)
		words_add(&all, "%s", words->word[i]);
	return all.lost ? -E2BIG : self_exec(&what);
}

int process_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int process_see_off(pid_t pid)
{
	uint64_t until = monotonic_ns() + FAREWELL_NS;
	int status = 0;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (monotonic_ns() > until)
			kill(pid, SIGKILL);
		usleep(5000);
	}
	return process_status(status);
}
