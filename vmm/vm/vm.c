/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine: how its parts are put together and taken apart, what other files may ask of
 * it, and what other threads tell it.  vm_run.c has its life in between.
 *
 * Other threads reach the main loop through four doors: vm_wake() makes it look around, and
 * vm_end(), vm_end_crash() and vm_end_reset() decide how the VM ends.
 */
#include <errno.h>
#include <quire/abi.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "cpuid.h"
#include "sandbox.h"
#include "signals.h"
#include "vm_impl.h"
#include "vm_shadow.h"

/* ---- queries ---- */

struct gmem *vm_gmem(struct vm *vm)
{
	return vm->gm;
}

unsigned int vm_nr_vcpus(const struct vm *vm)
{
	return vm->nr_vcpus;
}

bool vm_is_stuck(const struct vm *vm)
{
	return vm->stuck;
}

void vm_tail(struct vm *vm, struct tail *out)
{
	console_tail(&vm->console, out);
}

uint32_t vm_tsc_khz(const struct vm *vm)
{
	return vcpu_tsc_khz(&vm->vcpu[0]);
}

void vcpu_walk_registers(const struct vm *vm, const struct kvm_sregs *sregs, uint64_t rflags,
			 struct walk_cpu *out)
{
	*out = (struct walk_cpu){
		.cr0 = sregs->cr0,
		.cr3 = sregs->cr3,
		.cr4 = sregs->cr4,
		.efer = sregs->efer,
		.ac = rflags >> 18 & 1,
		.maxphyaddr = vm->maxphyaddr,
		.pages_1g = vm->pages_1g,
		.amd = vm->amd,
	};
}

void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out)
{
	vcpu_walk_registers(vm, &state->sregs, state->regs.rflags, out);
}

/* ---- events from other threads ---- */

