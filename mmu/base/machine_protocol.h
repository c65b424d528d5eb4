/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_MACHINE_PROTOCOL_H
#define QUIRE_MMU_BASE_MACHINE_PROTOCOL_H

/*
 * What the machine, launchers and VM processes say to each other.  This header is the manual.
 *
 * Transport.  The sockets are unix SOCK_SEQPACKET.  Each packet is exactly one struct machine_msg
 * in host byte order.  A packet carries one descriptor (SCM_RIGHTS) where the tables below say so,
 * and none elsewhere.  There are two kinds of connection:
 *
 *   control   A client connects to the machine's socket: a launcher (`quire run`), or a command
 *             that has a question (`quire stat`).  The machine serves only clients of its own
 *             uid and root (SO_PEERCRED).
 *   channel   One VM process and the machine.  The machine makes the socket pair when it admits the
 *             VM and hands one end to the launcher, from which the VM process inherits it.  A VM
 *             process that was taken over by its guest can say nothing here about another VM.
 *
 * Control.  The client asks and the machine answers:
 *
 *   client                          machine
 *   HELLO                     -->                    always the first packet
 *                             <--   HELLO            with the machine's pid
 *   ADMIT                     -->                    promises memory for one VM, before the VM
 *                                                    allocates any
 *                             <--   ADMITTED + channel
 *                             or    REFUSED          with the sum in numbers.  -EAGAIN: guests were
 *                                                    asked for what they can spare; try again
 *   STARTED + pidfd           -->                    names the process that will hold the channel;
 *                                                    it has no answer
 *                             <--   GONE             the VM has ended; says why, with numbers and
 *                                                    its last account.  It comes unasked
 *   GET                       -->
 *                             <--   STATE            ledger and budget
 *   LIST (vm: the first id)   -->
 *                             <--   VM ... VM, END   one VM packet for each VM, in order of id, at
 *                                                    most LIST_MAX.  The vm of END is the id to go
 *                                                    on from; 0: there are no more
 *   DOMAINS (vm: the first)   -->
 *                             <--   DOMAIN ... END   as LIST; `vm` is the domain's id
 *   ELSEWHERE (vm)            -->
 *                             <--   PAGES            about how many hints of this VM another domain
 *                                                    has too: what it would gain if both were one
 *                                                    domain.  A sample of the pages is read.  VMs
 *                                                    are never told: they would learn what others
 *                                                    have
 *                             or    REFUSED          -ESRCH: there is no such VM
 *   SET                       -->                    changes settings: the fields that it names
 *                             <--   STATE
 *                             or    REFUSED
 *   BALLOON_GET (vm)          -->
 *                             <--   BALLOON_STATE
 *                             or    REFUSED          -ESRCH: there is no such VM; -EOPNOTSUPP: it
 *                                                    was started without a balloon
 *   BALLOON_SET (vm)          -->                    sets a target by hand, or hands the balloon
 *                                                    back to the policy
 *                             <--   BALLOON_STATE
 *                             or    REFUSED          as BALLOON_GET, and -ERANGE: the guest would
 *                                                    keep less than its minimum
 *   BALLOON_WHY (vm, pages)   -->                    asks for a decision of the policy; pages 0 is
 *                                                    the newest, 1 the one before, and so on
 *                             <--   DECISION
 *                             or    END              there are not so many
 *                             or    REFUSED          as BALLOON_GET
 *   KILL (vm)                 -->                    sends SIGKILL to the VM's process, for clients
 *                                                    that may send no signals
 *                             <--   END
 *                             or    REFUSED          -ESRCH: there is no such VM; -EPERM: its
 *                                                    process is not known, or may not be killed
 *   EVENTS (events)           -->                    asks for the log of events, from a sequence
 *                                                    number on; 0: from the oldest that is kept
 *                             <--   EVENT ... END    at most LIST_MAX, in order; those between
 *                                                    `from` and the first one are lost.  `pages`
 *                                                    of END is the number to go on from.  If there
 *                                                    is none yet, the answer comes with the next
 *                                                    one, after wait_ms, or with the client's next
 *                                                    packet
 *
 * The machine answers requests in order.  A GONE may come between a request and its answer.  The
 * answer to a HELLO of another version is REFUSED (-EPROTONOSUPPORT); then the connection ends.
 *
 * Channel.  Both sides may speak first:
 *
 *   VM                              machine
 *   ATTACH + RAM file         -->                    once.  The descriptor is read-only and on
 *                                                    tmpfs: the machine counts the file's blocks
 *                                                    and can never write them
 *   CREDIT                    -->                    needs need_pages now, and wants want_pages
 *                             <--   GRANT            at least need_pages
 *                             or    DENIED           not even by killing somebody: the VM must end
 *   CALL_OFF                  -->                    needs nothing any more.  A CREDIT that waits
 *                                                    is answered with a GRANT of 0 pages.  If it
 *                                                    has its answer, CALL_OFF has none
 *   RETURN                    -->                    gives unspent credits back; has no answer
 *   JOIN                      -->                    after ATTACH: asks for a connection over which
 *                                                    equal pages are found (merge_protocol.h).  A
 *                                                    VM gets one
 *                             <--   JOINED + socket  the VM's end of a unix SOCK_SEQPACKET pair
 *                             or    JOINED           without a descriptor: there is no memory for
 *                                                    it now
 *   BALLOON                   -->                    tells how the guest and its balloon are: about
 *                                                    once a second while there is a driver, and
 *                                                    sooner when a change cannot wait
 *                             <--   BALLOON_TARGET   says how large the balloon ought to be
 *                             <--   RECALL           asks for all credits that the VM can
 *                                                    spare.  VMs are not told how many are
 *                                                    short
 *   RECLAIMED                 -->                    tells of the VM's reclaim: once at its start,
 *                                                    about once a second while pages move or vCPUs
 *                                                    wait, and when a RECLAIM is done or given up
 *                             <--   RECLAIM (pages)  asks to free so many pages more, from now on.
 *                                                    It takes the place of the one before; 0: none
 *                             <--   SUSPEND (pages)  1: the guest is to stand still, and what can
 *                                                    leave is to leave.  0: it may go on
 *   SWAP_CREDIT (pages)       -->                    asks to use so much of the swap area
 *                             <--   SWAP_GRANT       so much of it may be used: at least a page, at
 *                                                    most what was asked.  It comes when there is
 *                                                    some
 *   SWAP_RETURN (pages)       -->                    gives it back
 *                             <--   STOP             asks the VM to end in order
 *
 * `vm` means nothing on a channel.
 *
 * Credits.  A VM has at most one CREDIT unanswered.  It needs no more than MACHINE_NEED_MAX pages,
 * because another VM may be killed for them, and no access can use more.  A VM that needs more asks
 * again when it has these.  It needs at most its promise of RAM less the credits that it holds.  It
 * may want any number.  It returns no more than it holds.
 *
 * A VM that waits may get what it needs from itself: a balloon grows, pages become shared.  Then it
 * says CALL_OFF, so that nobody is killed for it.  It still waits for the one answer to its CREDIT,
 * before it sends another.  If the two cross, that may be a GRANT of pages, or a DENIED that means
 * nothing any more.
 *
 * What a VM occupies is measured: the blocks of its RAM file and, where the machine can see it, the
 * memory of its process.  A VM that has clearly more of them than credits and overhead is killed
 * (oom_unpaid()).  When somebody must be killed for want of memory, a VM that holds more than its
 * due is killed first (mmu/machine/oom.h): in particular one that keeps credits through a RECALL
 * which it does not use.
 *
 * need_pages 0 asks for a batch ahead of time: the machine answers at once, with a GRANT of 0 pages
 * if memory is short.  A VM answers each RECALL by one RETURN, of 0 pages if it can spare none.
 * The machine sends no other RECALL before that.
 *
 * Balloons.  A BALLOON comes from the guest, or from a VM process that its guest took over.  So the
 * machine cuts its numbers down to what is possible, and uses them for decisions about this VM's
 * own memory only.  Neither side waits for the other.  A new machine learns from BALLOON what
 * target the VM has, and whether an operator set it.
 *
 * Reclaim.  Only a VM that has sent a RECLAIMED is asked to reclaim or to stand still.  A RECLAIMED
 * is as little to be believed as a BALLOON.  What was freed counts when its credits come back.
 *
 * Swap.  The machine's swap is a quota in pages.  A VM keeps its pages in a file of its own, and
 * uses no more of it than it was granted.  It has at most one SWAP_CREDIT unanswered, and holds at
 * most as much as its RAM.
 *
 * Domains.  VMs that were admitted with the same `domain` share their equal pages.  A VM without a
 * domain shares pages with itself alone.  A domain exists from the JOIN of its first member to the
 * end of its last.
 *
 * The end of a VM.  If the launcher named the VM's process (STARTED), the VM ends with that
 * process.  Otherwise it ends when the channel hangs up.  Then the machine takes back everything
 * that the VM held.  A named process that hangs up and lives on keeps its account, because it keeps
 * its pages.
 *
 * The end of a machine.  The launcher sees its control connection hang up.  When it finds a new
 * machine, it says HELLO, and for each of its VMs ADMIT with `readmit` set, and the credits and the
 * swap that the VM holds.  The machine refuses a readmission only if it is malformed.  The new
 * channel goes to the VM through the launcher, and the VM says ATTACH again.  A VM whose machine is
 * lost is asked for nothing, and its guest does not stand still.
 *
 * Broken rules.  Each of these ends the connection, and only that one.  If it was a channel, the VM
 * is killed:
 *
 *   - a packet of another size, or with a wrong magic or version;
 *   - a packet of an unknown type, or of one that is out of place;
 *   - a descriptor that is not what it should be;
 *   - no HELLO within HELLO_SECONDS;
 *   - more unread packets than the socket buffer holds.
 */
