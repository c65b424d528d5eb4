/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VM_IMPL_H
#define QUIRE_VMM_VM_VM_IMPL_H

/*
 * What vm.c, vm_run.c, vm_pause.c, vm_virtio.c, vm_slot.c, vm_balloon.c, vm_disk.c, vm_console.c,
 * vm_platform.c, vm_info.c, vm_merge.c, vm_reclaim.c, vcpu.c, exit.c and crash.c share.
 */
#include <poll.h>
#include "mmu/base/clock.h"
#include "mmu/base/locks.h"
#include "mmu/base/thread.h"
#include "console.h"
#include "crash.h"
#include "escape.h"
#include "vmm/dev/bus.h"
#include "vmm/dev/text_screen.h"
#include "vmm/dev/balloon.h"
#include "vmm/dev/platform.h"
#include "kvm.h"
#include "vcpu.h"
#include "vm.h"

#define VM_EXIT_PORTS 3

#define VM_SAMPLE_CPUS 16u /* a sample has the paging registers of at most so many vCPUs */

/* What vm_merge.c keeps.  Keys as below, and   [k] the keeper's thread */
struct vm_merge {
	struct keeper *keeper;		     /* [m] NULL once it has been destroyed */
	struct keeper_stats last;	     /* [m] then: its last counters ... */
	uint64_t last_passes;		     /* [m] ... and passes */
	struct keeper_log log;		     /* [I] */
	uint64_t asked_ns;		     /* [k] when it last asked for a sample */
	atomic_bool sample_wanted;	     /* [a] */
	unsigned int next_cpu;		     /* [m] the vCPU with which the next sample begins */
	unsigned int nr_cpus;		     /* [l] vCPUs in the last sample */
	struct walk_cpu cpu[VM_SAMPLE_CPUS]; /* [l] the last sample */
};

/* What vm_screen.c keeps, all of it [m]. */
struct vm_screen {
	struct text_screen text;
	uint64_t next_ns, gap_ns; /* when to look again, and how long after that */
};

/* What vm_silence.c keeps, all of it [m]. */
struct vm_silence {
	uint64_t next_ns;	/* when to look again; 0: at the first time */
	uint64_t seen_ns;	/* the last time, and then: */
	uint64_t exits, cpu_ns; /* of all vCPUs */
};

struct vm_doing;
struct vm_shadow;
struct vm_slot;

/* A kind of virtio device: a row of the table in vm_virtio.c.  What is NULL has nothing to do. */
struct vm_device {
	const char *name;
	/* How many of them a VM has. */
	unsigned int (*count)(const struct vm_config *config);
	/* Make the nth of them and put it on the bus; set slot->dev.  0 or -errno with *err. */
	int (*create)(struct vm_slot *slot, unsigned int nth, struct quire_error *err);
	/* Undo create(), also after it failed. */
	void (*destroy)(struct vm_slot *slot);
	/* Add its own descriptors. */
	void (*keep)(const struct vm_slot *slot, struct sandbox_keep *to);
	/* Queue n was notified by the doorbell.  Main loop.  NULL: another thread listens to it. */
	void (*notify)(struct vm_slot *slot, unsigned int n);
	/* Do what is due; returns when to call again at the latest.  Main loop, in each round. */
	uint64_t (*tick)(struct vm_slot *slot);
	/* The guest is paused (on), or goes on.  Main loop. */
	void (*pause)(struct vm_slot *slot, bool on);
	/* Start the device's own thread.  0 or -errno with *err.  NULL: it has none. */
	int (*start)(struct vm_slot *slot, struct quire_error *err);
	/* End it, if it was started.  No vCPU runs the guest any more. */
	void (*stop)(struct vm_slot *slot);
	/*
	 * For vm_slot_start(): serve the queues, and return what to wait for besides the doorbell,
	 * with fd -1 nothing.  The device's own thread.
	 */
	struct pollfd (*serve)(struct vm_slot *slot);
	/* The thread's last act: wait for what is in flight.  NULL: nothing is. */
	void (*drain)(struct vm_slot *slot);
};

