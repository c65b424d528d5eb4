/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LEASH_H
#define QUIRE_VMM_LAUNCH_LEASH_H

/*
 * What a launcher and its VM processes say to each other: a socket pair (SOCK_SEQPACKET) for
 * each VM, one struct leash_msg a packet, at most one descriptor with it.  Neither end waits for
 * the other.  The launcher believes nothing that it hears here: a VM may have been taken over
 * by its guest.
 *
 *   VM                              launcher
 *   RUNNING                   -->                     set up; its time begins
 *   PRINTED                   -->                     the guest printed what is waited for
 *   LOST (credits it holds)   -->                     its channel to the machine hung up
 *                             <--   CHANNEL + fd      to a machine that admitted it again
 *                             <--   STOP (status)     end in order
 */
#include <stdint.h>

enum leash_type {
	LEASH_RUNNING = 1,
	LEASH_PRINTED,
	LEASH_LOST,
	LEASH_CHANNEL,
	LEASH_STOP,
};

struct leash_msg {
	uint32_t type;	/* enum leash_type */
	int32_t status; /* STOP */
	uint64_t pages; /* LOST */
};

/* A pair: [0] for the launcher, [1] for the VM; close-on-exec, not blocking.  0 or -errno. */
int leash_create(int pair[2]);

/* Send msg, with descriptor `attach` unless it is -1; the caller keeps it.  0 or -errno. */
int leash_send(int fd, const struct leash_msg *msg, int attach);

/*
 * Receive.  *attached becomes a descriptor (close-on-exec) that is the caller's, or -1.
 * 1; 0: nothing there yet; -errno: hung up, or nonsense.
 */
int leash_recv(int fd, struct leash_msg *msg, int *attached);

#endif
