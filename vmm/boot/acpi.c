/* SPDX-License-Identifier: MIT */
/*
 * ACPI's tables, written from front to back into one buffer.
 *
 * Numbers are little-endian, as the host's are, so fixed tables are packed structures.  The DSDT
 * is ACPI Machine Language (chapter 20): its terms are written by functions that are named after
 * them.  A package in AML begins with its length, which is known at its end: two bytes are kept
 * free for it.  If one is enough the package then moves, so that ACPI's own compiler makes the same
 * bytes.
 */
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include "acpi.h"

#define LOCAL_APIC_BASE 0xfee00000u
#define IO_APIC_BASE	0xfec00000u

struct out {
	uint8_t *at;
	size_t bytes;
};

/* Append.  The buffer fits the largest tables, so more than that is a bug here. */
static void *put(struct out *o, const void *data, size_t bytes)
{
	uint8_t *to = o->at + o->bytes;

	if (bytes > ACPI_MAX_BYTES - o->bytes)
		abort();
	memcpy(to, data, bytes);
	o->bytes += bytes;
	return to;
}

static void put8(struct out *o, unsigned int value)
{
	uint8_t byte = (uint8_t)value;

	put(o, &byte, 1);
}

static void put32(struct out *o, uint32_t value)
{
	put(o, &value, sizeof(value));
}

static void put64(struct out *o, uint64_t value)
{
	put(o, &value, sizeof(value));
}

/* The byte that makes the sum of all bytes 0, given that it is 0 now. */
static uint8_t checksum(const uint8_t *data, size_t bytes)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < bytes; i++)
		sum += data[i];
	return (uint8_t)-sum;
}

/* ---- tables ---- */

struct header {
	char signature[4];
	uint32_t bytes;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == 36, "ACPI, table 5.4");

struct rsdp {
	char signature[8];
	uint8_t checksum; /* of what version 1 had */
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t bytes;
	uint64_t xsdt;
	uint8_t whole_checksum;
	uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct rsdp) == 36, "ACPI, table 5.3");

#define RSDP_FIRST_BYTES 20 /* what version 1 had */

/* Begin a table.  end() takes what this returns. */
static size_t begin(struct out *o, const char *signature, unsigned int revision)
{
	struct header h = {
		.revision = (uint8_t)revision,
		.oem = { 'Q', 'U', 'I', 'R', 'E', ' ' },
		.oem_table = { 'Q', 'U', 'I', 'R', 'E', 'V', 'M', ' ' },
		.oem_revision = 1,
		.creator = { 'Q', 'U', 'I', 'R' },
		.creator_revision = 1,
	};
	size_t at;

	while (o->bytes % 16)
		put8(o, 0);
	at = o->bytes;
	memcpy(h.signature, signature, sizeof(h.signature));
	put(o, &h, sizeof(h));
	return at;
}

/* Returns where the guest finds the table. */
static gpa_t end(struct out *o, size_t at)
{
	uint32_t bytes = (uint32_t)(o->bytes - at);

	memcpy(o->at + at + offsetof(struct header, bytes), &bytes, sizeof(bytes));
	o->at[at + offsetof(struct header, checksum)] = checksum(o->at + at, bytes);
	return QUIRE_ACPI_BASE + at;
}

/* ---- AML ---- */

#define NAME_OP	   0x08
#define BYTE_OP	   0x0a
#define STRING_OP  0x0d
#define SCOPE_OP   0x10
#define BUFFER_OP  0x11
#define PACKAGE_OP 0x12
#define EXT_OP	   0x5b /* and: */
#define DEVICE_OP  0x82

/* Resource descriptors (section 6.4): small ones have their length in the first byte. */
#define RES_IRQ	     0x22
#define RES_IO	     0x47
#define RES_END	     0x79
#define RES_MEMORY32 0x86
#define RES_IRQ_EXT  0x89

/*
 * PkgLength (section 20.2.4), which counts itself: one byte up to 63, else the low four bits and
 * eight more.
 */
static size_t length_begin(struct out *o)
{
	put8(o, 0);
	put8(o, 0);
	return o->bytes - 2;
}

static void length_end(struct out *o, size_t at)
{
	size_t bytes = o->bytes - at;

	if (bytes >= 1 << 12)
		abort();
	if (bytes <= 64) {
		o->at[at] = (uint8_t)(bytes - 1);
		memmove(o->at + at + 1, o->at + at + 2, bytes - 2);
		o->bytes--;
		return;
	}
	o->at[at] = (uint8_t)(0x40 | (bytes & 15));
	o->at[at + 1] = (uint8_t)(bytes >> 4);
}

static void name(struct out *o, const char *segment)
{
	put8(o, NAME_OP);
	put(o, segment, 4);
}

static void integer(struct out *o, unsigned int value)
{
	put8(o, BYTE_OP);
	put8(o, value);
}

static size_t device_begin(struct out *o, const char *segment)
{
	size_t at;

	put8(o, EXT_OP);
	put8(o, DEVICE_OP);
	at = length_begin(o);
	put(o, segment, 4);
	return at;
}

