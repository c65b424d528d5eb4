/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_CTL_CLIENT_H
#define QUIRE_VMM_CLI_CTL_CLIENT_H

/*
 * The client end of a VM's control socket (ctl_protocol.h): what the commands that look at a running VM
 * ask, and those that steer it.
 *
 * Calls block, but for CTL_PATIENCE_S at most a packet.  The server is another process and
 * nothing it says is taken on trust: lengths, counts and states are checked here.
 */
#include <quire/error.h>
#include <sys/socket.h>
#include "vmm/vm/ctl_protocol.h"

#define CTL_PATIENCE_S 5

/*
 * Connect to the VM of exactly this name; each step of the conversation may take patience_s.
 * A descriptor; -ECONNREFUSED: there is none; -EAGAIN: it does not answer.
 */
int ctl_open(const char *name, unsigned int patience_s);

/* Whose process listens at the other end, by the kernel's word.  0 or -errno. */
int ctl_peer(int fd, struct ucred *cred);

/* The same of the VM of exactly this name, which need not answer. */
int ctl_owner(const char *name, struct ucred *cred);

/* May this process ask the VM of that process?  Another user's VM does not talk to it. */
bool ctl_is_ours(const struct ucred *cred);

/* 0, or -errno with *err.  The rest of this header likewise. */
int ctl_get_info(int fd, struct ctl_info *info, struct quire_error *err);

/* Its halves, for who asks many VMs at once. */
int ctl_ask_info(int fd, struct quire_error *err);
int ctl_take_info(int fd, struct ctl_info *info, struct quire_error *err);

/* CTL_PAUSE, CTL_RESUME or CTL_STOP. */
int ctl_command(int fd, unsigned int op, struct quire_error *err);

/* CTL_MERGE_MODE and CTL_MERGE_NOW. */
int ctl_set_merge(int fd, enum keeper_mode mode, struct quire_error *err);
int ctl_merge_now(int fd, uint64_t *ticket, struct quire_error *err);

/*
 * CTL_FRAME_USERS: of the frame that gfn shares (-ENOENT: none; -EFAULT: not RAM), or of this
 * frame.  users->gfn has the first min(users->nr, CTL_MAX_USERS) of them.
 */
int ctl_get_sharers(int fd, gfn_t gfn, struct ctl_frame_users *users, struct quire_error *err);
int ctl_get_users(int fd, const struct gmem_frame *frame, struct ctl_frame_users *users,
		  struct quire_error *err);

/*
 * The states of [gfn, gfn + nr), one byte a page as gmem_states gives them; what is beyond
 * the end of RAM is PG_NR_STATES.
 */
int ctl_get_map(int fd, gfn_t gfn, uint64_t nr, uint8_t *states, struct quire_error *err);

/*
 * Walk gva as vCPU cpu would for this access.  *state becomes the state of the page reached,
 * as ctl_get_map gives it; PG_NR_STATES if there is none.
 */
int ctl_get_walk(int fd, unsigned int cpu, gva_t gva, struct walk_access access,
		 struct walk_result *res, uint8_t *state, struct quire_error *err);

#endif
