/* SPDX-License-Identifier: MIT */
/*
 * Opening KVM.
 *
 * Everything that can be wrong with a host is found here, before there is a guest, and is said in
 * one line.  A table has what quire needs of the kernel.  What it can do without is a field of
 * struct kvm.
 *
 * Hypercalls.  The quirk KVM_X86_QUIRK_FIX_HYPERCALL_INSN is switched off.  With it, KVM answers a
 * guest's VMCALL on AMD, or VMMCALL on Intel, by rewriting the instruction in the guest's memory
 * and running it again.  quire accounts for every guest page and wants no kernel that writes code.
 * And where KVM emulates supervisor code, "again" never ends, and the vCPU spins in KVM_RUN.
 * Without the quirk the guest gets #UD, as on the wrong vendor's processor.
 *
 * Asynchronous page faults.  With its own local APIC, KVM lets a worker of the kernel resolve a
 * fault on a missing page, always as a *write*, and stops the vCPU meanwhile.  The guest need not
 * opt in.  So with an irqchip the pager may see a guest's read as a write, from a thread that is no
 * vCPU.  Nothing in vmm/ looks at the direction of a fault, and the pager does not trust it.
 * Guests see no KVM leaves in CPUID (cpuid.c).  Where the kernel can enforce that, KVM's MSRs do
 * not exist either, so no guest can opt in.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cpuid.h"
#include "kvm.h"

#define KVM_PATH "/dev/kvm"

/* The oldest <linux/kvm.h> we build with lacks these. */
#ifndef KVM_CAP_DISABLE_QUIRKS2
#define KVM_CAP_DISABLE_QUIRKS2 213
#endif
#ifndef KVM_X86_QUIRK_FIX_HYPERCALL_INSN
#define KVM_X86_QUIRK_FIX_HYPERCALL_INSN (1 << 5)
#endif

#ifndef KVM_CAP_PMU_CAPABILITY
#define KVM_CAP_PMU_CAPABILITY 212
#endif
#ifndef KVM_PMU_CAP_DISABLE
#define KVM_PMU_CAP_DISABLE (1 << 0)
#endif

/* Pages that KVM uses on processors without unrestricted guest mode; they are in the hole. */
#define TSS_ADDRESS	     0xfffbd000
#define IDENTITY_MAP_ADDRESS 0xfffbc000

static_assert(TSS_ADDRESS >= QUIRE_GAP_START && IDENTITY_MAP_ADDRESS >= QUIRE_GAP_START,
	      "KVM's own pages are no RAM");

struct capability {
	int cap;
	int at_least; /* what KVM_CHECK_EXTENSION must return */
	bool irqchip; /* needed only with the irqchip */
	const char *name;
	const char *since; /* Linux version */
};

#define SYNC_FIELDS (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

static const struct capability capabilities[] = {
	{ KVM_CAP_USER_MEMORY, 1, false, "KVM_CAP_USER_MEMORY", "2.6.26" },
	{ KVM_CAP_SYNC_MMU, 1, false, "KVM_CAP_SYNC_MMU", "2.6.28" },
	{ KVM_CAP_EXT_CPUID, 1, false, "KVM_CAP_EXT_CPUID", "2.6.29" },
	{ KVM_CAP_SET_TSS_ADDR, 1, false, "KVM_CAP_SET_TSS_ADDR", "2.6.25" },
	{ KVM_CAP_IMMEDIATE_EXIT, 1, false, "KVM_CAP_IMMEDIATE_EXIT", "4.12" },
	{ KVM_CAP_SYNC_REGS, SYNC_FIELDS, false, "KVM_CAP_SYNC_REGS", "4.17" },
	{ KVM_CAP_IRQCHIP, 1, true, "KVM_CAP_IRQCHIP", "2.6.25" },
	{ KVM_CAP_PIT2, 1, true, "KVM_CAP_PIT2", "2.6.32" },
	{ KVM_CAP_IRQFD, 1, true, "KVM_CAP_IRQFD", "2.6.32" },
};