/* _CRS: a buffer of resource descriptors. */
static void resources(struct out *o, const uint8_t *data, size_t bytes)
{
	size_t at;

	name(o, "_CRS");
	put8(o, BUFFER_OP);
	at = length_begin(o);
	integer(o, (unsigned int)bytes);
	put(o, data, bytes);
	length_end(o, at);
}

/* Devices with I/O ports, and most with an ISA interrupt. */
static const struct isa_device {
	const char *segment;
	const char *id;
	uint16_t port;
	uint8_t ports, irq; /* irq 0: none */
} isa_devices[] = {
	{ "COM1", "PNP0501", QUIRE_UART_PORT, 8, QUIRE_UART_IRQ },
	{ "RTC_", "PNP0B00", QUIRE_CMOS_PORT, 2, QUIRE_CMOS_IRQ },
	{ "PEVT", "QEMU0001", QUIRE_PANIC_PORT, 1, 0 },
};

static void identity(struct out *o, const char *id, unsigned int uid)
{
	name(o, "_HID");
	put8(o, STRING_OP);
	put(o, id, strlen(id) + 1);
	name(o, "_UID");
	integer(o, uid);
}

static void isa_device(struct out *o, const struct isa_device *d)
{
	const uint8_t low = (uint8_t)d->port, high = (uint8_t)(d->port >> 8);
	/* 16 bits are decoded; lowest and highest address; alignment */
	const uint8_t io[] = { RES_IO, 1, low, high, low, high, 1, d->ports };
	const uint8_t irq[] = { RES_IRQ, (uint8_t)(1 << d->irq), (uint8_t)(1 << d->irq >> 8) };
	uint8_t data[32];
	struct out res = { data, 0 };
	size_t at = device_begin(o, d->segment);

	identity(o, d->id, 0);
	put(&res, io, sizeof(io));
	if (d->irq)
		put(&res, irq, sizeof(irq));
	put(&res, (const uint8_t[]){ RES_END, 0 }, 2);
	resources(o, data, res.bytes);
	length_end(o, at);
}

_Static_assert(QUIRE_VIRTIO_SLOTS <= 10, "a digit names a slot");

/* The id that Linux's driver and QEMU know; and its accesses to memory are coherent. */
static void virtio_device(struct out *o, const struct virtio_slot *slot)
{
	const char segment[] = { 'V', 'R', 'T', (char)('0' + slot->index) };
	uint8_t data[32];
	struct out res = { data, 0 };
	size_t at = device_begin(o, segment);

	identity(o, "LNRO0005", slot->index);
	name(o, "_CCA");
	integer(o, 1);
	put(&res, (const uint8_t[]){ RES_MEMORY32, 9, 0, 1 }, 4); /* length; writable */
	put32(&res, (uint32_t)slot->base);
	put32(&res, (uint32_t)slot->bytes);
	put(&res, (const uint8_t[]){ RES_IRQ_EXT, 6, 0, 3, 1 }, 5); /* length; edge; 1 number */
	put32(&res, slot->irq);
	put(&res, (const uint8_t[]){ RES_END, 0 }, 2);
	resources(o, data, res.bytes);
	length_end(o, at);
}

static gpa_t dsdt(struct out *o, const struct acpi_config *config)
{
	size_t at = begin(o, "DSDT", 2), scope;

	/* Sleep type 0 for PM1a and PM1b is S5. */
	name(o, "_S5_");
	put(o, (const uint8_t[]){ PACKAGE_OP, 6, 2, BYTE_OP, 0, BYTE_OP, 0 }, 7);
	put8(o, SCOPE_OP);
	scope = length_begin(o);
	put(o, "\\_SB_", 5);
	for (size_t i = 0; i < ARRAY_SIZE(isa_devices); i++)
		isa_device(o, &isa_devices[i]);
	for (unsigned int i = 0; i < config->nr_virtio; i++)
		virtio_device(o, &config->virtio[i]);
	length_end(o, scope);
	return end(o, at);
}

/* ---- MADT ---- */

#define PCAT_COMPAT 1u /* there are two 8259 too */

struct madt_local_apic {
	uint8_t type, bytes, processor, apic;
	uint32_t flags; /* 1: enabled */
} __attribute__((packed));

struct madt_io_apic {
	uint8_t type, bytes, id, reserved;
	uint32_t base, first_gsi;
} __attribute__((packed));

