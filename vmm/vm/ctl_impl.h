/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CTL_IMPL_H
#define QUIRE_VMM_VM_CTL_IMPL_H

/* What ctl.c (the server and its clients) and ctl_answer.c (the answers) share. */
#include "ctl.h"
#include "ctl_protocol.h"

struct client {
	int fd;		/* -1: nobody */
	bool answering; /* `request` is being answered ... */
	bool waiting;	/* ... with bytes that are still to come from the swap file */
	bool traces;	/* it asked CTL_TOUCHED, and nobody else did before */
	uint64_t turn;	/* of its last activity: the client with the smallest is dropped first */
	struct ctl_request request;
	uint64_t next, end; /* what is still to be sent: CTL_MAP: gfns; CTL_READ: gpas */
};

struct packet {
	_Alignas(8) struct ctl_reply reply;
	unsigned char payload[CTL_MAX_PAYLOAD];
};

struct ctl {
	int epoll, listener;
	int spare; /* a descriptor to turn a client away with when there are no others */
	uint64_t turn;
	uint64_t no_wait_until_ns; /* wait for no vCPU before */
	struct client client[CTL_MAX_CLIENTS];
	uint8_t states[CTL_MAP_PAGES];
	struct packet packet; /* the one being made; holds nothing between steps */
};

/* Make ready for the first part of the answer to c->request. */
void ctl_begin(struct ctl *ctl, struct client *c, struct vm *vm);

/*
 * Make the next part of it in the packet's payload.  Returns its size, or -errno; -EINPROGRESS of
 * CTL_READ: try again after ctl_go_on().
 */
int ctl_answer(struct ctl *ctl, const struct client *c, struct vm *vm);

/* How much of [next, end) that part has; of CTL_READ, at most. */
uint64_t ctl_chunk(const struct client *c);

#endif