int kvm_check(int (*extension)(void *ctx, int cap), void *ctx, bool irqchip,
	      struct quire_error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++) {
		const struct capability *c = &capabilities[i];
		int got;

		if (c->irqchip && !irqchip)
			continue;
		got = extension(ctx, c->cap);
		if (got < 0 || (got & c->at_least) != c->at_least)
			return quire_fail(err, -EOPNOTSUPP,
					  "this kernel's KVM lacks %s (Linux %s and later have it)",
					  c->name, c->since);
	}
	return 0;
}

static int fd_extension(void *ctx, int cap)
{
	return ioctl(*(int *)ctx, KVM_CHECK_EXTENSION, cap);
}

/* Say who may open /dev/kvm, and what to do about it. */
static int no_permission(struct quire_error *err)
{
	struct stat st;
	struct group *group;

	if (stat(KVM_PATH, &st))
		return quire_fail(err, -EACCES, "no permission to reach " KVM_PATH);
	group = getgrgid(st.st_gid);
	if (!(st.st_mode & S_IWGRP) || !group || !st.st_gid)
		return quire_fail(err, -EACCES,
				  "no permission to open " KVM_PATH
				  " (mode %03o, group %s): run as root or change its mode",
				  st.st_mode & 0777, group ? group->gr_name : "unknown");
	return quire_fail(err, -EACCES,
			  "no permission to open " KVM_PATH ": be in group %s "
			  "(usermod -aG %s USER, then log in again)",
			  group->gr_name, group->gr_name);
}

static int open_device(struct kvm *kvm, bool irqchip, struct quire_error *err)
{
	int version;

	kvm->fd = open(KVM_PATH, O_RDWR | O_CLOEXEC);
	if (kvm->fd < 0) {
		if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
			return quire_fail(err, -errno,
					  "no " KVM_PATH ": load kvm_intel or kvm_amd, "
					  "switch virtualisation on in the firmware, or pass the "
					  "device into this container");
		if (errno == EACCES || errno == EPERM)
			return no_permission(err);
		return quire_fail(err, -errno, "cannot open " KVM_PATH ": %s", strerror(errno));
	}
	version = ioctl(kvm->fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return quire_fail(err, -EOPNOTSUPP, KVM_PATH " speaks API version %d, not %d",
				  version, KVM_API_VERSION);
	return kvm_check(fd_extension, &kvm->fd, irqchip, err);
}

static int create_vm(struct kvm *kvm, struct quire_error *err)
{
	do
		kvm->vm_fd = ioctl(kvm->fd, KVM_CREATE_VM, 0);
	while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd >= 0)
		return 0;
	if (errno == EBUSY)
		return quire_fail(err, -EBUSY,
				  "KVM is busy: another hypervisor on this host "
				  "holds the processor's virtualisation, stop it first");
	return quire_fail(err, -errno, "KVM: ioctl(CREATE_VM) failed: %s", strerror(errno));
}

static void disable_hypercall_quirk(const struct kvm *kvm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DISABLE_QUIRKS2,
		.args = { KVM_X86_QUIRK_FIX_HYPERCALL_INSN },
	};

	/* Older kernels cannot switch it off; a guest that does not use VMCALL does not notice. */
	if (ioctl(kvm->fd, KVM_CHECK_EXTENSION, cap.cap) & KVM_X86_QUIRK_FIX_HYPERCALL_INSN)
		(void)ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap);
}

/* Guests have no performance counters (cpuid.c): spare KVM the work, and them the host's. */
static void disable_counters(const struct kvm *kvm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_PMU_CAPABILITY,
		.args = { KVM_PMU_CAP_DISABLE },
	};

	if (ioctl(kvm->fd, KVM_CHECK_EXTENSION, cap.cap) & KVM_PMU_CAP_DISABLE)
		(void)ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap);
}

/* Without it, Linux before 5.14, the guest crashes at each instruction that KVM does not know. */
static void ask_for_instructions(const struct kvm *kvm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE,
		.args = { 1 },
	};

	if (ioctl(kvm->fd, KVM_CHECK_EXTENSION, cap.cap) > 0)
		(void)ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap);
}

int kvm_create_irqchip(struct kvm *kvm, struct quire_error *err)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0))
		return quire_fail(err, -errno,
				  "KVM: ioctl(CREATE_IRQCHIP) failed: %s, "
				  "try --irqchip=off",
				  strerror(errno));
	if (ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &pit))
		return quire_fail(err, -errno,
				  "KVM: ioctl(CREATE_PIT2) failed: %s, "
				  "try --irqchip=off",
				  strerror(errno));
	kvm->tsc_deadline = ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	return 0;
}

