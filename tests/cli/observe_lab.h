/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_CLI_OBSERVE_LAB_H
#define QUIRE_TESTS_CLI_OBSERVE_LAB_H

/*
 * Something to observe without KVM: processes that answer on a control socket as VMs do, with
 * made-up counters, and a real machine that has some of them on its books.  And the commands,
 * run as a user runs them.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "mmu/machine/client.h"
#include "mmu/machine/server.h"
#include "vmm/vm/ctl.h"
#include "vmm/vm/ctl_protocol.h"
#include "vmm/vm/vm.h"
#include "tests/tap.h"

#define LAB_PAGES	 10000u
#define LAB_PRIVATE	 1024u /* of these */
#define LAB_COMPRESSED	 30u   /* ... in a pool of as many pages as follow */
#define LAB_POOL	 12u
#define LAB_CACHED	 7u /* copies in its swap file of pages that came home */
#define LAB_FAULTS_PER_S 1000u
#define LAB_SWAP	 20u /* pages of the machine's swap that it holds */

/* What the made-up VM is, in the process that plays it and in its children. */
extern struct lab_vm {
	char name[VM_NAME_MAX + 1];
	uint32_t state; /* enum vm_state */
	bool stopped, is_copy;
	struct keeper_stats merge;
	uint64_t passes;
	/* Its shared pages, ascending; NULL: page 5 alone.  Whoever starts it sets them before. */
	const struct gmem_shared_run *run;
	unsigned int nr_runs;
} lab_vm;

/* Starts a process that answers as a VM of this name and state; returns when it does. */
pid_t lab_start_vm(const char *name, enum vm_state state);

/* Starts a process that serves a machine; returns when it does. */
pid_t lab_start_machine(const struct machine_config *config, const char *address);

/* Sends the signal and waits: the exit status, or -1. */
int lab_end(pid_t pid, int sig);

/* Put a VM's process on a machine's books.  The channel stays open until we end. */
uint32_t lab_admit(struct machine_client *client, const char *name, pid_t pid);

/*
 * Abstract names belong to the network namespace: in one of our own nobody else's VMs are in the
 * way.  False: no privilege for one.
 */
bool lab_isolate(void);

/* Runs `quire ARGS` in a shell; its exit status. */
int lab_quire(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What the last one printed, on both streams, and how long it took. */
extern char lab_out[65536];
extern double lab_took_s;

/* Its first line, in a static buffer. */
const char *lab_said(void);

/* The number of lines that it printed. */
unsigned int lab_lines(void);

/* Columns of the longest line. */
size_t lab_width(void);

/* The line that has `text` in it, in a static buffer; "" if there is none. */
const char *lab_line(const char *text);

#endif
