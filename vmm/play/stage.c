/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "stage.h"

#define CONNECT_NS (20 * NS_PER_S) /* a machine has so long to listen */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- the machine ---- */

static int connect_machine(struct stage_machine *m, struct quire_error *err)
{
	uint64_t until = monotonic_ns() + CONNECT_NS;
	int code;

	do {
		code = machine_client_connect(m->address, &m->client, err);
		if (code != -ECONNREFUSED)
			return code;
		usleep(2000);
	} while (!stage_machine_ended(m) && monotonic_ns() < until);
	return quire_fail(err, -ECONNREFUSED, "the machine does not start");
}

int stage_start_machine(struct stage_machine *m, const struct words *options,
			struct quire_error *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct words w = { .lost = options->lost };
	pid_t pid;

	if (null < 0)
		return quire_fail(err, -errno, "cannot open /dev/null: %m");
	words_add(&w, "machine");
	words_add(&w, "--machine=%s", m->address);
	for (unsigned int i = 0; i < options->nr; i++)
		words_add(&w, "%s", options->word[i]);
	pid = process_start(&w, null, null, m->log < 0 ? null : m->log);
	close(null);
	if (pid < 0)
		return quire_fail(err, pid, "cannot start a machine: %s", strerror(-pid));
	m->pid = pid;
	return connect_machine(m, err);
}

bool stage_machine_ended(struct stage_machine *m)
{
	int status;

	if (!m->pid || waitpid(m->pid, &status, WNOHANG) != m->pid)
		return !m->pid;
	m->status = process_status(status);
	m->pid = 0;
	return true;
}

int stage_end_machine(struct stage_machine *m)
{
	machine_client_destroy(m->client);
	m->client = NULL;
	if (!m->pid)
		return 0;
	kill(m->pid, SIGTERM);
	m->status = process_see_off(m->pid);
	m->pid = 0;
	return m->status;
}

/* ---- a guest's life ---- */

int stage_start_guest(struct stage_guest *g, const struct words *words, struct quire_error *err)
{
	struct words w = { .lost = words->lost };
	int in[2], out[2];
	pid_t pid;

	if (pipe2(in, O_CLOEXEC))
		return quire_fail(err, -errno, "cannot start a guest: %m");
	if (pipe2(out, O_CLOEXEC)) {
		close(in[0]);
		close(in[1]);
		return quire_fail(err, -errno, "cannot start a guest: %m");
	}
	words_add(&w, "run");
	for (unsigned int i = 0; i < words->nr; i++)
		words_add(&w, "%s", words->word[i]);
	pid = process_start(&w, in[0], out[1], out[1]);
	close(in[0]);
	close(out[1]);
	g->input = in[1];
	g->output = out[0];
	g->known = false;
	g->id = 0;
	g->bytes = 0;
	g->heard_ns = monotonic_ns();
	fcntl(g->output, F_SETFL, O_NONBLOCK);
	if (pid < 0) {
		close_fd(&g->input);
		close_fd(&g->output);
		return quire_fail(err, pid, "cannot start a guest: %s", strerror(-pid));
	}
	g->launcher = pid;
	return 0;
}

/* Some end their lines with CR LF. */
static void end_line(struct stage_guest *g)
{
	if (g->bytes && g->line[g->bytes - 1] == '\r')
		g->bytes--;
	g->line[g->bytes] = '\0';
	g->bytes = 0;
}

static void take_bytes(struct stage_guest *g, const char *bytes, size_t nr,
		       void (*take)(void *ctx, const char *line), void *ctx)
{
	for (size_t i = 0; i < nr; i++) {
		if (bytes[i] == '\n' || g->bytes == sizeof(g->line) - 1) {
			end_line(g);
			take(ctx, g->line);
		}
		if (bytes[i] != '\n')
			g->line[g->bytes++] = bytes[i];
	}
}

/* All that is there. */
static void read_output(struct stage_guest *g, void (*take)(void *ctx, const char *line), void *ctx)
{
	char buf[4096];
	ssize_t n;

	while (g->output >= 0 && (n = read(g->output, buf, sizeof(buf))) > 0) {
		take_bytes(g, buf, (size_t)n, take, ctx);
		g->heard_ns = monotonic_ns();
	}
}

static void end_life(struct stage_guest *g, int status, void (*take)(void *ctx, const char *line),
		     void *ctx)
{
	g->status = status;
	g->launcher = 0;
	read_output(g, take, ctx);
	close_fd(&g->input);
	close_fd(&g->output);
	stage_forget(g);
}

bool stage_hear(struct stage_guest *g, void (*take)(void *ctx, const char *line), void *ctx)
{
	int status;

	read_output(g, take, ctx);
	if (!g->launcher || waitpid(g->launcher, &status, WNOHANG) != g->launcher)
		return false;
	end_life(g, process_status(status), take, ctx);
	return true;
}

void stage_say(struct stage_guest *g, bool no_more)
{
	/* A guest that has ended reads nothing any more. */
	if (g->input >= 0 && (write(g->input, "\n", 1) < 0 || no_more))
		close_fd(&g->input);
}

void stage_end_guest(struct stage_guest *g, void (*take)(void *ctx, const char *line), void *ctx)
{
	if (g->launcher)
		end_life(g, process_see_off(g->launcher), take, ctx);
}

/* ---- its numbers ---- */

void stage_forget(struct stage_guest *g)
{
	close_fd(&g->ctl);
	g->asked = false;
}

void stage_ask(struct stage_guest *g)
{
	if (g->ctl < 0 && g->launcher)
		g->ctl = ctl_open(g->name, 1);
	if (g->ctl < 0) {
		g->ctl = -1;
		return;
	}
	if (g->asked)
		return;
	if (ctl_ask_info(g->ctl, NULL))
		stage_forget(g);
	else
		g->asked = true;
}

bool stage_take_answer(struct stage_guest *g, uint64_t until_ns)
{
	struct pollfd pfd = { .fd = g->ctl, .events = POLLIN };

	if (!g->asked || poll(&pfd, 1, poll_ms(monotonic_ns(), until_ns)) != 1)
		return false;
	g->asked = false;
	if (ctl_take_info(g->ctl, &g->info, NULL) < 0) {
		stage_forget(g);
		return false;
	}
	g->known = true;
	return true;
}
