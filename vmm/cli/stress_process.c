/* SPDX-License-Identifier: MIT */
/*
 * The processes of a stress: a `quire machine`, and a `quire run` for each life of a guest.
 *
 * Each is executed as a user would do it, with a group of its own, so that Ctrl-C reaches us alone.
 * Each dies with us (PR_SET_PDEATHSIG), and a VM dies with its `quire run`.  A guest prints to a
 * pipe, and so does its launcher.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/reclaim/dice.h"
#include "vmm/launch/self_exec.h"
#include "stress.h"

#define CONNECT_NS  (20 * NS_PER_S) /* a machine has so long to listen */
#define FAREWELL_NS (10 * NS_PER_S) /* who is asked to end has so long, and then is killed */
#define MAX_WORDS   32

/* ---- a process ---- */

struct words {
	char *word[MAX_WORDS];
	unsigned int nr;
	char text[4096];
	size_t used;
};

/* What does not fit is left out, and a process without it fails. */
__attribute__((format(printf, 2, 3))) static void add(struct words *w, const char *fmt, ...)
{
	char *at = w->text + w->used;
	size_t room = sizeof(w->text) - w->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(at, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room || w->nr == MAX_WORDS - 1)
		return;
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

static pid_t execute(const struct words *words, struct child *child)
{
	const struct self_exec what = {
		.args = words->word,
		.cgroup = -1,
		.prepare = prepare,
		.ctx = child,
	};

	child->parent = getpid();
	return self_exec(&what);
}

/* The exit status, or 128 and the signal. */
static int status_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Wait until a process that was asked to end has done so; its status.  At last it is killed. */
static int see_off(pid_t pid)
{
	uint64_t until = monotonic_ns() + FAREWELL_NS;
	int status = 0;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (monotonic_ns() > until)
			kill(pid, SIGKILL);
		usleep(5000);
	}
	return status_of(status);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- the machine ---- */

static int connect_machine(struct stress *s, struct quire_error *err)
{
	uint64_t until = monotonic_ns() + CONNECT_NS;
	int code;

	do {
		code = machine_client_connect(s->address, &s->client, err);
		if (code != -ECONNREFUSED)
			return code;
		usleep(2000);
	} while (!stress_lost_machine(s) && monotonic_ns() < until);
	return quire_fail(err, -ECONNREFUSED, "the machine does not start");
}

int stress_start_machine(struct stress *s, struct quire_error *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct child child = { .input = null, .output = null };
	struct words w = { 0 };
	pid_t pid;

	if (null < 0)
		return quire_fail(err, -errno, "cannot open /dev/null: %m");
	child.errors = s->machine_log < 0 ? null : s->machine_log;
	add(&w, "quire");
	add(&w, "machine");
	add(&w, "--machine=%s", s->address);
	add(&w, "--memory=%" PRIu64, s->opt.memory_bytes);
	add(&w, "--swap=%" PRIu64, s->opt.swap_bytes);
	add(&w, "--overcommit=1");
	pid = execute(&w, &child);
	close(null);
	if (pid < 0)
		return quire_fail(err, pid, "cannot start a machine: %s", strerror(-pid));
	s->machine = pid;
	return connect_machine(s, err);
}

bool stress_lost_machine(struct stress *s)
{
	int status;

	if (!s->machine || waitpid(s->machine, &status, WNOHANG) != s->machine)
		return !s->machine;
	stress_fail(s, STRESS_ORDERLY, "the machine ended with status %d", status_of(status));
	s->machine = 0;
	return true;
}

/* ---- a guest's life ---- */

/* What the guest does; the one to be spoiled is the first, in its first life. */
static void add_workload(struct words *w, const struct stress *s, const struct stress_guest *g)
{
	add(w, "stress");
	add(w, "1000000000"); /* seconds, or until there is input */
	add(w, "seed=%" PRIu64, g->seed);
	add(w, "alike=%" PRIu64, s->opt.seed);
	add(w, "pattern=%s", stress_patterns[s->opt.pattern]);
	add(w, "writes=30");
	add(w, "packs=80");
	add(w, "fill=1");
	add(w, "balloon=1");
	add(w, "every=1");
	if (s->opt.spoil && g->index == 0 && g->lives == 1)
		add(w, "spoil=1");
}

static pid_t execute_guest(const struct stress *s, const struct stress_guest *g, int input,
			   int output)
{
	struct child child = { .input = input, .output = output, .errors = output };
	bool mixed = s->opt.paging == STRESS_PAGINGS - 1;
	struct words w = { 0 };

	add(&w, "quire");
	add(&w, "run");
	add(&w, "--machine=%s", s->address);
	add(&w, "--name=%s", g->name);
	add(&w, "--domain=stress");
	add(&w, "--paging=%s", stress_pagings[mixed ? g->index % 2 : s->opt.paging]);
	add(&w, "--reclaim=%s", stress_reclaim(&s->opt));
	if (s->opt.swap_dir)
		add(&w, "--swap-dir=%s", s->opt.swap_dir);
	add(&w, "-m");
	add(&w, "%" PRIu64, s->opt.guest_bytes);
	add(&w, "%s", s->image);
	add_workload(&w, s, g);
	return execute(&w, &child);
}

static void begin_life(const struct stress *s, struct stress_guest *g)
{
	uint64_t state = s->opt.seed + g->index * 1000003ull + g->lives * 7919ull;

	g->lives++;
	snprintf(g->name, sizeof(g->name), "stress-%d-%u.%u", (int)getpid(), g->index + 1,
		 g->lives);
	g->seed = dice_roll(&state) >> 1;
	g->spoke = g->ready = g->verified = g->shot = g->known = false;
	g->bytes = 0;
	g->trouble[0] = '\0';
	g->heard_ns = monotonic_ns();
}

int stress_start_guest(struct stress *s, struct stress_guest *g, struct quire_error *err)
{
	int in[2], out[2];
	pid_t pid;

	begin_life(s, g);
	if (pipe2(in, O_CLOEXEC))
		return quire_fail(err, -errno, "cannot start a guest: %m");
	if (pipe2(out, O_CLOEXEC)) {
		close(in[0]);
		close(in[1]);
		return quire_fail(err, -errno, "cannot start a guest: %m");
	}
	pid = execute_guest(s, g, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	g->input = in[1];
	g->output = out[0];
	fcntl(g->output, F_SETFL, O_NONBLOCK);
	if (pid < 0) {
		close_fd(&g->input);
		close_fd(&g->output);
		return quire_fail(err, pid, "cannot start a guest: %s", strerror(-pid));
	}
	g->launcher = pid;
	return 0;
}

/* ---- what it prints ---- */

static void take_numbers(struct stress_guest *g, uint64_t operations, uint64_t pause_us)
{
	g->now.of[STRESS_OPERATIONS] = operations;
	if (!g->held)
		g->now.of[STRESS_PAUSE_US] = max_u64(g->now.of[STRESS_PAUSE_US], pause_us);
}

/* The first such line, and, as a guest has two lines for a wrong byte, the second. */
static void take_trouble(struct stress_guest *g, const char *line)
{
	size_t used = strlen(g->trouble);

	if (!used)
		snprintf(g->trouble, sizeof(g->trouble), "%.200s", line);
	else if (!strncmp(line, "stress: wrong ", 14))
		snprintf(g->trouble + used, sizeof(g->trouble) - used, "; %s", line + 14);
}

static void take_line(struct stress_guest *g, const char *line)
{
	uint64_t operations, pause;

	if (sscanf(line, "stress: filled=%*u operations=%" SCNu64 " pause_us=%" SCNu64, &operations,
		   &pause) == 2 ||
	    sscanf(line, "stress: operations=%" SCNu64 " longest_us=%" SCNu64, &operations,
		   &pause) == 2)
		take_numbers(g, operations, pause);
	else if (!strcmp(line, "stress: ready"))
		g->ready = true;
	else if (!strncmp(line, "stress: writes=", 15))
		g->verified = true;
	else if (!strncmp(line, "stress: seed=", 13))
		g->spoke = true;
	else
		take_trouble(g, line);
}

static void take_bytes(struct stress_guest *g, const char *bytes, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (bytes[i] == '\n' || g->bytes == sizeof(g->line) - 1) {
			g->line[g->bytes] = '\0';
			g->bytes = 0;
			take_line(g, g->line);
		}
		if (bytes[i] != '\n')
			g->line[g->bytes++] = bytes[i];
	}
}

/* All that is there. */
static void read_output(struct stress_guest *g)
{
	char buf[4096];
	ssize_t n;

	while (g->output >= 0 && (n = read(g->output, buf, sizeof(buf))) > 0) {
		take_bytes(g, buf, (size_t)n);
		g->heard_ns = monotonic_ns();
	}
}

static void end_life(struct stress_guest *g, int status)
{
	g->status = status;
	g->launcher = 0;
	read_output(g);
	close_fd(&g->input);
	close_fd(&g->output);
	stress_forget(g);
	stress_bury(g);
}

void stress_hear(struct stress_guest *g)
{
	int status;

	read_output(g);
	if (g->launcher && waitpid(g->launcher, &status, WNOHANG) == g->launcher)
		end_life(g, status_of(status));
}

/* ---- its end ---- */

void stress_ask_to_end(struct stress_guest *g)
{
	/* A guest that has ended reads nothing any more. */
	if (g->input >= 0 && write(g->input, "\n", 1) < 0)
		close_fd(&g->input);
}

void stress_shoot(struct stress *s)
{
	struct stress_guest *target[STRESS_MAX_GUESTS], *g;
	bool launcher = dice_below(&s->dice, 3) == 0;
	unsigned int nr = 0;

	for (unsigned int i = 0; i < s->opt.guests; i++)
		if (s->guest[i].launcher && s->guest[i].known && !s->guest[i].shot)
			target[nr++] = &s->guest[i];
	if (!nr)
		return;
	g = target[dice_below(&s->dice, nr)];
	g->shot = true;
	kill(launcher ? g->launcher : (pid_t)g->info.vm.pid, SIGKILL);
}

void stress_end_all(struct stress *s)
{
	int status;

	for (unsigned int i = 0; i < s->opt.guests; i++)
		if (s->guest[i].launcher)
			kill(s->guest[i].launcher, SIGTERM);
	for (unsigned int i = 0; i < s->opt.guests; i++)
		if (s->guest[i].launcher)
			end_life(&s->guest[i], see_off(s->guest[i].launcher));
	machine_client_destroy(s->client);
	s->client = NULL;
	if (!s->machine)
		return;
	kill(s->machine, SIGTERM);
	status = see_off(s->machine);
	s->machine = 0;
	if (status)
		stress_fail(s, STRESS_ORDERLY, "the machine ended with status %d", status);
}
