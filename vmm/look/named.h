/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_NAMED_H
#define QUIRE_VMM_LOOK_NAMED_H

/*
 * Which VMs the words on a command line mean.  All commands use this, so a VM has the same names
 * everywhere.  A number means, in this order:
 *
 *   1. the VM whose process has this pid;
 *   2. the VMs that the `quire run` of this pid started.
 *
 * Any other word means:
 *
 *   1. the VM of exactly this name;
 *   2. the copies of the `quire run -n` of this name.
 *
 * `quire run` takes no number for a name.  A VM without a name has the pid of its `quire run` for
 * one, and the second rule finds it.  So nobody can take a pid's place by the name of a socket.
 * Names come from the VMs' sockets and pids from the kernel.  Only whether a VM is one of several
 * copies is what the VM itself says.
 */
#include <quire/error.h>
#include <stdbool.h>
#include <sys/types.h>
#include "vmm/vm/vm.h"

struct named_vm {
	char name[VM_NAME_MAX + 1];
	bool alone; /* a word means this VM and no other, so it is an error if it ends meanwhile */
	pid_t run;  /* a word means all copies of the `quire run` of this pid; else 0 */
};

/* Each VM is in it once.  { 0 } is an empty list. */
struct named {
	struct named_vm *vm;
	unsigned int nr;
};

/* Add the VMs that this word means.  0; -ENOENT: there is none; -ENOMEM. */
int named_add(struct named *list, const char *word, struct quire_error *err);

/* Add all VMs of this user; for root, those of all users.  0 or -ENOMEM. */
int named_add_all(struct named *list, struct quire_error *err);

void named_finish(struct named *list);

/*
 * Connect to a VM of a list.  Returns a descriptor to be closed; -ECONNREFUSED: the VM has ended;
 * -EAGAIN: it does not answer; or another -errno.
 */
int named_open(const struct named_vm *vm, struct quire_error *err);

/*
 * Connect to the one VM that a word means.  As named_open(); -ENOENT: there is none; -EINVAL: the
 * word means several VMs, and *err has their names.
 */
int named_connect(const char *word, struct quire_error *err);

#endif
