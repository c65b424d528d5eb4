/* SPDX-License-Identifier: MIT */
/*
 * ACPI's tables, read back as a guest does: found from the RSDP, with sums and lengths.  Only what
 * fits together is looked at here; tests/boot/acpi.t has them disassembled.
 *
 * With arguments it is no test: `acpi_test CPUS DEVICES DIR` writes each table to DIR/SIGNATURE.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <quire/abi.h>
#include "vmm/boot/acpi.h"
#include "tests/tap.h"

static uint8_t image[ACPI_MAX_BYTES];
static size_t image_bytes;

static void build(unsigned int nr_cpus, unsigned int nr_virtio)
{
	struct virtio_slot virtio[QUIRE_VIRTIO_SLOTS];
	struct acpi_config config = { nr_cpus, virtio, nr_virtio };

	for (unsigned int i = 0; i < nr_virtio; i++)
		virtio[i] = (struct virtio_slot){
			.base = QUIRE_VIRTIO_BASE(i),
			.bytes = QUIRE_MMIO_BYTES,
			.irq = QUIRE_VIRTIO_IRQ(i),
			.index = i,
		};
	image_bytes = acpi_build(&config, image);
}

static uint8_t sum(const uint8_t *data, size_t bytes)
{
	uint8_t s = 0;

	for (size_t i = 0; i < bytes; i++)
		s += data[i];
	return s;
}

static uint32_t u32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static uint64_t u64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

/* The table at gpa, if it lies in the image and has this signature; else NULL. */
static const uint8_t *table(uint64_t gpa, const char *signature)
{
	uint64_t at = gpa - QUIRE_ACPI_BASE;

	if (at + 36 > image_bytes || memcmp(image + at, signature, 4) ||
	    at + u32(image + at + 4) > image_bytes || sum(image + at, u32(image + at + 4)))
		return NULL;
	return image + at;
}

static const uint8_t *found(const char *signature)
{
	const uint8_t *xsdt = table(u64(image + 24), "XSDT"), *fadt;

	if (!strcmp(signature, "XSDT") || !xsdt)
		return xsdt;
	if (!strcmp(signature, "DSDT")) {
		fadt = found("FACP");
		return fadt ? table(u64(fadt + 140), "DSDT") : NULL;
	}
	for (uint32_t i = 36; i + 8 <= u32(xsdt + 4); i += 8)
		if (table(u64(xsdt + i), signature))
			return table(u64(xsdt + i), signature);
	return NULL;
}

static const char *const signatures[] = { "XSDT", "FACP", "APIC", "DSDT" };

static void test_tables(unsigned int nr_cpus, unsigned int nr_virtio)
{
	build(nr_cpus, nr_virtio);
	tap_note("%u processors, %u devices: %zu bytes", nr_cpus, nr_virtio, image_bytes);
	ok(!memcmp(image, "RSD PTR ", 8), "the RSDP comes first");
	ok(!sum(image, 20) && !sum(image, 36), "its two sums are 0");
	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++)
		ok(found(signatures[i]), "%s is found, inside, with sum 0", signatures[i]);
}

/* Entries of a type in the MADT.  Their lengths lead exactly to its end, or -1. */
static int madt_entries(uint8_t type)
{
	const uint8_t *madt = found("APIC");
	uint32_t at = 44, bytes = u32(madt + 4);
	int n = 0;

	while (at + 2 <= bytes && madt[at + 1] >= 2) {
		n += madt[at] == type;
		at += madt[at + 1];
	}
	return at == bytes ? n : -1;
}

static void test_processors(void)
{
	const uint8_t *madt;
	bool all = true;

	build(255, 0);
	madt = found("APIC");
	is(madt_entries(0), 255, "the MADT has a local APIC for each of 255 processors");
	for (unsigned int i = 0; i < 255; i++)
		all &= madt[44 + 8 * i + 2] == i && madt[44 + 8 * i + 3] == i;
	ok(all, "processor n has APIC id n");
	is(madt_entries(1), 1, "and one I/O APIC");
	is(madt_entries(2), 1, "one override,");
	is(madt[44 + 8 * 255 + 12 + 3], QUIRE_PM_IRQ,
	   "for ACPI's own interrupt, and not for the "
	   "PIT");
	is_hex(madt[44 + 8 * 255 + 12 + 8], 0xd, "... a level, active high");
}

static void test_fixed_hardware(void)
{
	const uint8_t *fadt;

	build(1, 1);
	fadt = found("FACP");
	ok(!(u32(fadt + 112) & 1u << 20), "the hardware is not the reduced one");
	is_hex(u32(fadt + 56), QUIRE_PM_PORT, "PM1 event registers");
	is_hex(u32(fadt + 64), QUIRE_PM_PORT + 4, "PM1 control register, where QEMU has it");
	is_hex(u64(fadt + 148 + 4), u32(fadt + 56), "the 64-bit address says the same");
	is_hex(u64(fadt + 172 + 4), u32(fadt + 64), "... of both");
	is_hex(u64(fadt + 116 + 4), QUIRE_RESET_PORT, "reset register");
	is_hex(u32(fadt + 116), 0x01000801, "... a port of eight bits, accessed as a byte");
	is(fadt[128], QUIRE_RESET_VALUE, "and its value");
	is_hex(u64(fadt + 140), u32(fadt + 40), "the DSDT has one address");
}

static void test_devices(void)
{
	const uint8_t *dsdt;
	unsigned int n = 0;

	build(1, QUIRE_VIRTIO_SLOTS);
	dsdt = found("DSDT");
	for (uint32_t i = 0; i + 8 <= u32(dsdt + 4); i++)
		n += !memcmp(dsdt + i, "LNRO0005", 8);
	is(n, QUIRE_VIRTIO_SLOTS, "the DSDT has every virtio device");
}

static int write_tables(char **argv)
{
	build((unsigned int)atoi(argv[1]), (unsigned int)atoi(argv[2]));
	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++) {
		const uint8_t *t = found(signatures[i]);
		char path[4096];
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s", argv[3], signatures[i]);
		f = t ? fopen(path, "w") : NULL;
		if (!f || fwrite(t, u32(t + 4), 1, f) != 1 || fclose(f))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4)
		return write_tables(argv);
	tap_init();
	test_tables(1, 0);
	test_tables(2, 1);
	test_tables(255, QUIRE_VIRTIO_SLOTS);
	test_processors();
	test_fixed_hardware();
	test_devices();
	return tap_done();
}