#include <quire/types.h>
#include "balloon_decision.h"
#include "balloon_record.h"
#include "machine_event.h"
#include "reclaim_record.h"

#define MACHINE_MAGIC	       0x4d434851u /* "QHCM" */
#define MACHINE_VERSION	       13
#define MACHINE_NAME_MAX       47
#define MACHINE_HELLO_SECONDS  5
#define MACHINE_LIST_MAX       64
#define MACHINE_EVENTS_WAIT_MS 60000  /* the most that EVENTS may wait */
#define MACHINE_LIST_ALL       32768u /* a whole list: twice as many as a machine has VMs */

/* The largest number of pages in a request: as many as 64 bits of bytes. */
#define MACHINE_PAGES_MAX (1ULL << 52)

/* The most that one CREDIT may need: no access brings in more than a block of 2 MiB. */
#define MACHINE_NEED_MAX QUIRE_BLOCK_PAGES

#define MACHINE_SHARES_DEFAULT 1000u
#define MACHINE_SHARES_MAX     1000000u

/* The default address: an abstract one, with the user's uid. */
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
	MACHINE_EVENTS,
	MACHINE_KILL,
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
	MACHINE_EVENT,
	/* channel, VM to machine */
	MACHINE_ATTACH = 64,
	MACHINE_CREDIT,
	MACHINE_RETURN,
	MACHINE_JOIN,
	MACHINE_BALLOON,
	MACHINE_CALL_OFF,
	MACHINE_RECLAIMED,
	MACHINE_SWAP_CREDIT,
	MACHINE_SWAP_RETURN,
	/* channel, machine to VM */
	MACHINE_GRANT = 96,
	MACHINE_DENIED,
	MACHINE_RECALL,
	MACHINE_STOP,
	MACHINE_BALLOON_TARGET,
	MACHINE_JOINED,
	MACHINE_RECLAIM,
	MACHINE_SUSPEND,
	MACHINE_SWAP_GRANT,
	MACHINE_NR_TYPES,
};

