/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_ROSTER_H
#define QUIRE_VMM_CLI_ROSTER_H

/*
 * Who is there: the machines and VMs of this user (of everybody, for root), and which VM is
 * whose.
 *
 * VMs and machines do not know of each other's sockets, and a VM may have no machine.  Both are
 * found by their abstract sockets and joined by process id: a machine knows the pid of each of
 * its VMs, and the kernel says who listens on a VM's socket.
 */
#include "mmu/base/machine_protocol.h"
#include "ctl_client.h"
#include "named.h"

struct roster_machine {
	char *address;	 /* as --machine= takes it */
	bool is_default; /* the one that quire run joins */
	struct machine_state state;
};

struct roster_vm {
	char name[VM_NAME_MAX + 1];
	uint32_t pid;
	bool answers; /* info is valid; else it is stopped or just ended */
	struct vm_info info;
	uint64_t faults_per_second;	  /* if sampled */
	unsigned int machine;		  /* index of its machine ... */
	uint32_t id;			  /* ... and its id there; 0: no machine knows it */
	struct machine_vm_record account; /* if id */
	int fd; /* of its control socket, while it is being asked; else -1 */
};

struct roster {
	struct roster_machine *machine;
	unsigned int nr_machines;
	struct roster_vm *vm; /* by machine and id; those without machine last, by name */
	unsigned int nr_vms;
	void (*warn)(const char *text); /* something could not be asked; may be NULL */
};

/* How long to watch a VM for faults_per_second. */
#define ROSTER_SAMPLE_MS 100

/*
 * Find all machines, or only the one at `address` (NULL: all), with its VMs.  For an address
 * that does not answer: -errno with *err.  Otherwise 0, -ENOMEM.
 */
int roster_find_machines(struct roster *r, const char *address, struct quire_error *err);

/*
 * Find all VMs (or, if the machine was chosen by address, its own) and ask each for its
 * vm_info, all at once, and again after ROSTER_SAMPLE_MS if `sample`.  After
 * roster_find_machines().  0; -ENOMEM; -EMFILE, -ENFILE: too many VMs to ask them at once.
 */
int roster_find_vms(struct roster *r, bool only_accounted, bool sample, struct quire_error *err);

/*
 * Keep only the VMs of this list, in the roster's order.  0; -ENOENT: one of them that was meant
 * alone is not in the roster.
 */
int roster_keep(struct roster *r, const struct named *list, struct quire_error *err);

/* A machine's address, short where it is one of the usual ones. */
const char *roster_short_address(const struct roster_machine *machine);

void roster_finish(struct roster *r);

#endif