void vm_wake(struct vm *vm)
{
	uint64_t one = 1;

	if (write(vm->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: the main loop is awake */
}

static bool end_locked(struct vm *vm, int status)
{
	if (vm->ending)
		return false;
	vm->ending = true;
	vm->status = status;
	atomic_store(&vm->stopping, true);
	pthread_cond_broadcast(&vm->unpark);
	return true;
}

bool vm_is_ending(struct vm *vm)
{
	bool ending;

	lock(&vm->lock);
	ending = vm->ending;
	unlock(&vm->lock);
	return ending;
}

bool vm_end(struct vm *vm, int status, const char *fmt, ...)
{
	bool first;
	va_list ap;

	lock(&vm->lock);
	first = end_locked(vm, status);
	if (first && fmt) {
		va_start(ap, fmt);
		vsnprintf(vm->why.text, sizeof(vm->why.text), fmt, ap);
		va_end(ap);
	}
	unlock(&vm->lock);
	vm_wake(vm);
	return first;
}

bool vm_end_crash(struct vm *vm, const struct crash *crash)
{
	bool first;

	lock(&vm->lock);
	first = end_locked(vm, QUIRE_STATUS_CRASH);
	if (first) {
		vm->crash = *crash;
		vm->crashed = true;
	}
	unlock(&vm->lock);
	vm_wake(vm);
	return first;
}

void vm_end_reset(struct vm *vm)
{
	lock(&vm->lock);
	if (end_locked(vm, 0))
		vm->was_reset = true;
	unlock(&vm->lock);
	vm_wake(vm);
}

static void on_wake(void *ctx)
{
	vm_wake(ctx);
}

static void on_host_failure(void *ctx, gpa_t gpa, int err)
{
	struct vm *vm = ctx;
	struct gmem_stats stats;

	gmem_stats(vm->gm, &stats);
	lock(&vm->lock);
	vm->host_failed = true;
	pthread_cond_broadcast(&vm->changed);
	unlock(&vm->lock);
	if (err == -EDQUOT)
		vm_end(vm, QUIRE_STATUS_OOM,
		       "the machine has no memory for guest page %#llx beyond "
		       "the %llu KiB that the guest has, and killing another is not allowed or not "
		       "enough; give it more, or the guest less (-m)",
		       (unsigned long long)gpa,
		       (unsigned long long)stats.s2.pages[PG_PRIVATE] * (QUIRE_PAGE_SIZE / KiB));
	else if (err == -EIO || err == -EBADMSG)
		vm_end(vm, QUIRE_STATUS_HOST,
		       "guest page %#llx cannot be read back from the swap file: %s; "
		       "look at the disk of --swap-dir",
		       (unsigned long long)gpa,
		       err == -EIO ? strerror(-err) : "it is not what was written");
	else
		vm_end(vm, QUIRE_STATUS_HOST,
		       "the host has no memory for guest page %#llx: %s; "
		       "free some, or give the guest less (-m)",
		       (unsigned long long)gpa, strerror(-err));
}

/* The one status that is also ours is said to be the guest's, so that nobody has to guess. */
static void on_guest_exit(void *ctx, uint32_t value)
{
	struct vm *vm = ctx;

	if (value == QUIRE_STATUS_USAGE)
		vm_end(vm, (int)value, "the guest ended with status %u", value);
	else if (value <= QUIRE_STATUS_GUEST_MAX)
		vm_end(vm, (int)value, NULL);
	else
		vm_end(vm, QUIRE_STATUS_GUEST_MAX,
		       "the guest ended with status %u, which is "
		       "reported as %d",
		       value, QUIRE_STATUS_GUEST_MAX);
}

#define EXCEPTIONS 32 /* vectors below may be the processor's */
#define INT_BYTES  2  /* ip is behind the instruction */

/* Is there an INT instruction for this vector before cs:ip?  Else the processor called. */
static bool is_int(struct vm *vm, uint8_t vector, uint16_t cs, uint16_t ip)
{
	const uint8_t want[INT_BYTES] = { 0xcd, vector };
	uint8_t code[INT_BYTES];

	return !guest_read(vm->gm, ((gpa_t)cs << 4) + (uint16_t)(ip - INT_BYTES), code,
			   sizeof(code)) &&
	       !memcmp(code, want, sizeof(want));
}

static void on_bios_call(void *ctx, uint8_t vector, uint16_t ax, uint16_t cs, uint16_t ip)
{
	struct vm *vm = ctx;

	if (vector < EXCEPTIONS && !is_int(vm, vector, cs, ip))
		vm_end(vm, QUIRE_STATUS_CRASH,
		       "exception %02xh at %04x:%04x, and there is no BIOS that would handle it",
		       vector, cs, ip);
	else
		vm_end(vm, QUIRE_STATUS_CRASH,
		       "BIOS int %02xh, ah=%02x, called at %04x:%04x, and there is no BIOS", vector,
		       ax >> 8, cs, (uint16_t)(ip - INT_BYTES));
}

static void on_transmit(void *ctx, const void *data, size_t bytes)
{
	struct vm *vm = ctx;

	console_write(&vm->console, data, bytes);
}

static void on_uart_irq(void *ctx, bool level)
{
	struct vm *vm = ctx;
	struct kvm_irq_level irq = { .irq = QUIRE_UART_IRQ, .level = level };

	(void)ioctl(vm->kvm.vm_fd, KVM_IRQ_LINE, &irq);
}

/* ---- creation ---- */

unsigned int vm_ram_layout(uint64_t ram_bytes, struct gfn_range ram[VM_MAX_RAM])
{
	uint64_t low = min_u64(ram_bytes, QUIRE_GAP_START), high = ram_bytes - low;

	ram[0] = (struct gfn_range){ 0, gpa_to_gfn(low) };
	ram[1] = (struct gfn_range){ gpa_to_gfn(QUIRE_GAP_END), gpa_to_gfn(QUIRE_GAP_END + high) };
	return high ? 2 : 1;
}

/* Compare the VM with what this host's processor and kernel can do. */
static int check_limits(const struct vm *vm, struct quire_error *err)
{
	gpa_t end = gfn_to_gpa(vm->ram[vm->nr_ram - 1].end);

	if ((end - 1) >> vm->maxphyaddr)
		return quire_fail(err, -EDOM,
				  "-m %lluM is more than this processor's %u bits of "
				  "physical address reach",
				  (unsigned long long)vm->config.ram_bytes / MiB, vm->maxphyaddr);
	if (vm->config.nr_vcpus > vm->kvm.max_vcpus)
		return quire_fail(err, -EDOM, "-c %u: this KVM has at most %u vCPUs",
				  vm->config.nr_vcpus, vm->kvm.max_vcpus);
	return 0;
}

static int get_cpuid(struct vm *vm, struct quire_error *err)
{
	if (!vm->config.cpuid)
		return cpuid_read(vm->kvm.fd, &vm->kvm.cpuid, err);
	vm->kvm.cpuid = cpuid_copy(vm->config.cpuid);
	return vm->kvm.cpuid ? 0 : quire_fail(err, -ENOMEM, "no memory for the CPUID table");
}

static int create_kvm(struct vm *vm, struct quire_error *err)
{
	int ret = kvm_init(&vm->kvm, vm->config.irqchip, err);

	if (!ret)
		ret = get_cpuid(vm, err);
	if (ret)
		return ret;
	vm->maxphyaddr = (uint8_t)cpuid_maxphyaddr(vm->kvm.cpuid);
	vm->pages_1g = cpuid_pages_1g(vm->kvm.cpuid);
	vm->amd = cpuid_is_amd(vm->kvm.cpuid);
	return check_limits(vm, err);
}

static void on_pager_start(void *ctx)
{
	(void)ctx;
	sandbox_thread(SANDBOX_PAGER);
}

static uint64_t vcpu_ns(void *ctx)
{
	return vcpus_used_ns(ctx);
}

static void on_swap_thread_start(void *ctx)
{
	(void)ctx;
	sandbox_thread(SANDBOX_SWAP);
}

static int create_memory(struct vm *vm, struct quire_error *err)
{
	struct gmem_config config = {
		.ram = vm->ram,
		.nr_ram = vm->nr_ram,
		.hugepages = vm->config.hugepages,
		.max_mappings = vm->config.max_mappings,
		.credits = vm->config.credits,
		.on_host_failure = on_host_failure,
		.on_thread_start = on_pager_start,
		.on_swap_thread_start = on_swap_thread_start,
		.on_peek = on_wake,
		.swap = vm->config.swap.unit ? &vm->config.swap : NULL,
		.vcpu_ns = vcpu_ns,
		.ctx = vm,
	};
	struct gmem_shadow shadow;
	int ret;

	if (vm->shadow) {
		shadow = vm_shadow_memory(vm);
		config.shadow = &shadow;
	}
	ret = gmem_create(&config, &vm->gm, err);
	if (!ret)
		ret = kvm_set_memory(&vm->kvm, vm->gm, err);
	return ret || !vm->shadow ? ret : vm_shadow_set_memory(vm, err);
}

static int create_vcpus(struct vm *vm, struct quire_error *err)
{
	struct cpuid_config cpuid = {
		.nr_cpus = vm->config.nr_vcpus,
		.irqchip = vm->config.irqchip,
		.tsc_deadline = vm->kvm.tsc_deadline,
	};
	int ret;

	cpuid_filter(vm->kvm.cpuid, &cpuid);
	ret = cpu_features_apply(&vm->config.features, vm->kvm.cpuid, err);
	if (ret)
		return ret;
	if (vm->shadow)
		vm_shadow_filter_cpuid(vm);
	cpuid_settle(vm->kvm.cpuid);
	vm->vcpu = calloc(vm->config.nr_vcpus, sizeof(*vm->vcpu));
	if (!vm->vcpu)
		return quire_fail(err, -ENOMEM, "no memory for %u vCPUs", vm->config.nr_vcpus);
	for (; vm->nr_vcpus < vm->config.nr_vcpus; vm->nr_vcpus++) {
		ret = vcpu_init(&vm->vcpu[vm->nr_vcpus], vm, vm->nr_vcpus, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int create_exit_ports(struct vm *vm, struct quire_error *err)
{
	const struct dev_exit port[VM_EXIT_PORTS] = {
		{ .port = QUIRE_EXIT_PORT },
		{ .port = QUIRE_QEMU_EXIT, .qemu = true },
		{ .port = vm->config.exit_port },
	};
	int ret = 0;

	for (unsigned int i = 0; i < VM_EXIT_PORTS && port[i].port && !ret; i++) {
		vm->dev_exit[i] = port[i];
		vm->dev_exit[i].exit = on_guest_exit;
		vm->dev_exit[i].ctx = vm;
		ret = dev_exit_add(&vm->ports, &vm->dev_exit[i]);
	}
	if (ret == -EEXIST)
		return quire_fail(err, -EDOM, "--exit-port: a device is at port %#x already",
				  vm->config.exit_port);
	return ret ? quire_fail(err, ret, "cannot create exit ports: %s", strerror(-ret)) : 0;
}

static int create_devices(struct vm *vm, struct quire_error *err)
{
	struct uart_config uart = {
		.transmit = on_transmit,
		.set_irq = vm->config.irqchip ? on_uart_irq : NULL,
		.space = on_wake,
		.ctx = vm,
	};
	struct text_config text = { .gm = vm->gm, .transmit = on_transmit, .ctx = vm };
	int ret = uart_create(&uart, &vm->ports, &vm->uart);

	vm->bios_port = (struct bios_port){ .missing = on_bios_call, .ctx = vm };
	if (!ret)
		ret = text_port_create(&text, &vm->ports, &vm->text_port);
	if (!ret)
		ret = wait_port_add(&vm->ports, &vm->wait_port);
	if (!ret)
		ret = bios_port_add(&vm->ports, &vm->bios_port);
	if (ret)
		return quire_fail(err, ret, "cannot create devices: %s", strerror(-ret));
	return vm_virtio_create(vm, err);
}

/* Before any thread is born, so that all of them block the signals too. */
static int create_events(struct vm *vm, struct quire_error *err)
{
	sigset_t signals;

	vm->signal_fd = signals_open(false, &signals);
	if (vm->signal_fd < 0)
		return quire_fail(err, vm->signal_fd, "cannot create a signalfd: %s",
				  strerror(-vm->signal_fd));
	vm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->wake_fd < 0)
		return quire_fail(err, -errno, "cannot create an eventfd: %s", strerror(errno));
	return 0;
}

static void init_lock(struct vm *vm)
{
	lock_init(&vm->lock, LOCK_VM);
	cond_init_monotonic(&vm->changed);
	pthread_cond_init(&vm->unpark, NULL);
}

/* Called before the sandbox: the C library opens a file to count processors. */
static void look_at_host(struct vm *vm)
{
	vm->host_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	vm->host_cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
}

int vm_create(const struct vm_config *config, struct vm **out, struct quire_error *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return quire_fail(err, -ENOMEM, "no memory for a VM");
	vm->config = *config;
	snprintf(vm->name, sizeof(vm->name), "%s", config->name);
	vm->config.name = vm->name;
	snprintf(vm->domain, sizeof(vm->domain), "%s", config->domain ? config->domain : "");
	vm->config.domain = vm->domain;
	vm->balloon_manual = config->balloon == BALLOON_MODE_MANUAL;
	vm->kvm = KVM_NONE;
	vm->wake_fd = vm->signal_fd = -1;
	init_lock(vm);
	look_at_host(vm);
	console_init(&vm->console, on_wake, vm);
	if (config->wait_for)
		console_look_for(&vm->console, config->wait_for, config->on_printed, config->ctx);
	vm->nr_ram = vm_ram_layout(config->ram_bytes, vm->ram);
	ret = create_events(vm, err);
	if (!ret)
		ret = create_kvm(vm, err);
	if (!ret && config->paging == VM_PAGING_SHADOW)
		ret = vm_shadow_create(vm, err);
	if (!ret)
		ret = create_memory(vm, err);
	if (!ret && config->irqchip)
		ret = kvm_create_irqchip(&vm->kvm, err);
	if (!ret)
		ret = create_vcpus(vm, err);
	if (!ret)
		ret = create_devices(vm, err);
	if (!ret)
		ret = vm_platform_create(vm, err);
	if (!ret)
		ret = create_exit_ports(vm, err);
	if (!ret)
		ret = vm_merge_create(vm, err);
	if (!ret)
		ret = vm_reclaim_create(vm, err);
	if (ret) {
		vm_destroy(vm);
		return ret;
	}
	kvm_close_device(&vm->kvm);
	*out = vm;
	return 0;
}

/* The pager, the keeper, the reclaimer, the machine's channel, and one to spare. */
#define OTHER_THREADS 6

void vm_keep(const struct vm *vm, struct sandbox_keep *keep)
{
	int memory[GMEM_MAX_DESCRIPTORS];
	unsigned int nr = gmem_descriptors(vm->gm, memory);

	keep->ram_bytes = vm->config.ram_bytes;
	keep->nr_threads = vm->nr_vcpus + OTHER_THREADS;
	/* There are no more than these, those named below, and a dozen of the process's own. */
	static_assert(GMEM_MAX_DESCRIPTORS + VM_MAX_VCPUS + SHADOW_MAX_VCPUS +
				      5 * QUIRE_VIRTIO_SLOTS + 32 <=
			      SANDBOX_MAX_KEEP,
		      "there is room to keep all of them");
	for (unsigned int i = 0; i < nr; i++)
		sandbox_keep(keep, memory[i]);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		sandbox_keep(keep, vm->vcpu[i].fd);
		sandbox_keep(keep, vcpu_real_descriptor(&vm->vcpu[i]));
	}
	sandbox_keep(keep, vm->kvm.vm_fd);
	sandbox_keep(keep, vm->kvm.real_fd);
	sandbox_keep(keep, vm->wake_fd);
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++) {
		if (!vm->slot[i].device)
			continue;
		keep->nr_threads += vm->slot[i].device->start != NULL;
		sandbox_keep(keep, vm->slot[i].doorbell_fd);
		sandbox_keep(keep, vm->slot[i].irq_fd);
		if (vm->slot[i].device->keep)
			vm->slot[i].device->keep(&vm->slot[i], keep);
	}
	for (unsigned int i = 0; i < vm->config.nr_nets; i++)
		sandbox_keep(keep, vm->config.net[i].fd);
	sandbox_keep(keep, vm->signal_fd);
}

/*
 * RAM goes back before KVM's VM is closed.  With an irqchip, the close waits up to 20 ms for grace
 * periods of the kernel: one that began when the irqchip was put on KVM's buses, if the VM was
 * short-lived, and new ones for taking the PIT off.  Nobody should wait for our memory so long, and
 * the first of these periods ends while the memory of a large guest goes back.  The memslots then
 * name addresses where nothing is, but no vCPU is left to look there.
 */
void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	vm_merge_stop(vm);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		vcpu_finish(&vm->vcpu[i]);
	free(vm->vcpu);
	free(vm->doing);
	vm_virtio_destroy(vm);
	uart_destroy(vm->uart);
	text_port_destroy(vm->text_port);
	reclaimer_destroy(vm->reclaimer);
	gmem_destroy(vm->gm);
	kvm_finish(&vm->kvm);
	vm_shadow_destroy(vm);
	console_finish(&vm->console);
	if (vm->wake_fd >= 0)
		close(vm->wake_fd);
	if (vm->signal_fd >= 0)
		close(vm->signal_fd);
	pthread_cond_destroy(&vm->unpark);
	pthread_cond_destroy(&vm->changed);
	lock_finish(&vm->lock);
	free(vm);
}

int vm_set_start(struct vm *vm, const struct image_plan *plan, struct quire_error *err)
{
	int ret = 0;

	if (plan->kind == IMAGE_FLAT && vm->config.irqchip)
		ret = kvm_set_bios_timer(&vm->kvm, err);
	return ret ? ret : vcpu_set_start(&vm->vcpu[0], plan, err);
}
