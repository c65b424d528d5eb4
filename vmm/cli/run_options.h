/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_RUN_OPTIONS_H
#define QUIRE_VMM_CLI_RUN_OPTIONS_H

/* The command line of quire run: run_parse.c reads it, run_options.c its options. */
#include "vmm/launch/run.h"

/*
 * Fill *run from the command line; its other fields are left alone.  0; -EINVAL: the command line
 * is wrong, and *err says how; -ENOMEM.  The caller frees run->cmdline in any case.
 */
int run_parse(struct run *run, int argc, char **argv, struct quire_error *err);

/*
 * Read the options into *run; what is not given stays as it is.  Other words begin at argv[optind].
 * 0, or -EINVAL with *err.
 */
int run_read_options(struct run *run, int argc, char **argv, struct quire_error *err);

/*
 * Give the run a name and a domain by the pid of this process, unless the command line gave them.
 * The process that calls it is the launcher.
 */
void run_set_default_names(struct run *run);

#endif
