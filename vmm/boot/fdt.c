/* SPDX-License-Identifier: MIT */
/*
 * The device tree for PVH guests, written with libfdt's sequential-write functions.
 *
 * These fail only when the buffer is too small, and then every later one fails too.  So each helper
 * passes the first error on, and fdt_build() tries again with twice the room.
 */
#include <errno.h>
#include <inttypes.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <quire/abi.h>
#include "fdt.h"

#define FIRST_BYTES 4096
#define MOST_BYTES  (16 * MiB) /* no command line that execve takes needs more */

#define IO_SPACE 1 /* first address cell of an I/O port, as on an ISA bus */

/* Return the error if a step fails. */
#define TRY(call) \
	do { \
		int try_err = (call); \
		if (try_err) \
			return try_err; \
	} while (0)

static int put_reg(void *fdt, uint64_t address, uint64_t bytes)
{
	fdt64_t reg[2] = { cpu_to_fdt64(address), cpu_to_fdt64(bytes) };

	return fdt_property(fdt, "reg", reg, sizeof(reg));
}

static int put_memory(void *fdt, const struct gfn_range *range)
{
	char name[32];

	snprintf(name, sizeof(name), "memory@%" PRIx64, gfn_to_gpa(range->start));
	TRY(fdt_begin_node(fdt, name));
	TRY(fdt_property_string(fdt, "device_type", "memory"));
	TRY(put_reg(fdt, gfn_to_gpa(range->start), gfn_to_gpa(range->end - range->start)));
	return fdt_end_node(fdt);
}

static int put_cpu(void *fdt, unsigned int cpu)
{
	char name[32];

	snprintf(name, sizeof(name), "cpu@%x", cpu);
	TRY(fdt_begin_node(fdt, name));
	TRY(fdt_property_string(fdt, "device_type", "cpu"));
	TRY(fdt_property_u32(fdt, "reg", cpu));
	return fdt_end_node(fdt);
}

static int put_cpus(void *fdt, unsigned int nr_cpus)
{
	unsigned int i;

	TRY(fdt_begin_node(fdt, "cpus"));
	TRY(fdt_property_u32(fdt, "#address-cells", 1));
	TRY(fdt_property_u32(fdt, "#size-cells", 0));
	for (i = 0; i < nr_cpus; i++)
		TRY(put_cpu(fdt, i));
	return fdt_end_node(fdt);
}

static int put_chosen(void *fdt, const char *bootargs)
{
	TRY(fdt_begin_node(fdt, "chosen"));
	TRY(fdt_property_string(fdt, "bootargs", bootargs));
	TRY(fdt_property_string(fdt, "stdout-path", "/" FDT_SERIAL_NODE));
	return fdt_end_node(fdt);
}

static int put_io_reg(void *fdt, uint16_t port, uint32_t ports)
{
	return put_reg(fdt, (uint64_t)IO_SPACE << 32 | port, ports);
}

static int put_serial(void *fdt)
{
	TRY(fdt_begin_node(fdt, FDT_SERIAL_NODE));
	TRY(fdt_property_string(fdt, "compatible", "ns16550a"));
	TRY(put_io_reg(fdt, QUIRE_UART_PORT, 8));
	TRY(fdt_property_u32(fdt, "clock-frequency", 1843200)); /* a PC's */
	TRY(fdt_property_u32(fdt, "interrupts", QUIRE_UART_IRQ));
	return fdt_end_node(fdt);
}

static int put_console(void *fdt)
{
	TRY(fdt_begin_node(fdt, FDT_CONSOLE_NODE));
	TRY(fdt_property_string(fdt, "compatible", "quire,console"));
	TRY(put_io_reg(fdt, QUIRE_CONSOLE_PORT, 4));
	return fdt_end_node(fdt);
}

static int put_wait(void *fdt)
{
	TRY(fdt_begin_node(fdt, FDT_WAIT_NODE));
	TRY(fdt_property_string(fdt, "compatible", "quire,wait"));
	TRY(put_io_reg(fdt, QUIRE_WAIT_PORT, 4));
	return fdt_end_node(fdt);
}

static int put_exit(void *fdt)
{
	TRY(fdt_begin_node(fdt, FDT_EXIT_NODE));
	TRY(fdt_property_string(fdt, "compatible", "quire,exit"));
	TRY(put_io_reg(fdt, QUIRE_EXIT_PORT, 4));
	return fdt_end_node(fdt);
}

static int put_virtio(void *fdt, const struct virtio_slot *slot)
{
	char name[32];

	snprintf(name, sizeof(name), "virtio@%" PRIx64, slot->base);
	TRY(fdt_begin_node(fdt, name));
	TRY(fdt_property_string(fdt, "compatible", FDT_VIRTIO));
	TRY(put_reg(fdt, slot->base, slot->bytes));
	TRY(fdt_property_u32(fdt, "interrupts", slot->irq));
	return fdt_end_node(fdt);
}

static int put_hypervisor(void *fdt, const struct fdt_config *config)
{
	TRY(fdt_begin_node(fdt, "hypervisor"));
	TRY(fdt_property_string(fdt, "compatible", "quire,vm"));
	if (config->tsc_khz)
		TRY(fdt_property_u32(fdt, "quire,tsc-khz", config->tsc_khz));
	if (config->setup_ns)
		TRY(fdt_property_u64(fdt, "quire,setup-ns", config->setup_ns));
	return fdt_end_node(fdt);
}

static int put_root(void *fdt, const struct fdt_config *config)
{
	unsigned int i;

	TRY(fdt_begin_node(fdt, ""));
	TRY(fdt_property_string(fdt, "compatible", "quire,vm"));
	TRY(fdt_property_string(fdt, "model", "quire"));
	TRY(fdt_property_u32(fdt, "#address-cells", 2));
	TRY(fdt_property_u32(fdt, "#size-cells", 2));
	TRY(put_chosen(fdt, config->bootargs));
	for (i = 0; i < config->nr_ram; i++)
		TRY(put_memory(fdt, &config->ram[i]));
	TRY(put_cpus(fdt, config->nr_cpus));
	TRY(put_serial(fdt));
	TRY(put_console(fdt));
	TRY(put_wait(fdt));
	TRY(put_exit(fdt));
	for (i = 0; i < config->nr_virtio; i++)
		TRY(put_virtio(fdt, &config->virtio[i]));
	TRY(put_hypervisor(fdt, config));
	return fdt_end_node(fdt);
}

static int build(void *fdt, size_t bytes, const struct fdt_config *config)
{
	TRY(fdt_create(fdt, bytes));
	TRY(fdt_finish_reservemap(fdt));
	TRY(put_root(fdt, config));
	return fdt_finish(fdt);
}

int fdt_build(const struct fdt_config *config, void **blob, size_t *bytes)
{
	size_t room;
	void *fdt;
	int err;

	for (room = FIRST_BYTES; room <= MOST_BYTES; room *= 2) {
		fdt = malloc(room);
		if (!fdt)
			return -ENOMEM;
		err = build(fdt, room, config);
		if (!err) {
			*blob = fdt;
			*bytes = fdt_totalsize(fdt);
			return 0;
		}
		free(fdt);
		/* Any other error would be a call out of order: a bug here. */
		if (err != -FDT_ERR_NOSPACE)
			abort();
	}
	return -E2BIG;
}
