/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SIGNALS_H
#define QUIRE_VMM_VM_SIGNALS_H

/* The signals by which a user ends or continues a run: the launcher and a VM read them alike. */
#include <signal.h>

/*
 * Block SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGCONT, except those that the process ignores: so
 * nohup stays nohup.  *set becomes what was blocked.  SIGPIPE is ignored from now on.
 *
 * Returns a non-blocking signalfd from which they are read, which the caller closes; or -errno.
 */
int signals_open(sigset_t *set);

#endif
