/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VM_IMPL_H
#define QUIRE_VMM_VM_VM_IMPL_H

/*
 * What vm.c, vm_run.c, vm_pause.c, vm_balloon.c, vm_info.c, vm_merge.c, vcpu.c,
 * exit.c and crash.c share.
 */
#include <signal.h>
#include "mmu/base/clock.h"
#include "mmu/base/locks.h"
#include "console.h"
#include "crash.h"
#include "vmm/dev/bus.h"
#include "vmm/dev/balloon.h"
#include "kvm.h"
#include "vcpu.h"
#include "vm.h"

#define VM_SAMPLE_CPUS 16u

/* vm_merge.c; keys as below, and   [k] the keeper's thread */
struct vm_merge {
	struct keeper *keeper;		     /* [m] NULL when it has gone, and left: */
	struct keeper_stats last;	     /* [m] */
	uint64_t last_passes;		     /* [m] */
	struct keeper_log log;		     /* [I] */
	uint64_t asked_ns;		     /* [k] when it last asked for a sample */
	atomic_bool sample_wanted;	     /* [a] */
	unsigned int next_cpu;		     /* [m] where a sample begins */
	unsigned int nr_cpus;		     /* [l] in the last sample: */
	struct walk_cpu cpu[VM_SAMPLE_CPUS]; /* [l] */
};

/* [I] immutable once vm_run begins   [l] lock   [a] atomic   [m] main loop */
struct vm {
	char name[VM_NAME_MAX + 1];	  /* [I] */
	char domain[VM_DOMAIN_MAX + 1];	  /* [I] */
	struct vm_config config;	  /* [I] name and domain: those above */
	struct gfn_range ram[VM_MAX_RAM]; /* [I] below and above the hole */
	unsigned int nr_ram;		  /* [I] */
	struct kvm kvm;			  /* [I] */
	struct gmem *gm;		  /* [I] */
	struct vm_merge merge;
	uint8_t maxphyaddr;	     /* [I] */
	bool pages_1g;		     /* [I] */
	bool amd;		     /* [I] the guest's vendor is AMD or Hygon */
	struct vcpu *vcpu;	     /* [I] nr_vcpus of them */
	unsigned int nr_vcpus;	     /* [I] */
	struct bus ports, mmio;	     /* [I] */
	struct uart *uart;	     /* [I] */
	struct text_port *text_port; /* [I] */
	struct dev_exit dev_exit;    /* [I] */
	struct wait_port wait_port;
	struct balloon *balloon;     /* [I] NULL: none */
	int doorbell_fd;	     /* [I] eventfd: the balloon's asynchronous queues; or -1 */
	atomic_uint doorbell_queues; /* [a] bit n: queue n is one */
	int irq_fd;		     /* [I] irqfd: the balloon's interrupts; or -1 */
	bool balloon_manual;	     /* [m] its target was set by hand */
	struct console console;
	int wake_fd;	  /* [I] eventfd: look at the world again */
	int signal_fd;	  /* [I] */
	sigset_t signals; /* [I] that come through it */

	struct lock lock;
	pthread_cond_t changed; /* a vCPU's done or state_ready */
	bool ending;		/* [l] status and why are valid */
	int status;		/* [l] */
	struct quire_error why; /* [l] "" if there is nothing to say */
	bool crashed;		/* [l] crash is valid */
	struct crash crash;	/* [l] */
	bool host_failed;	/* [l] a vCPU waits for memory that will not come */
	atomic_bool stopping;	/* [a] vCPUs: do not enter the guest again */
	atomic_bool paused;	/* [a] vCPUs: not for now; set under lock */
	pthread_cond_t unpark;	/* parked vCPUs: look whether to go on */

	bool stuck;	     /* [m] */
	uint64_t balloon_ns; /* [m] when the balloon wants to be called again */
	uint64_t idle_ns;    /* [m] when to write waiting output; 0: none waits */
	uint64_t setup_ns, run_start_ns, run_ns; /* [m] */
	uint64_t host_bytes, host_cpus;		 /* [I] */
};

/* vm_balloon.c: 0 or -errno; destroy is fine after a create that failed or never was. */
int vm_balloon_create(struct vm *vm);
void vm_balloon_destroy(struct vm *vm);

/* Main loop: doorbell_fd is readable; do what is due, and say when to come again. */
void vm_balloon_ring(struct vm *vm);
uint64_t vm_balloon_tick(struct vm *vm);

/* Main loop: the guest is paused, or goes on. */
void vm_balloon_pause(struct vm *vm, bool on);

/* Main loop, or after it. */
enum vm_state vm_state(struct vm *vm);

/* vm_merge.c: create; start; in the main loop; at a pause, when all vCPUs are out; when they are at
 * the end, or before; its part. */
int vm_merge_create(struct vm *vm, struct quire_error *err);
int vm_merge_start(struct vm *vm, struct quire_error *err);
void vm_merge_sample(struct vm *vm);
void vm_merge_take_sample(struct vm *vm);
void vm_merge_stop(struct vm *vm);
void vm_merge_info(struct vm *vm, struct vm_info *out);

/* vm_end() for a guest that crashed: *crash is copied. */
bool vm_end_crash(struct vm *vm, const struct crash *crash);

#endif
