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
 *   One packet is one record, in the byte order of the machine, on which both ends run.  The client
 *   sends a struct ctl_request.  The server answers with one or more packets; each is a struct
 *   ctl_reply and `bytes` bytes of payload after it.  The last packet of an answer has CTL_LAST.
 *   The server reads the next request when it has sent the answer to the last one.  So replies come
 *   in order, and each carries the `tag` of its request.
 *
 *   The status of a reply is -EPROTONOSUPPORT if the request is of another version, -EOPNOTSUPP if
 *   its op is unknown, and -EINVAL if its arguments make no sense.  The connection goes on.  A
 *   packet that is no request at all ends the connection without an answer: its length or magic is
 *   wrong, or `zero` is not zero.
 *
 * Operations
 *
 *   CTL_INFO
 *     Who is this VM, how large is it, and what are its counters?  No arguments.
 *     Payload: a struct ctl_info.
 *
 *   CTL_MAP
 *     What state is each page in?  arg[0]: the first gfn.  arg[1]: the number of pages; 0, or a
 *     number beyond the end of RAM, means all up to there.
 *     Payload of each packet: uint32_t runs, which follow each other from arg[0] on.  The low eight
 *     bits of a run are the state of its pages: an enum page_state, with CTL_LARGE in a 2 MiB leaf,
 *     or CTL_NOT_RAM.  The other bits are the number of its pages.  Each packet shows one moment;
 *     between packets the guest runs.
 *
 *   CTL_WALK
 *     Where does an address lead?  arg[0]: the gva.  arg[1]: CTL_ACCESS_*.  arg[2]: the vCPU.
 *     Payload: a struct ctl_walk.  Guest memory is never changed.  It shows one moment of stage 2
 *     and of the shadow tables, and reads each entry of the guest's once.
 *     -ENOENT: there is no such vCPU.  -ETIMEDOUT: the vCPU does not leave KVM_RUN; the server asks
 *     it again at most once a second.
 *
 *   CTL_CPU
 *     What is in the registers of a vCPU?  arg[0]: the vCPU.
 *     Payload: a struct vcpu_state.
 *     -ENOENT and -ETIMEDOUT: as for CTL_WALK.
 *
 *   CTL_READ
 *     What is in memory?  arg[0]: the gpa.  arg[1]: the number of bytes.
 *     Payload of each packet: the next of these bytes.  Pages that are not there read as zeroes,
 *     and are not brought in.  Each packet shows one moment; between packets the guest runs.  What
 *     is in the swap file comes when its disk has it; other clients are answered meanwhile.
 *     -EFAULT: the bytes of this packet are not all RAM, and none of those after it is sent.
 *     -EIO, -EBADMSG: nor can the next byte be read back from the swap file.
 *
 *   CTL_TAIL
 *     What has the guest printed last?  No arguments.  Payload: a struct tail.
 *
 *   CTL_PAUSE, CTL_RESUME
 *     Keep the guest from running, or let it go on.  No arguments, no payload; asking twice is
 *     fine.  A paused VM answers everything that a running one answers.
 *     -ETIMEDOUT: CTL_PAUSE took effect, but a vCPU has not left the guest yet.  CTL_INFO says
 *     VM_PAUSING until it has (vm_info.h).
 *
 *   CTL_MERGE_MODE
 *     Change what the keeper does.  arg[0]: an enum keeper_mode.  No payload.  The answer comes at
 *     once, and the keeper obeys soon.
 *
 *   CTL_MERGE_NOW
 *     Ask the keeper for a pass.  No arguments.  Payload: a uint64_t, the ticket.  The pass is over
 *     when merge_passes of CTL_INFO is at least the ticket.
 *
 *   CTL_FORGET_TOUCHES
 *     Begin to see which pages the guest touches.  arg[0]: the first gfn.  arg[1]: the number of
 *     pages, from 1 to CTL_MOST_FORGET.  No payload.
 *     -EFAULT: they are not all RAM.
 *
 *   CTL_TOUCHED
 *     Which pages has the guest touched since this was last asked about them?  arg[0]: the first
 *     gfn, a multiple of 512.  arg[1]: the number of pages, from 1 to CTL_MOST_FORGET.
 *     Payload: a bit for each page, in uint64_t.
 *     -EFAULT: they are not all RAM.  -EBUSY: another client, which is still there, has asked
 *     this before: two would take the answers from each other.
 *
 *   CTL_COMPRESS
 *     Compress private pages.  arg[0]: the first gfn.  arg[1]: the number of pages, from 1 to
 *     CTL_MOST_COMPRESS.  arg[2]: 1: also those touched since CTL_FORGET_TOUCHES; or 0.
 *     Payload: a struct gmem_packed.
 *     -EFAULT: they are not all RAM.
 *
 *   CTL_STORY
 *     What is known of one page?  arg[0]: its gfn.  Payload: a struct ctl_story.
 *     -EFAULT: it is not RAM.
 *
 *   CTL_SWAP_OUT
 *     Begin to swap out private and compressed pages.  Arguments as of CTL_COMPRESS, but at most
 *     CTL_MOST_SWAP pages.
 *     Payload: a uint64_t, the ticket, for CTL_SWAPPED.
 *     -EBUSY: another one is under way.  -ENODEV: the VM has no swap file.
 *
 *   CTL_SWAPPED
 *     What became of those pages?  arg[0]: the ticket.
 *     Payload: a struct ctl_swapped.
 *     -EINPROGRESS: the disk is at work.  -ESTALE: there is no such ticket, or not any more.
 *     -EFAULT: they are not all RAM.  -ENODEV: the VM has no swap file.
 *
 *   CTL_FRAME_USERS
 *     Which pages of this VM share a frame of the store?  arg[0]: a gfn, whose frame is meant; or
 *     CTL_BY_FRAME, and then arg[1] and arg[2] are the segment and the index of the frame.
 *     Payload: the beginning of a struct ctl_frame_users, up to the last gfn that there is or that
 *     fits.  Its nr is 0 if this VM has no page with that frame.
 *     -ENOENT: that gfn shares no frame.  -EFAULT: it is not RAM.
 *
 *   CTL_FRAMES
 *     Which frames do the shared pages of this VM have?  arg[0]: a gfn.  Payload: the first
 *     CTL_MAX_RUNS runs of shared pages from there on, struct gmem_shared_run, ascending.  If there
 *     are fewer, these are all.
 *
 *   CTL_STOP
 *     End the VM as SIGTERM does, after the answer.  No arguments, no payload.  The connection
 *     hangs up when the VM has ended.
 */