/*
 * The PICs' lines are vectors 8 and 70h on, and only the PIT's is open, which ticks every 54.9 ms
 * (IBM PC/AT Technical Reference).
 */
static int set_pic(const struct kvm *kvm, uint32_t id, uint8_t vectors, uint8_t masked)
{
	struct kvm_irqchip chip = { .chip_id = id };

	if (ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &chip))
		return -errno;
	chip.chip.pic.irq_base = vectors;
	chip.chip.pic.imr = masked;
	return ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &chip) ? -errno : 0;
}

static int set_pit(const struct kvm *kvm)
{
	struct kvm_pit_state2 pit;

	if (ioctl(kvm->vm_fd, KVM_GET_PIT2, &pit))
		return -errno;
	pit.channels[0].mode = 3; /* a square wave of 65536 counts */
	pit.channels[0].rw_mode = 3;
	pit.channels[0].count = 0x10000;
	return ioctl(kvm->vm_fd, KVM_SET_PIT2, &pit) ? -errno : 0;
}

int kvm_set_bios_timer(struct kvm *kvm, struct quire_error *err)
{
	int ret = set_pic(kvm, KVM_IRQCHIP_PIC_MASTER, 0x08, 0xfa);

	if (!ret)
		ret = set_pic(kvm, KVM_IRQCHIP_PIC_SLAVE, 0x70, 0xff);
	if (!ret)
		ret = set_pit(kvm);
	return ret ? quire_fail(err, ret, "KVM: cannot set the PICs and the PIT: %s",
				strerror(-ret)) :
		     0;
}

/* Only processors without unrestricted guest mode use these, but KVM does not say which are. */
static int set_real_mode_pages(const struct kvm *kvm, struct quire_error *err)
{
	uint64_t identity = IDENTITY_MAP_ADDRESS;

	if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) && errno != ENOTTY)
		return quire_fail(err, -errno, "KVM: ioctl(SET_IDENTITY_MAP_ADDR) failed: %s",
				  strerror(errno));
	if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDRESS))
		return quire_fail(err, -errno, "KVM: ioctl(SET_TSS_ADDR) failed: %s",
				  strerror(errno));
	return 0;
}

int kvm_init(struct kvm *kvm, bool irqchip, struct quire_error *err)
{
	int ret, size;

	*kvm = KVM_NONE;
	ret = open_device(kvm, irqchip, err);
	if (!ret)
		ret = create_vm(kvm, err);
	if (!ret)
		ret = set_real_mode_pages(kvm, err);
	if (ret)
		goto fail;
	disable_hypercall_quirk(kvm);
	disable_counters(kvm);
	ask_for_instructions(kvm);
	kvm->pv_enforced = ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_ENFORCE_PV_FEATURE_CPUID) >
			   0;
	kvm->max_vcpus = (unsigned int)ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	size = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run)) {
		ret = quire_fail(err, -EOPNOTSUPP, "KVM: ioctl(GET_VCPU_MMAP_SIZE) gave %d", size);
		goto fail;
	}
	kvm->run_bytes = (size_t)size;
	return 0;
fail:
	kvm_finish(kvm);
	return ret;
}

int kvm_create_real(struct kvm *kvm, struct quire_error *err)
{
	struct kvm real = *kvm;
	int ret = create_vm(&real, err);

	if (ret)
		return ret;
	kvm->real_fd = real.vm_fd;
	ask_for_instructions(&real);
	return set_real_mode_pages(&real, err);
}

void kvm_close_device(struct kvm *kvm)
{
	if (kvm->fd >= 0)
		close(kvm->fd);
	kvm->fd = -1;
}

void kvm_finish(struct kvm *kvm)
{
	free(kvm->cpuid);
	free(kvm->slot);
	if (kvm->real_fd >= 0)
		close(kvm->real_fd);
	if (kvm->vm_fd >= 0)
		close(kvm->vm_fd);
	kvm_close_device(kvm);
	*kvm = KVM_NONE;
}