/* Why a VM has ended. */
enum machine_reason {
	MACHINE_ENDED,	    /* its process ended, or somebody else killed it */
	MACHINE_OOM,	    /* the machine ran out of memory and killed it */
	MACHINE_MISBEHAVED, /* its channel broke the rules, and the machine killed it */
	MACHINE_EXCEEDED,   /* it occupied more than it was charged, and the machine killed it */
};

/* ADMIT: what a VM promises to use at most. */
struct machine_admit {
	uint64_t ram_pages;	 /* RAM; not 0 */
	uint64_t overhead_pages; /* its process and tables */
	uint64_t credit_pages;	 /* readmit: credits that it holds, at most ram_pages; else 0 */
	uint64_t swap_pages;	 /* readmit: swap that it holds, at most ram_pages; else 0 */
	int32_t oom_score_adj;
	uint32_t readmit;		   /* 0 or 1 */
	char name[MACHINE_NAME_MAX + 1];   /* printable ASCII without blanks; may be empty */
	char domain[MACHINE_NAME_MAX + 1]; /* the same; empty: it shares with itself alone */
	uint32_t balloon;		   /* enum balloon_mode; off: the next two mean nothing */
	uint32_t shares;		   /* of the machine's memory, 1..MACHINE_SHARES_MAX */
	uint64_t balloon_min_pages;	   /* the guest keeps at least these; at most ram_pages */
};

