/* SPDX-License-Identifier: MIT */
/*
 * What a VM process is started with: what one side makes the other takes; nothing in it says where
 * the launcher has its memory; and what is no record is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "mmu/base/sealed.h"
#include "tests/tap.h"
#include "vmm/boot/fdt.h"
#include "vmm/launch/vm_record.h"

#define RAM   (64 * MiB)
#define BASE  100 /* the descriptors of the VM's process begin here */
#define TEXT  5000
#define MAPS  512
#define BYTES 65536

static uint8_t boot_data[] = "made by the launcher";

static struct image_file file_of(uint8_t byte, uint64_t bytes)
{
	struct image_file file = { .fd = sealed_create("file") };

	for (uint64_t i = 0; i < bytes; i++)
		if (write(file.fd, &byte, 1) != 1)
			tap_bail("cannot write a file");
	if (sealed_finish(file.fd))
		tap_bail("cannot seal a file");
	file.data = sealed_map(file.fd, &file.bytes);
	return file;
}

static void make_run(struct run *run)
{
	struct fdt_config config = { .ram = run->ram, .nr_cpus = 1, .bootargs = "hello" };

	config.nr_ram = run->nr_ram = vm_ram_layout(RAM, run->ram);
	if (fdt_build(&config, &run->fdt, &run->fdt_bytes))
		tap_bail("no device tree");
	run->image = file_of(0x90, 2 * TEXT);
	run->module_file[0] = file_of('m', TEXT);
	run->nr_modules = 1;
	run->initrd_file[0] = file_of('i', TEXT);
	run->nr_initrds = 1;
	run->vm_config.ram_bytes = RAM;
	run->vm_config.nr_vcpus = 2;
	run->vm_config.merge = KEEPER_ON;
	run->vm_config.nr_nets = 2;
	run->vm_config.nr_disks = 3;
	run->vm_config.disk[0].mode = run->vm_config.disk[2].mode = DISK_OVERLAY;
	run->vm_config.disk[1].mode = DISK_READ_ONLY;
	run->launch.wait_for = "ready";
	strcpy(run->domain, "a domain");
	run->plan = (struct image_plan){
		.kind = IMAGE_PVH64,
		.entry = 0x100010,
		.ebx = 0x103000,
		.segment = { { 0x100000, (const uint8_t *)run->image.data + 100, TEXT, 0x2000 },
			     { 0x102000, NULL, 0, 0x1000 },
			     { 0x103000, run->fdt, run->fdt_bytes, 0x1000 },
			     { 0x104000, run->module_file[0].data, TEXT, 0x2000 },
			     { 0x106000, boot_data, sizeof(boot_data), 0x1000 },
			     { 0x107000, run->initrd_file[0].data, TEXT, 0x2000 } },
		.nr_segments = 6,
		.boot_data = boot_data,
		.cmdline = (char *)boot_data,
	};
}

/* Place descriptors as a VM's process has them; -1: there is none. */
static void place(const int *fd, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (fd[i] < 0)
			close(BASE + (int)i);
		else
			dup2(fd[i], BASE + (int)i);
}

static bool same_bytes(const struct image_segment *got, const struct image_segment *want)
{
	return got->data != want->data && got->file_bytes == want->file_bytes &&
	       !memcmp(got->data, want->data, want->file_bytes);
}

static void test_same(const struct run *want)
{
	static struct run got;
	struct quire_error err = { "" };
	const struct image_segment *s = got.plan.segment;

	place(want->launch.vm_file, want->launch.nr_vm_files);
	ok(!vm_record_take(BASE, &got, &err), "what was made is taken: %s", err.text);
	is(got.vm_config.ram_bytes, RAM, "the size of RAM");
	is(got.vm_config.nr_vcpus, 2, "the vCPUs");
	ok(got.vm_config.merge == KEEPER_ON && !strcmp(got.domain, "a domain"), "merging");
	ok(got.launch.wait_for && !strcmp(got.launch.wait_for, "ready"), "what to wait for");
	is(got.plan.nr_segments, 6, "the plan's segments");
	ok(same_bytes(&s[0], &want->plan.segment[0]), "... the image's bytes, in another place");
	ok(!s[1].data && s[1].mem_bytes == 0x1000, "... or none");
	ok(same_bytes(&s[2], &want->plan.segment[2]) && s[2].data == got.fdt,
	   "... the device tree, to be changed");
	ok(same_bytes(&s[3], &want->plan.segment[3]), "... a module's");
	ok(same_bytes(&s[4], &want->plan.segment[4]), "... boot data");
	ok(same_bytes(&s[5], &want->plan.segment[5]), "... an initrd's");
	ok(!got.plan.boot_data && !got.plan.cmdline, "... none of which it has to free");
	is(got.vm_config.net[1].fd, BASE + 5, "links come behind the files");
	ok(got.disk[0].image == BASE + 6 && got.disk[1].image == BASE + 7 &&
		   got.disk[2].image == BASE + 8,
	   "... images of disks behind the links");
	ok(got.disk[0].delta == BASE + 9 && got.disk[1].delta < 0 && got.disk[2].delta == BASE + 10,
	   "... and files of overlays behind them");
	is_hex(got.plan.entry, 0x100010, "the entry");
	is_hex(got.plan.ebx, 0x103000, "a register");
	ok(fcntl(BASE, F_GETFD) < 0 && fcntl(BASE + 3, F_GETFD) < 0, "the files are closed");
	free(got.fdt);
}

