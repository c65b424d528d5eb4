/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_MACHINE_PROTOCOL_H
#define QUIRE_MMU_BASE_MACHINE_PROTOCOL_H

/*
 * What the machine, launchers and VMs say to each other.  This header is the manual.
 *
 * Transport: unix SOCK_SEQPACKET; each packet is exactly one struct machine_msg, in host byte
 * order, with at most one descriptor attached (SCM_RIGHTS).  Two kinds of connection:
 *
 *   control   a launcher (`quire run`) or a question (`quire stat`) connects to the machine's
 *             socket.  The machine takes it only from its own uid or root (SO_PEERCRED).
 *   channel   a VM process and the machine.  Made by the machine (socketpair) when it admits
 *             the VM, handed to the launcher, inherited by the VM.  A VM that was taken over
 *             by its guest can say nothing here that concerns another VM.
 *
 * Control
 *   client                          machine
 *   HELLO                     -->
 *                             <--   HELLO              (version, machine's pid)
 *   ADMIT                     -->                      one VM's promise, before it allocates
 *                             <--   ADMITTED + channel  or REFUSED with the ledger's sum;
 *                                                      -EAGAIN: try again, others were asked for
 *                                                      what they can spare
 *   STARTED + pidfd           -->                      the process that will hold the channel
 *                             <--   GONE               the VM's end, unasked: why, with numbers
 *   GET                       -->
 *                             <--   STATE              ledger and budget
 *   LIST (vm: from which id)  -->
 *                             <--   VM ... VM, END     one per VM in order of id, at most
 *                                                      LIST_MAX; END's vm says where to go on,
 *                                                      0: that was the last
 *   DOMAINS (vm: from which)  -->
 *                             <--   DOMAIN ... END     as LIST; vm is the domain's own id
 *   ELSEWHERE (vm)            -->
 *                             <--   PAGES              hints of this VM whose hash another domain
 *                                                      has too: what one domain would gain; or
 *                                                      REFUSED (-ESRCH: no such VM).  Never told
 *                                                      to a VM: it would learn what others have
 *   SET                       -->                      mode, ratio, memory, swap
 *                             <--   STATE              or REFUSED
 *   BALLOON_GET (vm)          -->
 *                             <--   BALLOON_STATE      or REFUSED (-ESRCH: no such VM; -EOPNOTSUPP:
 *                                                      it was started without a balloon)
 *   BALLOON_SET (vm)          -->                      a target by hand, or from now on the
 *                                                      policy's
 *                             <--   BALLOON_STATE      or REFUSED (also -ERANGE: below the minimum)
 *   BALLOON_WHY (vm, pages:   -->                      a decision of the policy, 0 is the newest
 *   which)                    <--   DECISION           or END: there are not so many; or REFUSED
 *
 * Requests are answered in order; GONE may come between a request and its answer.  A HELLO of
 * another version is answered with REFUSED (-EPROTONOSUPPORT) before the connection ends.
 *
 * Channel
 *   VM                              machine
 *   ATTACH + RAM file         -->                      once; read-only, on tmpfs: the machine
 *                                                      counts its blocks, and can never write it
 *   CREDIT                    -->                      need pages now, want more
 *                             <--   GRANT              at least need; or DENIED: nobody can be
 *                                                      killed for it, the VM must end
 *   RETURN                    -->                      unspent credits
 *   JOIN + socket             -->                      once, after ATTACH: one end of a unix
 *                                                      SOCK_SEQPACKET pair, over which equal
 *                                                      pages are found (merge_protocol.h)
 *   BALLOON                   -->                      how the guest and its balloon are: about
 *                                                      once a second while there is a driver, and
 *                                                      when something changed that cannot wait
 *                             <--   BALLOON_TARGET     how large the balloon ought to be
 *                             <--   RECALL             please return what you can spare
 *                             <--   STOP               end in order
 *
 * A VM has at most one CREDIT unanswered, never asks for more than its promise of RAM less the
 * credits it holds, and returns no more than it holds.  need 0 asks for a batch ahead of time:
 * it is answered at once, with GRANT of 0 pages if memory is short.  A RECALL is answered by
 * one RETURN, of 0 pages if need be; until then no other RECALL comes.  `vm` means nothing on a
 * channel.
 *
 * Balloons.  What BALLOON says comes from the guest, or from a VM that its guest took over: it is
 * cut down to what can be, and decides about this VM's own memory.  Neither side waits for the
 * other.  A new machine learns from BALLOON what target the VM has, and whose it was.
 *
 * Domains.  VMs admitted with the same `domain` share their equal pages; a VM without one shares
 * with itself alone.  A domain exists from its first member's JOIN to its last member's end.
 *
 * The VM's end is the end of its process, if the machine was told of one (STARTED), else the
 * channel's hang-up: everything it held returns.  A VM that hangs up and lives on keeps its
 * account, because it keeps its pages.
 *
 * A machine that dies: the launcher sees its control connection hang up.  When it finds a new
 * machine it says HELLO, and ADMIT with readmit set and the credits that the VM holds for each of
 * its VMs; a readmission is refused only if it is malformed.  The new channel goes to the VM
 * through the launcher, and the VM says ATTACH again.
 *
 * Anything else (a packet of another size, wrong magic or version, an unknown type, a type out
 * of place, a descriptor that is not what it should be, no HELLO within HELLO_SECONDS, more
 * packets unread than the socket buffer holds) ends that connection, and only that.  A VM whose
 * channel broke the rules is killed.
 */
