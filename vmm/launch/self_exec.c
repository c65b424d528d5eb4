/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <quire/abi.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/sanitized.h"
#include "cgroup.h"
#include "self_exec.h"

/* What the dynamic linker may need to find the libraries again. */
static void choose_environment(char *chosen[2])
{
	static const char path[] = "LD_LIBRARY_PATH=";

	chosen[0] = NULL;
	for (char **e = environ; e && *e; e++)
		if (!strncmp(*e, path, sizeof(path) - 1))
			chosen[0] = *e;
	chosen[1] = NULL;
}

/* First out of the way, because one of them may have the number that another is to get. */
static int place_descriptors(const int *fd, unsigned int nr)
{
	const unsigned int end = SELF_EXEC_FD + nr;
	int away[SELF_EXEC_MAX_FDS];

	for (unsigned int i = 0; i < nr; i++) {
		away[i] = fd[i] < 0 ? -1 : fcntl(fd[i], F_DUPFD_CLOEXEC, (int)end);
		if (fd[i] >= 0 && away[i] < 0)
			return errno;
	}
	for (unsigned int i = 0; i < nr; i++)
		if (away[i] < 0)
			close(SELF_EXEC_FD + (int)i);
		else if (dup2(away[i], SELF_EXEC_FD + (int)i) < 0)
			return errno;
	return close_range(end, ~0u, 0) ? errno : 0;
}

/* In the child.  Returns errno. */
static int become(const struct self_exec *what)
{
	int error = what->prepare ? what->prepare(what->ctx) : 0;
	char *env[2];

	if (!error)
		error = place_descriptors(what->fd, what->nr_fds);
	if (error)
		return error;
	choose_environment(env);
#if QUIRE_SANITIZED /* their options are there */
	execve("/proc/self/exe", what->args, environ);
#else
	execve("/proc/self/exe", what->args, env);
#endif
	return errno;
}

int self_exec(const struct self_exec *what)
{
	volatile int *error = mmap(NULL, sizeof(*error), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int ret;

	if (error == MAP_FAILED)
		return -errno;
	pid = what->cgroup < 0 ? vfork() : cgroup_fork(what->cgroup);
	if (!pid) {
		*error = become(what);
		_exit(QUIRE_STATUS_HOST);
	}
	ret = pid < 0 ? -errno : -*error;
	munmap((void *)error, sizeof(*error));
	if (pid > 0 && ret)
		waitpid(pid, NULL, 0);
	return ret ? ret : pid;
}
