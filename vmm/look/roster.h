/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_ROSTER_H
#define QUIRE_VMM_LOOK_ROSTER_H

/*
 * Who is there: the machines and VMs of this user, or of all users for root, and which VM has which
 * machine.
 *
 * A VM and its machine do not know each other's sockets, and a VM may have no machine.  The roster
 * finds both by their abstract sockets and joins them by process id: a machine knows the pid of
 * each of its VMs, and the kernel says which process listens on a VM's socket.
 */
#include "mmu/base/machine_protocol.h"
#include "ctl_client.h"
#include "named.h"

struct roster_machine {
	char *address;	 /* as for --machine */
	bool is_default; /* the one that quire run joins */
	struct machine_state state;
};

struct roster_vm {
	char name[VM_NAME_MAX + 1];
	uint32_t pid;
	uid_t uid;    /* who started it, by the kernel's word */
	bool answers; /* info is valid; if not, the VM is stopped or has just ended */
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
	struct roster_vm *vm; /* sorted by machine and id; VMs without machine last, by name */
	unsigned int nr_vms;
	void (*warn)(const char *text); /* told what could not be asked; may be NULL */
};

/* How long a VM is watched for faults_per_second. */
#define ROSTER_SAMPLE_MS 100

/*
 * Find all machines with their VMs, or only the machine at `address` (NULL: all).  0; -ENOMEM; or
 * another -errno with *err if `address` does not answer.
 */
int roster_find_machines(struct roster *r, const char *address, struct quire_error *err);

/*
 * Find all VMs, and ask all of them at once for their vm_info.  Call it after
 * roster_find_machines().  only_accounted: only the VMs of the machines that were found.  sample:
 * ask again after ROSTER_SAMPLE_MS, for rates.
 *
 * 0; -ENOMEM; -EMFILE, -ENFILE: there are too many VMs to ask them at once.
 */
int roster_find_vms(struct roster *r, bool only_accounted, bool sample, struct quire_error *err);

/*
 * Keep only the VMs of this list, in the roster's order.  0; -ENOENT: one of them that was meant
 * alone is not in the roster.
 */
int roster_keep(struct roster *r, const struct named *list, struct quire_error *err);

/* A machine's address; without the prefix that the usual ones have. */
const char *roster_short_address(const struct roster_machine *machine);

void roster_finish(struct roster *r);

#endif
