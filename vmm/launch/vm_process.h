/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_VM_PROCESS_H
#define QUIRE_VMM_LAUNCH_VM_PROCESS_H

/*
 * How a VM process begins.  The launcher executes quire for it (self_exec.h) with the arguments
 * VM_PROCESS_NAME and the VM's name.
 */
#include <stdint.h>
#include "vmm/vm/vm_info.h"
#include "self_exec.h"

#define VM_PROCESS_NAME "quire-vm"

/* Its descriptors, besides the standard ones. */
enum vm_process_fd {
	VM_FD_LEASH = SELF_EXEC_FD, /* leash.h; the first packet is a struct vm_process_seat */
	VM_FD_CHANNEL,		    /* the connection to the machine */
	VM_FD_INFO,  /* memory for a struct vm_info, shared with the launcher; or closed */
	VM_FD_FILES, /* launch_config.vm_file, links of .net, images of .disk, overlays, swap */
};

/* What differs from copy to copy. */
struct vm_process_seat {
	uint32_t alone;		   /* 1: there is no other copy */
	uint32_t has_info;	   /* 1: VM_FD_INFO is open */
	uint64_t input_bytes;	   /* so much input follows, at most VM_INPUT_BYTES (leash.h) */
	uint64_t begun_key;	   /* 1: and the first half of a key of ours */
	uint64_t reboots;	   /* how often its guest has reset itself: this is a new process */
	uint64_t timeout_since_ns; /* when its --timeout began; 0: it is about to */
	uint64_t cgroup;	   /* enum launch_cgroup */
	uint64_t credit_pages;
};

/* The whole life of a VM process; name is its second argument.  Returns its exit status. */
int vm_process(const char *name);

#endif