/* A slot for a virtio device.  Keys as below. */
struct vm_slot {
	struct vm *vm;			/* [I] */
	unsigned int index;		/* [I] */
	const struct vm_device *device; /* [I] NULL: there is none, and all else means nothing */
	void *dev;			/* [I] the device's own */
	int irq_fd;			/* [I] irqfd: its interrupts; or -1 */
	int doorbell_fd;		/* [I] eventfd: a driver notified a queue; or -1 */
	atomic_uint doorbell_queues;	/* [a] bit n: notifications of queue n come that way */
	struct thread thread;		/* [m] the device's own */
	atomic_bool stopping;		/* [a] the thread is to end */
	atomic_bool said;		/* [a] that the device stopped */
};

/* [I] immutable once vm_run begins   [l] lock   [a] atomic   [m] main loop */
struct vm {
	char name[VM_NAME_MAX + 1];	  /* [I] */
	char domain[VM_DOMAIN_MAX + 1];	  /* [I] */
	struct vm_config config;	  /* [I] its name and domain point to those above */
	struct gfn_range ram[VM_MAX_RAM]; /* [I] below and above the hole */
	unsigned int nr_ram;		  /* [I] */
	struct kvm kvm;			  /* [I] */
	struct gmem *gm;		  /* [I] */
	struct vm_shadow *shadow;	  /* [I] NULL: KVM translates by itself */
	struct vm_merge merge;
	struct reclaimer *reclaimer; /* [I] NULL: there is none */
	uint64_t reclaim_pass;	/* the last ticket of the keeper that its thread got; its alone */
	uint8_t maxphyaddr;	/* [I] */
	bool pages_1g;		/* [I] */
	bool amd;		/* [I] the guest's vendor is AMD or Hygon */
	struct vcpu *vcpu;	/* [I] nr_vcpus of them */
	unsigned int nr_vcpus;	/* [I] */
	struct bus ports, mmio; /* [I] */
	struct uart *uart;	/* [I] */
	struct text_port *text_port;		 /* [I] */
	struct dev_exit dev_exit[VM_EXIT_PORTS]; /* [I] */
	struct wait_port wait_port;
	struct bios_port bios_port;
	struct power power; /* [I] but for what is the devices' own */
	struct cmos cmos;
	struct vm_slot slot[QUIRE_VIRTIO_SLOTS];
	bool balloon_manual; /* [m] an operator set the balloon's target */
	struct console console;
	struct escape escape; /* [m] */
	int wake_fd;	      /* [I] eventfd that makes the main loop look around */
	int signal_fd;	      /* [I] signalfd of those that end the VM */

	struct lock lock;
	pthread_cond_t changed; /* done, parked or state_ready of a vCPU changed */
	bool ending;		/* [l] status and why are valid */
	int status;		/* [l] */
	struct quire_error why; /* [l] "" if there is nothing to say */
	bool crashed;		/* [l] crash is valid */
	bool was_reset;		/* [l] it ends because the guest reset itself */
	struct crash crash;	/* [l] */
	atomic_bool dead;	/* the guest was found dead */
	atomic_bool probed_pci; /* [a] the guest has looked for a PCI bus */
	bool host_failed;	/* [l] a vCPU waits for memory that will not come */
	atomic_bool stopping;	/* [a] vCPUs: do not enter the guest again */
	unsigned int held;  /* [l] why the guest does not run: bits of enum vm_hold; set by [m] */
	atomic_bool paused; /* [a] vCPUs: do not enter the guest for now; held, set under lock */
	atomic_bool to_be_suspended; /* [a] the machine wants VM_HOLD_SUSPEND */
	pthread_cond_t unpark;	     /* parked vCPUs: see whether you may go on */

