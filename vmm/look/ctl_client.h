/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_CTL_CLIENT_H
#define QUIRE_VMM_LOOK_CTL_CLIENT_H

/*
 * The client's end of a VM's control socket (ctl_protocol.h), for the commands that look at a
 * running VM and those that steer it.
 *
 * Each call may block for CTL_PATIENCE_S for each packet.  The server is another process and may
 * send anything, so these functions check all lengths, counts and states.
 */
#include <quire/error.h>
#include <sys/socket.h>
#include "vmm/vm/ctl_protocol.h"

#define CTL_PATIENCE_S 5

/*
 * Connect to the VM of exactly this name.  Each step of the conversation may take patience_s.
 * Returns a descriptor; -ECONNREFUSED: there is no such VM; -EAGAIN: it does not answer; -EPERM:
 * somebody else listens there, and was told nothing.
 */
int ctl_open(const char *name, unsigned int patience_s);

/* Which process listens at the other end; the kernel says so, not the VM.  0 or -errno. */
int ctl_peer(int fd, struct ucred *cred);

/*
 * The process that began to listen at the other end, as a pidfd.  -ESRCH: it has ended.  Whoever
 * listens may have a number that belongs to another process by now; this is never another.
 */
int ctl_peer_process(int fd);

/* Who listens at the socket of exactly this name, as ctl_peer() says.  It need not answer. */
int ctl_owner(const char *name, struct ucred *cred);

/* May this process ask the VM of that process?  Another user's VM does not talk to it. */
bool ctl_is_ours(const struct ucred *cred);

/* Ask for a VM's counters.  Like all functions below: 0, or -errno with *err. */
int ctl_get_info(int fd, struct ctl_info *info, struct quire_error *err);

/* The two halves of ctl_get_info(), for asking many VMs at once. */
int ctl_ask_info(int fd, struct quire_error *err);
int ctl_take_info(int fd, struct ctl_info *info, struct quire_error *err);

/* Send CTL_RESUME or CTL_STOP. */
int ctl_command(int fd, unsigned int op, struct quire_error *err);

/*
 * Send CTL_PAUSE, and wait for two seconds at most until no vCPU is in the guest.  -ETIMEDOUT: one
 * is; the VM is paused when that comes out.
 */
int ctl_pause(int fd, struct quire_error *err);

/* Send CTL_MERGE_MODE and CTL_MERGE_NOW. */
int ctl_set_merge(int fd, enum keeper_mode mode, struct quire_error *err);
int ctl_merge_now(int fd, uint64_t *ticket, struct quire_error *err);

/*
 * Send CTL_FORGET_TOUCHES, CTL_TOUCHED, CTL_COMPRESS and CTL_SWAP_OUT, of at most so many pages as
 * these take.
 */
int ctl_forget_touches(int fd, gfn_t gfn, uint64_t nr, struct quire_error *err);
int ctl_touched(int fd, gfn_t gfn, uint64_t nr, uint64_t *bits, struct quire_error *err);
int ctl_compress(int fd, gfn_t gfn, uint64_t nr, bool all, struct gmem_packed *out,
		 struct quire_error *err);
int ctl_swap_out(int fd, gfn_t gfn, uint64_t nr, bool all, struct ctl_swapped *out,
		 struct quire_error *err);

/* Ask what is known of a page.  -EFAULT: it is not RAM. */
int ctl_get_story(int fd, gfn_t gfn, struct ctl_story *story, struct quire_error *err);

/*
 * Ask which pages of the VM share a frame: the frame that gfn shares (-ENOENT: gfn shares none;
 * -EFAULT: gfn is not RAM), or the given frame.  users->gfn has the first
 * min(users->nr, CTL_MAX_USERS) of these pages.
 */
int ctl_get_sharers(int fd, gfn_t gfn, struct ctl_frame_users *users, struct quire_error *err);
int ctl_get_users(int fd, const struct gmem_frame *frame, struct ctl_frame_users *users,
		  struct quire_error *err);

/*
 * Ask for the frames of the VM's shared pages from gfn on: *nr runs of them, ascending.  If these
 * are fewer than CTL_MAX_RUNS there are no more.
 */
int ctl_get_frames(int fd, gfn_t gfn, struct gmem_shared_run run[CTL_MAX_RUNS], unsigned int *nr,
		   struct quire_error *err);

/*
 * Get the states of [gfn, gfn + nr), one byte a page as gmem_states() gives them.  A page that is
 * not RAM has PG_NR_STATES.
 */
int ctl_get_map(int fd, gfn_t gfn, uint64_t nr, uint8_t *states, struct quire_error *err);

/* Get the registers of vCPU cpu. */
int ctl_get_cpu(int fd, unsigned int cpu, struct vcpu_state *state, struct quire_error *err);

/* Get the last lines that the guest printed. */
int ctl_get_tail(int fd, struct tail *tail, struct quire_error *err);

/* Read the bytes of [gpa, gpa + bytes) into buf.  -EFAULT: they are not all RAM. */
int ctl_read(int fd, gpa_t gpa, void *buf, size_t bytes, struct quire_error *err);

/* A walk, and what there is at its end. */
struct ctl_walked {
	struct walk_result res;
	uint8_t state; /* of the page at res.gpa, as ctl_get_map() gives it; PG_NR_STATES: none */
	struct shadow_look shadow; /* what the processor walks, if the guest is on shadow tables */
};

/* Walk gva as vCPU cpu would for this access. */
int ctl_get_walk(int fd, unsigned int cpu, gva_t gva, struct walk_access access,
		 struct ctl_walked *out, struct quire_error *err);

#endif
