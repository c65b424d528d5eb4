/* SPDX-License-Identifier: MIT */
/* Loading Linux: a bzImage and a vmlinux, byte for byte, and a kernel that is installed here. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "image_lab.h"
#include "tests/tap.h"

static struct quire_error error;

static void test_linux(enum sample_kind kind, enum image_kind want, const char *what)
{
	struct sample s = sample_make(kind);
	struct image_config config = config_of(&s);
	struct image_plan plan;
	gpa_t params;

	config.cmdline = "root=/dev/vda rw";
	config.initrd = two_initrds;
	config.nr_initrds = 2;
	config.module = two_modules + 1;
	config.nr_modules = 1;
	config.acpi = "RSD PTR ";
	config.acpi_bytes = 8;
	if (!planned(&config, &plan, what))
		return;
	ok(plan.kind == want, "%s is recognised", what);
	ok(plan.kernel.is_linux && !strcmp(plan.kernel.version, "6.1.0 sample"), "its version");
	is_hex(plan.entry, SAMPLE_PREFERRED + (want == IMAGE_LINUX64 ? 0x200 : 0), "its entry");
	is(plan.nr_segments, 5, "kernel, boot data, two parts of the initrd, and ACPI");
	is_segment(&plan, 0, SAMPLE_PREFERRED, s.byte + SAMPLE_KERNEL, SAMPLE_BYTES - SAMPLE_KERNEL,
		   SAMPLE_INIT_BYTES);
	params = plan.esi;
	is_hex(plan_word(&plan, params + 0x70, 8), QUIRE_ACPI_BASE, "boot_params: ACPI");
	ok(!memcmp(plan.cmdline, "console=ttyS0 root=", 19), "a console is named");
	is_hex(plan_word(&plan, params + 0x1fa, 2), 0xffff, "boot_params: normal video mode");
	is(plan_word(&plan, params + 0x1e8, 1), 5, "boot_params: five entries of E820");
	is_hex(plan_word(&plan, params + 0x2d0 + 60, 8), MiB, "... the fourth begins at 1 MiB");
	is(plan_word(&plan, params + 0x21c, 4), 5000 + 64, "one initrd, padded between its parts");
	is_hex(plan_word(&plan, params + 0x218, 4) + 5000, plan.segment[3].gpa, "... to 4 bytes");
	ok(plan_word(&plan, params + 0x206, 2) == 0x20f &&
		   plan_word(&plan, params + 0x260, 4) == SAMPLE_INIT_BYTES &&
		   plan_word(&plan, params + 0x1f4, 4) == (SAMPLE_BYTES - SAMPLE_KERNEL) / 16,
	   "boot_params: what is the kernel's is as it was");
	image_plan_finish(&plan);

	config.cmdline = "quiet console=tty0 -- console=x";
	if (planned(&config, &plan, "a line with a console"))
		ok(!strcmp(plan.cmdline, config.cmdline), "... gets no other one");
	image_plan_finish(&plan);
	config.cmdline = "a=\"b console=c\" -- console=ttyS0";
	ok(!plan_file(&config, &plan, &error) && !strncmp(plan.cmdline, "console=ttyS0 a=", 16),
	   "... and what is quoted, or for init, is none");
	image_plan_finish(&plan);
	config.cmdline = "quiet";
	config.virtio_console = true;
	ok(!plan_file(&config, &plan, &error) &&
		   !strcmp(plan.cmdline, "console=ttyS0 console=hvc0 quiet"),
	   "with a virtio console Linux prints to both, and reads that one");
	image_plan_finish(&plan);
}

static void test_linux_devices(void)
{
	static const struct virtio_slot slot[] = {
		{ "balloon", 0xd0000000, 0x200, 5, 0 },
		{ "block", 0xd0000200, 0x200, 10, 1 },
	};
	struct sample s = sample_make(SAMPLE_LINUX64);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	config.virtio = slot;
	config.nr_virtio = 2;
	ok(!plan_file(&config, &plan, &error) && !strcmp(plan.cmdline, "console=ttyS0"),
	   "a kernel finds its devices by ACPI");
	image_plan_finish(&plan);
	config.cmdline = "acpi=off";
	ok(!plan_file(&config, &plan, &error) &&
		   !strcmp(plan.cmdline, "console=ttyS0 virtio_mmio.device=512@0xd0000000:5 "
					 "virtio_mmio.device=512@0xd0000200:10 acpi=off"),
	   "... or is told them without it");
	image_plan_finish(&plan);
	config.cmdline = "acpi=off virtio_mmio.device=x";
	ok(!plan_file(&config, &plan, &error) && strstr(plan.cmdline, "ttyS0 acpi=off virtio"),
	   "... unless the user tells it");
	image_plan_finish(&plan);
}

/* Debian's kernel, if the bed has one: whole, and cut anywhere. */
static void test_real_kernel(void)
{
	const char *bed = getenv("QUIRE_BED");
	struct image_config config = {
		.name = "vmlinuz", .cmdline = "", .ram = ram_4g, .nr_ram = 2
	};
	struct image_file file;
	struct image_plan plan;
	char path[4096];
	uint64_t rng = 1, cut;
	int faults = 0;

	snprintf(path, sizeof(path), "%s/vmlinuz", bed ? bed : "build-bed");
	if (image_open(path, &file, &error)) {
		tap_skip("no %s", path);
		return;
	}
	config.file = file.data;
	config.file_bytes = file.bytes;
	if (planned(&config, &plan, path))
		ok(plan.kind == IMAGE_LINUX64 && plan.kernel.version[1] == '.', "... is Linux %s",
		   plan.kernel.version);
	image_plan_finish(&plan);
	for (int i = 0; i < 1000; i++) {
		/* A signature may be behind the kernel's last page. */
		cut = tap_random(&rng) % (i & 1 ? 8192 : file.bytes - 64 * KiB);
		config.file_bytes = cut;
		faults += !plan_file(&config, &plan, &error);
		image_plan_finish(&plan);
	}
	ok(!faults, "... and refused wherever it is cut");
	image_close(&file);
}

