/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_SELF_EXEC_H
#define QUIRE_VMM_LAUNCH_SELF_EXEC_H

/*
 * The launcher executes quire anew for each VM, and for a machine of its own.  A process that was
 * only forked would have the launcher's memory: its environment, its heap, its addresses, and the
 * canary of its stack, all the same in each.  So who took one of them over would know the others.
 *
 * The new process has hardly any environment.  What it is its argv[0] says.  Its descriptors have
 * fixed numbers, from SELF_EXEC_FD on.
 */
#define SELF_EXEC_FD 3

struct self_exec {
	char *const *args;
	const int *fd; /* for SELF_EXEC_FD and the following numbers; -1: none */
	unsigned int nr_fds;
	int cgroup; /* a descriptor of the one in which it is born; -1: ours */
	/* Called in the child, which may have our memory, before all else.  NULL: nothing. */
	int (*prepare)(void *ctx); /* 0 or an errno */
	void *ctx;
};

#define SELF_EXEC_MAX_FDS 192

/* Returns the new process's id once it is executed, or -errno. */
int self_exec(const struct self_exec *what);

#endif