	bool stuck; /* [m] */
	struct vm_screen screen;
	struct vm_silence silence;
	struct vm_doing *doing; /* [m] where the vCPUs were at the end; NULL: nobody asks */
	uint64_t tick_ns;	/* [m] when a device wants to be called again */
	uint64_t idle_ns;	/* [m] when to write waiting output; 0: none waits */
	uint64_t setup_ns, run_start_ns, run_ns; /* [m] */
	uint64_t host_bytes, host_cpus;		 /* [I] */
};

/* ---- vm_virtio.c ---- */

/* Fill the slots.  0 or -errno with *err. */
int vm_virtio_create(struct vm *vm, struct quire_error *err);

/* Undo vm_virtio_create(), also after it failed or was not called. */
void vm_virtio_destroy(struct vm *vm);

/* The doorbell that the main loop is to listen to; -1: none. */
int vm_virtio_doorbell(const struct vm_slot *slot);

/* Tell the device what was notified.  Main loop, when vm_virtio_doorbell() is readable. */
void vm_virtio_ring(struct vm_slot *slot);

/* Do what is due in all slots, and return when to call again at the latest.  Main loop. */
uint64_t vm_virtio_tick(struct vm *vm);

/* Tell all devices that the guest is paused (on), or goes on.  Main loop. */
void vm_virtio_pause(struct vm *vm, bool on);

/* Start the devices' own threads.  0 or -errno with *err. */
int vm_virtio_start(struct vm *vm, struct quire_error *err);

/* End them.  No vCPU runs the guest any more. */
void vm_virtio_stop(struct vm *vm);

/* Have all devices' own threads look around: the guest goes on.  Any thread. */
void vm_virtio_wake(struct vm *vm);

/* What a device in a slot needs; ctx is the slot. */
struct virtio_memory vm_slot_memory(struct vm_slot *slot);
int vm_slot_open_doorbell(struct vm_slot *slot);      /* 0 or -errno */
void vm_slot_interrupt(void *ctx);		      /* virtio_config.interrupt */
void vm_slot_cue(void *ctx);			      /* virtio_config.cue */
void vm_slot_stopped(void *ctx, const char *why);     /* virtio_config.stopped */
void vm_slot_arm(void *ctx, unsigned int n, bool on); /* virtio_config.arm */
void vm_slot_wake(void *ctx);			      /* virtio_config.wake */

/* All of these, for a device that the main loop serves, with doorbells. */
struct virtio_config vm_slot_virtio(struct vm_slot *slot);

/*
 * vm_device.start and stop for a device with a thread that calls device->serve() whenever its
 * doorbell rings, or what serve() waits for has come.  vm_slot_knock() rings the doorbell: it is
 * the device's virtio_config.wake.
 */
int vm_slot_start(struct vm_slot *slot, struct quire_error *err);
void vm_slot_stop(struct vm_slot *slot);
void vm_slot_knock(void *ctx);

/* ---- vm_balloon.c ---- */

extern const struct vm_device vm_balloon_device;

/* ---- vm_platform.c ---- */

/* Put power-off, reset and clock on the bus.  0 or -errno with *err. */
int vm_platform_create(struct vm *vm, struct quire_error *err);

/* ---- vm_console.c ---- */

extern const struct vm_device vm_console_device;

/* Can the VM do with input?  A terminal's keys always: some of them are for us.  Main loop. */
bool vm_wants_input(const struct vm *vm);

/* Take some of the input that there is.  Main loop. */
void vm_take_input(struct vm *vm);

/* ---- vm_rng.c ---- */

extern const struct vm_device vm_rng_device;

/* ---- vm_disk.c ---- */

extern const struct vm_device vm_disk_device;

/* Add up the counters of all disks. */
void vm_disk_info(const struct vm *vm, struct vm_info *out);

/* ---- vm_net.c ---- */

extern const struct vm_device vm_net_device;

/* Add up the counters of all network cards. */
void vm_net_info(const struct vm *vm, struct vm_info *out);

/* ---- vm_pause.c ---- */

/* What the VM is doing now.  Main loop, or after it. */
enum vm_state vm_state(struct vm *vm);

