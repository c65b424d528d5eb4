/* SPDX-License-Identifier: MIT */
/* The two runs of --paging=both, one after the other.  both_table.c tells what came of them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "vmm/vm/message.h"
#include "vmm/vm/signals.h"
#include "both.h"
#include "both_table.h"
#include "vmm/look/stats_shadow.h"

#define MOST_INPUT (64 * MiB)
#define CHUNK	   4096u /* of output; a pipe that can be written to has room for it */

struct both {
	struct run *run;
	int (*one)(struct run *run);
	int input;	  /* all of standard input */
	int signals;	  /* a signalfd ... */
	sigset_t blocked; /* ... for these */
	pid_t child;	  /* the launcher that runs */
	bool unread;	  /* the reader of our output went away */
};

/* ---- standard input ---- */

/* A copy of it.  A terminal's keys are typed once, so they are nobody's. */
static int read_input(struct quire_error *err)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	static char buf[65536];
	uint64_t bytes = 0;
	ssize_t n;
	int fd;

	if (isatty(STDIN_FILENO))
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd = memfd_create("quire-input", MFD_CLOEXEC);
	if (fd < 0)
		return quire_fail(err, -errno, "--paging=both: no memory for the input: %m");
	while (poll(&in, 1, -1) >= 0 && (n = read(STDIN_FILENO, buf, sizeof(buf))) > 0) {
		bytes += (uint64_t)n;
		if (bytes <= MOST_INPUT && write(fd, buf, (size_t)n) == n)
			continue;
		close(fd);
		return quire_fail(err, -EFBIG,
				  "--paging=both: both runs get the same standard input, of at "
				  "most %llu MiB; use </dev/null if there is none",
				  (unsigned long long)(MOST_INPUT / MiB));
	}
	return fd;
}

/* Another descriptor for it, at its beginning. */
static int open_input(int input)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", input);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* ---- a run, in its process ---- */

/* launch_config.write_stats */
static int keep_end(void *ctx, const struct machine_state *machine, const struct launch_end *end,
		    unsigned int nr)
{
	struct both_end *to = ((struct run *)ctx)->both_end;

	(void)nr;
	to->end = *end;
	snprintf(to->name, sizeof(to->name), "%s", end->name);
	snprintf(to->address, sizeof(to->address), "%s", end->machine ? end->machine : "");
	snprintf(to->text, sizeof(to->text), "%s", end->text ? end->text : "");
	to->end.name = to->name;
	to->end.machine = to->address;
	to->end.text = to->text;
	if (end->info)
		to->end.info = memcpy(&to->info, end->info, sizeof(to->info));
	if (end->gone)
		to->end.gone = memcpy(&to->gone, end->gone, sizeof(to->gone));
	if (end->refusal)
		to->end.refusal = memcpy(&to->refusal, end->refusal, sizeof(to->refusal));
	to->has_machine = machine != NULL;
	if (machine)
		to->machine = *machine;
	to->told = true;
	return 0;
}

/* Does not return. */
static void be_run(struct both *b, enum vm_paging paging, struct both_end *end, int output)
{
	struct run *run = b->run;
	int in = open_input(b->input);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigprocmask(SIG_UNBLOCK, &b->blocked, NULL);
	close(b->signals);
	if (in < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0)
		exit(QUIRE_STATUS_HOST);
	close(in);
	close(output);
	run->vm_config.paging = paging;
	run->start_ns = monotonic_ns();
	run->stats = NULL;
	run->both_end = end;
	run->launch.write_stats = keep_end;
	exit(b->one(run));
}

/* ---- its output ---- */

/* The terminal gives its own signals to the run as well, and others are ours alone. */
static void pass_on_signal(struct both *b)
{
	struct signalfd_siginfo info;

	if (read(b->signals, &info, sizeof(info)) == sizeof(info) && info.ssi_code <= 0)
		kill(b->child, (int)info.ssi_signo);
}

/* Wait until fd is ready, and pass on signals meanwhile. */
static void await(struct both *b, int fd, short events)
{
	struct pollfd fds[] = {
		{ .fd = fd, .events = events },
		{ .fd = b->signals, .events = POLLIN },
	};

	while (!fds[0].revents) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[1].revents)
			pass_on_signal(b);
	}
}

