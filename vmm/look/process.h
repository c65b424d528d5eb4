/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_PROCESS_H
#define QUIRE_VMM_LOOK_PROCESS_H

/* What the kernel says of another process, in its folder of /proc. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Read /proc/PID/NAME as text, at most `bytes` with the NUL.  A NUL within it becomes a new line.
 * False, and the text is empty: the process has ended, or may not be looked at.
 */
bool process_file(pid_t pid, const char *name, char *text, size_t bytes);

/*
 * Copy the rest of the line that begins with `label`, without the blanks around it.  False, and the
 * value is empty: there is no such line.
 */
bool process_field(const char *text, const char *label, char *value, size_t bytes);

/* The user that it runs as; -1: unknown, or it has ended. */
uid_t process_uid(pid_t pid);

/* Its parent; 0: unknown, or init. */
pid_t process_parent(pid_t pid);

#endif
