/* SPDX-License-Identifier: MIT */
/*
 * See coalesce.h.  KVM writes ring->last, we write ring->first; both are indices of entries, and
 * equal when the ring is empty.  When it is full KVM leaves the guest as if there were none.
 */
#include <quire/abi.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "coalesce.h"

static struct kvm_coalesced_mmio_zone uart_zone(void)
{
	return (struct kvm_coalesced_mmio_zone){ .addr = QUIRE_UART_PORT, .size = 1, .pio = 1 };
}

void coalesce_init(struct coalesce *c, const struct kvm *kvm, struct kvm_run *run,
		   struct bus *ports)
{
	struct kvm_coalesced_mmio_zone zone = uart_zone();
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int offset = ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	*c = (struct coalesce){ .vm_fd = kvm->vm_fd, .ports = ports };
	pthread_mutex_init(&c->lock, NULL);
	if (offset <= 0 || ((size_t)offset + 1) * page > kvm->run_bytes ||
	    ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0 ||
	    ioctl(kvm->vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone))
		return;
	c->ring = (void *)((char *)run + (size_t)offset * page);
	c->size = (unsigned int)((page - sizeof(*c->ring)) / sizeof(c->ring->coalesced_mmio[0]));
	atomic_store(&c->on, true);
}

void coalesce_finish(struct coalesce *c)
{
	pthread_mutex_destroy(&c->lock);
}

bool coalesce_waiting(const struct coalesce *c)
{
	return c->ring && __atomic_load_n(&c->ring->first, __ATOMIC_ACQUIRE) !=
			  __atomic_load_n(&c->ring->last, __ATOMIC_ACQUIRE);
}

/* Move waiting bytes to buf, at most size; lock held.  Returns how many. */
static unsigned int gather(struct coalesce *c, uint8_t *buf, unsigned int size)
{
	uint32_t first = c->ring->first, last = __atomic_load_n(&c->ring->last, __ATOMIC_ACQUIRE);
	unsigned int nr = 0;

	for (; first != last && nr < size; first = (first + 1) % c->size)
		buf[nr++] = c->ring->coalesced_mmio[first].data[0];
	__atomic_store_n(&c->ring->first, first, __ATOMIC_RELEASE);
	return nr;
}

void coalesce_take(struct coalesce *c)
{
	uint8_t buf[256];
	unsigned int nr;

	if (!coalesce_waiting(c))
		return;
	pthread_mutex_lock(&c->lock);	/* also keeps bytes of two takers in order */
	while ((nr = gather(c, buf, sizeof(buf))))
		bus_write(c->ports, QUIRE_UART_PORT, 1, buf, nr);
	pthread_mutex_unlock(&c->lock);
}

void coalesce_end(struct coalesce *c)
{
	struct kvm_coalesced_mmio_zone zone = uart_zone();

	if (atomic_exchange(&c->on, false))
		(void)ioctl(c->vm_fd, KVM_UNREGISTER_COALESCED_MMIO, &zone);
}