/* BALLOON_TARGET, and BALLOON_SET. */
struct machine_balloon_target {
	uint64_t pages;	 /* size of the balloon */
	uint32_t manual; /* 1: an operator's; SET with 0: the policy decides, pages means nothing */
	uint32_t pad;
};

/* BALLOON_STATE */
struct machine_balloon_state {
	uint32_t mode;	 /* enum balloon_mode, as admitted */
	uint32_t manual; /* 1: an operator set the target; 0: the policy decides */
	uint32_t shares;
	uint32_t heard; /* 1: the VM has sent a BALLOON */
	uint64_t ram_pages, min_pages;
	uint64_t target_pages;	    /* how large the machine wants the balloon to be */
	struct balloon_record said; /* if heard: the last BALLOON, cut down to what is possible */
};

/* DECISION */
struct machine_decision {
	uint64_t now_ns; /* when this answer was sent */
	struct balloon_decision what;
};

/* EVENTS */
struct machine_events {
	uint64_t from;	  /* the first sequence number that is wanted */
	uint32_t wait_ms; /* for the first one, at most MACHINE_EVENTS_WAIT_MS */
	uint32_t pad;
};

/* VM: what the machine knows of one VM. */
struct machine_vm_record {
	uint64_t ram_pages, overhead_pages, credit_pages;
	uint64_t resident_pages;       /* blocks of its RAM file, by the kernel's count */
	uint64_t swap_pages;	       /* of the machine's swap that it holds */
	struct reclaim_record reclaim; /* its last RECLAIMED, cut down to what is possible */
	uint64_t asked_pages;	       /* to free, and not come back yet */
	uint64_t reclaimed_pages;      /* that came back because it was asked, ever */
	uint32_t ignores;	       /* 1: it says it could free pages, and does not */
	uint32_t suspended;	       /* 1: it is to stand still, so that others get on */
	uint64_t suspensions;	       /* how often it was, ever */
	uint64_t suspended_ns;	       /* and for how long, but for the one in force */
	int32_t oom_score_adj;
	int32_t pid;
	char name[MACHINE_NAME_MAX + 1];
	char domain[MACHINE_NAME_MAX + 1];
	uint64_t shared_refs; /* references to frames of the store that it holds */
	/* Pages that it looked up, since it joined its domain. */
	uint64_t lookup_misses;	  /* nobody had the same */
	uint64_t lookup_unproven; /* they did not have the hash that it looked for */
	uint64_t lookup_late;	  /* they were put off, because it missed too often */
};

/* DOMAIN: what the machine knows of one domain. */
struct machine_domain_record {
	char name[MACHINE_NAME_MAX + 1]; /* empty: the domain of one VM without a domain */
	uint32_t vm;			 /* ... and this is its id */
	uint32_t members;
	uint64_t pages_shared;	/* frames in use */
	uint64_t pages_sharing; /* references beyond the first to each frame */
	uint64_t hints;		/* pages that wait for a partner */
	/* Pages, counted since the domain exists. */
	uint64_t lookups;
	uint64_t promotions;		   /* a frame was made for them */
	uint64_t no_memory;		   /* a partner was there, but no memory for a frame */
	uint64_t archives;		   /* frames that were made of cold ones ... */
	uint64_t archived;		   /* ... and how many were packed into them */
	uint64_t collisions;		   /* they had the hash of a frame, and other bytes */
	uint64_t index_bytes, store_bytes; /* of metadata */
};

/* What a VM had when the machine looked at it.  mmu/machine/oom.h says how it counts. */
struct machine_holding {
	uint64_t ram_pages;	 /* that it promised */
	uint64_t resident_pages; /* blocks of its RAM file, by the kernel's count */
	uint64_t credit_pages;
	uint64_t alone_pages; /* frames of the store to which it alone had references */
	uint64_t share_pages; /* its part of the other frames that it had references to */
	uint64_t overhead_pages;
	uint64_t ignored_pages; /* that it was asked to free, and did not although it could */
	uint64_t anon_pages;	/* memory of its process, by the kernel's count; 0: not known */
	int32_t oom_score_adj;
	uint32_t pad;
};

