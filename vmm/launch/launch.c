/* SPDX-License-Identifier: MIT */
/*
 * The launcher's loop.
 *
 * A round starts a copy if one waits, waits for events, serves them, and then looks at deadlines
 * and at output that may move on.  Starting is part of the loop, so that the first of many guests
 * is heard and can be stopped while the last is not born yet.
 *
 * Nothing here blocks but short exchanges with the machine, which client.h bounds.  Output is
 * written when poll() says that it fits.  Nobody waits for a leash.  A VM process that does not end
 * is killed after a while, and left behind if even that does not help.
 *
 * Signals.  A lone VM has the terminal's keys (terminal.h), and the launcher passes signals on to
 * it: it ends in order and says so, as if there were no launcher.  (Ctrl-C reaches it twice, which
 * is harmless.)  If
 * there are several VMs, none of them hears the terminal: the launcher prints one line and stops
 * them by their leashes.  A second signal is passed on too, and then the launcher waits no longer
 * for the reader of its output.
 *
 * Output is complete before the launcher ends, however slow its reader is.  But if the launch is
 * being stopped, or the --timeout has passed, the reader has GRACE_NS left.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "launch_impl.h"
#include "terminal.h"
#include "vmm/vm/escape.h"
#include "vmm/vm/message.h"
#include "vmm/vm/signals.h"

#define EVENTS	   64
#define PIPE_BYTES 65536    /* a pipe holds so much, by default */
#define GRACE_NS   NS_PER_S /* the reader of our output has so long after a forced end */

/* ---- small things ---- */

