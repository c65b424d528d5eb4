/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VM_INFO_H
#define QUIRE_VMM_VM_VM_INFO_H

/*
 * Everything that can be counted of a VM, in one record that can be copied to another process.  A
 * VM fills it with vm_info() (vm.h), tells it on its control socket (ctl_protocol.h), and leaves it
 * to its launcher when it ends.
 */
#include "mmu/base/balloon_record.h"
#include "mmu/merge/keeper.h"
#include "mmu/reclaim/reclaimer.h"
#include "vmm/monitor/cpu.h"
#include "kvm_exit.h"
#include "vmm/dev/blk.h"
#include "vmm/dev/virtio_net.h"
#include "sandbox_piece.h"

#define VM_MAX_VCPUS  255 /* APIC ids have eight bits, and 255 means everyone */
#define VM_NAME_MAX   63
#define VM_DOMAIN_MAX 47

/* How the guest's addresses are translated. */
enum vm_paging {
	VM_PAGING_EPT,	  /* by KVM, as well as it can */
	VM_PAGING_SHADOW, /* by shadow tables that we make (vm_shadow.h) */
	VM_NR_PAGINGS
};

#define VM_RECLAIM_OFF RECLAIM_NR_POLICIES /* no policy: the VM does not reclaim by itself */

#define VM_NR_EXCEPTIONS 32

/* What a guest on shadow tables came out for, by what became of it. */
struct shadow_exits {
	uint64_t hidden_faults; /* page faults that were ours: an entry was missing */
	uint64_t true_faults;	/* exceptions that the guest got */
	uint64_t interrupts;	/* interrupts that it got, NMIs too */
	uint64_t flushes;	/* entries of the guest with something to flush */
	uint64_t exceptions[VM_NR_EXCEPTIONS]; /* of the real processor, by vector */
	uint64_t emulated[MONITOR_NR_ROWS];
};

/* A guest that waits for an interrupt is VM_RUNNING. */
enum vm_state {
	VM_RUNNING,
	VM_PAUSING,   /* paused, but for vCPUs that have not left KVM_RUN or a device yet */
	VM_PAUSED,    /* no vCPU is in the guest, nor will be until vm_resume */
	VM_SUSPENDED, /* the same, until the machine lets it go on: load control */
	VM_ENDED,     /* vm_run is over */
	VM_NR_STATES
};

struct vm_info {
	char name[VM_NAME_MAX + 1];
	uint32_t pid;
	uint32_t state;	      /* enum vm_state */
	uint32_t exit_status; /* if ended */
	uint32_t nr_vcpus;
	uint32_t sandbox; /* bits 1 << enum sandbox_piece of those that are on */
	uint32_t is_copy; /* its name is NAME-N, of one of several copies */
	uint64_t ram_bytes;
	uint64_t now_ns;	   /* CLOCK_MONOTONIC of all that follows */
	uint64_t setup_ns, run_ns; /* before and since vm_run, pauses included */
	uint64_t cpu_ns;	   /* processor time of the process, threads that ended too */
	uint64_t vcpu_cpu_ns;	   /* ... of its vCPU threads */
	struct gmem_stats mem;
	uint64_t interrupted_runs;		  /* KVM_RUN ended by a signal or immediate_exit */
	uint64_t mmio_on_ram;			  /* exits that asked us to do an access to RAM */
	uint64_t finished[EMULATE_NR_ROWS];	  /* instructions that KVM did not know */
	uint64_t unclaimed_ports, unclaimed_mmio; /* accesses that no device answered */
	uint64_t ignored_texts;			  /* writes to the text port that made no sense */
	uint64_t exits[KVM_NR_EXITS];		  /* by reason */
	uint32_t paging;			  /* enum vm_paging */
	uint32_t zero;
	struct shadow_exits shadow;	/* if it is VM_PAGING_SHADOW */
	struct shadow_stats shadow_mmu; /* ... its tables */
	char domain[VM_DOMAIN_MAX + 1]; /* "": it merges with itself only */
	struct keeper_stats merge;	/* the reasons add up to mem's private pages */
	uint64_t merge_passes;		/* keeper_passes_done() */
	uint64_t reclaim_policy;	/* which of reclaim_policies[], or VM_RECLAIM_OFF */
	uint32_t tendency;		/* enum tendency_rule */
	uint32_t swappiness;
	struct reclaimer_stats reclaim;
	struct balloon_record balloon;
	uint32_t nr_disks;
	uint32_t buffered_disks; /* of which the page cache has what they read and write */
	struct blk_stats disk;	 /* of all disks together */
	uint64_t nr_nets;
	struct virtio_net_stats net; /* of all network cards together */
};

#endif