struct madt_override {
	uint8_t type, bytes, bus, irq;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

struct madt_nmi {
	uint8_t type, bytes, processor;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

static gpa_t madt(struct out *o, const struct acpi_config *config)
{
	const struct madt_io_apic io_apic = { 1, 12, 0, 0, IO_APIC_BASE, 0 };
	/* ACPI's own interrupt is a level, active high. */
	const struct madt_override sci = { 2, 10, 0, QUIRE_PM_IRQ, QUIRE_PM_IRQ, 0xd };
	const struct madt_nmi nmi = { 4, 6, 0xff, 0, 1 };
	size_t at = begin(o, "APIC", 4);

	put32(o, LOCAL_APIC_BASE);
	put32(o, PCAT_COMPAT);
	for (unsigned int i = 0; i < config->nr_cpus; i++) {
		struct madt_local_apic cpu = { 0, 8, (uint8_t)i, (uint8_t)i, 1 };

		put(o, &cpu, sizeof(cpu));
	}
	put(o, &io_apic, sizeof(io_apic));
	put(o, &sci, sizeof(sci));
	put(o, &nmi, sizeof(nmi));
	return end(o, at);
}

/* ---- FADT ---- */

/* A register: in I/O space, so many bits wide, at this address.  All zero: there is none. */
struct gas {
	uint8_t space, bits, offset, access;
	uint64_t address;
} __attribute__((packed));

#define IO_REGISTER(bits_, access_, port) \
	{ \
		.space = 1, .bits = (bits_), .access = (access_), .address = (port) \
	}

#define FADT_WBINVD	   (1u << 0)
#define FADT_NO_PWR_BUTTON (1u << 4) /* no fixed power button; in the DSDT there is none either */
#define FADT_NO_SLP_BUTTON (1u << 5)
#define FADT_TIMER_32	   (1u << 8)
#define FADT_RESET	   (1u << 10)

#define BOOT_LEGACY_DEVICES 1u	      /* the serial port */
#define BOOT_NO_VGA	    (1u << 2) /* and no 8042 */

struct fadt {
	struct header header;
	uint32_t facs, dsdt;
	uint8_t reserved, profile;
	uint16_t sci_irq;
	uint32_t smi_port; /* 0: ACPI is always on */
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer;
	uint32_t gpe0, gpe1;
	uint8_t pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
	uint8_t gpe0_bytes, gpe1_bytes, gpe1_first, cstates;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, alarm_day, alarm_month, century;
	uint16_t boot_flags;
	uint8_t reserved2;
	uint32_t flags;
	struct gas reset;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct gas x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control;
	struct gas x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
	char hypervisor[8];
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 276, "ACPI 6.4, table 5.9");

static gpa_t fadt(struct out *o, gpa_t dsdt_gpa)
{
	static const struct fadt fixed = {
		.sci_irq = QUIRE_PM_IRQ,
		.pm1a_event = QUIRE_PM_PORT,
		.pm1a_control = QUIRE_PM_PORT + 4,
		.pm_timer = QUIRE_PM_PORT + 8,
		.pm1_event_bytes = 4,
		.pm1_control_bytes = 2,
		.pm_timer_bytes = 4,
		.c2_latency = 0xfff, /* more than 100 and 1000 us: there is neither */
		.c3_latency = 0xfff,
		.century = QUIRE_CMOS_CENTURY,
		.boot_flags = BOOT_LEGACY_DEVICES | BOOT_NO_VGA,
		.flags = FADT_WBINVD | FADT_NO_PWR_BUTTON | FADT_NO_SLP_BUTTON | FADT_TIMER_32 |
			 FADT_RESET,
		.reset = IO_REGISTER(8, 1, QUIRE_RESET_PORT),
		.reset_value = QUIRE_RESET_VALUE,
		.minor = 4,
		.x_pm1a_event = IO_REGISTER(32, 2, QUIRE_PM_PORT),
		.x_pm1a_control = IO_REGISTER(16, 2, QUIRE_PM_PORT + 4),
		.x_pm_timer = IO_REGISTER(32, 3, QUIRE_PM_PORT + 8),
		.hypervisor = { 'Q', 'U', 'I', 'R', 'E' },
	};
	size_t at = begin(o, "FACP", 6), rest = sizeof(fixed) - sizeof(fixed.header);
	struct fadt table = fixed;

	table.dsdt = (uint32_t)dsdt_gpa;
	table.x_dsdt = dsdt_gpa;
	put(o, (const uint8_t *)&table + sizeof(table.header), rest);
	return end(o, at);
}

/* ---- all of it ---- */

static void rsdp(uint8_t *to, gpa_t xsdt)
{
	struct rsdp r = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem = { 'Q', 'U', 'I', 'R', 'E', ' ' },
		.revision = 2,
		.bytes = sizeof(r),
		.xsdt = xsdt,
	};

	r.checksum = checksum((const uint8_t *)&r, RSDP_FIRST_BYTES);
	r.whole_checksum = checksum((const uint8_t *)&r, sizeof(r));
	memcpy(to, &r, sizeof(r));
}

size_t acpi_build(const struct acpi_config *config, uint8_t out[ACPI_MAX_BYTES])
{
	struct out o = { out, 0 };
	gpa_t fadt_gpa, madt_gpa;
	size_t at;

	memset(out, 0, ACPI_MAX_BYTES);
	o.bytes = sizeof(struct rsdp);
	fadt_gpa = fadt(&o, dsdt(&o, config));
	madt_gpa = madt(&o, config);
	at = begin(&o, "XSDT", 1);
	put64(&o, fadt_gpa);
	put64(&o, madt_gpa);
	rsdp(out, end(&o, at));
	return o.bytes;
}
