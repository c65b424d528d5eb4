/* SPDX-License-Identifier: MIT */
/* The device tree, read back with libfdt as a guest would. */
#include <errno.h>
#include <inttypes.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <quire/abi.h>
#include "vmm/boot/fdt.h"
#include "tests/tap.h"

static const struct gfn_range two_ranges[] = {
	{ 0, QUIRE_GAP_START >> QUIRE_PAGE_SHIFT },
	{ QUIRE_GAP_END >> QUIRE_PAGE_SHIFT, (QUIRE_GAP_END + GiB) >> QUIRE_PAGE_SHIFT },
};

static const struct virtio_slot slots[] = {
	{ .base = QUIRE_VIRTIO_BASE(0), .bytes = QUIRE_MMIO_BYTES, .irq = QUIRE_VIRTIO_IRQ(0) },
	{ .base = QUIRE_VIRTIO_BASE(8), .bytes = QUIRE_MMIO_BYTES, .irq = QUIRE_VIRTIO_IRQ(8) },
};

static const struct fdt_config usual = {
	.ram = two_ranges,
	.nr_ram = 2,
	.nr_cpus = 3,
	.bootargs = "fill seed=7",
	.tsc_khz = 2300000,
	.setup_ns = 0x123456789abcULL,
	.virtio = slots,
	.nr_virtio = 2,
};

/* Cell n of a property, or all ones if there is no such cell. */
static uint32_t cell(const void *fdt, const char *path, const char *name, int n)
{
	int bytes;
	const fdt32_t *p = fdt_getprop(fdt, fdt_path_offset(fdt, path), name, &bytes);

	return p && bytes >= 4 * (n + 1) ? fdt32_ld(p + n) : UINT32_MAX;
}

static uint64_t pair(const void *fdt, const char *path, const char *name, int n)
{
	return (uint64_t)cell(fdt, path, name, n) << 32 | cell(fdt, path, name, n + 1);
}

static const char *string(const void *fdt, const char *path, const char *name)
{
	int bytes;
	const char *p = fdt_getprop(fdt, fdt_path_offset(fdt, path), name, &bytes);

	return p && bytes > 0 && !p[bytes - 1] ? p : "(none)";
}

static void is_string(const void *fdt, const char *path, const char *name, const char *want)
{
	const char *got = string(fdt, path, name);

	if (!ok(!strcmp(got, want), "%s %s is \"%s\"", path, name, want))
		tap_note("got \"%s\"", got);
}

static void *built(const struct fdt_config *config)
{
	void *fdt = NULL;
	size_t bytes = 0;

	if (fdt_build(config, &fdt, &bytes))
		tap_bail("fdt_build failed");
	ok(fdt_check_full(fdt, bytes) == 0, "a tree of %zu bytes is well-formed", bytes);
	is_hex(fdt_totalsize(fdt), bytes, "its header says its size");
	return fdt;
}

static void test_memory_and_cpus(const void *fdt)
{
	is(cell(fdt, "/", "#address-cells", 0), 2, "addresses have 2 cells");
	is(cell(fdt, "/", "#size-cells", 0), 2, "sizes have 2 cells");
	is_string(fdt, "/", "compatible", "quire,vm");

	is_string(fdt, "/memory@0", "device_type", "memory");
	is_hex(pair(fdt, "/memory@0", "reg", 0), 0, "low RAM starts at 0");
	is_hex(pair(fdt, "/memory@0", "reg", 2), 3 * GiB, "low RAM has 3 GiB");
	is_string(fdt, "/memory@100000000", "device_type", "memory");
	is_hex(pair(fdt, "/memory@100000000", "reg", 0), 4 * GiB, "high RAM starts at 4 GiB");
	is_hex(pair(fdt, "/memory@100000000", "reg", 2), GiB, "high RAM has 1 GiB");

	is(cell(fdt, "/cpus", "#address-cells", 0), 1, "a CPU's reg has 1 cell");
	is(cell(fdt, "/cpus", "#size-cells", 0), 0, "... and no size");
	is_string(fdt, "/cpus/cpu@0", "device_type", "cpu");
	is(cell(fdt, "/cpus/cpu@0", "reg", 0), 0, "the first CPU is 0");
	is(cell(fdt, "/cpus/cpu@2", "reg", 0), 2, "the last CPU is 2");
	ok(fdt_path_offset(fdt, "/cpus/cpu@3") < 0, "there is no CPU 3");
}

