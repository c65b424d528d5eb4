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
#include "starter.h"
#include "vmm/vm/sandbox.h"
#include "vmm/vm/sandbox_places.h"

/* Both ends of the pipes between the machine and the starter, as pipe2() fills them in. */
struct pipes {
	int hold[2];   /* has an end of file once the machine is gone */
	int report[2]; /* the starter says why nothing is served, or closes it */
	int news[2];   /* ... and later, that it had to start an observer again */
};

struct plan {
	const struct web_config *config;
	struct web_place place[SERVER_MAX_PLACES];
	unsigned int nr;
	char token[WEB_TOKEN_BYTES];
	int life; /* the starter's end of `hold` */
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

static int prepare(struct plan *plan, struct quire_error *err)
{
	struct server_config config = { .place = plan->place,
					.nr_places = plan->nr,
					.token = plan->token,
					.life = plan->life };
	int code = server_create(&config, err);

	if (code)
		return code;
	hold_files();
	return asker_start(plan->config->machine, confine_thread, err);
}

static void observe(void *ctx, int report)
{
	struct quire_error err = { "" };

	prctl(PR_SET_NAME, "quire-observer");
	if (prepare(ctx, &err)) {
		(void)!write(report, err.text, strlen(err.text));
		_exit(1);
	}
	close(report);
	confine_thread();
	server_run();
	_exit(0);
}

/* Signals from the terminal are for the machine, whose end is ours. */
static _Noreturn void be_starter(struct plan *plan, struct pipes *p)
{
	struct starter starter = { .observe = observe,
				   .ctx = plan,
				   .life = p->hold[0],
				   .news = p->news[1],
				   .report = p->report[1] };

	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	prctl(PR_SET_NAME, "quire-starter");
	plan->life = p->hold[0];
	close(p->hold[1]);
	close(p->report[0]);
	close(p->news[0]);
	starter_run(&starter);
}

/* ---- the machine's side ---- */

/* What the starter says of the first start is why it failed; nothing is a success. */
static int await_start(struct pipes *p, pid_t pid, struct quire_error *err)
{
	char text[sizeof(err->text)];
	ssize_t n;

	do
		n = read(p->report[0], text, sizeof(text) - 1);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	waitpid(pid, NULL, 0);
	return quire_fail(err, -ENOENT, "%s", text);
}

static int open_pipes(struct pipes *p, struct quire_error *err)
{
	if (pipe2(p->hold, O_CLOEXEC) || pipe2(p->report, O_CLOEXEC) ||
	    pipe2(p->news, O_CLOEXEC | O_NONBLOCK))
		return quire_fail(err, -errno, "cannot make a pipe: %m");
	return 0;
}

static int start(struct plan *plan, struct web_process *out, struct quire_error *err)
{
	struct pipes p;
	pid_t pid;
	int code = open_pipes(&p, err);

	if (code)
		return code;
	pid = fork();
	if (pid == 0)
		be_starter(plan, &p);
	code = pid < 0 ? quire_fail(err, -errno, "cannot start the observer: %m") : 0;
	close(p.hold[0]);
	close(p.report[1]);
	close(p.news[1]);
	if (!code)
		code = await_start(&p, pid, err);
	close(p.report[0]);
	*out = (struct web_process){ .hold = p.hold[1], .news = p.news[0] };
	if (code) {
		close(out->hold);
		close(out->news);
	}
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

int web_start(const struct web_config *config, struct web_process *out, struct quire_error *err)
{
	struct plan plan = { .config = config };
	int code = web_token_make(plan.token) ? 0 : -EIO;

	if (code)
		return quire_fail(err, code, "the kernel gives no random numbers");
	code = open_places(&plan, err);
	if (!code)
		code = start(&plan, out, err);
	close_places(&plan);
	if (!code)
		say_where(&plan);
	return code;
}
