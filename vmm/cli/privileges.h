/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_PRIVILEGES_H
#define QUIRE_VMM_CLI_PRIVILEGES_H

/*
 * What the processes of one VM may do: the launcher, its machine, and the VM itself, in the order
 * in which they were born.  The kernel says it, and beside that stands what the VM says of its
 * sandbox.  What the kernel does not show to this user is unknown.
 */
#include <quire/error.h>
#include <sys/types.h>
#include "vmm/vm/vm_info.h"

#define PRIVILEGE_TEXT 128

enum privileged {
	PRIVILEGED_LAUNCHER,
	PRIVILEGED_MACHINE,
	PRIVILEGED_VM,
	PRIVILEGED_NR,
};

extern const char *const privileged_name[PRIVILEGED_NR];

/* One privilege.  docs/isolation.md says what each means. */
struct privilege {
	const char *key; /* "uid"; its name for people has blanks */
	/* Write what the process has, at most PRIVILEGE_TEXT bytes; "": unknown. */
	void (*read)(pid_t pid, const char *arg, char *text);
	const char *arg;
	/* The text if `piece` is on, or "!" and what it is not; NULL: no piece is about this. */
	const char *given_up;
	enum sandbox_piece piece; /* if given_up */
};

extern const struct privilege privileges[];
extern const unsigned int nr_privileges;

/* How the VM's word about a piece and the kernel's go together. */
enum privilege_verdict {
	PRIVILEGE_OFF,	     /* the VM does not say that it is on */
	PRIVILEGE_CLAIMED,   /* the VM says so; the kernel does not show it */
	PRIVILEGE_CONFIRMED, /* both say so */
	PRIVILEGE_DENIED,    /* the VM says so, and it is not true */
};

/* `text` is what the kernel says of the VM.  The privilege has a piece. */
enum privilege_verdict privilege_check(const struct privilege *p, const struct vm_info *vm,
				       const char *text);

/* A thread of the VM process; its name is what quire gave it. */
struct privileged_thread {
	pid_t tid;
	char name[32];
	bool is_kernels; /* KVM's or io_uring's: it runs no code of the process */
	bool filtered;
	unsigned int nr_filters;
};

#define PRIVILEGED_MAX_THREADS (VM_MAX_VCPUS + 8)

/* The threads of a process in order of their ids; returns how many, at most max. */
unsigned int privileged_threads(pid_t pid, struct privileged_thread *threads, unsigned int max);

/* A VM's processes; pid 0 is one that was not found. */
struct privileged_vm {
	const struct vm_info *info;
	pid_t pid[PRIVILEGED_NR];
};

/* For people, with the threads of the VM; and as quire.sandbox/1.  0 or -ENOMEM. */
int privileges_print(FILE *f, const struct privileged_vm *vm);
void privileges_json(FILE *f, const struct privileged_vm *vm, unsigned int nr);

#endif