struct map {
	uint64_t from, to;
};

static unsigned int read_maps(struct map *map)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned int nr = 0;
	char line[512];

	while (f && nr < MAPS && fgets(line, sizeof(line), f))
		nr += sscanf(line, "%" SCNx64 "-%" SCNx64, &map[nr].from, &map[nr].to) == 2 &&
		      map[nr].to - map[nr].from < GiB; /* a sanitizer's notes are larger */
	if (f)
		fclose(f);
	return nr;
}

/* Guests' addresses are small numbers, and nothing of ours is mapped there. */
static void test_pointers(const uint8_t *record, size_t bytes)
{
	static struct map map[MAPS];
	unsigned int nr = read_maps(map), found = 0;

	for (size_t at = 0; at + 8 <= bytes; at += 8) {
		uint64_t word;

		memcpy(&word, record + at, 8);
		for (unsigned int i = 0; i < nr; i++)
			if (word > UINT32_MAX && word >= map[i].from && word < map[i].to &&
			    !found++)
				tap_note("%#" PRIx64 " at byte %zu", word, at);
	}
	ok(nr > 10, "there are %u mappings", nr);
	is(found, 0, "the record has no address of one of them");
}

static void is_refused(const void *bytes, size_t nr, bool sealed, int image, const char *what)
{
	int fd[] = { sealed_create("record"), image, image, image };
	static struct run run;

	if (fd[0] < 0 || pwrite(fd[0], bytes, nr, 0) != (ssize_t)nr ||
	    (sealed && sealed_finish(fd[0])))
		tap_bail("cannot make a record");
	place(fd, ARRAY_SIZE(fd));
	is(vm_record_take(BASE, &run, NULL), -EINVAL, "%s: refused", what);
	close(fd[0]);
	free(run.fdt);
	memset(&run, 0, sizeof(run));
}

static void test_refused(uint8_t *good, size_t bytes, const struct run *run)
{
	int small = file_of(1, 10).fd, image = run->image.fd;

	is_refused(good, bytes, false, image, "a record that anybody can change");
	is_refused(good, 100, true, image, "half a record");
	is_refused(good, bytes, true, -1, "no image");
	is_refused(good, bytes, true, STDERR_FILENO, "another file");
	is_refused(good, bytes, true, small, "an image that ends early");
	good[8]++;
	is_refused(good, bytes, true, image, "a record of another quire");
	close(small);
}

int main(void)
{
	static struct run run;
	static uint8_t good[BYTES];
	struct quire_error err = { "" };
	ssize_t bytes;
	int fd;

	tap_init();
	make_run(&run);
	ok(!vm_record_make(&run, &err), "a record is made: %s", err.text);
	fd = run.launch.vm_file[0];
	is(run.launch.nr_vm_files, 4, "its VMs get it, the image, a module, an initrd");
	ok(pwrite(fd, "", 1, 0) < 0 && ftruncate(fd, 0) < 0, "nobody can change it");
	test_same(&run);
	bytes = pread(fd, good, sizeof(good), 0);
	ok(bytes > 0 && bytes < BYTES, "it has %zd bytes", bytes);
	test_pointers(good, (size_t)bytes);
	test_refused(good, (size_t)bytes, &run);
	vm_record_finish(&run);
	ok(fcntl(fd, F_GETFD) < 0, "the launcher closes it");
	image_close(&run.image);
	image_close(&run.module_file[0]);
	image_close(&run.initrd_file[0]);
	free(run.fdt);
	return tap_done();
}