#include <quire/types.h>
#include "balloon_decision.h"
#include "balloon_record.h"

#define MACHINE_MAGIC	      0x4d434851u /* "QHCM" */
#define MACHINE_VERSION	      4
#define MACHINE_NAME_MAX      47
#define MACHINE_HELLO_SECONDS 5
#define MACHINE_LIST_MAX      64

/* No number of pages in a request is larger: 64 bits of bytes. */
#define MACHINE_PAGES_MAX (1ULL << 52)

#define MACHINE_SHARES_DEFAULT 1000u
#define MACHINE_SHARES_MAX     1000000u

/* Abstract address of the machine that `quire machine` runs and `quire run` joins by default:
 * "\0quire/machine/UID". */
#define MACHINE_ADDRESS "quire/machine/%u"

enum machine_type {
	/* control, client to machine */
	MACHINE_HELLO = 1,
	MACHINE_ADMIT,
	MACHINE_STARTED,
	MACHINE_GET,
	MACHINE_LIST,
	MACHINE_SET,
	MACHINE_DOMAINS,
	MACHINE_ELSEWHERE,
	MACHINE_BALLOON_GET,
	MACHINE_BALLOON_SET,
	MACHINE_BALLOON_WHY,
	/* control, machine to client (HELLO too) */
	MACHINE_ADMITTED = 32,
	MACHINE_REFUSED,
	MACHINE_GONE,
	MACHINE_STATE,
	MACHINE_VM,
	MACHINE_END,
	MACHINE_DOMAIN,
	MACHINE_PAGES,
	MACHINE_BALLOON_STATE,
	MACHINE_DECISION,
	/* channel, VM to machine */
	MACHINE_ATTACH = 64,
	MACHINE_CREDIT,
	MACHINE_RETURN,
	MACHINE_JOIN,
	MACHINE_BALLOON,
	/* channel, machine to VM */
	MACHINE_GRANT = 96,
	MACHINE_DENIED,
	MACHINE_RECALL,
	MACHINE_STOP,
	MACHINE_BALLOON_TARGET,
	MACHINE_NR_TYPES,
};

/* Why a VM is gone. */
enum machine_reason {
	MACHINE_ENDED,	    /* its process ended, or was killed by somebody else */
	MACHINE_OOM,	    /* chosen when memory ran out */
	MACHINE_MISBEHAVED, /* its channel broke the rules */
};

struct machine_admit {
	uint64_t ram_pages;	 /* promise: RAM, not 0 ... */
	uint64_t overhead_pages; /* ... and its process and tables */
	uint64_t credit_pages;	 /* readmit: what it holds, at most ram_pages; else 0 */
	int32_t oom_score_adj;
	uint32_t readmit;		   /* 0 or 1 */
	char name[MACHINE_NAME_MAX + 1];   /* printable ASCII without blanks, may be empty */
	char domain[MACHINE_NAME_MAX + 1]; /* the same; empty: one of its own */
	uint32_t balloon;		   /* enum balloon_mode, and unless it is off: */
	uint32_t shares;		   /* of the machine's memory, 1..MACHINE_SHARES_MAX */
	uint64_t balloon_min_pages;	   /* the guest keeps at least these, at most ram_pages */
};

