/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mmu/base/sealed.h"
#include "vmm/vm/cpuid.h"
#include "vmm/vm/phrase.h"
#include "vm_record.h"

#define MAGIC 0x6d762d6572697571UL /* "quire-vm" */

/* A piece of one of the files; file 0 is the record itself. */
struct piece {
	uint32_t file;
	uint64_t offset, bytes; /* bytes 0: there is none */
};

struct vm_record {
	uint64_t magic;
	uint64_t bytes; /* of this structure: another build of quire has another */
	uint32_t nr_files;
	uint32_t sandbox; /* enum sandbox_mode */
	uint64_t start_ns;
	char domain[VM_DOMAIN_MAX + 1];
	char wait_for[PHRASE_MAX + 1]; /* "": nothing */
	struct vm_config config;       /* run_vm.c sets its pointers */
	struct image_plan plan;	       /* its pointers are these: */
	struct piece segment[IMAGE_MAX_SEGMENTS];
	struct piece fdt;
	struct piece cpuid; /* a table of cpuid_read(); none: KVM has to be asked */
};

/* ---- making ---- */

#define ALIGN 16 /* of each piece in the record's file */

/* Append data to the record's file.  0 or -errno. */
static int put(int fd, struct piece *p, const void *data, uint64_t bytes)
{
	uint64_t end = (uint64_t)lseek(fd, 0, SEEK_END);

	*p = (struct piece){ .offset = (end + ALIGN - 1) / ALIGN * ALIGN, .bytes = bytes };
	if (lseek(fd, (off_t)p->offset, SEEK_SET) < 0)
		return -errno;
	for (uint64_t done = 0; done < bytes;) {
		ssize_t n = write(fd, (const uint8_t *)data + done, bytes - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (uint64_t)n : 0;
	}
	return 0;
}

static bool in_file(const struct image_file *file, const struct image_segment *s)
{
	const uint8_t *data = s->data, *first = file->data;

	return first && data >= first && data < first + file->bytes;
}

/* File `nr` of a VM's process, from 1 on: the image, modules, initrds.  NULL: there is none. */
static const struct image_file *file_of(const struct run *run, unsigned int nr)
{
	const unsigned int module = nr - 2, initrd = module - run->nr_modules;

	if (nr < 2)
		return &run->image;
	if (module < run->nr_modules)
		return &run->module_file[module];
	return initrd < run->nr_initrds ? &run->initrd_file[initrd] : NULL;
}

/* Find a segment's bytes in a file.  Others, boot data, go into the record. */
static int put_segment(int fd, const struct run *run, struct piece *p,
		       const struct image_segment *s)
{
	const struct image_file *file;

	if (!s->data || !s->file_bytes)
		return 0;
	for (unsigned int i = 1; (file = file_of(run, i)) != NULL; i++)
		if (in_file(file, s)) {
			*p = (struct piece){ i,
					     (uint64_t)((const uint8_t *)s->data -
							(const uint8_t *)file->data),
					     s->file_bytes };
			return 0;
		}
	return put(fd, p, s->data, s->file_bytes);
}

static int put_plan(int fd, const struct run *run, struct vm_record *r)
{
	int ret = put(fd, &r->fdt, run->fdt, run->fdt_bytes);

	r->plan = run->plan;
	r->plan.boot_data = NULL;
	r->plan.cmdline = NULL;
	for (unsigned int i = 0; i < run->plan.nr_segments && !ret; i++) {
		const struct image_segment *s = &run->plan.segment[i];

		r->plan.segment[i].data = NULL;
		if (s->data == run->fdt)
			r->segment[i] = r->fdt;
		else
			ret = put_segment(fd, run, &r->segment[i], s);
	}
	return ret;
}

/* Whether KVM can be asked is for the VM to say. */
static int put_cpuid(int fd, struct vm_record *r)
{
	struct kvm_cpuid2 *table = cpuid_of_host();
	int ret = table ? put(fd, &r->cpuid, table, cpuid_bytes(table->nent)) : 0;

	free(table);
	return ret;
}

static int put_all(int fd, const struct run *run, struct vm_record *r)
{
	int ret;

	*r = (struct vm_record){
		.magic = MAGIC,
		.bytes = sizeof(*r),
		.nr_files = run->launch.nr_vm_files,
		.sandbox = run->sandbox,
		.start_ns = run->start_ns,
		.config = run->vm_config,
	};
	memcpy(r->domain, run->domain, sizeof(r->domain));
	if (run->launch.wait_for)
		snprintf(r->wait_for, sizeof(r->wait_for), "%s", run->launch.wait_for);
	ret = ftruncate(fd, sizeof(*r)) ? -errno : put_plan(fd, run, r);
	if (!ret)
		ret = put_cpuid(fd, r);
	if (!ret && pwrite(fd, r, sizeof(*r), 0) != sizeof(*r))
		ret = -EIO;
	return ret ? ret : sealed_finish(fd);
}

/* The record is the first file, and knows how many there are. */
static void list_files(struct run *run, int record)
{
	struct launch_config *l = &run->launch;
	const struct image_file *file;

	l->vm_file[0] = record;
	for (l->nr_vm_files = 1; (file = file_of(run, l->nr_vm_files)) != NULL; l->nr_vm_files++)
		l->vm_file[l->nr_vm_files] = file->fd;
}

int vm_record_make(struct run *run, struct quire_error *err)
{
	struct vm_record *r = malloc(sizeof(*r));
	int ret = -ENOMEM, fd = r ? sealed_create("quire-vm") : -1;

	static_assert(2 * RUN_MAX_MODULES + 2 <= LAUNCH_MAX_FILES, "there is room for all files");
	if (r)
		ret = fd;
	if (fd >= 0) {
		list_files(run, fd);
		ret = put_all(fd, run, r);
	}
	free(r);
	if (!ret)
		return 0;
	if (fd >= 0)
		close(fd);
	return quire_fail(err, ret, "cannot write down what the VMs are to do: %s", strerror(-ret));
}

void vm_record_finish(struct run *run)
{
	if (run->launch.nr_vm_files)
		close(run->launch.vm_file[0]);
	run->launch.nr_vm_files = 0;
}

/* ---- taking ---- */

struct mapped {
	const uint8_t *data;
	uint64_t bytes;
};

static int no_record(struct quire_error *err)
{
	return quire_fail(err, -EINVAL, "this is not how a VM process is started: use quire run");
}

static bool is_record(const struct mapped *file)
{
	const struct vm_record *r = (const void *)file->data;

	return r && file->bytes >= sizeof(*r) && r->magic == MAGIC && r->bytes == sizeof(*r) &&
	       r->nr_files && r->nr_files <= LAUNCH_MAX_FILES &&
	       r->plan.nr_segments <= IMAGE_MAX_SEGMENTS && r->config.nr_nets <= VM_MAX_NETS &&
	       r->config.nr_disks <= DISK_MOST;
}

/* *data becomes where it is, or NULL if there is none.  False: it is nowhere. */
static bool find(const struct mapped *file, unsigned int nr, const struct piece *p,
		 const void **data)
{
	*data = NULL;
	if (!p->bytes)
		return true;
	if (p->file >= nr || p->offset > file[p->file].bytes ||
	    p->bytes > file[p->file].bytes - p->offset)
		return false;
	*data = file[p->file].data + p->offset;
	return true;
}

/* The VM changes the device tree, so it gets a copy. */
static int take_fdt(const void *tree, uint64_t bytes, struct run *run)
{
	run->fdt = tree ? malloc(bytes) : NULL;
	if (!run->fdt)
		return -ENOMEM;
	memcpy(run->fdt, tree, bytes);
	run->fdt_bytes = bytes;
	return 0;
}

static int take_pieces(const struct mapped *file, const struct vm_record *r, struct run *run)
{
	const void *tree, *cpuid;

	if (!find(file, r->nr_files, &r->fdt, &tree) ||
	    !find(file, r->nr_files, &r->cpuid, &cpuid) || take_fdt(tree, r->fdt.bytes, run))
		return -EINVAL;
	run->vm_config.cpuid = cpuid;
	for (unsigned int i = 0; i < r->plan.nr_segments; i++) {
		struct image_segment *s = &run->plan.segment[i];

		if (!find(file, r->nr_files, &r->segment[i], &s->data))
			return -EINVAL;
		if (s->data == tree)
			s->data = run->fdt;
	}
	return 0;
}

static void take_settings(const struct vm_record *r, struct run *run)
{
	run->sandbox = (enum sandbox_mode)r->sandbox;
	run->start_ns = r->start_ns;
	memcpy(run->domain, r->domain, sizeof(run->domain));
	run->launch.wait_for = r->wait_for[0] ? r->wait_for : NULL;
	run->vm_config = r->config;
	run->plan = r->plan;
	run->nr_ram = vm_ram_layout(run->vm_config.ram_bytes, run->ram);
}

/* The first link is fd; images of disks come behind them, then files of overlays, and swap. */
static void take_descriptors(int fd, struct run *run)
{
	const struct vm_config *config = &run->vm_config;

	for (unsigned int i = 0; i < config->nr_nets; i++)
		run->vm_config.net[i].fd = fd++;
	for (unsigned int i = 0; i < config->nr_disks; i++)
		run->disk[i].image = fd++;
	for (unsigned int i = 0; i < config->nr_disks; i++)
		run->disk[i].delta = config->disk[i].mode == DISK_OVERLAY ? fd++ : -1;
	if (config->swap.unit)
		run->vm_config.swap.fd = fd;
}

int vm_record_take(int fd, struct run *run, struct quire_error *err)
{
	struct mapped file[LAUNCH_MAX_FILES];
	const struct vm_record *r;

	file[0].data = sealed_map(fd, &file[0].bytes);
	if (!is_record(&file[0]))
		return no_record(err);
	r = (const void *)file[0].data;
	for (unsigned int i = 1; i < r->nr_files; i++) {
		file[i].data = sealed_map(fd + (int)i, &file[i].bytes);
		if (!file[i].data)
			return no_record(err);
	}
	close_range((unsigned int)fd, (unsigned int)fd + r->nr_files - 1, 0);
	take_settings(r, run);
	take_descriptors(fd + (int)r->nr_files, run);
	return take_pieces(file, r, run) ? no_record(err) : 0;
}
