/* SPDX-License-Identifier: MIT */
/* What a virtio device is given of its slot, whatever its kind. */
#include <quire/abi.h>
#include "vm_impl.h"

struct virtio_config vm_slot_virtio(struct vm_slot *slot)
{
	return (struct virtio_config){
		.mem = vm_slot_memory(slot),
		.base = QUIRE_VIRTIO_BASE((uint64_t)slot->index),
		.interrupt = slot->vm->config.irqchip ? vm_slot_interrupt : NULL,
		.cue = vm_slot_cue,
		.arm = vm_slot_arm,
		.wake = vm_slot_wake,
		.stopped = vm_slot_stopped,
		.ctx = slot,
	};
}
