/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_CLIENT_H
#define QUIRE_MMU_MACHINE_CLIENT_H

/*
 * The launcher's side of a control connection, and that of whoever asks the machine something.
 *
 * The calls are short exchanges that block for at most MACHINE_CLIENT_MS; they return 0 or
 * -errno with one line in *err (may be NULL):
 *
 *   -ECONNRESET   the machine hung up: it died, or we broke the rules
 *   -ETIMEDOUT    it does not answer
 *   -EPROTO       it said what makes no sense
 *
 * After one of these the connection is of no more use but to machine_client_destroy().  What
 * the machine says unasked (GONE) while a call waits for its answer is kept for
 * machine_client_gone().  One thread at a time.
 */
#include <quire/error.h>
#include "mmu/base/machine_protocol.h"

#define MACHINE_CLIENT_MS 10000

struct machine_client;

/*
 * Connect to the machine at `address` (NULL the default, "@NAME" abstract, else a path) and say
 * hello.  The machine may be given guests: it is root's or our own user's.  Also -ECONNREFUSED,
 * -ENOENT: no machine is there; -EPERM: it is somebody else's, and was told nothing;
 * -EPROTONOSUPPORT: it speaks another version.
 */
int machine_client_connect(const char *address, struct machine_client **out,
			   struct quire_error *err);

/* The same, to look at a machine that may be anybody's: no guest may be given to it. */
int machine_client_look(const char *address, struct machine_client **out, struct quire_error *err);

/* The same over fd, connected already (to a machine that adopted its peer).  Takes fd over,
 * also on failure. */
int machine_client_create(int fd, struct machine_client **out, struct quire_error *err);

void machine_client_destroy(struct machine_client *c); /* NULL is fine */

struct machine_admitted {
	uint32_t vm;
	int channel;	       /* the caller's; close-on-exec; for credits_create() */
	uint64_t credit_pages; /* to start with; readmitted: what was claimed */
};

/*
 * Promise a VM.  -ENOMEM: refused by overcommit; -EAGAIN: its overhead does not fit just now, and
 * others were asked for what they can spare; -EINVAL and others: refused, *err says why.
 */
int machine_client_admit(struct machine_client *c, const struct machine_admit *admit,
			 struct machine_admitted *out, struct quire_error *err);

/* The process that will hold vm's channel; pidfd stays the caller's.  There is no answer. */
int machine_client_started(struct machine_client *c, uint32_t vm, int pidfd,
			   struct quire_error *err);

int machine_client_get(struct machine_client *c, struct machine_state *state,
		       struct quire_error *err);

/* Call each for every VM, in order of id. */
int machine_client_list(struct machine_client *c,
			void (*each)(void *ctx, uint32_t vm, const struct machine_vm_record *r),
			void *ctx, struct quire_error *err);

/* Call each for every domain that has members, in order of id. */
int machine_client_domains(struct machine_client *c,
			   void (*each)(void *ctx, uint32_t id,
					const struct machine_domain_record *r),
			   void *ctx, struct quire_error *err);

/* How many of vm's pages that found no partner have one in another domain.  -ESRCH: no such VM. */
int machine_client_elsewhere(struct machine_client *c, uint32_t vm, uint64_t *pages,
			     struct quire_error *err);

/*
 * vm's balloon.  -ESRCH: no such VM; -EOPNOTSUPP: it has none.  set: also -ERANGE, below its
 * minimum, and -EAGAIN, it has not come so far yet; *state (may be NULL) is what came of it.
 */
int machine_client_balloon_get(struct machine_client *c, uint32_t vm,
			       struct machine_balloon_state *state, struct quire_error *err);
int machine_client_balloon_set(struct machine_client *c, uint32_t vm,
			       const struct machine_balloon_target *target,
			       struct machine_balloon_state *state, struct quire_error *err);

/* The i-th decision about it from the newest, which is 0.  -ENOENT: there are not so many. */
int machine_client_balloon_why(struct machine_client *c, uint32_t vm, unsigned int i,
			       struct machine_decision *decision, struct quire_error *err);

/* Change what settings->fields says; *state (may be NULL) is what came of it.  -EINVAL: refused. */
int machine_client_set(struct machine_client *c, const struct machine_settings *settings,
		       struct machine_state *state, struct quire_error *err);

/* For the launcher's poll loop: readable when machine_client_gone() has something to say. */
int machine_client_fd(const struct machine_client *c);

/*
 * The next VM that is gone, without blocking.  1: *vm and *gone are set; 0: none yet;
 * -ECONNRESET, -EPROTO.  Call until it is not 1: poll does not see what is kept already.
 */
int machine_client_gone(struct machine_client *c, uint32_t *vm, struct machine_gone *gone);

#endif