/* BALLOON_TARGET, and BALLOON_SET. */
struct machine_balloon_target {
	uint64_t pages;	 /* size of the balloon */
	uint32_t manual; /* 0 or 1; SET with 0: the policy decides, pages means nothing */
	uint32_t pad;
};

/* BALLOON_STATE */
struct machine_balloon_state {
	uint32_t mode;	 /* as admitted */
	uint32_t manual; /* 0: the policy decides */
	uint32_t shares;
	uint32_t heard; /* 0: the VM has said nothing of its balloon yet */
	uint64_t ram_pages, min_pages;
	uint64_t target_pages;	    /* what the machine wants it to be */
	struct balloon_record said; /* if heard, as far as it can be */
};

/* DECISION */
struct machine_decision {
	uint64_t now_ns;
	struct balloon_decision what;
};

struct machine_vm_record {
	uint64_t ram_pages, overhead_pages, credit_pages;
	uint64_t resident_pages; /* blocks of its RAM file, by the kernel's count */
	int32_t oom_score_adj;
	int32_t pid;
	char name[MACHINE_NAME_MAX + 1];
	char domain[MACHINE_NAME_MAX + 1];
	uint64_t shared_refs; /* references to store frames that it holds */
};

struct machine_domain_record {
	char name[MACHINE_NAME_MAX + 1];
	uint32_t vm; /* of a domain without a name: whose it is */
	uint32_t members;
	uint64_t pages_shared;	/* frames in use */
	uint64_t pages_sharing; /* references beyond the first of each */
	uint64_t hints;		/* pages that wait for a partner */
	/* Pages, since the domain exists: */
	uint64_t lookups;
	uint64_t promotions; /* became a frame */
	uint64_t no_memory;  /* had a frame or a partner, and could not be given one */
	uint64_t index_bytes, store_bytes; /* of metadata */
};

struct machine_gone {
	uint32_t reason;			    /* enum machine_reason */
	int64_t badness;			    /* OOM: its points ... */
	uint64_t resident_pages;		    /* ... and what it held */
	uint64_t need_pages, free_pages, min_pages; /* what was short */
};

/* Fields of struct machine_settings that are meant, in SET. */
enum machine_field {
	MACHINE_SET_MEMORY = 1 << 0,
	MACHINE_SET_SWAP = 1 << 1,
	MACHINE_SET_MODE = 1 << 2,  /* mode and guess */
	MACHINE_SET_RATIO = 1 << 3, /* and limit_in_pages = 0 */
	MACHINE_SET_LIMIT = 1 << 4, /* and limit_in_pages = 1 */
	MACHINE_SET_RESERVES = 1 << 5,
};

struct machine_settings {
	uint32_t fields; /* SET: enum machine_field bits; STATE: all */
	uint32_t mode, guess, ratio, limit_in_pages, pad;
	uint64_t memory_pages, swap_pages, limit_pages, reserved_huge_pages;
	uint64_t admin_reserve_pages, user_reserve_pages;
};

struct machine_state {
	struct machine_settings settings;
	uint64_t committed_pages, commit_limit_pages;
	uint64_t credit_pages, overhead_pages, resident_pages, free_pages;
	uint64_t min_pages, low_pages, high_pages;
	uint64_t admissions, refusals, oom_kills;
	uint32_t nr_vms;
	int32_t pid;
	uint64_t store_pages; /* frames of all domains; part of resident_pages */
	uint64_t store_references;
	uint64_t merge_metadata_bytes; /* of stores and indexes, besides */
	uint64_t nr_domains;
};

struct machine_msg {
	uint32_t magic;
	uint16_t version;
	uint16_t type; /* enum machine_type */
	uint32_t vm;   /* the VM meant, where there is one; ids start at 1 */
	int32_t error; /* REFUSED: -errno */
	union {
		struct machine_admit admit;
		struct machine_vm_record vm_record;
		struct machine_domain_record domain_record;
		struct machine_gone gone;
		struct machine_settings set;
		struct machine_state state;
		struct balloon_record balloon;
		struct machine_balloon_target target;
		struct machine_balloon_state balloon_state;
		struct machine_decision decision;
		struct {
			uint64_t need_pages, want_pages; /* CREDIT */
		} credit;
		uint64_t pages; /* ADMITTED, GRANT, RETURN, RECALL, PAGES, BALLOON_WHY */
		int32_t pid;	/* HELLO from the machine */
		char text[240]; /* REFUSED: one line */
	};
};

_Static_assert(sizeof(struct machine_msg) == 544, "a record has one size");

#endif
