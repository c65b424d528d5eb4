/* SPDX-License-Identifier: MIT */
/*
 * An image that takes its reader over.  image_read() stands here for what runs in the reader then:
 * it has been linked instead of quire's own, and has all that the process has at that moment.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/sanitized.h"
#include "tests/kvm/sandbox_attempts.h"
#include "tests/tap.h"
#include "vmm/launch/image_reader.h"

#define SURVIVED 1234 /* outline.nr_parts of a reader that was not killed */

static enum { ATTEMPT, DESCRIPTORS, ENVIRONMENT, SPIN, SHORT, FLOOD } deed;
static size_t attempt;
static pid_t it;

/* A sanitizer keeps standard error for its report. */
static unsigned int open_descriptors(void)
{
	unsigned int nr = 0;

	for (int fd = QUIRE_SANITIZED ? STDERR_FILENO + 1 : 0; fd < 1024; fd++)
		nr += write(fd, "", 0) == 0;
	return nr;
}

static unsigned int environment_bytes(void)
{
	unsigned int nr = 0;

	for (char **e = environ; *e; e++)
		nr += (unsigned int)strlen(*e);
	return nr;
}

static int pipe_end(void)
{
	for (int fd = STDERR_FILENO + 1;; fd++)
		if (write(fd, "", 0) == 0)
			return fd;
}

void image_read(const struct image_config *config, struct image_outline *outline)
{
	static const char junk[4096];

	(void)config;
	memset(outline, 0, sizeof(*outline));
	outline->nr_parts = SURVIVED;
	switch (deed) {
	case ATTEMPT: attempt_make(attempt, it, 3); break;
	case DESCRIPTORS: outline->kind = open_descriptors(); break;
	case ENVIRONMENT: outline->kind = environment_bytes(); break;
	case SPIN:
		for (;;)
			__asm__ volatile("");
	case SHORT:
		if (write(pipe_end(), outline, 100) != 100)
			abort();
		_exit(0);
	case FLOOD:
		for (;;)
			if (write(pipe_end(), junk, sizeof(junk)) < 0)
				_exit(0);
	}
}

static int run(struct image_outline *outline, struct quire_error *err)
{
	const struct image_config config = { .name = "evil.elf" };

	memset(outline, 0, sizeof(*outline));
	return image_reader_run(&config, SANDBOX_ON, outline, err);
}

static void test_attempts(void)
{
	struct image_outline outline;
	unsigned int denied = 0;
	struct quire_error err;

	deed = ATTEMPT;
	for (attempt = 0; attempt < nr_attempts; attempt++)
		if (run(&outline, &err) == -ECHILD && strstr(err.text, "killed by SIGSYS"))
			denied++;
		else
			tap_note("%s: survived", attempt_name(attempt));
	is(denied, nr_attempts, "each of %zu forbidden things is the reader's end", nr_attempts);
}

static void test_holdings(void)
{
	struct image_outline outline;
	struct quire_error err;

	deed = DESCRIPTORS;
	ok(!run(&outline, &err) && outline.nr_parts == SURVIVED, "a reader's numbers come through");
	is(outline.kind, 1, "its pipe is the only descriptor that it can write to");
	setenv("SECRET_TOKEN", "of the caller", 1);
	deed = ENVIRONMENT;
	is(run(&outline, &err), 0, "it looks for its environment");
	is(outline.kind, 0, "... and finds nothing");
	ok(!strcmp(getenv("SECRET_TOKEN"), "of the caller"), "... and its parent still has one");
}

/* A process that kills the next reader, which it knows by its name. */
static pid_t fork_killer(void)
{
	static const char kill_it[] =
		"while :; do for c in $(cat /proc/$0/task/$0/children); do "
		"read -r name </proc/$c/comm && [ $name = quire-image ] && kill -9 $c && exit; "
		"done; done 2>/dev/null";
	char parent[16];
	pid_t pid;

	snprintf(parent, sizeof(parent), "%d", getpid());
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execl("/bin/sh", "sh", "-c", kill_it, parent, NULL);
	_exit(1);
}

static void test_endings(void)
{
	struct image_outline outline;
	struct quire_error err;
	pid_t killer;

	deed = SHORT;
	is(run(&outline, &err), -ECHILD, "half an outline is none");
	deed = FLOOD;
	is(run(&outline, &err), 0, "one who does not stop is stopped");
	deed = SPIN;
	is(run(&outline, &err), -ECHILD, "one who goes round in circles is killed");
	ok(strstr(err.text, "evil.elf") && strstr(err.text, "SIGXCPU"), "... and named");
	killer = fork_killer();
	is(run(&outline, &err), -EINTR, "one who is killed by somebody else");
	ok(!strstr(err.text, "trust"), "... says nothing of the image");
	waitpid(killer, NULL, 0);
	is(waitpid(-1, NULL, WNOHANG), 0, "only the bystander is left");
}

int main(void)
{
	tap_init();
	it = bystander();
	test_attempts();
	test_holdings();
	test_endings();
	ok(!kill(it, 0), "the bystander was not touched");
	kill(it, SIGKILL);
	waitpid(it, NULL, 0);
	return tap_done();
}
