/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VM_H
#define QUIRE_VMM_VM_VM_H

/*
 * One virtual machine: guest memory, KVM's VM, its vCPU threads and devices.
 *
 * Threads (docs/architecture.md): each vCPU has one, which alone issues ioctls on its vCPU;
 * guest memory has its pager and its keeper; everything else (console input, control socket,
 * timeout, signals) is the main loop's, in the thread that called vm_run().
 */
#include <linux/kvm.h>
#include <quire/error.h>
#include "mmu/merge/keeper.h"
#include "vmm/boot/image.h"
#include "kvm.h"
#include "vm_info.h"

struct vm;
struct balloon;
struct ctl;
struct sandbox_keep;

struct vm_config {
	const char *name;      /* at most VM_NAME_MAX bytes */
	bool is_copy;	       /* to tell: the name is NAME-N, of one of several copies */
	uint64_t ram_bytes;    /* multiple of 4 KiB, not 0 */
	unsigned int nr_vcpus; /* 1..VM_MAX_VCPUS; more than 1 needs the irqchip */
	bool irqchip;	       /* PIC, I/O APIC, local APICs and PIT in the kernel */
	enum gmem_hugepages hugepages;
	enum keeper_mode merge;
	uint64_t merge_pages_per_s; /* pace of the keeper; 0: automatic */
	const char *domain;	    /* to tell, at most VM_DOMAIN_MAX bytes; NULL: its own */
	enum balloon_mode balloon;
	uint64_t timeout_ns;		    /* from vm_run on; 0: none */
	uint64_t start_ns;		    /* CLOCK_MONOTONIC when the process began */
	const struct gmem_credits *credits; /* borrowed; NULL: no limit but the host's */
	/*
	 * Something else for the main loop: on_watch is called in it whenever watch_fd is readable.
	 * on_ending is called once, when the guest is about to be stopped: nothing may keep its
	 * vCPUs waiting from then on.  Both may be NULL.
	 */
	int watch_fd;
	void (*on_watch)(void *ctx);
	void (*on_ending)(void *ctx);
	/*
	 * In every round of the main loop of a VM with a balloon: whatever has to do with it.
	 * Returns when it wants to be called again at the latest (CLOCK_MONOTONIC, UINT64_MAX: not
	 * by the clock).  May be NULL.
	 */
	uint64_t (*on_balloon)(void *ctx, struct vm *vm);
	/* As keeper_config's; from the keeper's thread.  NULL: there is never a machine. */
	int (*join)(void *ctx, int fd);
	void *ctx;
};

/* RAM of a given size around the hole below 4 GiB (abi.h).  Returns the number of ranges. */
#define VM_MAX_RAM 2
unsigned int vm_ram_layout(uint64_t ram_bytes, struct gfn_range ram[VM_MAX_RAM]);

/*
 * Create a VM: guest memory (all absent), KVM's VM, vCPUs, devices, console.  Blocks SIGINT,
 * SIGTERM, SIGHUP, SIGQUIT and SIGCONT in the calling thread; from now on they are vm_run()'s.
 *
 * 0; -errno with the reason in *err.  -EDOM: the request itself is impossible on this host
 * (more memory than its processors address, more vCPUs than KVM has).
 */
int vm_create(const struct vm_config *config, struct vm **out, struct quire_error *err);
void vm_destroy(struct vm *vm); /* not after vm_is_stuck(); NULL is fine */

/* The descriptors that vm needs in the sandbox (sandbox.h). */
void vm_keep(const struct vm *vm, struct sandbox_keep *keep);

/* How vCPU 0 starts; the others wait for INIT and SIPI. */
int vm_set_start(struct vm *vm, const struct image_plan *plan, struct quire_error *err);

/* kHz of the guest's time-stamp counter, 0 if KVM does not tell. */
uint32_t vm_tsc_khz(const struct vm *vm);

/*
 * Run the guest to its end in this thread's main loop; ctl may be NULL.  Starts all threads;
 * in the sandbox, each is held to its role before the guest runs.  Prints the guest's
 * output, and on stderr one line or a crash report if the guest did not end by itself.
 * Returns the exit status (abi.h).
 */
int vm_run(struct vm *vm, struct ctl *ctl);

/*
 * After vm_run: does a vCPU still sit inside KVM_RUN, so that memory cannot be freed?  Then the
 * process has to be left by _exit().
 */
bool vm_is_stuck(const struct vm *vm);

/*
 * End the VM with an exit status, and a line for the user unless fmt is NULL.  Any thread;
 * the first one wins (false: somebody was earlier).
 */
__attribute__((format(printf, 3, 4))) bool vm_end(struct vm *vm, int status, const char *fmt, ...);

/* Make the main loop look around.  Any thread. */
void vm_wake(struct vm *vm);

/* A vCPU's registers, read by its own thread between two entries of the guest. */
struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
};

struct gmem *vm_gmem(struct vm *vm);
struct balloon *vm_balloon(struct vm *vm); /* NULL: BALLOON_MODE_OFF */
unsigned int vm_nr_vcpus(const struct vm *vm);

/* In the main loop or after vm_run. */
void vm_info(struct vm *vm, struct vm_info *out);

/*
 * Keep the guest from running, and let it run again.  Main loop only; doing either twice is
 * fine.  A paused VM answers whatever it is asked, and its end comes as it would otherwise.
 * The guest's clocks go on, and timers that expired meanwhile fire when it goes on: to the
 * guest a pause is a moment in which nothing was executed.
 *
 * 0; -ETIMEDOUT: after timeout_ms a vCPU has not left KVM_RUN or a device (it waits for memory, or
 * for the reader of the guest's output).  Then the VM is VM_PAUSING, and paused when it has.
 */
int vm_pause(struct vm *vm, unsigned int timeout_ms);
void vm_resume(struct vm *vm);

/* keeper_set_mode(), and keeper_request_pass().  Main loop only. */
void vm_set_merge(struct vm *vm, enum keeper_mode mode);
uint64_t vm_merge_pass(struct vm *vm);

/* Set the balloon's target, and whether an operator set it.  Main loop only. */
void vm_set_balloon(struct vm *vm, uint64_t pages, bool manual);

/*
 * Copy what the VM knows of its balloon to *out, all but `asks` and `touches`.  In the main loop or
 * after vm_run.
 */
void vm_balloon_record(struct vm *vm, struct balloon_record *out);

/* End the VM in order, as SIGTERM does. */
void vm_stop(struct vm *vm);

/*
 * Interrupt vCPU `cpu`, copy its registers, let it go on.  Main loop only.
 * 0; -ENOENT (no such vCPU); -ETIMEDOUT (it is stuck inside KVM_RUN for timeout_ms).
 */
int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state);

/* The paging-relevant part of a state, for walk_2d. */
void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out);

#endif
