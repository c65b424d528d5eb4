/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_KVM_SANDBOX_ATTEMPTS_H
#define QUIRE_TESTS_KVM_SANDBOX_ATTEMPTS_H

/*
 * What no thread of a VM process may do, as system calls with their arguments: most would do
 * harm if they went through, the others only have to reach the kernel.
 */
#include <stddef.h>
#include <sys/types.h>

extern const size_t nr_attempts;

/* What attempt number index is, for messages. */
const char *attempt_name(size_t index);

/* Makes the attempt: `it` is another process, fd a descriptor to try on.  As syscall(2). */
long attempt_make(size_t index, pid_t it, int fd);

/* A process that waits to be harmed.  It ends with us at the latest. */
pid_t bystander(void);

#endif