/* Why a guest does not run. */
enum vm_hold {
	VM_HOLD_PAUSE = 1 << 0,	  /* an operator said so */
	VM_HOLD_SUSPEND = 1 << 1, /* the machine did: load control */
	VM_HOLD_LOOK = 1 << 2,	  /* we look whether it is dead */
};

/*
 * Take all vCPUs out of the guest, and keep them out until vm_release() for the same reason; the
 * devices go on.  Main loop only.  0; -ETIMEDOUT: one did not leave; vm_release() is due then too.
 */
int vm_hold(struct vm *vm, enum vm_hold why, unsigned int timeout_ms);
void vm_release(struct vm *vm, enum vm_hold why);

/* Does the guest stand still because the machine wants it to?  Any thread, without LOCK_VM. */
bool vm_is_suspended(struct vm *vm);

/* Do what vm_suspend() wants.  Main loop, in each round. */
void vm_suspend_tick(struct vm *vm);

/* As vm_vcpu_state(); and fill *rest. */
int vm_vcpu_rest(struct vm *vm, unsigned int cpu, unsigned int timeout_ms, struct vcpu_state *state,
		 struct silence_cpu *rest);

/* ---- vm_doing.c ---- */

/* Look where the vCPUs are, a few times, which takes some milliseconds.  Main loop. */
void vm_doing_take(struct vm *vm);

/* Print on standard error what was seen, and forget it.  Does nothing if nothing was. */
void vm_doing_report(struct vm *vm);

/* Print on standard error what the guest printed last. */
void vm_tail_report(struct vm *vm);

/* ---- vm_screen.c ---- */

/* Print what is new on the guest's text screen.  Returns when to call again.  Main loop. */
uint64_t vm_screen_tick(struct vm *vm);

/* Print the rest of it.  The vCPUs have stopped. */
void vm_screen_finish(struct vm *vm);

/* ---- vm_silence.c ---- */

/*
 * End the guest if it is dead.  Returns when to call again at the latest.  Main loop, in each
 * round.
 */
uint64_t vm_silence_tick(struct vm *vm);

/* ---- vm_merge.c ---- */

/* Make the keeper, without a thread.  0 or -errno with *err. */
int vm_merge_create(struct vm *vm, struct quire_error *err);

/* Start the keeper's thread.  0 or -errno with *err. */
int vm_merge_start(struct vm *vm, struct quire_error *err);

/* Take a sample of the vCPUs if the keeper asked for one.  Main loop, in each round. */
void vm_merge_sample(struct vm *vm);

/* Take a sample now.  Main loop; in a pause, when all vCPUs are out of the guest. */
void vm_merge_take_sample(struct vm *vm);

/*
 * Destroy the keeper, and keep its last counters.  Does nothing if it is gone already.  No vCPU is
 * running the guest: the keeper may be waiting for one to leave KVM.
 */
void vm_merge_stop(struct vm *vm);

/* Fill the keeper's part of *out. */
void vm_merge_info(struct vm *vm, struct vm_info *out);

/* ---- vm_reclaim.c ---- */

/* Make the reclaimer, without a thread, unless the VM is to have none.  0 or -errno with *err. */
int vm_reclaim_create(struct vm *vm, struct quire_error *err);

/* Start its thread, if there is one.  0 or -errno with *err. */
int vm_reclaim_start(struct vm *vm, struct quire_error *err);

/* Stop its thread.  No vCPU runs the guest any more. */
void vm_reclaim_stop(struct vm *vm);

/* Fill the reclaimer's part of *out. */
void vm_reclaim_info(const struct vm *vm, struct vm_info *out);

/* ---- vm.c ---- */

/* vm_end() for a guest that crashed.  *crash is copied. */
bool vm_end_crash(struct vm *vm, const struct crash *crash);

/* ... and for one that reset itself, with status 0. */
void vm_end_reset(struct vm *vm);

/* Was the end of the VM decided? */
bool vm_is_ending(struct vm *vm);

#endif
