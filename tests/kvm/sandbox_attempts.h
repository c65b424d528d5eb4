/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_KVM_SANDBOX_ATTEMPTS_H
#define QUIRE_TESTS_KVM_SANDBOX_ATTEMPTS_H

/*
 * What no thread of a VM process may do, as system calls with their arguments: most would do
 * harm if they went through, the others only have to reach the kernel.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

extern const size_t nr_attempts;

/* What attempt number index is, for messages. */
const char *attempt_name(size_t index);

/* Makes the attempt: `it` is another process, fd a descriptor to try on.  As syscall(2). */
long attempt_make(size_t index, pid_t it, int fd);

/* Exit statuses of a process that tries something. */
enum attempt_end { ATTEMPT_DENIED, ATTEMPT_SUCCEEDED, ATTEMPT_NONE };

/* Waits for a process; its status as waitpid(2) has it. */
int attempt_wait(pid_t pid);

/* Did its filter end it?  And was it denied what it tried, as far as this build can be? */
bool attempt_was_killed(int status);
bool attempt_was_denied(int status);

/* Skips the test where the kernel has no seccomp filters. */
void attempts_need_filters(void);

/* A process that waits to be harmed.  It ends with us at the latest. */
pid_t bystander(void);

#endif
