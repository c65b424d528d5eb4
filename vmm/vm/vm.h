/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VM_H
#define QUIRE_VMM_VM_VM_H

/*
 * One virtual machine: guest memory, KVM's VM, its vCPU threads and devices.
 *
 * Threads (docs/architecture.md).  Each vCPU has a thread, which alone issues ioctls on its vCPU.
 * Guest memory has its pager and its keeper.  The thread that called vm_run() is the main loop, and
 * does everything else: console input, control socket, timeout, signals.
 */
#include <linux/kvm.h>
#include <quire/abi.h>
#include <quire/error.h>
#include "mmu/merge/keeper.h"
#include "vmm/boot/image.h"
#include "vmm/boot/slot.h"
#include "vmm/dev/disk.h"
#include "cpu_feature.h"
#include "kvm.h"
#include "tail.h"
#include "vcpu_state.h"
#include "vm_info.h"

struct vm;
struct code;
struct ctl;
struct sandbox_keep;

#define VM_MAX_NETS 4

/* A network of a VM: a link that is open, and what the guest's card is to say. */
struct vm_net {
	int fd;	     /* Ethernet frames (net_link.h); does not block */
	bool stream; /* ... with their lengths before them; else a tap */
	bool has_mac;
	uint8_t mac[6]; /* if has_mac; else one is made of the VM's name */
	uint16_t mtu;	/* 0: the guest is not told */
};

struct vm_config {
	const char *name;      /* at most VM_NAME_MAX bytes */
	bool is_copy;	       /* for vm_info: the name is NAME-N, of one of several copies */
	uint64_t ram_bytes;    /* multiple of 4 KiB, not 0 */
	unsigned int nr_vcpus; /* 1..VM_MAX_VCPUS; more than 1 needs the irqchip */
	bool irqchip;	       /* PIC, I/O APIC, local APICs and PIT in the kernel */
	enum vm_paging paging;
	enum gmem_hugepages hugepages;
	unsigned int max_mappings; /* as in gmem_config */
	enum keeper_mode merge;
	uint64_t merge_pages_per_s; /* pace of the keeper; 0: automatic */
	const char *domain;	    /* for vm_info, at most VM_DOMAIN_MAX bytes; NULL: its own */
	unsigned int reclaim;	    /* which of reclaim_policies[], or VM_RECLAIM_OFF */
	enum tendency_rule tendency;
	unsigned int swappiness; /* as in tendency.h */
	enum balloon_mode balloon;
	bool virtio_console; /* input is for a virtio-console, not the serial port */
	struct cpu_features features;
	bool vga_text;		   /* print what the guest writes to a PC's text screen */
	uint16_t exit_port;	   /* one more than abi.h has; 0: none */
	uint64_t timeout_ns;	   /* 0: none */
	uint64_t timeout_since_ns; /* from when on; 0: from vm_run on */
	bool rng;		   /* it has a virtio-rng */
	struct disk_spec disk[DISK_MOST];
	struct disk *open_disk[DISK_MOST]; /* borrowed: vm_open_disks() */
	unsigned int nr_disks;
	struct vm_net net[VM_MAX_NETS];
	unsigned int nr_nets;
	uint64_t start_ns;		    /* CLOCK_MONOTONIC when the process began */
	const struct gmem_credits *credits; /* borrowed; NULL: no limit but the host's */
	struct gmem_swap swap;		    /* unit 0: it has no swap file */
	const struct kvm_cpuid2 *cpuid;	    /* what cpuid_read() gave, borrowed; NULL: ask KVM */
	/*
	 * The main loop calls on_watch whenever watch_fd is readable.  It calls on_ending once,
	 * when the guest is about to be stopped: from then on, the callee keeps no vCPU waiting.
	 * Both may be NULL.
	 */
	int watch_fd;
	void (*on_watch)(void *ctx);
	void (*on_ending)(void *ctx);
	/* Called once, from a vCPU's thread, when the guest has printed this.  NULL: nothing. */
	const char *wait_for; /* 1..PHRASE_MAX bytes (phrase.h) */
	void (*on_printed)(void *ctx);
	/*
	 * The main loop calls this in every round if the VM has a balloon.  Returns when to call it
	 * again at the latest; UINT64_MAX: there is no such time.  May be NULL.
	 */
	uint64_t (*on_balloon)(void *ctx, struct vm *vm);
	/* The main loop calls this after a crash report, to have it disassembled.  May be NULL. */
	void (*on_code)(void *ctx, const struct code *code);
	/* reclaimer_config.tell; the reclaimer's thread calls it.  May be NULL. */
	void (*tell_reclaim)(void *ctx, const struct reclaim_record *record);
	/* keeper_config.join; the keeper's thread calls it.  NULL: there is never a machine. */
	int (*join)(void *ctx);
	void *ctx;
};

