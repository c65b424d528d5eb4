/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine, from its parts to its end.
 *
 * The main loop is one poll() over what can happen outside the guest: a vCPU or the console
 * wants attention (wake_fd), a signal, a control request, input, room for output.  Nothing in
 * it blocks, so --timeout and Ctrl-C always work.
 *
 * The end has one door, vm_end(): whoever comes first decides status and message.  Then, in
 * this order: every vCPU is kicked once and given STUCK_NS to leave KVM_RUN; the guest's
 * output is written out completely (a guest that ended by itself may have a slow reader, so
 * that waits as long as it takes, or until a signal or --timeout); then the message or the crash
 * report.  A vCPU that does not leave is not waited for any longer: its memory cannot be freed
 * under it, but a process can always be left by _exit(), and the kernel takes the rest down.
 *
 * A vCPU whose memory the host cannot provide (gmem's on_host_failure) waits for its pager for
 * ever and is not kicked: vcpu.h says why.
 */
#include <errno.h>
#include <poll.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "cpuid.h"
#include "ctl.h"
#include "vm_impl.h"

#define STUCK_NS 1000000000ULL	/* for vCPUs to leave KVM_RUN */
#define LOOK_MIN_NS 5000000ULL	/* between looks at the coalescing ring */
#define LOOK_MAX_NS 80000000ULL
#define GRACE_NS 1000000000ULL	/* for the reader of our output after a forced end */

/* ---- queries ---- */

struct gmem *vm_gmem(struct vm *vm)
{
	return vm->gm;
}

const char *vm_name(const struct vm *vm)
{
	return vm->name;
}

unsigned int vm_nr_vcpus(const struct vm *vm)
{
	return vm->nr_vcpus;
}

bool vm_is_stuck(const struct vm *vm)
{
	return vm->stuck;
}

uint32_t vm_tsc_khz(const struct vm *vm)
{
	int khz = ioctl(vm->vcpu[0].fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (uint32_t)khz : 0;
}

void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out)
{
	*out = (struct walk_cpu){
		.cr0 = state->sregs.cr0,
		.cr3 = state->sregs.cr3,
		.cr4 = state->sregs.cr4,
		.efer = state->sregs.efer,
		.ac = state->regs.rflags >> 18 & 1,
		.maxphyaddr = vm->maxphyaddr,
		.pages_1g = vm->pages_1g,
	};
}

/* ---- events from other threads ---- */

void vm_wake(struct vm *vm)
{
	uint64_t one = 1;

	if (write(vm->wake_fd, &one, sizeof(one)) < 0)
		return;		/* the counter is full: it is awake */
}

static bool end_locked(struct vm *vm, int status)
{
	if (vm->ending)
		return false;
	vm->ending = true;
	vm->status = status;
	atomic_store(&vm->stopping, true);
	return true;
}

bool vm_end(struct vm *vm, int status, const char *fmt, ...)
{
	bool first;
	va_list ap;

	pthread_mutex_lock(&vm->lock);
	first = end_locked(vm, status);
	if (first && fmt) {
		va_start(ap, fmt);
		vsnprintf(vm->why.text, sizeof(vm->why.text), fmt, ap);
		va_end(ap);
	}
	pthread_mutex_unlock(&vm->lock);
	vm_wake(vm);
	return first;
}

bool vm_end_crash(struct vm *vm, const struct crash *crash)
{
	bool first;

	pthread_mutex_lock(&vm->lock);
	first = end_locked(vm, QUIRE_STATUS_CRASH);
	if (first) {
		vm->crash = *crash;
		vm->crashed = true;
	}
	pthread_mutex_unlock(&vm->lock);
	vm_wake(vm);
	return first;
}

static void on_wake(void *ctx)
{
	vm_wake(ctx);
}

static void on_host_failure(void *ctx, gpa_t gpa, int err)
{
	struct vm *vm = ctx;

	pthread_mutex_lock(&vm->lock);
	vm->host_failed = true;
	pthread_mutex_unlock(&vm->lock);
	vm_end(vm, QUIRE_STATUS_HOST, "the host has no memory for guest page %#llx: %s; "
	       "free some, or give the guest less (-m)", (unsigned long long)gpa, strerror(-err));
}

static void on_guest_exit(void *ctx, uint32_t value)
{
	struct vm *vm = ctx;

	if (value <= QUIRE_STATUS_GUEST_MAX)
		vm_end(vm, (int)value, NULL);
	else
		vm_end(vm, QUIRE_STATUS_GUEST_MAX, "the guest ended with status %u, which is "
		       "reported as %d", value, QUIRE_STATUS_GUEST_MAX);
}

static void on_transmit(void *ctx, const void *data, size_t bytes)
{
	struct vm *vm = ctx;

	console_write(&vm->console, data, bytes);
}

static void on_transmit_irq(void *ctx)
{
	struct vm *vm = ctx;

	coalesce_end(&vm->coalesce);
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

/* Against what this host's processor and kernel can do. */
static int check_limits(const struct vm *vm, struct quire_error *err)
{
	gpa_t end = gfn_to_gpa(vm->ram[vm->nr_ram - 1].end);

	if ((end - 1) >> vm->maxphyaddr)
		return quire_fail(err, -EDOM, "-m %lluM is more than this processor's %u bits of "
				  "physical address reach",
				  (unsigned long long)vm->config.ram_bytes / MiB, vm->maxphyaddr);
	if (vm->config.nr_vcpus > vm->kvm.max_vcpus)
		return quire_fail(err, -EDOM, "-c %u: this KVM has at most %u vCPUs",
				  vm->config.nr_vcpus, vm->kvm.max_vcpus);
	return 0;
}

static int create_kvm(struct vm *vm, struct quire_error *err)
{
	struct cpuid_config cpuid = {
		.nr_cpus = vm->config.nr_vcpus,
		.irqchip = vm->config.irqchip,
	};
	int ret = kvm_init(&vm->kvm, vm->config.irqchip, err);

	if (ret)
		return ret;
	cpuid.tsc_deadline = vm->kvm.tsc_deadline;
	cpuid_filter(vm->kvm.cpuid, &cpuid);
	vm->maxphyaddr = (uint8_t)cpuid_maxphyaddr(vm->kvm.cpuid);
	vm->pages_1g = cpuid_pages_1g(vm->kvm.cpuid);
	return check_limits(vm, err);
}

static int create_memory(struct vm *vm, struct quire_error *err)
{
	struct gmem_config config = {
		.ram = vm->ram,
		.nr_ram = vm->nr_ram,
		.hugepages = vm->config.hugepages,
		.on_host_failure = on_host_failure,
		.ctx = vm,
	};
	int ret = gmem_create(&config, &vm->gm, err);

	return ret ? ret : kvm_set_memory(&vm->kvm, vm->gm, err);
}

static int create_vcpus(struct vm *vm, struct quire_error *err)
{
	vm->vcpu = calloc(vm->config.nr_vcpus, sizeof(*vm->vcpu));
	if (!vm->vcpu)
		return quire_fail(err, -ENOMEM, "no memory for %u vCPUs", vm->config.nr_vcpus);
	for (; vm->nr_vcpus < vm->config.nr_vcpus; vm->nr_vcpus++) {
		int ret = vcpu_init(&vm->vcpu[vm->nr_vcpus], vm, vm->nr_vcpus, err);

		if (ret)
			return ret;
	}
	return 0;
}

static int create_devices(struct vm *vm, struct quire_error *err)
{
	struct uart_config uart = {
		.transmit = on_transmit,
		.set_irq = vm->config.irqchip ? on_uart_irq : NULL,
		.transmit_irq = on_transmit_irq,
		.space = on_wake,
		.ctx = vm,
	};
	int ret = uart_create(&uart, &vm->ports, &vm->uart);

	vm->dev_exit = (struct dev_exit){ .exit = on_guest_exit, .ctx = vm };
	if (!ret)
		ret = dev_exit_add(&vm->ports, &vm->dev_exit);
	if (ret)
		return quire_fail(err, ret, "cannot create devices: %s", strerror(-ret));
	coalesce_init(&vm->coalesce, &vm->kvm, vm->vcpu[0].run, &vm->ports);
	return 0;
}

/* Signals come through a descriptor, and are blocked before any thread is born. */
static int create_events(struct vm *vm, struct quire_error *err)
{
	static const int ours[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)	/* nohup stays nohup */
		if (!sigaction(ours[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaddset(&set, ours[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	vm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (vm->wake_fd < 0 || vm->signal_fd < 0)
		return quire_fail(err, -errno, "cannot create event descriptors: %s",
				  strerror(errno));
	return 0;
}

static void init_lock(struct vm *vm)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&vm->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->changed, &attr);
	pthread_condattr_destroy(&attr);
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
	vm->kvm = KVM_NONE;
	vm->wake_fd = vm->signal_fd = -1;
	init_lock(vm);
	console_init(&vm->console, on_wake, vm);
	vm->nr_ram = vm_ram_layout(config->ram_bytes, vm->ram);
	ret = create_events(vm, err);
	if (!ret)
		ret = create_kvm(vm, err);
	if (!ret)
		ret = create_memory(vm, err);
	if (!ret)
		ret = create_vcpus(vm, err);
	if (!ret)
		ret = create_devices(vm, err);
	if (ret) {
		vm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	coalesce_finish(&vm->coalesce);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		vcpu_finish(&vm->vcpu[i]);
	free(vm->vcpu);
	uart_destroy(vm->uart);
	kvm_finish(&vm->kvm);
	gmem_destroy(vm->gm);
	console_finish(&vm->console);
	if (vm->wake_fd >= 0)
		close(vm->wake_fd);
	if (vm->signal_fd >= 0)
		close(vm->signal_fd);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

int vm_set_start(struct vm *vm, const struct image_plan *plan, struct quire_error *err)
{
	return vcpu_set_start(&vm->vcpu[0], plan, err);
}

/* ---- a vCPU's registers ---- */

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000),
	};
}

int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state)
{
	struct timespec until = to_timespec(monotonic_ns() + timeout_ms * 1000000ULL);
	struct vcpu *vcpu;
	int ret = 0;

	if (cpu >= vm->nr_vcpus)
		return -ENOENT;
	vcpu = &vm->vcpu[cpu];
	pthread_mutex_lock(&vm->lock);
	vcpu->state_ready = false;
	if (!vcpu->done)
		vcpu_kick(vcpu, VCPU_STATE);
	while (!vcpu->state_ready && !vcpu->done && !ret)
		ret = pthread_cond_timedwait(&vm->changed, &vm->lock, &until);
	ret = vcpu->state_ready ? 0 : -ETIMEDOUT;
	if (!ret)
		*state = vcpu->state;
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

/* ---- the main loop ---- */

enum { POLL_WAKE, POLL_SIGNAL, POLL_CTL, POLL_INPUT, POLL_OUTPUT, NR_POLL };

static uint64_t deadline_ns(const struct vm *vm)
{
	return vm->config.timeout_ns ? vm->run_start_ns + vm->config.timeout_ns : UINT64_MAX;
}

/* Input goes to the UART, as much as it has room for. */
static void take_input(struct vm *vm)
{
	char data[512];
	size_t space = uart_space(vm->uart), bytes;

	bytes = console_read(&vm->console, data, space < sizeof(data) ? space : sizeof(data));
	if (bytes)
		uart_receive(vm->uart, data, bytes);
}

static void take_signal(struct vm *vm)
{
	struct signalfd_siginfo info;

	if (read(vm->signal_fd, &info, sizeof(info)) == sizeof(info))
		vm_end(vm, 128 + (int)info.ssi_signo, "stopped by %s",
		       sigabbrev_np((int)info.ssi_signo) ? strsignal((int)info.ssi_signo) : "signal");
}

/* A reader that went away ends us as it ends any filter; a full disk is a host error. */
static void check_output(struct vm *vm)
{
	int error = atomic_load(&vm->console.error);

	if (error == EPIPE)
		vm_end(vm, 128 + SIGPIPE, "standard output was closed by its reader");
	else if (error)
		vm_end(vm, QUIRE_STATUS_HOST, "cannot write the guest's output: %s",
		       strerror(error));
}

/* Output that no line end has pushed out yet: give the guest a moment to go on. */
static void check_idle(struct vm *vm, uint64_t now)
{
	if (!console_waiting(&vm->console))
		vm->idle_ns = 0;
	else if (!vm->idle_ns)
		vm->idle_ns = now + CONSOLE_IDLE_NS;
}

/*
 * Bytes wait in the coalescing ring until an exit.  Look soon after the last output, then less and
 * less often, and make an exit if need be: the vCPU itself hands the bytes over, because it may
 * wait for the reader of our output and this thread may not.
 */
static void look_at_ring(struct vm *vm, uint64_t now)
{
	if (!atomic_load(&vm->coalesce.on) || now < vm->look_ns)
		return;
	if (coalesce_waiting(&vm->coalesce)) {
		vcpu_kick(&vm->vcpu[0], VCPU_LOOK);
		vm->look_step_ns = LOOK_MIN_NS;
	} else {
		vm->look_step_ns = min_u64(vm->look_step_ns * 2, LOOK_MAX_NS);
	}
	vm->look_ns = now + vm->look_step_ns;
}

static int poll_timeout(const struct vm *vm, uint64_t now)
{
	uint64_t until = deadline_ns(vm);

	if (atomic_load(&vm->coalesce.on))
		until = min_u64(until, vm->look_ns);
	if (vm->idle_ns > now)
		until = min_u64(until, vm->idle_ns);
	if (until == UINT64_MAX)
		return -1;
	return until <= now ? 0 : (int)min_u64((until - now + 999999) / 1000000, 60000);
}

static void wait_for_events(struct vm *vm, struct ctl *ctl, struct pollfd *fds)
{
	uint64_t now = monotonic_ns(), drained;

	look_at_ring(vm, now);
	check_idle(vm, now);
	fds[POLL_WAKE] = (struct pollfd){ .fd = vm->wake_fd, .events = POLLIN };
	fds[POLL_SIGNAL] = (struct pollfd){ .fd = vm->signal_fd, .events = POLLIN };
	fds[POLL_CTL] = (struct pollfd){ .fd = ctl ? ctl_fd(ctl) : -1, .events = POLLIN };
	fds[POLL_INPUT] = (struct pollfd){ .fd = -1, .events = POLLIN };
	fds[POLL_OUTPUT] = (struct pollfd){ .fd = -1, .events = POLLOUT };
	if (vm->console.in_open && uart_space(vm->uart))
		fds[POLL_INPUT].fd = vm->console.in_fd;
	if (vm->idle_ns && vm->idle_ns <= now)
		fds[POLL_OUTPUT].fd = vm->console.out_fd;
	if (poll(fds, NR_POLL, poll_timeout(vm, now)) < 0)
		for (unsigned int i = 0; i < NR_POLL; i++)
			fds[i].revents = 0;
	if (fds[POLL_WAKE].revents && read(vm->wake_fd, &drained, sizeof(drained)) < 0)
		return;		/* nothing to drain */
}

static bool is_ending(struct vm *vm)
{
	bool ending;

	pthread_mutex_lock(&vm->lock);
	ending = vm->ending;
	pthread_mutex_unlock(&vm->lock);
	return ending;
}

static void main_loop(struct vm *vm, struct ctl *ctl)
{
	struct pollfd fds[NR_POLL];

	while (!is_ending(vm)) {
		wait_for_events(vm, ctl, fds);
		check_output(vm);
		if (fds[POLL_SIGNAL].revents)
			take_signal(vm);
		if (fds[POLL_CTL].revents && !is_ending(vm))
			ctl_serve(ctl, vm);
		if (fds[POLL_INPUT].revents)
			take_input(vm);
		if (fds[POLL_OUTPUT].revents)
			console_write_idle(&vm->console);
		if (monotonic_ns() >= deadline_ns(vm))
			vm_end(vm, QUIRE_STATUS_TIMEOUT, "timeout: the guest still ran after %g s",
			       (double)vm->config.timeout_ns / 1e9);
	}
}

/* ---- the end ---- */

/* Have all vCPUs left their loops? */
static bool all_done(const struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i].started && !vm->vcpu[i].done)
			return false;
	return true;
}

static void stop_vcpus(struct vm *vm)
{
	struct timespec until = to_timespec(monotonic_ns() + STUCK_NS);
	int ret = 0;

	console_abandon(&vm->console);
	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < vm->nr_vcpus && !vm->host_failed; i++)
		if (vm->vcpu[i].started && !vm->vcpu[i].done)
			vcpu_kick(&vm->vcpu[i], VCPU_STOP);
	while (!all_done(vm) && !ret && !vm->host_failed)
		ret = pthread_cond_timedwait(&vm->changed, &vm->lock, &until);
	vm->stuck = !all_done(vm);
	pthread_mutex_unlock(&vm->lock);
	for (unsigned int i = 0; i < vm->nr_vcpus && !vm->stuck; i++)
		if (vm->vcpu[i].started)
			pthread_join(vm->vcpu[i].thread, NULL);
}

/* The guest's last words.  A forced end does not wait long for whoever reads them. */
static void drain_output(struct vm *vm)
{
	bool by_itself = vm->status <= QUIRE_STATUS_CRASH;
	uint64_t until = by_itself ? deadline_ns(vm) : monotonic_ns() + GRACE_NS;

	console_drain(&vm->console, by_itself ? vm->signal_fd : -1, until);
	if (!vm->status && atomic_load(&vm->console.error)) {
		vm->ending = false;	/* success was too early: its output is lost */
		check_output(vm);
	}
}

static void report(struct vm *vm)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *f;

	if (vm->stuck && !vm->host_failed)
		fputs("quire: a vCPU does not leave the kernel, ending without it\n", stderr);
	if (!vm->crashed) {
		if (vm->why.text[0])
			fprintf(stderr, "quire: %s\n", vm->why.text);
		return;
	}
	f = open_memstream(&text, &bytes);
	if (!f)
		return;
	crash_report(f, vm, &vm->crash);
	if (!fclose(f))
		fwrite(text, 1, bytes, stderr);
	free(text);
}

int vm_run(struct vm *vm, struct ctl *ctl)
{
	struct quire_error err;

	vm->run_start_ns = monotonic_ns();
	vm->look_step_ns = LOOK_MIN_NS;
	vm->look_ns = vm->run_start_ns + LOOK_MIN_NS;
	vm->setup_ns = vm->run_start_ns - vm->config.start_ns;
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		if (vcpu_start(&vm->vcpu[i], &err)) {
			vm_end(vm, QUIRE_STATUS_HOST, "%s", err.text);
			break;
		}
	main_loop(vm, ctl);
	stop_vcpus(vm);
	vm->run_ns = monotonic_ns() - vm->run_start_ns;
	drain_output(vm);
	report(vm);
	return vm->status;
}
