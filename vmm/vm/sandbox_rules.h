/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SANDBOX_RULES_H
#define QUIRE_VMM_VM_SANDBOX_RULES_H

/*
 * What a thread of a VM process may ask of the kernel, and what processes beside it may: the table
 * of sandbox_rules.c as data.
 *
 * tools/sandbox_gen.c runs while quire is built.  It turns the table into a seccomp program for
 * each role, by libseccomp, and into the list that tests and tools/sandbox-used.sh read.
 */
#include <stdint.h>

/*
 * Each thread of a VM process has a role, and is held to it once it has called sandbox_thread().
 * Other processes have one role, by sandbox_helper().
 */
enum sandbox_role {
	SANDBOX_MAIN,	      /* main loop: console input, control socket, signals, the end */
	SANDBOX_VCPU,	      /* KVM_RUN and what its exits ask for */
	SANDBOX_PAGER,	      /* page faults of the guest */
	SANDBOX_CHANNEL,      /* listens to the machine process: credits */
	SANDBOX_KEEPER,	      /* looks for equal pages and shares them */
	SANDBOX_RECLAIMER,    /* frees memory of the VM when there is too little */
	SANDBOX_SWAP,	      /* reads and writes the swap file */
	SANDBOX_DEVICE,	      /* serves the queues of a virtio device */
	SANDBOX_IMAGE,	      /* a process of its own, which reads the image's headers */
	SANDBOX_CODE,	      /* one that disassembles a crashed guest's code */
	SANDBOX_MACHINE,      /* the machine, whose process has one thread, and another: */
	SANDBOX_SHELF,	      /* ... which sets the size of its shelf */
	SANDBOX_MACHINE_BARE, /* a machine where no Landlock says which files it may make */
	SANDBOX_OBSERVER,     /* the process that serves what is known of a machine */
	SANDBOX_NR_ROLES
};

enum sandbox_verdict {
	SANDBOX_ALLOW,
	SANDBOX_REFUSE, /* the call fails with -EPERM; in sanitizer builds only */
};

/* A condition on one argument of a call: (argument & mask) == value. */
struct sandbox_condition {
	uint64_t mask, value; /* mask 0: no condition */
	unsigned int arg;     /* 0..5 */
};

struct sandbox_rule {
	const char *name;   /* "read", "ioctl KVM_RUN" */
	int nr;		    /* of the system call */
	unsigned int roles; /* bit 1 << enum sandbox_role */
	enum sandbox_verdict verdict;
	struct sandbox_condition when[2]; /* both hold */
	const char *why;
};

/*
 * In a condition's value this stands for the process's own id, which is not known while quire is
 * built.  sandbox.c replaces it in the generated programs when it installs them.  No rule uses this
 * number for anything else.
 */
#define SANDBOX_SELF 0x5e1f0b0eu

extern const struct sandbox_rule sandbox_rules[];
extern const unsigned int sandbox_nr_rules;
extern const char *const sandbox_role_name[SANDBOX_NR_ROLES];

#endif