static void show(struct both *b, const char *bytes, size_t nr)
{
	while (nr && !b->unread) {
		ssize_t n;

		await(b, STDOUT_FILENO, POLLOUT);
		n = write(STDOUT_FILENO, bytes, nr);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			b->unread = true;
			kill(b->child, SIGTERM);
		}
		if (n > 0) {
			bytes += n;
			nr -= (size_t)n;
		}
	}
}

/* Take all that the run prints.  0, or -errno: it cannot be kept. */
static int take_output(struct both *b, struct both_side *side, int from, bool shown)
{
	char buf[CHUNK];
	int error = 0;
	ssize_t n;

	for (;;) {
		await(b, from, POLLIN);
		n = read(from, buf, sizeof(buf));
		if (n <= 0)
			return error;
		if (shown)
			show(b, buf, (size_t)n);
		if (!error && pwrite(side->output, buf, (size_t)n, (off_t)side->bytes) != n) {
			error = -errno;
			kill(b->child, SIGTERM);
		}
		side->bytes += (uint64_t)n;
	}
}

/* ---- the two ---- */

static int status_of(pid_t child)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? QUIRE_STATUS_HOST : WEXITSTATUS(status);
}

static int start(struct both *b, enum vm_paging paging, struct both_end *end, int *from)
{
	int output[2];

	if (pipe2(output, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	b->child = fork();
	if (!b->child) {
		close(output[0]);
		be_run(b, paging, end, output[1]);
	}
	close(output[1]);
	*from = output[0];
	return b->child < 0 ? -errno : 0;
}

/* Run one, and fill in *side. */
static int run_side(struct both *b, enum vm_paging paging, struct both_side *side, bool shown,
		    struct quire_error *err)
{
	void *end = mmap(NULL, sizeof(*side->end), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FILE *output = tmpfile();
	int from = -1, error;

	if (end == MAP_FAILED || !output)
		return quire_fail(err, -ENOMEM, "--paging=both: no room for the output: %m");
	side->end = end;
	side->output = fileno(output);
	error = start(b, paging, end, &from);
	if (error)
		return quire_fail(err, error, "--paging=both: cannot start a run: %s",
				  strerror(-error));
	error = take_output(b, side, from, shown);
	close(from);
	side->status = status_of(b->child);
	if (error)
		return quire_fail(err, error, "--paging=both: cannot keep the output: %s",
				  strerror(-error));
	return 0;
}

/* Runs until one does not come to an end that can be compared. */
static int run_sides(struct both *b, struct both_side side[VM_NR_PAGINGS], struct quire_error *err)
{
	static const enum vm_paging order[] = { VM_PAGING_SHADOW, VM_PAGING_EPT };

	for (unsigned int i = 0; i < ARRAY_SIZE(order); i++) {
		struct both_side *s = &side[order[i]];
		int error;

		message("--paging=both: run %u of 2, --paging=%s%s", i + 1, paging_name[order[i]],
			i ? "; its output is only compared" : "");
		error = run_side(b, order[i], s, i == 0, err);
		if (error)
			return error;
		if (b->unread) {
			message("--paging=both: the reader of standard output went away");
			return 128 + SIGPIPE;
		}
		if (!both_is_over(s)) {
			both_say_why(order[i], s);
			return s->status;
		}
	}
	return 0;
}

int both_run(struct run *run, int (*one)(struct run *run))
{
	struct both_side side[VM_NR_PAGINGS] = { 0 };
	struct both b = { .run = run, .one = one };
	struct quire_error err;
	int ret;

	b.input = read_input(&err);
	if (b.input < 0) {
		message("%s", err.text);
		return QUIRE_STATUS_USAGE;
	}
	b.signals = signals_open(false, &b.blocked);
	ret = run_sides(&b, side, &err);
	if (ret < 0)
		message("%s", err.text);
	close(b.input);
	if (b.signals >= 0)
		close(b.signals);
	if (ret)
		return ret < 0 ? QUIRE_STATUS_HOST : ret;
	return both_tell(run, side);
}
