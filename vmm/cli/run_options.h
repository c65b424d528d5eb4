/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_RUN_OPTIONS_H
#define QUIRE_VMM_CLI_RUN_OPTIONS_H

/* The options of quire run. */
#include "vmm/launch/run.h"

/*
 * Fill *run from the command line; its other fields are left alone.  0; -EINVAL: the command line
 * is wrong, and *err says how; -ENOMEM.  The caller frees run->cmdline in any case.
 */
int run_parse(struct run *run, int argc, char **argv, struct quire_error *err);

/*
 * Give the run a name and a domain by the pid of this process, unless the command line gave them.
 * The process that calls it is the launcher.
 */
void run_set_default_names(struct run *run);

#endif
