/* SPDX-License-Identifier: MIT */
#include "web.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "asker.h"
#include "guard.h"
#include "place.h"
#include "server.h"
#include "vmm/vm/sandbox.h"
#include "vmm/vm/sandbox_places.h"

/* Both ends of both pipes, as pipe2() fills them in. */
struct life {
	int hold[2];   /* has an end of file once the machine is gone */
	int report[2]; /* the observer says what went wrong, or closes it */
};

struct plan {
	const struct web_config *config;
	struct web_place place[SERVER_MAX_PLACES];
	unsigned int nr;
	char token[WEB_TOKEN_BYTES];
};

/* ---- where ---- */

static int add_place(struct plan *plan, const char *option, const char *text, unsigned int services,
		     struct quire_error *err)
{
	struct web_place *place = &plan->place[plan->nr];
	struct quire_error why;
	int code = web_place_read(text, place, &why);

	if (!code)
		code = web_place_open(place, &why);
	if (code)
		return quire_fail(err, code, "%s=%.80s: %.200s", option, text, why.text);
	place->services = services;
	plan->nr++;
	return 0;
}

static int open_places(struct plan *plan, struct quire_error *err)
{
	const struct web_config *c = plan->config;
	bool both = c->http && c->metrics && !strcmp(c->http, c->metrics);
	int code = 0;

	if (c->http)
		code = add_place(plan, "--http", c->http, WEB_PAGE | WEB_METRICS, err);
	if (c->metrics && !both && !code)
		code = add_place(plan, "--metrics", c->metrics, WEB_METRICS, err);
	return code;
}

static void close_places(struct plan *plan)
{
	for (unsigned int i = 0; i < plan->nr; i++)
		close(plan->place[i].fd);
}

/* ---- the observer ---- */

/*
 * What asking takes: /proc, which says who listens, and, for root, to be another user for a moment
 * (ctl_open).
 */
static void hold_files(void)
{
	const struct place proc = { .path = "/proc", .use = PLACE_READ };

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)sandbox_places(&proc, 1);
}

static void confine_thread(void)
{
	sandbox_helper(SANDBOX_OBSERVER, 1u << CAP_SETUID);
}

static int prepare(struct plan *plan, int life, struct quire_error *err)
{
	struct server_config config = {
		.place = plan->place, .nr_places = plan->nr, .token = plan->token, .life = life
	};
	int code = server_create(&config, err);

	if (code)
		return code;
	hold_files();
	return asker_start(plan->config->machine, confine_thread, err);
}

/* Signals from the terminal are for the machine, whose end is ours. */
static _Noreturn void observe(struct plan *plan, struct life *life)
{
	struct quire_error err = { "" };

	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "quire-observer");
	close(life->hold[1]);
	close(life->report[0]);
	if (prepare(plan, life->hold[0], &err)) {
		(void)!write(life->report[1], err.text, strlen(err.text));
		_exit(1);
	}
	close(life->report[1]);
	confine_thread();
	server_run();
	_exit(0);
}

/* ---- the machine's side ---- */

/* What the observer says of its start is why it failed; nothing is a success. */
static int await_start(struct life *life, pid_t pid, struct quire_error *err)
{
	char text[sizeof(err->text)];
	ssize_t n;

	close(life->report[1]);
	do
		n = read(life->report[0], text, sizeof(text) - 1);
	while (n < 0 && errno == EINTR);
	close(life->report[0]);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	waitpid(pid, NULL, 0);
	return quire_fail(err, -ENOENT, "%s", text);
}

static int start(struct plan *plan, int *hold, struct quire_error *err)
{
	struct life life;
	pid_t pid;
	int code;

	if (pipe2(life.hold, O_CLOEXEC) || pipe2(life.report, O_CLOEXEC))
		return quire_fail(err, -errno, "cannot make a pipe: %m");
	pid = fork();
	if (pid == 0)
		observe(plan, &life);
	close(life.hold[0]);
	if (pid < 0) {
		code = quire_fail(err, -errno, "cannot start the observer: %m");
		close(life.hold[1]);
		return code;
	}
	code = await_start(&life, pid, err);
	*hold = life.hold[1];
	return code;
}

static void say_where(const struct plan *plan)
{
	const struct web_config *c = plan->config;
	char line[256];

	for (unsigned int i = 0; i < plan->nr; i++) {
		const struct web_place *p = &plan->place[i];

		if (p->services & WEB_PAGE)
			snprintf(line, sizeof(line), "page at http://%s/#token=%s", p->name,
				 plan->token);
		else
			snprintf(line, sizeof(line), "metrics at http://%s/metrics", p->name);
		c->log(NULL, line);
		if (web_place_is_local(p))
			continue;
		snprintf(line, sizeof(line),
			 "warning: other hosts can reach %s and see what is there, without "
			 "encryption; 127.0.0.1 is for this host alone",
			 p->name);
		c->log(NULL, line);
	}
}

int web_start(const struct web_config *config, int *hold, struct quire_error *err)
{
	struct plan plan = { .config = config };
	int code = web_token_make(plan.token) ? 0 : -EIO;

	if (code)
		return quire_fail(err, code, "the kernel gives no random numbers");
	code = open_places(&plan, err);
	if (!code)
		code = start(&plan, hold, err);
	close_places(&plan);
	if (!code)
		say_where(&plan);
	return code;
}