int launch_watch(struct launch *l, int fd, enum launch_source source, unsigned int index)
{
	struct epoll_event event = {
		.events = EPOLLIN,
		.data.u64 = (uint64_t)source << 32 | index,
	};

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* A child that is just being born may hold the same file, so closing fd would not be enough. */
void launch_unwatch(struct launch *l, int fd)
{
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void launch_say(const struct launch *l, const struct copy *c, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (l->nr > 1)
		message("%s: %s", c->name, text);
	else
		message("%s", text);
}

/* ---- stopping ---- */

void launch_stop(struct launch *l, int status)
{
	if (l->stop_status)
		return;
	l->stop_status = status;
	l->output_until_ns = monotonic_ns() + GRACE_NS;
	if ((l->next < l->nr || l->restarts) && status > l->status)
		l->status = status;
	launch_stop_waiting(l);
	for (unsigned int i = 0; i < l->nr; i++)
		copy_stop(&l->copy[i], status);
}

static void pass_on(struct launch *l, int sig)
{
	for (unsigned int i = 0; i < l->nr; i++)
		if (l->copy[i].state == COPY_RUNNING)
			syscall(SYS_pidfd_send_signal, l->copy[i].pidfd, sig, NULL, 0);
}

/* The signal's own action.  SIGTSTP returns when we go on, at once if nobody could continue us. */
static void obey(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* A terminal's Ctrl-Z reaches the VMs too.  A shell that looks at us sees all of us stop. */
static void stop_or_go_on(struct launch *l, int sig)
{
	pass_on(l, sig);
	if (sig == SIGTSTP) {
		terminal_give_back();
		obey(sig);
	}
	pass_on(l, SIGCONT);
	terminal_retake();
	copy_tell_window(&l->copy[0]); /* it may have changed meanwhile */
}

static void on_signal(struct launch *l)
{
	struct signalfd_siginfo info;
	bool alone = l->nr == 1 && l->running, again = l->stop_status != 0;
	int sig;

	if (read(l->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	sig = (int)info.ssi_signo;
	if (sig == SIGTSTP || sig == SIGCONT) {
		stop_or_go_on(l, sig);
		return;
	}
	if (sig == SIGWINCH) {
		copy_tell_window(&l->copy[0]);
		return;
	}
	if (alone || again)
		pass_on(l, sig);
	else
		message("stopped by SIG%s", sigabbrev_np(sig));
	if (again)
		l->output_until_ns = monotonic_ns();
	else if (alone)
		copy_overdue(&l->copy[0], 128 + sig);
	else
		launch_stop(l, 128 + sig);
	l->stop_status = 128 + sig;
}

/* ---- output ---- */

static void output_broken(struct launch *l, int error)
{
	int status = error == EPIPE ? 128 + SIGPIPE : QUIRE_STATUS_HOST;

	l->out_failed = true;
	if (error == EPIPE)
		message("standard output was closed by its reader");
	else
		message("cannot write the guests' output: %s", strerror(error));
	if (status > l->status)
		l->status = status;
	launch_stop(l, status);
}

static void watch_output(struct launch *l, struct copy *c, bool on)
{
	if (on == c->output_watched || c->output < 0)
		return;
	if (on)
		launch_watch(l, c->output, LAUNCH_SOURCE_OUTPUT, (unsigned int)(c - l->copy));
	else
		launch_unwatch(l, c->output);
	c->output_watched = on;
}

static void move_lines(struct launch *l, struct copy *c)
{
	if (l->out_failed)
		lines_finish(&c->lines);
	watch_output(l, c, !lines_move(&c->lines, &l->out));
}

static void on_output(struct launch *l, struct copy *c)
{
	if (c->output < 0)
		return;
	if (lines_read(&c->lines, c->output) < 0) {
		watch_output(l, c, false);
		close(c->output);
		c->output = -1;
	}
	move_lines(l, c);
}

/* Write some output.  When there is room again, each guest in turn comes first. */
static void write_output(struct launch *l)
{
	int error = outbuf_write(&l->out, STDOUT_FILENO);

	if (error)
		output_broken(l, error);
	if (l->out_failed)
		l->out.fill = 0;
	for (unsigned int i = 0; i < l->nr; i++) {
		struct copy *c = &l->copy[(l->turn + i) % l->nr];

		if (!lines_empty(&c->lines))
			move_lines(l, c);
	}
	l->turn++;
}

/* The reader is too slow: drop all output, so that VMs that wait for it can end. */
static void give_up_output(struct launch *l)
{
	l->out_failed = true;
	l->out.fill = 0;
	for (unsigned int i = 0; i < l->nr; i++)
		move_lines(l, &l->copy[i]);
}

static bool output_is_out(const struct launch *l)
{
	if (l->out.fill)
		return false;
	for (unsigned int i = 0; i < l->nr; i++)
		if (l->copy[i].output >= 0 || !lines_empty(&l->copy[i].lines))
			return false;
	return true;
}

/* All VMs have ended: set how long the reader of our output may take. */
static void bound_output(struct launch *l, uint64_t now)
{
	uint64_t until = l->start_ns + l->config->timeout_ns;

	if (l->output_until_ns || (!l->stop_status && !l->config->timeout_ns))
		return;
	l->output_until_ns = (l->stop_status ? now : max_u64(now, until)) + GRACE_NS;
}

/* ---- whoever waits for the guests to print something ---- */

static void release_caller(struct launch *l)
{
	if (l->caller < 0)
		return;
	launch_unwatch(l, l->caller);
	close(l->caller);
	l->caller = -1;
}

static void on_caller_gone(struct launch *l)
{
	release_caller(l);
	message("stopped: the process that waited for the guests to be ready is gone");
	launch_stop(l, 128 + SIGHUP);
}

/* Take in all that the guests have printed: it is in their pipes by now. */
static void take_printed(struct launch *l)
{
	for (unsigned int i = 0; i < l->nr; i++)
		for (unsigned int bytes = 0; bytes < PIPE_BYTES; bytes += LINES_BYTES)
			on_output(l, &l->copy[i]);
	l->printed_bytes = l->out.written + l->out.fill;
}

static void answer_caller(struct launch *l)
{
	if (l->caller < 0)
		return;
	for (unsigned int i = 0; i < l->nr; i++)
		if (!l->copy[i].printed)
			return;
	if (!l->all_printed)
		take_printed(l);
	l->all_printed = true;
	if (l->out.written < l->printed_bytes && !l->out_failed)
		return;
	if (write(l->caller, "", 1) != 1)
		message("cannot say that the guests are ready: %s", strerror(errno));
	release_caller(l);
}

/* A copy that has ended without printing the awaited text ends the launch: nobody can be ready. */
static void check_printed(struct launch *l, const struct copy *c)
{
	int status = c->status ? c->status : QUIRE_STATUS_GUEST_MAX;

	if (l->caller < 0 || c->printed || c->state != COPY_DONE || l->stop_status)
		return;
	if (c->status < QUIRE_STATUS_GUEST_MAX)
		launch_say(l, c, "the guest ended with status %d before it printed \"%.80s\"",
			   c->status, l->config->wait_for);
	if (status > l->status)
		l->status = status;
	launch_stop(l, status);
}

/* ---- the loop ---- */

static bool all_done(const struct launch *l)
{
	for (unsigned int i = 0; i < l->nr; i++)
		if (l->copy[i].state != COPY_DONE)
			return false;
	return true;
}

static bool finished(struct launch *l)
{
	uint64_t now = monotonic_ns();

	if (!all_done(l))
		return false;
	bound_output(l, now);
	return l->out_failed || output_is_out(l);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return !a || !b ? a | b : min_u64(a, b);
}

static int poll_timeout(const struct launch *l)
{
	uint64_t until = l->machine ? 0 : l->retry_ns;

	if (!l->out_failed)
		until = sooner(until, l->output_until_ns);
	if (l->machine && launch_waiting(l)) {
		if (!l->admit_ns)
			return 0;
		until = sooner(until, l->admit_ns);
	}
	for (unsigned int i = 0; i < l->nr; i++)
		until = sooner(until, copy_deadline(&l->copy[i]));
	return until ? poll_ms(monotonic_ns(), until) : -1;
}

static void serve(struct launch *l, uint64_t event)
{
	struct copy *c = &l->copy[event & UINT32_MAX];

	switch ((enum launch_source)(event >> 32)) {
	case LAUNCH_SOURCE_SIGNAL: on_signal(l); break;
	case LAUNCH_SOURCE_MACHINE: /* served at the end of each round */ break;
	case LAUNCH_SOURCE_PROCESS: copy_reap(l, c); break;
	case LAUNCH_SOURCE_LEASH: copy_leash_ready(l, c); break;
	case LAUNCH_SOURCE_OUTPUT: on_output(l, c); break;
	case LAUNCH_SOURCE_CALLER: on_caller_gone(l); break;
	}
}

static void round_of_events(struct launch *l)
{
	struct epoll_event event[EVENTS];
	struct pollfd fds[] = {
		{ .fd = l->epoll, .events = POLLIN },
		{ .fd = l->out.fill ? STDOUT_FILENO : -1, .events = POLLOUT },
	};
	uint64_t now;
	int n = 0;

	if (poll(fds, ARRAY_SIZE(fds), poll_timeout(l)) > 0 && fds[0].revents)
		n = epoll_wait(l->epoll, event, EVENTS, 0);
	for (int i = 0; i < n; i++)
		serve(l, event[i].data.u64);
	if (fds[1].revents)
		write_output(l);
	launch_machine_ready(l);
	now = monotonic_ns();
	launch_machine_retry(l, now);
	if (l->output_until_ns && now >= l->output_until_ns && !l->out_failed)
		give_up_output(l);
	for (unsigned int i = 0; i < l->nr; i++)
		copy_expire(l, &l->copy[i], now);
}

static void run(struct launch *l)
{
	for (;;) {
		struct copy *waiting = l->machine ? launch_waiting(l) : NULL;

		if (waiting && monotonic_ns() >= l->admit_ns)
			copy_start(l, waiting);
		for (unsigned int i = 0; i < l->nr; i++)
			check_printed(l, &l->copy[i]);
		answer_caller(l);
		if (finished(l))
			return;
		round_of_events(l);
	}
}

/* ---- begin and end ---- */

static int create_copies(struct launch *l)
{
	l->nr = l->config->copies;
	l->copy = calloc(l->nr, sizeof(*l->copy));
	if (!l->copy)
		return -ENOMEM;
	for (unsigned int i = 0; i < l->nr; i++) {
		struct copy *c = &l->copy[i];

		c->pidfd = c->leash = c->output = c->info_fd = -1;
		for (unsigned int n = 0; n < DISK_MOST; n++)
			c->delta_fd[n] = -1;
		snprintf(c->name, sizeof(c->name), "%s", l->config->name);
		if (l->nr > 1)
			snprintf(c->name, sizeof(c->name), "%.41s-%hu", l->config->name,
				 (unsigned short)(i + 1));
	}
	return 0;
}

static int create_events(struct launch *l)
{
	sigset_t set;

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return -errno;
	l->signal_fd = signals_open(true, &set);
	if (l->signal_fd < 0)
		return l->signal_fd;
	return launch_watch(l, l->signal_fd, LAUNCH_SOURCE_SIGNAL, 0);
}

/* A copy takes three descriptors here and its disks', and three in a machine of our own. */
static void raise_limits(const struct launch *l)
{
	rlim_t want = 64 + (3 + l->config->nr_disks) * (rlim_t)l->nr;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* A lone VM prints by itself, and as much as it likes. */
static bool output_takes_memory(const struct launch *l)
{
	return l->nr == 1 && cgroup_charges(STDOUT_FILENO);
}

static int begin(struct launch *l, struct quire_error *err)
{
	int ret = create_copies(l);

	if (!ret)
		ret = create_events(l);
	if (ret) {
		quire_fail(err, ret, "cannot start: %s", strerror(-ret));
		return QUIRE_STATUS_HOST;
	}
	if (l->caller >= 0)
		launch_watch(l, l->caller, LAUNCH_SOURCE_CALLER, 0);
	raise_limits(l);
	if (l->config->bounded && !output_takes_memory(l))
		cgroup_home_open(&l->home);
	return launch_machine_find(l, err);
}

static void finish(struct launch *l)
{
	launch_machine_leave(l);
	for (unsigned int i = 0; i < l->nr && l->copy; i++)
		copy_finish(l, &l->copy[i]);
	free(l->copy);
	cgroup_home_close(&l->home);
	if (l->caller >= 0)
		close(l->caller);
	if (l->epoll >= 0)
		close(l->epoll);
	if (l->signal_fd >= 0)
		close(l->signal_fd);
}

static void take_terminal(const struct launch_config *config)
{
	if (config->copies == 1 && terminal_take(config->raw) && config->raw)
		message("%s", ESCAPE_HINT);
}

int launch(const struct launch_config *config)
{
	static struct launch l; /* mostly a buffer, which is not touched if there is one guest */
	struct quire_error err = { "" };

	l.config = config;
	l.pid = getpid();
	l.epoll = l.signal_fd = l.home.fd = -1;
	l.caller = config->wait_for ? config->caller : -1;
	l.start_ns = monotonic_ns();
	l.status = begin(&l, &err);
	if (l.status) {
		message("%s", err.text);
	} else {
		take_terminal(config);
		run(&l);
		terminal_give_back();
		if (config->write_stats && launch_stats_write(&l) && !l.status)
			l.status = QUIRE_STATUS_HOST;
	}
	finish(&l);
	return l.status;
}