/* GONE.  `had` is for MACHINE_OOM and MACHINE_EXCEEDED, other numbers are for MACHINE_OOM. */
struct machine_gone {
	uint32_t reason;			    /* enum machine_reason */
	int64_t badness;			    /* the points for which the VM was chosen ... */
	struct machine_holding had;		    /* ... and what they were for */
	uint64_t need_pages, free_pages, min_pages; /* what was asked for, and what was there */
	struct machine_vm_record last; /* its account, just before everything was taken back */
};

/* The book that a promise did not fit in. */
enum machine_book {
	MACHINE_NO_BOOK, /* the request is malformed, or this machine takes no VM now */
	MACHINE_LEDGER,	 /* overcommit */
	MACHINE_BUDGET,	 /* there are not enough free pages for its overhead */
};

/* REFUSED, after an ADMIT: why, in numbers.  Fields that do not belong to the book are 0. */
struct machine_refusal {
	uint32_t book;		/* enum machine_book */
	uint32_t mode;		/* ledger: enum overcommit_mode */
	uint64_t request_pages; /* ledger: RAM and overhead; budget: overhead */
	uint64_t committed_pages;
	uint64_t allowed_pages; /* ledger: the most that the sum, in mode 0 the request, may be */
	uint64_t limit_pages;	/* mode 2: CommitLimit; allowed_pages is that less the reserves: */
	uint64_t admin_reserve_pages, user_reserve_pages;
	uint64_t free_pages, min_pages; /* budget */
};

/* The fields of struct machine_settings that a SET changes. */
enum machine_field {
	MACHINE_SET_MEMORY = 1 << 0,
	MACHINE_SET_SWAP = 1 << 1,
	MACHINE_SET_MODE = 1 << 2,  /* mode and guess */
	MACHINE_SET_RATIO = 1 << 3, /* ratio; limit_in_pages becomes 0 */
	MACHINE_SET_LIMIT = 1 << 4, /* limit_pages; limit_in_pages becomes 1 */
	MACHINE_SET_RESERVES = 1 << 5,
};

/* SET, and part of STATE.  The ledger gives these their meaning (mmu/machine/ledger.h). */
struct machine_settings {
	uint32_t fields; /* SET: bits of enum machine_field; STATE: all of them */
	uint32_t mode, guess, ratio, limit_in_pages, pad;
	uint64_t memory_pages, swap_pages, limit_pages, reserved_huge_pages;
	uint64_t admin_reserve_pages, user_reserve_pages;
};

/* STATE: the machine's books.  docs/overcommit.md says how they add up. */
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
	uint64_t merge_metadata_bytes; /* of stores and indexes; overhead, not resident_pages */
	uint64_t nr_domains;
	uint64_t store_read_only; /* 1: nobody else can write frames; 0: see store/shelf.h */
	uint64_t swap_held_pages; /* of settings.swap_pages: what VMs hold, used or not */
	uint64_t reclaimed_pages; /* that came back because VMs were asked, ever */
	uint32_t reclaims;	  /* 1: VMs are asked to free memory now */
	uint32_t nr_reclaimers;	  /* VMs that may be asked */
	uint32_t nr_suspended;	  /* VMs that stand still, so that others get on */
	uint32_t stall_permille;  /* of the time, busy VMs are stalled: their mean; 0: not short */
	uint64_t suspensions;
};

struct machine_msg {
	uint32_t magic;
	uint16_t version;
	uint16_t type; /* enum machine_type */
	uint32_t vm;   /* the id of the VM that is meant; ids start at 1; 0: none */
	int32_t error; /* REFUSED: -errno */
	union {
		struct machine_admit admit;
		struct machine_vm_record vm_record;
		struct machine_domain_record domain_record;
		struct machine_gone gone;
		struct machine_settings set;
		struct machine_state state;
		struct balloon_record balloon;
		struct reclaim_record reclaim;
		struct machine_balloon_target target;
		struct machine_balloon_state balloon_state;
		struct machine_decision decision;
		struct machine_events events;
		struct machine_event event;
		struct {
			uint64_t need_pages, want_pages; /* CREDIT */
		} credit;
		uint64_t pages; /* of packets without a record of their own */
		int32_t pid;	/* HELLO from the machine */
		struct {
			char text[240]; /* REFUSED: one line, and of an ADMIT: */
			struct machine_refusal refusal;
		};
	};
};

_Static_assert(sizeof(struct machine_msg) == 544, "a packet has one size");

#endif
