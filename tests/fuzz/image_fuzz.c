/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for image_read() and image_plan().  The input's last byte picks the RAM
 * layout, the command line and the modules; the rest is the file.  Or it is the outline of a good
 * file, as a reader that was taken over may send it.  Whatever it is, check_plan() holds for a plan
 * that is accepted, and a refusal is one line.
 *
 * No corpus is needed: inputs shorter than a header are replaced by one of the hand-built
 * images of image_samples.h, from which libFuzzer's own mutations go on.
 */
#include <stdlib.h>
#include "tests/boot/image_samples.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t max);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t max, unsigned int seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t max, unsigned int seed)
{
	if (bytes < 16 && max > SAMPLE_BYTES) {
		struct sample s = sample_make(seed % NR_SAMPLES);

		memcpy(data, s.byte, s.bytes);
		data[s.bytes] = seed >> 8;
		return s.bytes + 1;
	}
	return LLVMFuzzerMutate(data, bytes, max);
}

static void must(const char *bad)
{
	if (!bad)
		return;
	fprintf(stderr, "%s\n", bad);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	uint8_t choice = bytes ? data[bytes - 1] : 0;
	static const char tables[40] = "RSD PTR ";
	struct quire_error error = { "" };
	struct image_outline outline;
	struct image_plan plan;
	struct image_config config = {
		.file = data,
		.file_bytes = bytes ? bytes - 1 : 0,
		.name = "fuzz",
		.cmdline = choice & 1 ? "some arguments" : "",
		.module = two_modules,
		.nr_modules = (choice >> 1) % 3,
		.initrd = two_initrds,
		.nr_initrds = (choice >> 3 & 1) * 2,
		.acpi = tables,
		.acpi_bytes = choice & 0x40 ? sizeof(tables) : 0,
		.text_screen = choice & 0x40,
		.ram = choice & 0x10 ? ram_4g :
		       choice & 0x20 ? ram_128m :
				       ram_2m,
		.nr_ram = choice & 0x10 ? 2 : 1,
	};

	image_read(&config, &outline);
	if (choice & 0x80)
		memcpy(&outline, data, min_u64(bytes, sizeof(outline)));
	if (image_plan(&config, &outline, &plan, &error)) {
		if (!(choice & 0x80))
			must(check_message(&config, &error));
		return 0;
	}
	must(check_plan(&config, &plan));
	image_plan_finish(&plan);
	return 0;
}
