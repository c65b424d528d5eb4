/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LEASH_H
#define QUIRE_VMM_LAUNCH_LEASH_H

/*
 * What a launcher and its VM processes say to each other.
 *
 * Each VM has a leash: a socket pair (SOCK_SEQPACKET).  A packet is one struct leash_msg, with at
 * most one descriptor.  Neither end waits for the other.  The launcher believes nothing that it
 * hears here, because a VM process may have been taken over by its guest.
 *
 *   VM                              launcher
 *   RUNNING                   -->                     is set up; its --timeout begins now
 *   PRINTED                   -->                     its guest has printed the awaited text
 *   CODE (code)               -->                     has printed a crash report: show this too
 *   RESET (begun_key)         -->                     its guest has reset itself: if it ends now,
 *                                                     with status 0, it is to be started again
 *   INPUT (bytes, input)     -->                     before RESET, in pieces: input that the guest
 *                                                     had not read, for its next process
 *   LOST (pages, swap_pages)  -->                     has lost its channel to the machine, and
 *                                                     holds so many credits, and so much swap
 *                             <--   CHANNEL + fd      brings a channel to a machine that has
 *                                                     admitted the VM again
 *                             <--   INPUT             the same, to that process, behind its seat
 *                             <--   STOP (status)     asks the VM to end in order
 *                             <--   WINDOW (columns,  says how large the terminal is now
 *                                           rows)
 */
#include <quire/types.h>
#include <stddef.h>
#include <stdint.h>
#include "vmm/vm/code.h"

enum leash_type {
	LEASH_RUNNING = 1,
	LEASH_PRINTED,
	LEASH_CODE,
	LEASH_RESET,
	LEASH_INPUT,
	LEASH_LOST,
	LEASH_CHANNEL,
	LEASH_STOP,
	LEASH_WINDOW,
};

#define LEASH_INPUT_BYTES 256u

struct leash_msg {
	uint32_t type;		/* enum leash_type */
	int32_t status;		/* STOP */
	uint32_t begun_key;	/* RESET: 1: of a key of ours (escape.h) the first half came */
	uint64_t pages;		/* LOST: credits */
	uint64_t swap_pages;	/* LOST */
	uint16_t columns, rows; /* WINDOW */
	struct code code;	/* CODE */
	uint32_t bytes;		/* INPUT: at most LEASH_INPUT_BYTES, of: */
	char input[LEASH_INPUT_BYTES];
};

/*
 * Make a leash: pair[0] is the launcher's end, pair[1] the VM's.  Both are close-on-exec and do not
 * block.  Returns 0 or -errno.
 */
int leash_create(int pair[2]);

/*
 * Send a packet, with descriptor `attach` unless that is -1.  The caller keeps the descriptor.
 * Returns 0 or -errno.
 */
int leash_send(int fd, const struct leash_msg *msg, int attach);

/* Send input in as many packets as it takes.  0 or -errno, and then the rest was not sent. */
int leash_send_input(int fd, const char *data, size_t bytes);

/* Append what an INPUT packet has to the *bytes that are in data, as far as they fit into size. */
void leash_take_input(const struct leash_msg *msg, char *data, size_t *bytes, size_t size);

/*
 * Receive a packet.  *attached becomes its descriptor, which is the caller's and close-on-exec, or
 * -1.  Returns 1; 0: there is none yet; -errno: the other end hung up, or sent nonsense.
 */
int leash_recv(int fd, struct leash_msg *msg, int *attached);

#endif
