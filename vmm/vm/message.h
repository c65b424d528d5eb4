/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_MESSAGE_H
#define QUIRE_VMM_VM_MESSAGE_H

/*
 * Messages on standard error: "quire: TEXT", or "quire: NAME: TEXT" where a process is one of
 * several VMs and nobody could tell whose line it is.  A message is one write.
 */

/* From now on this process speaks for the VM `name`. */
void message_set_name(const char *name);

/* "quire" or "quire: NAME", for texts of several lines. */
const char *message_prefix(void);

__attribute__((format(printf, 1, 2))) void message(const char *fmt, ...);

#endif
