/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_KVM_ATTACK_SCENE_H
#define QUIRE_TESTS_KVM_ATTACK_SCENE_H

/*
 * Where attacks take place: a machine, a victim in a domain of that machine, whose guest verifies
 * its memory all the time, and attackers, which are VMs of the same domain.  All of them are real
 * processes of the program under test.
 */
#include "mmu/base/machine_protocol.h"
#include "puppet.h"

struct scene_vm {
	pid_t launcher, pid;
	int out; /* what its guest prints */
	char name[48];
};

struct scene {
	char address[64];
	pid_t machine;
	uint64_t memory_pages;
	struct scene_vm victim;
	unsigned int nr_attackers; /* so far */
	unsigned int descriptors;  /* of the machine, with the victim alone */
};

/* Start machine and victim.  False, and *why: this host cannot have guests, or ptrace them. */
bool scene_begin(struct scene *s, const char **why);

/*
 * Start a VM with RAM of ram_mib, options and workload as in a shell, and wait until its guest is
 * ready.  False: it never was.
 */
bool scene_start(struct scene *s, struct scene_vm *vm, unsigned int ram_mib, const char *options,
		 const char *workload);

/* Run a command of quire to its end.  True: its status is 0. */
__attribute__((format(printf, 1, 2))) bool scene_command(const char *format, ...);

/* How the launcher of a VM ended, waiting for it; -1: by a signal. */
int scene_wait(struct scene_vm *vm);

/* End a VM, whatever it does. */
void scene_kill(struct scene_vm *vm);

/*
 * What is wrong with the scene, or NULL: the machine answers, its books add up, it has kept no
 * descriptor of an attacker, and the victim runs.
 */
const char *scene_fault(struct scene *s);

/* The machine's books; bails out if it does not answer. */
struct machine_state scene_books(const struct scene *s);

/* How many accounts the machine has of a VM, and the last of them. */
unsigned int scene_account(const struct scene *s, const struct scene_vm *vm,
			   struct machine_vm_record *record);

/* End all; true: the victim's guest has verified its memory to the end. */
bool scene_end(struct scene *s);

#endif