static void test_devices(const void *fdt)
{
	is_string(fdt, "/chosen", "bootargs", "fill seed=7");
	is_string(fdt, "/chosen", "stdout-path", "/serial@3f8");
	is_string(fdt, string(fdt, "/chosen", "stdout-path"), "compatible", "ns16550a");
	is_hex(pair(fdt, "/serial@3f8", "reg", 0), 1ULL << 32 | 0x3f8, "the UART is at port 0x3f8");
	is(pair(fdt, "/serial@3f8", "reg", 2), 8, "the UART has 8 ports");
	is(cell(fdt, "/serial@3f8", "interrupts", 0), 4, "the UART has IRQ 4");
	is_string(fdt, "/console@4f0", "compatible", "quire,console");
	is_hex(pair(fdt, "/console@4f0", "reg", 0), 1ULL << 32 | 0x4f0, "the text port is 0x4f0");
	is(pair(fdt, "/console@4f0", "reg", 2), 4, "the text port takes 32 bits");
	is_string(fdt, "/wait@4f4", "compatible", "quire,wait");
	is_hex(pair(fdt, "/wait@4f4", "reg", 0), 1ULL << 32 | 0x4f4, "the wait port is 0x4f4");
	is_string(fdt, "/exit@f4", "compatible", "quire,exit");
	is_hex(pair(fdt, "/exit@f4", "reg", 0), 1ULL << 32 | 0xf4, "the exit port is 0xf4");
	is(pair(fdt, "/exit@f4", "reg", 2), 4, "the exit port takes up to 32 bits");
	is_string(fdt, "/virtio@d0000000", "compatible", "virtio,mmio");
	is_hex(pair(fdt, "/virtio@d0000000", "reg", 0), 0xd0000000, "the balloon's registers");
	is_hex(pair(fdt, "/virtio@d0000000", "reg", 2), 0x200, "... 512 bytes of them");
	is(cell(fdt, "/virtio@d0000000", "interrupts", 0), 5, "its interrupt line");
	is_hex(pair(fdt, "/virtio@d0001000", "reg", 0), 0xd0001000, "registers of the last slot");
	is(cell(fdt, "/virtio@d0001000", "interrupts", 0), 15, "its interrupt line");
	is_string(fdt, "/hypervisor", "compatible", "quire,vm");
	is(cell(fdt, "/hypervisor", "quire,tsc-khz", 0), 2300000, "TSC frequency");
	is_hex(pair(fdt, "/hypervisor", "quire,setup-ns", 0), 0x123456789abcULL, "setup time");
}

static void test_unknown(void)
{
	struct fdt_config config = usual;
	int node, bytes;
	void *fdt;

	config.tsc_khz = 0;
	config.setup_ns = 0;
	config.nr_virtio = 0;
	fdt = built(&config);
	node = fdt_path_offset(fdt, "/hypervisor");
	ok(fdt_path_offset(fdt, "/virtio@d0000000") < 0, "without devices there is no node");
	ok(node >= 0, "there is a hypervisor node even if nothing is known");
	ok(!fdt_getprop(fdt, node, "quire,tsc-khz", &bytes), "an unknown frequency is left out");
	ok(!fdt_getprop(fdt, node, "quire,setup-ns", &bytes), "an unknown time is left out");
	free(fdt);
}

/* Sizes around which the buffer must grow. */
static void test_long_bootargs(void)
{
	static const size_t length[] = { 0, 2500, 3500, 4096, 100000, 5 * MiB };
	struct fdt_config config = usual;
	char *args;
	void *fdt;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(length); i++) {
		args = calloc(1, length[i] + 1);
		memset(args, 'x', length[i]);
		config.bootargs = args;
		config.nr_cpus = 64;
		fdt = built(&config);
		ok(!strcmp(string(fdt, "/chosen", "bootargs"), args), "%zu bytes of bootargs",
		   length[i]);
		is(cell(fdt, "/cpus/cpu@3f", "reg", 0), 63, "CPU 63 is cpu@3f");
		free(fdt);
		free(args);
	}
}

static void test_too_long(void)
{
	struct fdt_config config = usual;
	char *args = calloc(1, 20 * MiB);
	void *fdt = NULL;
	size_t bytes;

	memset(args, 'x', 20 * MiB - 1);
	config.bootargs = args;
	ok(fdt_build(&config, &fdt, &bytes) == -E2BIG, "20 MiB of bootargs are refused");
	free(args);
}

int main(void)
{
	void *fdt;

	tap_init();
	fdt = built(&usual);
	test_memory_and_cpus(fdt);
	test_devices(fdt);
	free(fdt);
	test_unknown();
	test_long_bootargs();
	test_too_long();
	return tap_done();
}
