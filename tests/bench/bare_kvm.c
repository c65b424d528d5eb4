/* SPDX-License-Identifier: MIT */
/*
 * bare_kvm: what a guest costs when nobody manages its memory.
 *
 *   bare_kvm MIB thp|nothp IMAGE [ARG...]
 *
 * The smallest VMM that runs quill: RAM is plain private anonymous memory, with or without
 * transparent huge pages, faulted in by the kernel alone; a transmit-only UART, the text port, the
 * exit port, one vCPU, no interrupt controller.  The baseline of `make bench`.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/kvm.h>
#include "vmm/boot/fdt.h"
#include "vmm/boot/image.h"

static uint8_t *ram;

static void make_ram(uint64_t bytes, bool thp)
{
	uint8_t *p = mmap(NULL, bytes + GiB, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		err(121, "mmap of guest RAM");
	ram = (uint8_t *)align_up((uintptr_t)p, GiB);
	if (madvise(ram, bytes, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		err(121, "madvise");
}

static void load(const char *path, const char *cmdline, uint64_t bytes, uint32_t tsc_khz,
		 struct image_plan *plan)
{
	const struct gfn_range range = { 0, bytes >> QUIRE_PAGE_SHIFT };
	struct fdt_config fdt = {
		.ram = &range, .nr_ram = 1, .nr_cpus = 1, .bootargs = cmdline, .tsc_khz = tsc_khz
	};
	struct image_module module = { .args = QUIRE_FDT_MODULE };
	struct image_config config = { .name = path,
				       .cmdline = cmdline,
				       .ram = &range,
				       .nr_ram = 1,
				       .module = &module,
				       .nr_modules = 1 };
	struct image_outline outline;
	struct image_file file;
	struct quire_error e;
	void *blob;

	if (fdt_build(&fdt, &blob, &module.bytes))
		errx(121, "device tree");
	module.data = blob;
	if (image_open(path, &file, &e))
		errx(121, "%s", e.text);
	config.file = file.data;
	config.file_bytes = file.bytes;
	image_read(&config, &outline);
	if (image_plan(&config, &outline, plan, &e))
		errx(121, "%s", e.text);
	for (unsigned int i = 0; i < plan->nr_segments; i++)
		memcpy(ram + plan->segment[i].gpa, plan->segment[i].data,
		       plan->segment[i].file_bytes);
}

static int xioctl(int fd, unsigned long request, void *arg, const char *name)
{
	int r = ioctl(fd, request, arg);

	if (r < 0)
		err(121, "%s", name);
	return r;
}

static void set_cpuid(int kvm, int vcpu)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));

	cpuid->nent = 256;
	xioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID");
	xioctl(vcpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
	free(cpuid);
}

/* PVH: 32-bit protected mode, flat segments, paging off, EBX = start info. */
static void set_registers(int vcpu, const struct image_plan *plan)
{
	struct kvm_segment flat = { .limit = UINT32_MAX,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1,
				    .type = 3,
				    .selector = 0x10 };
	struct kvm_regs regs = {
		.rip = plan->entry, .rax = plan->eax, .rbx = plan->ebx, .rflags = 2
	};
	struct kvm_sregs sregs;

	xioctl(vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	sregs.cs = flat;
	sregs.cs.type = 11;
	sregs.cs.selector = 8;
	sregs.cr0 = 0x11;
	sregs.cr4 = 0;
	xioctl(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	xioctl(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

/* quire's text port: the address of a length and so many bytes. */
static void text(uint32_t gpa)
{
	uint32_t bytes;

	memcpy(&bytes, ram + gpa, sizeof(bytes));
	(void)!write(STDOUT_FILENO, ram + gpa + sizeof(bytes), bytes);
}

static void port_io(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	size_t bytes = (size_t)run->io.size * run->io.count;

	if (run->io.direction == KVM_EXIT_IO_IN)
		memset(data, run->io.port == QUIRE_UART_PORT + 5 ? 0x60 : 0, bytes);
	else if (run->io.port == QUIRE_UART_PORT)
		(void)!write(STDOUT_FILENO, data, bytes);
	else if (run->io.port == QUIRE_CONSOLE_PORT)
		text(*(uint32_t *)data);
	else if (run->io.port == QUIRE_EXIT_PORT)
		_exit(*data);
}

int main(int argc, char **argv)
{
	char cmdline[1024] = "";
	struct image_plan plan;
	uint64_t bytes;
	int kvm, vm, vcpu;
	struct kvm_run *run;

	if (argc < 4)
		errx(2, "usage: bare_kvm MIB thp|nothp IMAGE [ARG...]");
	bytes = strtoull(argv[1], NULL, 0) * MiB;
	for (int i = 4; i < argc; i++) {
		strncat(cmdline, argv[i], sizeof(cmdline) - strlen(cmdline) - 2);
		if (i + 1 < argc)
			strcat(cmdline, " ");
	}
	make_ram(bytes, !strcmp(argv[2], "thp"));
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(121, "/dev/kvm");
	vm = xioctl(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
	vcpu = xioctl(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
	load(argv[3], cmdline, bytes, xioctl(vcpu, KVM_GET_TSC_KHZ, 0, "KVM_GET_TSC_KHZ"), &plan);
	run = mmap(NULL, xioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE"),
		   PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	xioctl(vm, KVM_SET_USER_MEMORY_REGION,
	       &(struct kvm_userspace_memory_region){ .memory_size = bytes,
						      .userspace_addr = (uintptr_t)ram },
	       "memory region");
	set_cpuid(kvm, vcpu);
	set_registers(vcpu, &plan);

	for (;;) {
		if (ioctl(vcpu, KVM_RUN, 0) && errno != EINTR)
			err(121, "KVM_RUN");
		if (run->exit_reason == KVM_EXIT_IO)
			port_io(run);
		else if (run->exit_reason != KVM_EXIT_INTR)
			errx(122, "exit reason %u", run->exit_reason);
	}
}