#include <quire/types.h>
#include "mmu/format/walk.h"
#include "mmu/memory/story.h"
#include "tail.h"
#include "vcpu_state.h"
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
	CTL_CPU,
	CTL_READ,
	CTL_TAIL,
	CTL_FORGET_TOUCHES,
	CTL_TOUCHED,
	CTL_COMPRESS,
	CTL_STORY,
	CTL_SWAP_OUT,
	CTL_SWAPPED,
	CTL_FRAMES,
	CTL_NR_OPS
};

struct ctl_request {
	uint32_t magic;
	uint16_t version;
	uint16_t op;
	uint32_t tag; /* of the client's choice; the replies carry it */
	uint32_t zero;
	uint64_t arg[4];
};

#define CTL_LAST 0x1u

struct ctl_reply {
	uint32_t magic;
	uint16_t version; /* the server's */
	uint16_t op;
	uint32_t tag;
	int32_t status; /* 0; or -errno, and there is no payload */
	uint32_t flags;
	uint32_t bytes; /* of payload, <= CTL_MAX_PAYLOAD */
};

/*
 * CTL_INFO.  The size of this record changes with every counter and every state.  So a client of
 * another build sees by the size that it would not understand the rest.
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
#define CTL_MAP_PAGES (CTL_MAX_PAYLOAD / sizeof(uint32_t)) /* a packet covers at most these */

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
	uint8_t state;	/* of the page at gpa, as in a run of CTL_MAP; CTL_NOT_RAM: none */
	uint32_t nr_refs;
	struct ctl_walk_ref ref[WALK_MAX_REFS];
	struct shadow_look shadow; /* what is walked instead, if the guest is on shadow tables */
};

/* CTL_FORGET_TOUCHES, CTL_TOUCHED, CTL_COMPRESS: so many pages take the main loop some ms. */
#define CTL_MOST_FORGET	  32768u
#define CTL_MOST_COMPRESS 256u
#define CTL_MOST_SWAP	  64u

/* CTL_STORY */
struct ctl_story {
	struct gmem_story page;
	struct reclaimer_page reclaim; /* if there is no reclaimer, passes is 0 */
};

/* CTL_SWAPPED */
struct ctl_swapped {
	struct gmem_swapped pages;
	int64_t code; /* 0, or why pages had to stay: -ENOSPC or another -errno (gmem_swap_out) */
};

/* CTL_FRAME_USERS */
#define CTL_BY_FRAME  UINT64_MAX
#define CTL_MAX_USERS ((CTL_MAX_PAYLOAD - 3 * sizeof(uint64_t)) / sizeof(gfn_t))

struct ctl_frame_users {
	struct gmem_frame frame;
	uint64_t nr;		  /* all pages of this VM that share it */
	gfn_t gfn[CTL_MAX_USERS]; /* the first of them, ascending */
};

/* CTL_FRAMES */
#define CTL_MAX_RUNS (CTL_MAX_PAYLOAD / sizeof(struct gmem_shared_run))

/* Is it a name that a VM may have? */
bool ctl_name_is_good(const char *name);

/* The format of the guest's page tables that an enum ctl_paging means.  NULL: paging is off. */
const struct pt_format *ctl_paging_format(unsigned int paging);

#endif
