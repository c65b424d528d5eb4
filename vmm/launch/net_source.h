/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_NET_SOURCE_H
#define QUIRE_VMM_LAUNCH_NET_SOURCE_H

/*
 * Where a guest's network comes from.  The launcher opens it, because that takes privileges or
 * another process; a VM gets a descriptor that carries frames.
 *
 *   tap   an interface of the host.  One VM has it
 *   user  passt, a program that makes connections of the host's of what the guest sends.  It needs
 *         no privileges.  Each VM has a process of it
 */
#include <net/if.h>
#include <quire/error.h>
#include <quire/types.h>
#include <sys/types.h>

enum net_kind { NET_TAP, NET_USER };

struct net_source {
	enum net_kind kind;
	char tap[IFNAMSIZ];
	uint16_t mtu; /* net_source_open() sets it */
	int fd;	      /* the tap's; -1: it is not open */
};

/*
 * Open a tap, or look for passt.  0; -errno with *err: there is no such tap, it is no tap, somebody
 * else uses it or we may not; or passt is not installed.
 */
int net_source_open(struct net_source *source, struct quire_error *err);

/* Close what was opened.  Doing so twice is fine. */
void net_source_close(struct net_source *source);

/*
 * A link for a VM that is about to start.  Returns its descriptor, which is the caller's and does
 * not block, or -errno.  *helper becomes the process at its other end, a child of ours; 0: none.
 */
int net_source_attach(const struct net_source *source, pid_t *helper);

/* End a helper, if there is one, and wait for it.  *helper becomes 0. */
void net_source_detach(pid_t *helper);

#endif
