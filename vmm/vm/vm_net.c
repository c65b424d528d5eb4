/* SPDX-License-Identifier: MIT */
/*
 * A VM's networks: each is a virtio-net device with a thread of its own.  The launcher has opened
 * their links (vmm/launch/net_source.h); this process has a descriptor for each, and nothing else.
 *
 * A pause stops the threads too.  Frames that come meanwhile wait in the kernel, or are lost there.
 */
#include <errno.h>
#include <quire/abi.h>
#include <string.h>
#include "message.h"
#include "vm_impl.h"
#include "vmm/dev/virtio_net.h"

static _Thread_local bool serving; /* this is a network's thread, which looks before it sleeps */

/* ---- the thread ---- */

static void on_wake(void *ctx)
{
	if (!serving)
		vm_slot_knock(ctx);
}

static unsigned int nth_of(const struct vm_slot *slot)
{
	unsigned int nth = 0;

	for (const struct vm_slot *s = slot->vm->slot; s < slot; s++)
		nth += s->device == slot->device;
	return nth;
}

static void on_gone(void *ctx)
{
	message("net %u: the other end of the link is gone; for the guest it is down", nth_of(ctx));
}

static struct pollfd serve(struct vm_slot *slot)
{
	struct pollfd link = { .fd = -1 };

	serving = true;
	if (atomic_load(&slot->vm->paused))
		return link;
	while (!atomic_load(&slot->stopping) && virtio_net_serve(slot->dev))
		;
	link.events = virtio_net_events(slot->dev);
	if (link.events)
		link.fd = slot->vm->config.net[nth_of(slot)].fd;
	return link;
}

/* ---- life ---- */

/*
 * A MAC address of a VM that was given none: the same for each VM of this name.  Locally
 * administered, and no group's.
 */
static void derive_mac(const char *name, unsigned int nth, uint8_t mac[6])
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
	hash = (hash ^ nth) * 0x100000001b3;
	hash ^= hash >> 40;
	mac[0] = 0x02;
	for (unsigned int i = 1; i < 6; i++)
		mac[i] = (uint8_t)(hash >> 8 * (i - 1));
}

static unsigned int count(const struct vm_config *config)
{
	return config->nr_nets;
}

static int create(struct vm_slot *slot, unsigned int nth, struct quire_error *err)
{
	const struct vm_net *net = &slot->vm->config.net[nth];
	struct virtio_net_config config = {
		.virtio = vm_slot_virtio(slot),
		.fd = net->fd,
		.stream = net->stream,
		.mtu = net->mtu,
		.on_gone = on_gone,
	};
	struct virtio_net *device = NULL;
	int ret = vm_slot_open_doorbell(slot);

	config.virtio.wake = on_wake;
	memcpy(config.mac, net->mac, sizeof(config.mac));
	if (!net->has_mac)
		derive_mac(slot->vm->name, nth, config.mac);
	if (!ret)
		ret = virtio_net_create(&config, &slot->vm->mmio, &device);
	slot->dev = device;
	return ret ? quire_fail(err, ret, "cannot create the network card: %s", strerror(-ret)) : 0;
}

static void destroy(struct vm_slot *slot)
{
	virtio_net_destroy(slot->dev);
}

const struct vm_device vm_net_device = {
	.name = "net",
	.count = count,
	.create = create,
	.destroy = destroy,
	.start = vm_slot_start,
	.stop = vm_slot_stop,
	.serve = serve,
};

/* ---- counters ---- */

static void add_stats(struct virtio_net_stats *sum, const struct virtio_net_stats *add)
{
	sum->rx_frames += add->rx_frames;
	sum->rx_bytes += add->rx_bytes;
	sum->rx_dropped += add->rx_dropped;
	sum->tx_frames += add->tx_frames;
	sum->tx_bytes += add->tx_bytes;
	sum->tx_dropped += add->tx_dropped;
}

void vm_net_info(const struct vm *vm, struct vm_info *out)
{
	struct virtio_net_stats stats;

	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++) {
		if (vm->slot[i].device != &vm_net_device || !vm->slot[i].dev)
			continue;
		virtio_net_stats(vm->slot[i].dev, &stats);
		add_stats(&out->net, &stats);
		out->nr_nets++;
	}
}
