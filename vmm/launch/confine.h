/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_CONFINE_H
#define QUIRE_VMM_LAUNCH_CONFINE_H

/*
 * The sandbox of a machine, for whoever runs one: `quire machine`, or a launcher with its own.
 */
struct machine;

/*
 * Hold this process to what a machine does.  The machine listens and has its control connections;
 * the process has nothing open that it does not need, and has called tzset() if it is to print
 * times.  Whatever the host does not permit is left out.
 */
void confine_machine(struct machine *m);

#endif
