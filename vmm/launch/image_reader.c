/* SPDX-License-Identifier: MIT */
/*
 * The reader of images: image_reader.h.
 *
 * The outline is smaller than a pipe, so one write() is all that the child has to do.  It is killed
 * when its parent has heard enough, whatever it does then.  It cannot sleep, and a limit of
 * processor time bounds how long it can keep the parent waiting.
 *
 * The child was forked, so it has the launcher's memory.  It needs the file, config and its stack.
 * The environment is the one part that may hold secrets of others, and sandbox_helper() wipes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <quire/abi.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/sanitized.h"
#include "image_reader.h"
#include "launch_impl.h"

#define CPU_SECONDS 1 /* a good image takes less than a millisecond */

_Static_assert(sizeof(struct image_outline) < 16 * PIPE_BUF, "fits in a pipe, at one go");

static void leave_descriptors_but(int fd)
{
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
#if !QUIRE_SANITIZED /* its report goes there */
	close(STDERR_FILENO);
#endif
	launch_close_all_but(fd);
}

static _Noreturn void be_reader(const struct image_config *config, enum sandbox_mode mode, int fd)
{
	const struct rlimit cpu = { CPU_SECONDS, CPU_SECONDS + 1 }; /* SIGXCPU comes first */
	struct image_outline outline;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	leave_descriptors_but(fd);
	setrlimit(RLIMIT_CPU, &cpu);
	sandbox_helper(SANDBOX_IMAGE, 0);
	if (mode == SANDBOX_STRICT && !(sandbox_pieces() & 1u << SANDBOX_SECCOMP))
		_exit(QUIRE_STATUS_HOST);
	image_read(config, &outline);
	if (write(fd, &outline, sizeof(outline)) != sizeof(outline))
		_exit(QUIRE_STATUS_INTERNAL);
	_exit(0);
}

/* Read a whole outline.  False: the other end closed the pipe before. */
static bool take(int fd, struct image_outline *outline)
{
	size_t have = 0;

	while (have < sizeof(*outline)) {
		ssize_t n = read(fd, (char *)outline + have, sizeof(*outline) - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return true;
}

/* The reader ended without an outline. */
static int bad_end(const struct image_config *config, int status, struct quire_error *err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == QUIRE_STATUS_HOST)
		return quire_fail(err, -EPERM,
				  "--sandbox=strict: this host does not permit seccomp, use "
				  "--sandbox=on to run without it");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return quire_fail(err, -EINTR,
				  "%.100s: somebody, or the kernel for want of memory, killed the "
				  "process that reads the image: try again",
				  config->name);
	if (WIFSIGNALED(status))
		return quire_fail(err, -ECHILD,
				  "%.100s: the process that reads the image was killed by SIG%s: "
				  "do not trust this image",
				  config->name, sigabbrev_np(WTERMSIG(status)));
	return quire_fail(err, -ECHILD, "%.100s: the process that reads the image failed",
			  config->name);
}

/* The child has its name from the first moment, so that nobody takes it for a VM. */
static pid_t fork_named(const char *name)
{
	char own[16];
	pid_t pid;

	prctl(PR_GET_NAME, own);
	prctl(PR_SET_NAME, name);
	pid = fork();
	if (pid)
		prctl(PR_SET_NAME, own);
	return pid;
}

int image_reader_run(const struct image_config *config, enum sandbox_mode mode,
		     struct image_outline *outline, struct quire_error *err)
{
	int ends[2], status = 0;
	bool whole;
	pid_t pid;

	if (mode == SANDBOX_OFF) {
		image_read(config, outline);
		return 0;
	}
	if (pipe2(ends, O_CLOEXEC))
		return quire_fail(err, -ENOMEM, "cannot make a pipe: %s", strerror(errno));
	pid = fork_named("quire-image");
	if (!pid)
		be_reader(config, mode, ends[1]);
	close(ends[1]);
	whole = pid > 0 && take(ends[0], outline);
	close(ends[0]);
	if (pid < 0)
		return quire_fail(err, -ENOMEM, "cannot start a process to read the image: %s",
				  strerror(errno));
	if (whole)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return whole ? 0 : bad_end(config, status, err);
}
