/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_COALESCE_H
#define QUIRE_VMM_COALESCE_H

/*
 * Coalesced port output: KVM puts bytes that a guest writes to the UART's data port into a ring
 * (about 170 of them) instead of leaving the guest for each.
 *
 * Even a `rep outsb` leaves the guest once a byte, so without this a line of text costs as
 * many exits as it has characters.  The ring is taken at every exit, before that exit is
 * handled, so the order of the guest's accesses is kept; and because a guest that never exits
 * gets no chance, the main loop looks at the ring now and then and interrupts a vCPU if there
 * is something in it.
 *
 * A guest that drives its transmitter by interrupt waits for one after each burst and would
 * wait for us: at the first sign of that (uart_config.transmit_irq) coalescing ends for good.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "dev.h"
#include "kvm.h"

struct coalesce {
	struct kvm_coalesced_mmio_ring *ring;	/* shared with KVM; NULL: not available */
	unsigned int size;			/* entries in it */
	int vm_fd;
	struct bus *ports;
	atomic_bool on;
	pthread_mutex_t lock;			/* taking entries out */
};

/* run: the shared page of any vCPU.  Without support in KVM nothing ever is in the ring. */
void coalesce_init(struct coalesce *c, const struct kvm *kvm, struct kvm_run *run,
		   struct bus *ports);
void coalesce_finish(struct coalesce *c);

/* Are bytes waiting?  Any thread. */
bool coalesce_waiting(const struct coalesce *c);

/* Hand what waits to the device.  vCPU threads only: the device may block. */
void coalesce_take(struct coalesce *c);

/* Leave the guest for every byte from now on.  Any thread. */
void coalesce_end(struct coalesce *c);

#endif
