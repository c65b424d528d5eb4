/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_MACHINE_PROCESS_H
#define QUIRE_VMM_LAUNCH_MACHINE_PROCESS_H

/*
 * A launcher's own machine.  The launcher executes quire for it (self_exec.h) with the argument
 * MACHINE_PROCESS_NAME.  Its one descriptor is the launcher's control connection, on which a struct
 * ledger_config comes first, and then what any client sends.
 */
#define MACHINE_PROCESS_NAME "quire-machine"

/* The whole life of the process.  Returns its exit status. */
int machine_process(void);

#endif
