/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LAUNCH_H
#define QUIRE_VMM_LAUNCH_LAUNCH_H

/*
 * The launcher: what `quire run` becomes once it knows what to run.
 *
 * It finds a machine or starts one, has it admit each copy of the VM, and executes a process for
 * each copy that was admitted.  Then it stays: it passes on output and signals, brings the VMs to a
 * new machine if theirs dies, and says how each of them ended.
 */
#include <quire/error.h>
#include <quire/types.h>
#include <sys/types.h>
#include "mmu/machine/ledger.h"
#include "mmu/base/machine_protocol.h"
#include "vmm/vm/vm.h"
#include "net_source.h"

#define LAUNCH_MAX_COPIES 4096u
#define LAUNCH_MAX_FILES  160u
#define LAUNCH_MAX_NETS	  4u

/* The abstract address of a launcher's own machine, with uid and pid. */
#define LAUNCH_MACHINE_ADDRESS "@quire/machine/%u.%d"

struct vm_info;

/* A cgroup of its own for each VM, in which the kernel bounds its memory (cgroup.h). */
enum launch_cgroup {
	LAUNCH_CGROUP_NONE,    /* the launcher may make none here */
	LAUNCH_CGROUP_REFUSED, /* the launcher may, but this one could not be made */
	LAUNCH_CGROUP_OWN,
};

/* How a copy came to its end. */
enum launch_how {
	LAUNCH_NOT_STARTED, /* the launch was stopped before its turn, or it got no process */
	LAUNCH_REFUSED,	    /* by the machine */
	LAUNCH_KILLED,	    /* its process was ended by a signal */
	LAUNCH_ENDED,	    /* its process ended by itself */
};

/* A copy at its end: what is known of it, and no more. */
struct launch_end {
	const char *name;
	enum launch_how how;
	int status;		    /* its exit status; NOT_STARTED: 0 if it was not tried */
	pid_t pid;		    /* 0: it had no process */
	int signal;		    /* KILLED: by which */
	bool overdue;		    /* KILLED: by the launcher, because it did not end in time */
	const struct vm_info *info; /* counters that it left; NULL: none */
	const char *machine;	    /* the address of its machine, if `gone`, */
	uint32_t id;		    /* its number there, */
	const struct machine_gone *gone; /* and what the machine said at its end; NULL: nothing */
	const struct machine_refusal *refusal; /* REFUSED: why, in numbers ... */
	const char *text;		       /* ... and as a line */
};

struct launch_disk {
	const struct disk_spec *spec;
	int image; /* open, and locked until all VMs have ended */
};

struct launch_config {
	unsigned int copies; /* 1..LAUNCH_MAX_COPIES */
	const char *name;    /* of the VM; several copies are NAME-1, NAME-2 ... */
	uint64_t ram_bytes;
	unsigned int nr_vcpus;
	bool no_reboot;		  /* a guest that resets itself ends, with status 0 */
	unsigned int max_reboots; /* it may do so this often */
	uint64_t device_bytes;	  /* that its devices need of memory, besides */
	uint64_t timeout_ns; /* each VM keeps it by itself, or is killed a bit later; 0: none */
	int oom_score_adj;
	enum balloon_mode balloon;
	uint64_t balloon_min_pages; /* means nothing if there is no balloon */
	uint32_t shares;
	const char *domain; /* pages are merged within it; "": each VM with itself alone */

	bool own_machine;	     /* start our own, even if another machine is there */
	const char *machine;	     /* its address; NULL: the default's, or else our own */
	struct ledger_config ledger; /* of our own machine */
	const char *own_option;	     /* a given option that needs our own machine; NULL: none */
	/*
	 * What each guest is to print before whoever started the run may go on.  Then a byte is
	 * written to `caller` (detach.h), once all output so far is written.  NULL: nothing.
	 */
	const char *wait_for;
	int caller; /* becomes launch()'s to close; if it hangs up before, the run is stopped */

	bool raw; /* the only guest has all keys of our terminal, Ctrl-C too (terminal.h) */

	bool bounded;	     /* each VM gets a cgroup, where the host permits it ... */
	uint64_t file_bytes; /* ... with room for files in memory that it writes (cgroup_charges) */
	bool strict;	     /* no machine will do whose frames others could write */
	bool stop_when_lost; /* if the machine is lost, VMs stop instead of going on */

	/*
	 * Called once, after all copies have ended: `end` has an element for each of them, in
	 * order.  machine is NULL if no machine answers any more.  0 or -errno.  NULL: nobody wants
	 * them.
	 */
	int (*write_stats)(void *ctx, const struct machine_state *machine,
			   const struct launch_end *end, unsigned int nr);

	/*
	 * Called once, before there is a VM, and while a machine of our own starts: sets what
	 * depends on the image, `raw` and vm_file.  0; or an exit status or -errno, with *err.
	 */
	int (*complete)(void *ctx, struct quire_error *err);
	void *ctx;

	/* What each VM's process inherits; the first one is its record (vm_record.h). */
	int vm_file[LAUNCH_MAX_FILES];
	unsigned int nr_vm_files;

	/* Open; each VM gets a link of each of them, behind its files. */
	struct net_source net[LAUNCH_MAX_NETS];
	unsigned int nr_nets;

	/*
	 * Disks.  Behind its links, each VM gets for each of them the file that its guest changes:
	 * the image, or an overlay's.  A copy has the same files until its end, however often it is
	 * started again.
	 */
	struct launch_disk disk[DISK_MOST];
	unsigned int nr_disks;

	/* Each process of a VM gets a swap file of its own, behind all of these.  NULL: none. */
	const char *swap_dir;
	uint64_t swap_file_bytes;
};

/*
 * Run all copies to their ends.  Prints messages.  Returns the highest exit status of all copies
 * (abi.h).
 */
int launch(const struct launch_config *config);

/*
 * How many pages a VM costs the host besides its RAM, at worst.  They are promised and
 * charged as a whole.  They are for:
 *
 *   - its process, with the kernel's part of it, and a thread for each vCPU;
 *   - four sets of tables for all of its RAM: stage 2, KVM's own, and those of the two mappings of
 *     the RAM file;
 *   - for each page nine bits of the keeper's, and 18 bytes once pages leave (mmu/reclaim).
 */
uint64_t launch_overhead_pages(uint64_t ram_bytes, unsigned int nr_vcpus);

#endif