/* Lay RAM of this size around the hole below 4 GiB (abi.h).  Returns the number of ranges. */
#define VM_MAX_RAM 2
unsigned int vm_ram_layout(uint64_t ram_bytes, struct gfn_range ram[VM_MAX_RAM]);

/*
 * Open config's disks, before the process gives up its user's id.  0; -errno with *err, and some
 * may be open.  vm_close_disks() closes those that are.  kept has disk_open()'s for each of them,
 * which becomes theirs, or is NULL.  vm_hold_disks() closes them, but keeps the images locked:
 * image[i] becomes the descriptor of that of disk i, or -1.
 */
int vm_open_disks(struct vm_config *config, const struct disk_kept *kept, struct quire_error *err);
void vm_close_disks(struct vm_config *config);
void vm_hold_disks(struct vm_config *config, int image[DISK_MOST]);

/* How much memory those that are open will need in the VM's process, at worst. */
uint64_t vm_disks_memory(const struct vm_config *config);

/*
 * The virtio devices that a VM with this configuration has.  Returns their number; it is more than
 * QUIRE_VIRTIO_SLOTS if there is no room for all, and then *slot is incomplete.
 */
unsigned int vm_virtio_slots(const struct vm_config *config,
			     struct virtio_slot slot[QUIRE_VIRTIO_SLOTS]);

/*
 * Create a VM: guest memory (all absent), KVM's VM, vCPUs, devices, console.  From now on the
 * signals of signals.h are for vm_run().
 *
 * 0; -errno with the reason in *err.  -EDOM: no VM like this is possible on this host, because its
 * processors cannot address so much memory, or KVM has not so many vCPUs.
 */
int vm_create(const struct vm_config *config, struct vm **out, struct quire_error *err);

/* Give everything back.  Not if vm_is_stuck().  NULL is fine. */
void vm_destroy(struct vm *vm);

/* Add the descriptors that the VM needs in the sandbox (sandbox.h). */
void vm_keep(const struct vm *vm, struct sandbox_keep *keep);

/* Set how vCPU 0 starts.  The others wait for INIT and SIPI.  0 or -errno with *err. */
int vm_set_start(struct vm *vm, const struct image_plan *plan, struct quire_error *err);

/* Frequency of the guest's time-stamp counter in kHz; 0: KVM does not tell. */
uint32_t vm_tsc_khz(const struct vm *vm);

/*
 * Run the guest to its end; the calling thread is the main loop.  Starts all other threads.  In the
 * sandbox, each thread is held to its role before the guest runs.  ctl may be NULL.
 *
 * Prints the guest's output.  If the guest did not end by itself, prints one line or a crash report
 * on standard error.  Returns the exit status (abi.h).
 */
int vm_run(struct vm *vm, struct ctl *ctl);

/* After vm_run: did the VM end because its guest reset itself?  Then its status was 0. */
bool vm_was_reset(const struct vm *vm);

/*
 * After vm_run: is a vCPU still inside KVM_RUN, so that its memory cannot be freed?  Then the
 * process must end by _exit().
 */
bool vm_is_stuck(const struct vm *vm);

/*
 * End the VM with an exit status, and with a line for the user unless fmt is NULL.  From any
 * thread.  False: somebody did so before, and nothing changed.
 */
__attribute__((format(printf, 3, 4))) bool vm_end(struct vm *vm, int status, const char *fmt, ...);

/* Make the main loop begin its next round.  From any thread. */
void vm_wake(struct vm *vm);

struct gmem *vm_gmem(struct vm *vm);
unsigned int vm_nr_vcpus(const struct vm *vm);