/* Its text is in the setup code, or it has none. */
static void test_linux_version(void)
{
	static const struct {
		uint16_t at;
		const char *want, *what;
	} row[] = {
		{ SAMPLE_VERSION - 0x200, "6.1.0 sample", "where the header says" },
		{ SAMPLE_VERSION - 0x200 + 4, "0 sample", "... wherever that is" },
		{ 0, "", "a header without a version" },
		{ SAMPLE_KERNEL - 0x200, "", "a version in the kernel" },
		{ 0xffff, "", "a version behind the file" },
	};
	struct sample s = sample_make(SAMPLE_LINUX64);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	for (unsigned int i = 0; i < ARRAY_SIZE(row); i++) {
		sample_put(&s, 0x20e, row[i].at, 2);
		if (planned(&config, &plan, row[i].what))
			ok(!strcmp(plan.kernel.version, row[i].want), "... \"%s\"", row[i].want);
		image_plan_finish(&plan);
	}
}

static void test_linux_placement(void)
{
	struct sample s = sample_make(SAMPLE_LINUX64);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	sample_put(&s, 0x230, 0x400000, 4);
	if (planned(&config, &plan, "a kernel that wants to be aligned to 4 MiB"))
		is_hex(plan.segment[0].gpa, 0x400000, "... is");
	image_plan_finish(&plan);
	sample_put(&s, 0x258, 0, 8);
	if (planned(&config, &plan, "a kernel that runs anywhere"))
		is_hex(plan.segment[0].gpa, 0x400000, "... is not put below 1 MiB");
	image_plan_finish(&plan);
	s = sample_make(SAMPLE_LINUX32);
	sample_put(&s, 0x234, 0, 1);
	if (planned(&config, &plan, "a kernel that cannot be relocated")) {
		is_hex(plan.segment[0].gpa, MiB, "... is put at 1 MiB");
		is_hex(plan.segment[0].mem_bytes, SAMPLE_PREFERRED - MiB + SAMPLE_INIT_BYTES,
		       "... and has room up to where it runs");
	}
	image_plan_finish(&plan);
	s = sample_make(SAMPLE_LINUX64);
	sample_put(&s, 0x206, 0x20a, 2);
	if (planned(&config, &plan, "a kernel of protocol 2.10")) {
		is_hex(plan.segment[0].gpa, SAMPLE_PREFERRED, "... has a preferred address");
		is_hex(plan.segment[0].mem_bytes, SAMPLE_INIT_BYTES, "... and says its needs");
	}
	image_plan_finish(&plan);
	s = sample_make(SAMPLE_LINUX64);
	sample_put(&s, 0x206, 0x206, 2);
	sample_put(&s, 0x200, 0x3aeb, 2);
	if (planned(&config, &plan, "a kernel of protocol 2.06")) {
		ok(plan.kind == IMAGE_LINUX32, "... has no 64-bit entry");
		is_hex(plan.segment[0].gpa, MiB, "... nor a preferred address");
		is_hex(plan.segment[0].mem_bytes, 3 * (SAMPLE_BYTES - SAMPLE_KERNEL),
		       "... nor says how much it needs");
	}
	image_plan_finish(&plan);
}

