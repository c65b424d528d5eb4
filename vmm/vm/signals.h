/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SIGNALS_H
#define QUIRE_VMM_VM_SIGNALS_H

/* The signals by which a user ends, stops or continues a run, or resizes its
 * terminal. */
#include <signal.h>
#include <stdbool.h>

/*
 * Block SIGINT, SIGTERM, SIGHUP and SIGQUIT, and with `job` also SIGTSTP, SIGCONT and SIGWINCH,
 * except those that the process ignores: so nohup stays nohup.  *set becomes what was blocked.
 * SIGPIPE is ignored from now on.
 *
 * Returns a non-blocking signalfd from which they are read, which the caller closes; or -errno.
 */
int signals_open(bool job, sigset_t *set);

#endif