/* Fill *out.  Main loop, or after vm_run. */
void vm_info(struct vm *vm, struct vm_info *out);

/*
 * Keep the guest from running.  Main loop only; pausing twice is fine.  A paused VM answers
 * whatever it is asked, and can be ended.  The guest's clocks go on, and a timer that expires
 * meanwhile fires when the guest goes on: to the guest, a pause is a moment in which no instruction
 * was executed.
 *
 * 0; -ETIMEDOUT: a vCPU did not leave KVM_RUN or a device within timeout_ms, because it waits for
 * memory or for the reader of the guest's output.  Then the VM is VM_PAUSING until that vCPU does.
 */
int vm_pause(struct vm *vm, unsigned int timeout_ms);

/* Let the guest run again.  Main loop only; doing so twice is fine. */
void vm_resume(struct vm *vm);

/*
 * Have pages swapped out that were not touched since GMEM_BY_HAND forgot that, or `all`, as
 * reclaimer_begin_swap does.  0; -EBUSY: another such request is under way; -ENODEV: the VM has no
 * swap file.  vm_end_swap is as reclaimer_end_swap.  Main loop only.
 */
int vm_begin_swap(struct vm *vm, gfn_t gfn, uint64_t nr, bool all, uint64_t *ticket);
int vm_end_swap(struct vm *vm, uint64_t ticket, struct gmem_swapped *out);

/* reclaimer_look() of the VM's reclaimer; without one, nothing is known.  gfn is RAM. */
void vm_reclaim_look(const struct vm *vm, gfn_t gfn, struct reclaimer_page *out);

/* reclaimer_ask() of the VM's reclaimer, if it has one.  From any thread, before vm_run ends. */
void vm_ask_reclaim(struct vm *vm, uint64_t pages);

/*
 * The machine wants the guest to stand still, or to go on: load control.  That and vm_pause() do
 * not mix: the guest runs when neither is in force.  Any thread.
 */
void vm_suspend(struct vm *vm, bool on);

/* keeper_set_mode() of the VM's keeper.  Main loop only. */
void vm_set_merge(struct vm *vm, enum keeper_mode mode);

/* keeper_request_pass() of the VM's keeper.  Main loop only. */
uint64_t vm_merge_pass(struct vm *vm);

/* How often the guest is asked for statistics just now, in ns.  Main loop only, with a balloon. */
uint64_t vm_balloon_period(const struct vm *vm);

/* Set the balloon's target.  manual: an operator set it.  Main loop only. */
void vm_set_balloon(struct vm *vm, uint64_t pages, bool manual);

/*
 * Copy what the VM knows of its balloon to *out: everything but `asks` and `touches`.  Main loop,
 * or after vm_run.
 */
void vm_balloon_record(struct vm *vm, struct balloon_record *out);

/* The terminal has this size; 0: unknown.  Main loop only. */
void vm_set_window(struct vm *vm, uint16_t columns, uint16_t rows);

/*
 * Input that the guest has not read when it resets itself belongs to its next process.  vm_run()
 * has returned: copy up to VM_INPUT_BYTES of it, and return how many.  vm_give_input(): the same,
 * before vm_run().  So does the first half of a key of ours (escape.h), which is neither's yet.
 */
#define VM_INPUT_BYTES 4096u
size_t vm_take_unread(struct vm *vm, char data[VM_INPUT_BYTES]);
void vm_give_input(struct vm *vm, const char *data, size_t bytes);
bool vm_has_begun_key(const struct vm *vm);
void vm_begin_key(struct vm *vm);

/* End the VM in order, as SIGTERM does.  From any thread. */
void vm_stop(struct vm *vm);

/*
 * Interrupt vCPU `cpu`, copy its registers, and let it go on.  Main loop only.
 * 0; -ENOENT: there is no such vCPU; -ETIMEDOUT: it did not leave KVM_RUN within timeout_ms.
 */
int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state);

/* Copy the last lines that the guest has printed.  From any thread. */
void vm_tail(struct vm *vm, struct tail *out);

/* What walk_2d() needs to know of a vCPU: the registers that concern paging. */
void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out);
void vcpu_walk_registers(const struct vm *vm, const struct kvm_sregs *sregs, uint64_t rflags,
			 struct walk_cpu *out);

#endif
