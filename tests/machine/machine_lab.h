/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MACHINE_MACHINE_LAB_H
#define QUIRE_TESTS_MACHINE_MACHINE_LAB_H

/*
 * A machine that is served step by step, with a clock that the test sets, and peers that say
 * whatever the test wants over socketpairs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "mmu/machine/oom.h"
#include "mmu/machine/server.h"
#include "mmu/base/wire.h"

#define LAB_MS 1000000ULL

/* A lab's machine looks so seldom at what VMs occupy: only tests of that let so much time pass. */
#define LAB_MEASURE_MS 3600000

/* The number of descriptors that this process has open. */
unsigned int open_fds(void);

struct lab {
	struct machine *m;
	uint64_t now_ns;
	char log[512];	     /* the last line */
	unsigned int faults; /* of the audit after each step, all together */
	bool done;
};

/* Prints what an audit found, for machine_audit(). */
void lab_complain(void *ctx, const char *what);

/* What hashes pages in the lab's machines: a page's first word, whatever the secret. */
uint64_t lab_hash(const struct hash_secret *secret, const void *page);

/* The configuration of a machine with this memory and swap in pages, on the lab's clock. */
struct machine_config lab_config(struct lab *lab, uint64_t memory, uint64_t swap,
				 enum overcommit_mode mode);

/* Creates the machine; the clock stands at one second. */
void lab_open(struct lab *lab, const struct machine_config *config);

/* Serve until nothing is pending. */
void lab_step(struct lab *lab);

/* Lets so many milliseconds pass, then serves. */
void lab_pass(struct lab *lab, uint64_t ms);

/* The machine's numbers now. */
struct machine_state lab_state(struct lab *lab);

/* A control connection, before any hello. */
int lab_dial(struct lab *lab);

/* Sends a message of any content, with a descriptor or -1.  0 or -errno. */
int say_msg(int fd, struct machine_msg msg, int attach);

/* Sends a message of this type; attach is a descriptor or -1.  0 or -errno. */
int say(int fd, enum machine_type type, uint32_t vm, uint64_t pages, int attach);

/* Asks for credits: so many pages at least, so many at best.  0 or -errno. */
int say_credit(int fd, uint64_t need, uint64_t want);

/*
 * Takes so many credits over a channel, as many at a time as one CREDIT may need.  Returns how many
 * were granted.  What else the channel had to say is lost.
 */
uint64_t lab_take(struct lab *lab, int fd, uint64_t pages);

/* Type of what fd hears now, 0 for nothing, -errno for its end. */
int hear(int fd, struct machine_msg *msg, int *attached);

/* A control connection that has said hello. */
int lab_connect(struct lab *lab);

struct lab_vm {
	uint32_t id;
	int channel;
	uint64_t credits;
	pid_t pid;
	int ram;   /* writable, ours */
	int error; /* of a refusal */
	char text[240];
	struct machine_refusal refusal; /* if it was refused */
};

/* What a VM named "lab" asks to be admitted with, in pages. */
struct machine_admit lab_promise(uint64_t ram, uint64_t overhead);

/* Ask for a VM. */
struct lab_vm lab_admit(struct lab *lab, int control, struct machine_admit admit);

/* A pidfd of the process, or -1. */
int pidfd_of(pid_t pid);

/* A process that does nothing until it is killed, and has none of our descriptors. */
pid_t fork_sleeper(void);

/* Gives the VM a process, and tells the machine of it. */
void lab_start(struct lab *lab, int control, struct lab_vm *vm);

/* Another descriptor of the same file, for reading only. */
int reopen_readonly(int fd);

/* RAM with `resident` pages of it there. */
void lab_attach(struct lab *lab, struct lab_vm *vm, uint64_t ram, uint64_t resident);

/* Signal that ended the VM's process, 0: it still runs. */
int lab_reap(struct lab_vm *vm, bool wait);

/* Serve until the process is gone for the machine too: its end is an event like others. */
bool lab_await_vms(struct lab *lab, unsigned int nr);

/* Kills the process of the VM and closes its descriptors. */
void lab_finish_vm(struct lab_vm *vm);

#endif