/* A vmlinux is told from other PVH images by its notes. */
static void test_vmlinux(void)
{
	struct sample s = sample_make(SAMPLE_PVH64);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	memcpy(s.byte + SAMPLE_NOTES + 12, "Linux",
	       6); /* instead of GNU's, whose data are 5 bytes */
	sample_put(&s, SAMPLE_NOTES, 6, 4);
	sample_put(&s, SAMPLE_NOTES + 4, 1, 4);
	sample_put(&s, SAMPLE_NOTES + 8, 0x101, 4);
	config.module = two_modules + 1;
	config.nr_modules = 1;
	if (planned(&config, &plan, "a vmlinux")) {
		ok(plan.kernel.is_linux, "... is Linux");
		is(plan_word(&plan, plan.ebx + 12, 4), 0, "... and gets no device tree");
		ok(!strcmp(plan.cmdline, "console=ttyS0"), "... but a console");
	}
	image_plan_finish(&plan);
	memcpy(s.byte + SAMPLE_NOTES, (const uint32_t[]){ 4, 5, 6 }, 12);
	memcpy(s.byte + SAMPLE_NOTES + 12, "Xen\0linux", 9);
	if (planned(&config, &plan, "a vmlinux of Xen's notes only"))
		ok(plan.kernel.is_linux, "... is Linux too");
	image_plan_finish(&plan);
	s.byte[SAMPLE_NOTES + 16] = 'm';
	if (planned(&config, &plan, "another system with these notes"))
		ok(!plan.kernel.is_linux && plan_word(&plan, plan.ebx + 12, 4) == 1,
		   "... is not, and has its device tree");
	image_plan_finish(&plan);
	s.byte[SAMPLE_NOTES + 16] = 'l';
	config.initrd = two_initrds;
	config.nr_initrds = 2;
	config.module = two_modules;
	config.nr_modules = 2;
	if (planned(&config, &plan, "a vmlinux with an initrd and a module"))
		is(plan_word(&plan, plan.ebx + 12, 4), 2, "... has two modules");
	image_plan_finish(&plan);
}

int main(void)
{
	tap_init();
	test_linux(SAMPLE_LINUX64, IMAGE_LINUX64, "a bzImage");
	test_linux(SAMPLE_LINUX32, IMAGE_LINUX32, "a bzImage of 32 bits");
	test_linux_placement();
	test_linux_version();
	test_linux_devices();
	test_real_kernel();
	test_vmlinux();
	return tap_done();
}
