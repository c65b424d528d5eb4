/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_CLIENT_H
#define QUIRE_MMU_MACHINE_CLIENT_H

/*
 * The client's side of a control connection: a launcher's, or that of a command that asks the
 * machine something.
 *
 * A call is a short exchange that blocks for at most MACHINE_CLIENT_MS.  It returns 0, or -errno
 * with one line in *err (which may be NULL).  Every call may return one of these:
 *
 *   -ECONNRESET   the machine hung up: it died, or we broke the rules
 *   -ETIMEDOUT    the machine does not answer
 *   -EPROTO       what the machine said makes no sense
 *
 * After one of them the only use of the connection is machine_client_destroy().
 *
 * The machine may announce the end of a VM (GONE) while a call waits for its answer.  The client
 * keeps that for machine_client_gone().  One thread at a time may use a client.
 */
#include <quire/error.h>
#include <stdbool.h>
#include <sys/types.h>
#include "mmu/base/machine_protocol.h"

#define MACHINE_CLIENT_MS 10000

/*
 * Machines that are not trusted, of which anybody may have any number, keep a process waiting for
 * so long together.  Once that is over each of them has an instant for each answer.
 */
#define MACHINE_STRANGERS_MS 3000

struct machine_client;

/*
 * Connect to the machine at `address` and say hello.  NULL is the default address, "@NAME" an
 * abstract one, anything else a path.  The machine is root's or our own user's, so that guests may
 * be given to it.
 *
 * Also returns
 *   -ECONNREFUSED, -ENOENT   no machine is there
 *   -EPERM                   it is somebody else's, and was told nothing
 *   -EPROTONOSUPPORT         it speaks another version of the protocol
 */
int machine_client_connect(const char *address, struct machine_client **out,
			   struct quire_error *err);

/*
 * The same, to look at a machine that may be anybody's.  No guest may be given to it.  *uid, which
 * may be NULL, becomes the user who serves it, also on failure; -1: unknown.  One thread of a
 * process may look.
 */
int machine_client_look(const char *address, struct machine_client **out, uid_t *uid,
			struct quire_error *err);

/* Is a machine of that user to be believed?  Root's is, and one of our own user. */
bool machine_client_trusts(uid_t uid);

/*
 * The same over fd, a socket whose peer a machine has adopted (machine_adopt_control).  Takes fd
 * over, also on failure.
 */
int machine_client_create(int fd, struct machine_client **out, struct quire_error *err);

void machine_client_destroy(struct machine_client *c); /* NULL is fine */

struct machine_admitted {
	uint32_t vm;
	int channel;	       /* for credits_create(); the caller's, close-on-exec */
	uint64_t credit_pages; /* to start with; a readmitted VM has what it claimed */
	bool refused;	       /* there is no VM, and the machine said why: */
	struct machine_refusal refusal;
};

/*
 * Promise memory for a VM.  If the call fails, only `refused` and `refusal` of *out are written.
 *
 * Also returns
 *   -ENOMEM     the ledger refused
 *   -EAGAIN     the VM's overhead does not fit just now; other VMs were asked for what they can
 *               spare, so it is worth trying again
 *   -EINVAL ... refused for the reason in *err
 */
int machine_client_admit(struct machine_client *c, const struct machine_admit *admit,
			 struct machine_admitted *out, struct quire_error *err);

/*
 * Name the process that will hold vm's channel.  pidfd stays the caller's.  The machine does not
 * answer, so a refusal shows only in the next call.
 */
int machine_client_started(struct machine_client *c, uint32_t vm, int pidfd,
			   struct quire_error *err);

/* Copy the machine's books to *state. */
int machine_client_get(struct machine_client *c, struct machine_state *state,
		       struct quire_error *err);

/*
 * Call `each` for every VM, in order of id: at most MACHINE_LIST_ALL.  -EPROTO: there were more, or
 * they were not in order.  It takes no longer than any one question.
 */
int machine_client_list(struct machine_client *c,
			void (*each)(void *ctx, uint32_t vm, const struct machine_vm_record *r),
			void *ctx, struct quire_error *err);

/* Call `each` for every domain that has members, in order of id. */
int machine_client_domains(struct machine_client *c,
			   void (*each)(void *ctx, uint32_t id,
					const struct machine_domain_record *r),
			   void *ctx, struct quire_error *err);

/*
 * Have the machine send SIGKILL to the VM's process.  Nobody waits for its end.  Also returns
 * -ESRCH: there is no such VM; -EPERM: its process is not known yet, or may not be killed.
 */
int machine_client_kill(struct machine_client *c, uint32_t vm, struct quire_error *err);

/*
 * Set *pages to the number of vm's pages that have no partner in its domain, but one in another.
 * Also returns -ESRCH: there is no such VM.
 */
int machine_client_elsewhere(struct machine_client *c, uint32_t vm, uint64_t *pages,
			     struct quire_error *err);

/*
 * Copy what the machine knows of vm's balloon to *state.  Also returns -ESRCH: there is no such VM;
 * -EOPNOTSUPP: it has no balloon.
 */
int machine_client_balloon_get(struct machine_client *c, uint32_t vm,
			       struct machine_balloon_state *state, struct quire_error *err);

/*
 * Set the target of vm's balloon, or hand it back to the policy.  *state, which may be NULL, is the
 * balloon's state after that.  Returns what machine_client_balloon_get() does, and -ERANGE: the
 * guest would keep less than its minimum; -EAGAIN: the VM has not told the machine of its balloon
 * yet.
 */
int machine_client_balloon_set(struct machine_client *c, uint32_t vm,
			       const struct machine_balloon_target *target,
			       struct machine_balloon_state *state, struct quire_error *err);

/*
 * Copy a decision of the policy about vm's balloon to *decision: i is 0 for the newest, 1 for the
 * one before, and so on.  Returns what machine_client_balloon_get() does, and -ENOENT: there are
 * not so many.
 */
int machine_client_balloon_why(struct machine_client *c, uint32_t vm, unsigned int i,
			       struct machine_decision *decision, struct quire_error *err);

/*
 * Change the settings that settings->fields names.  *state, which may be NULL, is the machine's
 * state after that.  Also returns -EINVAL: refused for the reason in *err.
 */
int machine_client_set(struct machine_client *c, const struct machine_settings *settings,
		       struct machine_state *state, struct quire_error *err);

/*
 * Call `each` for the next events of the machine's log, in order: those from the sequence number
 * *from on, at most MACHINE_LIST_MAX.  0 is the oldest that the machine still has.  *from becomes
 * the number to go on from.  Events between *from and the first one are lost.  If there is none,
 * wait up to wait_ms, at most MACHINE_EVENTS_WAIT_MS, for one.
 *
 * What `each` gets has a kind below EVENT_NR_KINDS, and texts that end.  If *from becomes less,
 * this is another machine than the one that the number was from.
 */
int machine_client_events(struct machine_client *c, uint64_t *from, unsigned int wait_ms,
			  void (*each)(void *ctx, const struct machine_event *event), void *ctx,
			  struct quire_error *err);

/* A descriptor for a poll loop: it is readable when machine_client_gone() has work to do. */
int machine_client_fd(const struct machine_client *c);

/*
 * Take the next VM that has ended, without blocking.
 *
 * Returns 1: *vm and *gone say which one, and why; 0: none yet; -ECONNRESET or -EPROTO, as above.
 * Call this until it does not return 1: poll() does not see what an earlier call has kept.
 */
int machine_client_gone(struct machine_client *c, uint32_t *vm, struct machine_gone *gone);

#endif
