/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CTL_PROTOCOL_H
#define QUIRE_VMM_VM_CTL_PROTOCOL_H

/*
 * What is said on the control socket of a running VM.  This header is the protocol's manual; ctl.h
 * has the server, vmm/cli/ctl_client.h the client.
 *
 * A VM named NAME (default: the pid of `quire run`) listens on the abstract unix socket
 * "\0quire/vm/NAME" (SOCK_SEQPACKET).  The socket vanishes with the process, whatever kills it, so
 * nothing is ever left behind.  Abstract names have no permissions: the server takes requests only
 * from its own uid and from root (SO_PEERCRED).  In the sandbox the server knows its own uid only,
 * so a client that is root connects as whoever listens.
 *
 * Conversation
 *
 *   One packet is one record, in the byte order of the machine (both ends run on it).  The
 *   client sends a struct ctl_request, the server answers with one or more packets, each a
 *   struct ctl_reply followed by `bytes` bytes of payload; the last one of an answer has
 *   CTL_LAST.  The next request is read when the answer before it is out, so replies come in
 *   order and carry the request's `tag`.
 *
 *   A request with a foreign version gets status -EPROTONOSUPPORT, an unknown op -EOPNOTSUPP,
 *   nonsense arguments -EINVAL; the connection goes on.  A packet that is no request at all
 *   (length or magic wrong, `zero` not zero) ends the connection without an answer.
 *
 * Operations
 *
 *   CTL_INFO  no arguments.  Payload: struct ctl_info.
 *   CTL_MAP   arg[0] = first gfn, arg[1] = number of pages, 0 for all up to the end of RAM;
 *             clipped to the end of RAM.  Payload of each packet: uint32_t runs, which follow
 *             each other from arg[0] on: the low eight bits are a page's state (enum
 *             page_state, CTL_NOT_RAM; CTL_LARGE set in a 2 MiB leaf), the others how many
 *             pages have it.  Each packet is one moment; between packets the guest runs.
 *   CTL_WALK  arg[0] = gva, arg[1] = CTL_ACCESS_*, arg[2] = vCPU.  Payload: struct ctl_walk.
 *             Never changes guest memory.  -ENOENT: no such vCPU; -ETIMEDOUT: the vCPU does
 *             not leave KVM_RUN (then asked again at most once a second).
 *   CTL_PAUSE, CTL_RESUME
 *             no arguments, no payload; asking twice is fine.  A paused VM answers everything as
 *             a running one does.  -ETIMEDOUT: CTL_PAUSE took effect, but a vCPU has not left
 *             the guest yet; CTL_INFO says VM_PAUSING until it has (vm.h).
 *   CTL_MERGE_MODE
 *             arg[0] = enum keeper_mode, no payload.  The answer comes at once, the keeper obeys
 *             soon.
 *   CTL_MERGE_NOW
 *             no arguments.  Asks for a pass of the keeper.  Payload: uint64_t, the ticket: the
 *             pass is over when CTL_INFO's merge_passes is at least that.
 *   CTL_FRAME_USERS
 *             Who shares a frame of the store.  arg[0] = a gfn, whose frame is meant; or
 *             CTL_BY_FRAME, with arg[1] and arg[2] = the frame's segment and index.  Payload: the
 *             beginning of a struct ctl_frame_users, up to the last gfn that there is or fits.
 *             -ENOENT: that gfn shares none; -EFAULT: it is not RAM.  A frame of which this VM has
 *             no page is answered with nr 0.
 *   CTL_STOP  no arguments, no payload.  The VM ends as by SIGTERM, after the answer; the
 *             connection hangs up when it has ended.
 */
#include <quire/types.h>
#include "mmu/format/walk.h"
#include "vm_info.h"

#define CTL_PREFIX	"quire/vm/" /* after the NUL byte that makes a name abstract */
#define CTL_NAME_MAX	63	    /* bytes; letters, digits, '.', '_', '-' */
#define CTL_MAGIC	0x52495551u /* "QUIR" */
#define CTL_VERSION	1
#define CTL_MAX_PAYLOAD 32768u

enum ctl_op {
	CTL_INFO = 1,
	CTL_MAP,
	CTL_WALK,
	CTL_PAUSE,
	CTL_RESUME,
	CTL_STOP,
	CTL_MERGE_MODE,
	CTL_MERGE_NOW,
	CTL_FRAME_USERS,
	CTL_NR_OPS
};

struct ctl_request {
	uint32_t magic;
	uint16_t version;
	uint16_t op;
	uint32_t tag; /* the client's; comes back */
	uint32_t zero;
	uint64_t arg[4];
};

#define CTL_LAST 0x1u

struct ctl_reply {
	uint32_t magic;
	uint16_t version; /* the server's */
	uint16_t op;
	uint32_t tag;
	int32_t status; /* 0 or -errno; without payload unless 0 */
	uint32_t flags;
	uint32_t bytes; /* of payload, <= CTL_MAX_PAYLOAD */
};

/*
 * CTL_INFO: who, how large, and the counters.  Its size changes with every counter and every
 * state, and so tells a client of another build that it would not understand the rest.
 */
#define CTL_MAX_RAM 8

struct ctl_info {
	struct vm_info vm;
	uint64_t nr_ram;
	struct gfn_range ram[CTL_MAX_RAM];
};

/* CTL_MAP */
#define CTL_LARGE     0x80u
#define CTL_NOT_RAM   0x7fu
#define CTL_MAP_PAGES (CTL_MAX_PAYLOAD / sizeof(uint32_t)) /* a packet covers at most */

/* CTL_WALK */
#define CTL_ACCESS_WRITE 0x1u
#define CTL_ACCESS_FETCH 0x2u
#define CTL_ACCESS_USER	 0x4u

enum ctl_paging {
	CTL_PAGING_OFF,
	CTL_PAGING_32,
	CTL_PAGING_PAE,
	CTL_PAGING_4LEVEL,
	CTL_PAGING_5LEVEL,
	CTL_NR_PAGING
};

struct ctl_walk_ref {
	uint8_t stage, level;
	uint8_t zero[6];
	uint64_t addr, input, entry;
};

struct ctl_walk {
	uint32_t outcome; /* enum walk_outcome */
	uint32_t error_code;
	uint64_t gpa, maddr, qualification;
	uint8_t level1, level2;
	uint8_t paging; /* enum ctl_paging */
	uint8_t state;	/* as in a run of CTL_MAP: of gpa's page, CTL_NOT_RAM if none */
	uint32_t nr_refs;
	struct ctl_walk_ref ref[WALK_MAX_REFS];
};

/* CTL_FRAME_USERS */
#define CTL_BY_FRAME  UINT64_MAX
#define CTL_MAX_USERS ((CTL_MAX_PAYLOAD - 3 * sizeof(uint64_t)) / sizeof(gfn_t))

struct ctl_frame_users {
	struct gmem_frame frame;
	uint64_t nr;		  /* pages of this VM that share it, in all; and the first: */
	gfn_t gfn[CTL_MAX_USERS]; /* ascending */
};

/* Is it a name that a VM may have? */
bool ctl_name_is_good(const char *name);

/* The guest's paging format behind an enum ctl_paging; NULL: off. */
const struct pt_format *ctl_paging_format(unsigned int paging);

#endif
