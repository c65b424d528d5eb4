/* SPDX-License-Identifier: MIT */
/*
 * A VM's console: what guests print, and who gets the input.
 *
 * Whatever a guest prints, on the serial port or a virtio-console, goes to one struct console.
 * Input is for the virtio-console if there is one, and else for the serial port.  Of a terminal's
 * keys some are ours (escape.h).
 */
#include <assert.h>
#include <errno.h>
#include <quire/abi.h>
#include <string.h>
#include "message.h"
#include "vm_impl.h"
#include "vmm/dev/virtio_console.h"

/* ---- the device ---- */

/* NULL: there is none. */
static struct virtio_console *device_of(const struct vm *vm)
{
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++)
		if (vm->slot[i].device == &vm_console_device)
			return vm->slot[i].dev;
	return NULL;
}

static bool on_transmit(void *ctx, const void *data, size_t bytes)
{
	struct vm *vm = ((struct vm_slot *)ctx)->vm;

	console_write(&vm->console, data, bytes);
	return !atomic_load(&vm->stopping);
}

static struct pollfd serve(struct vm_slot *slot)
{
	while (!atomic_load(&slot->vm->paused) && !atomic_load(&slot->stopping) &&
	       virtio_console_serve(slot->dev))
		;
	return (struct pollfd){ .fd = -1 };
}

static unsigned int count(const struct vm_config *config)
{
	return config->virtio_console;
}

static int create(struct vm_slot *slot, unsigned int nth, struct quire_error *err)
{
	struct virtio_console_config config = {
		.virtio = vm_slot_virtio(slot),
		.transmit = on_transmit,
		.space = vm_slot_wake,
	};
	struct virtio_console *device = NULL;
	int ret = vm_slot_open_doorbell(slot);

	(void)nth;
	config.virtio.wake = vm_slot_knock;
	if (!ret)
		ret = virtio_console_create(&config, &slot->vm->mmio, &device);
	slot->dev = device;
	return ret ? quire_fail(err, ret, "cannot create the console: %s", strerror(-ret)) : 0;
}

static void destroy(struct vm_slot *slot)
{
	virtio_console_destroy(slot->dev);
}

const struct vm_device vm_console_device = {
	.name = "console",
	.count = count,
	.create = create,
	.destroy = destroy,
	.start = vm_slot_start,
	.stop = vm_slot_stop,
	.serve = serve,
};

void vm_set_window(struct vm *vm, uint16_t columns, uint16_t rows)
{
	struct virtio_console *device = device_of(vm);

	if (device)
		virtio_console_resize(device, columns, rows);
}

/* ---- input ---- */

static size_t input_space(const struct vm *vm)
{
	struct virtio_console *device = device_of(vm);

	return device ? virtio_console_space(device) : uart_space(vm->uart);
}

/* What a terminal types and the guest does not read is lost once there is no space. */
void vm_give_input(struct vm *vm, const char *data, size_t bytes)
{
	struct virtio_console *device = device_of(vm);

	bytes = min_u64(bytes, input_space(vm));
	if (!bytes)
		return;
	if (device)
		virtio_console_receive(device, data, bytes);
	else
		uart_receive(vm->uart, data, bytes);
	wait_port_tell(&vm->wait_port);
}

size_t vm_take_unread(struct vm *vm, char data[VM_INPUT_BYTES])
{
	struct virtio_console *device = device_of(vm);

	static_assert(VM_INPUT_BYTES >= UART_RX_BYTES && VM_INPUT_BYTES >= VIRTIO_CONSOLE_RX_BYTES,
		      "there is room for all that a device keeps");
	return device ? virtio_console_take(device, data, VM_INPUT_BYTES) :
			uart_take(vm->uart, data, VM_INPUT_BYTES);
}

bool vm_has_begun_key(const struct vm *vm)
{
	return vm->escape.begun;
}

void vm_begin_key(struct vm *vm)
{
	vm->escape.begun = true;
}

static void obey(struct vm *vm, enum escape_action action)
{
	switch (action) {
	case ESCAPE_NONE: break;
	case ESCAPE_QUIT: vm_end(vm, 128 + SIGINT, "ended by Ctrl-A x"); break;
	case ESCAPE_BREAK: uart_receive_break(vm->uart); break;
	case ESCAPE_WHERE:
		vm_doing_take(vm);
		vm_doing_report(vm);
		break;
	case ESCAPE_HELP: message("%s", ESCAPE_USAGE); break;
	}
}

static void take_keys(struct vm *vm, char *keys, size_t nr)
{
	enum escape_action action;

	for (size_t used; nr; keys += used, nr -= used) {
		size_t bytes = escape_keys(&vm->escape, keys, nr, &used, &action);

		vm_give_input(vm, keys, bytes);
		obey(vm, action);
	}
}

bool vm_wants_input(const struct vm *vm)
{
	return vm->console.in_open && (vm->console.has_keys || input_space(vm));
}

void vm_take_input(struct vm *vm)
{
	bool keys = vm->console.has_keys;
	size_t space = keys ? SIZE_MAX : input_space(vm), bytes;
	char data[512];

	bytes = console_read(&vm->console, data, min_u64(space, sizeof(data)));
	if (keys)
		take_keys(vm, data, bytes);
	else
		vm_give_input(vm, data, bytes);
}
