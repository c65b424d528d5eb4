/* SPDX-License-Identifier: MIT */
/*
 * Running a virtual machine to its end.
 *
 * The main loop is one poll() over what can happen outside the guest: a vCPU or the console wants
 * attention (wake_fd), a signal came, a client asks something, or a driver notified a
 * device.
 * Standard input may have something for the guest, and standard output room for what it printed.
 * Some of what devices do goes by the clock.  Nothing in the loop blocks, so --timeout and
 * Ctrl-C always work.
 *
 * The end has one door, vm_end(): whoever comes first decides status and message.  Then:
 *
 *   1. Every vCPU is kicked once, and has STUCK_MS to leave KVM_RUN.
 *   2. The guest's output is written completely.  If the guest ended by itself, this takes as long
 *      as its reader takes, or until a signal or --timeout comes.
 *   3. The message or the crash report is printed.
 *
 * Nobody waits any longer for a vCPU that has not left.  Its memory cannot be freed while it is in
 * use, but the process can always end by _exit(), and then the kernel frees everything.
 *
 * A vCPU for which the host has no memory (gmem's on_host_failure) waits for its pager for ever.
 * It is not kicked: vcpu.h says why.
 */
#include <errno.h>
#include <poll.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "ctl.h"
#include "message.h"
#include "sandbox.h"
#include "vm_impl.h"

#define STUCK_MS 1000	  /* for vCPUs to leave KVM_RUN */
#define GRACE_NS NS_PER_S /* for the reader of our output after a forced end */

/* ---- the main loop ---- */

enum {
	POLL_WAKE,
	POLL_SIGNAL,
	POLL_CTL,
	POLL_INPUT,
	POLL_OUTPUT,
	POLL_WATCH,
	POLL_DOORBELL, /* of slot 0, and so on */
	NR_POLL = POLL_DOORBELL + QUIRE_VIRTIO_SLOTS
};

static uint64_t deadline_ns(const struct vm *vm)
{
	uint64_t since = vm->config.timeout_since_ns;

	if (!vm->config.timeout_ns)
		return UINT64_MAX;
	return (since ? since : vm->run_start_ns) + vm->config.timeout_ns;
}

static void take_signal(struct vm *vm)
{
	struct signalfd_siginfo info;

	if (read(vm->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGQUIT)
		vm_doing_take(vm);
	vm_end(vm, 128 + (int)info.ssi_signo, "stopped by SIG%s",
	       sigabbrev_np((int)info.ssi_signo));
}

/* If the reader went away, the VM ends as any filter does.  A full disk is an error of the host. */
static void check_output(struct vm *vm)
{
	int error = atomic_load(&vm->console.error);

	if (error == EPIPE)
		vm_end(vm, 128 + SIGPIPE, "standard output was closed by its reader");
	else if (error)
		vm_end(vm, QUIRE_STATUS_HOST, "cannot write the guest's output: %s",
		       strerror(error));
}

/* Some output waits, and no line end came yet: give the guest a moment to go on. */
static void check_idle(struct vm *vm, uint64_t now)
{
	if (!console_waiting(&vm->console))
		vm->idle_ns = 0;
	else if (!vm->idle_ns)
		vm->idle_ns = now + CONSOLE_IDLE_NS;
}

static int poll_timeout(const struct vm *vm, uint64_t now)
{
	uint64_t until = min_u64(deadline_ns(vm), vm->tick_ns);

	if (vm->idle_ns > now)
		until = min_u64(until, vm->idle_ns);
	return until == UINT64_MAX ? -1 : poll_ms(now, until);
}

static void wait_for_events(struct vm *vm, struct ctl *ctl, struct pollfd *fds)
{
	uint64_t now = monotonic_ns(), drained;

	vm->tick_ns = min_u64(vm_virtio_tick(vm), vm_silence_tick(vm));
	vm->tick_ns = min_u64(vm->tick_ns, vm_screen_tick(vm));
	if (vm->config.balloon != BALLOON_MODE_OFF && vm->config.on_balloon)
		vm->tick_ns = min_u64(vm->tick_ns, vm->config.on_balloon(vm->config.ctx, vm));
	check_idle(vm, now);
	fds[POLL_WAKE] = (struct pollfd){ .fd = vm->wake_fd, .events = POLLIN };
	fds[POLL_SIGNAL] = (struct pollfd){ .fd = vm->signal_fd, .events = POLLIN };
	fds[POLL_CTL] = (struct pollfd){ .fd = ctl ? ctl_fd(ctl) : -1, .events = POLLIN };
	fds[POLL_INPUT] = (struct pollfd){ .fd = -1, .events = POLLIN };
	fds[POLL_OUTPUT] = (struct pollfd){ .fd = -1, .events = POLLOUT };
	fds[POLL_WATCH] = (struct pollfd){ .fd = -1, .events = POLLIN };
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++)
		fds[POLL_DOORBELL + i] = (struct pollfd){
			.fd = vm_virtio_doorbell(&vm->slot[i]),
			.events = POLLIN,
		};
	if (vm->config.on_watch)
		fds[POLL_WATCH].fd = vm->config.watch_fd;
	if (vm_wants_input(vm))
		fds[POLL_INPUT].fd = vm->console.in_fd;
	if (vm->idle_ns && vm->idle_ns <= now)
		fds[POLL_OUTPUT].fd = vm->console.out_fd;
	if (poll(fds, NR_POLL, poll_timeout(vm, now)) < 0)
		for (unsigned int i = 0; i < NR_POLL; i++)
			fds[i].revents = 0;
	if (fds[POLL_WAKE].revents && read(vm->wake_fd, &drained, sizeof(drained)) < 0)
		return; /* nothing to drain */
}

static void time_is_out(struct vm *vm)
{
	vm_doing_take(vm);
	vm_end(vm, QUIRE_STATUS_TIMEOUT, "timeout: the guest still ran after %g s",
	       (double)vm->config.timeout_ns / 1e9);
}

static void main_loop(struct vm *vm, struct ctl *ctl)
{
	struct pollfd fds[NR_POLL];

	while (!vm_is_ending(vm)) {
		wait_for_events(vm, ctl, fds);
		check_output(vm);
		vm_suspend_tick(vm);
		vm_merge_sample(vm);
		if (fds[POLL_SIGNAL].revents)
			take_signal(vm);
		if (fds[POLL_WAKE].revents)
			ctl_go_on(ctl);
		if (fds[POLL_CTL].revents && !vm_is_ending(vm))
			ctl_serve(ctl, vm);
		if (fds[POLL_WATCH].revents)
			vm->config.on_watch(vm->config.ctx);
		for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++)
			if (fds[POLL_DOORBELL + i].revents)
				vm_virtio_ring(&vm->slot[i]);
		if (fds[POLL_INPUT].revents)
			vm_take_input(vm);
		if (fds[POLL_OUTPUT].revents && !console_write_idle(&vm->console))
			vm->idle_ns = 0; /* wait for another moment, do not spin */
		if (monotonic_ns() >= deadline_ns(vm) && !vm_is_ending(vm))
			time_is_out(vm);
	}
}

/* ---- the end ---- */

/* Have all vCPUs left their loops? */
static bool all_done(const struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i].thread.started && !vm->vcpu[i].done)
			return false;
	return true;
}

static void stop_vcpus(struct vm *vm)
{
	struct timespec until = ns_to_timespec(monotonic_ns() + STUCK_MS * NS_PER_MS);
	int ret = 0;

	console_abandon(&vm->console);
	lock(&vm->lock);
	for (unsigned int i = 0; i < vm->nr_vcpus && !vm->host_failed; i++)
		if (vm->vcpu[i].thread.started && !vm->vcpu[i].done)
			vcpu_kick(&vm->vcpu[i], VCPU_STOP);
	while (!all_done(vm) && !ret && !vm->host_failed)
		ret = pthread_cond_timedwait(&vm->changed, &vm->lock.mutex, &until);
	vm->stuck = !all_done(vm);
	unlock(&vm->lock);
	for (unsigned int i = 0; i < vm->nr_vcpus && !vm->stuck; i++)
		thread_join(&vm->vcpu[i].thread);
}

/* Write the rest of the guest's output.  A forced end does not wait long for its reader. */
static void drain_output(struct vm *vm)
{
	bool by_itself = vm->status <= QUIRE_STATUS_CRASH;
	uint64_t until = by_itself ? deadline_ns(vm) : monotonic_ns() + GRACE_NS;

	console_drain(&vm->console, by_itself ? vm->signal_fd : -1, until);
	if (!vm->status && atomic_load(&vm->console.error)) {
		vm->ending = false; /* success was too early: its output is lost */
		check_output(vm);
	}
}

/* Did the guest end otherwise than by its own will?  Then what it lacked may be why. */
static bool ended_badly(const struct vm *vm)
{
	return vm->crashed || vm->status == QUIRE_STATUS_TIMEOUT;
}

static void report_crash(struct vm *vm)
{
	char *text = NULL;
	size_t bytes = 0;
	struct code code;
	FILE *f = open_memstream(&text, &bytes);

	if (!f)
		return;
	crash_report(f, vm, &vm->crash, &code);
	if (!fclose(f))
		fwrite(text, 1, bytes, stderr);
	free(text);
	if (code.bits && vm->config.on_code)
		vm->config.on_code(vm->config.ctx, &code);
}

static void report(struct vm *vm)
{
	if (vm->stuck && !vm->host_failed)
		message("a vCPU does not leave the kernel, ending without it");
	if (vm->crashed)
		report_crash(vm);
	else if (vm->why.text[0])
		message("%s", vm->why.text);
	if (atomic_load(&vm->dead) && vm->status == QUIRE_STATUS_GUEST_MAX)
		vm_tail_report(vm);
	if (vm->status > QUIRE_STATUS_GUEST_MAX) /* else it ended by itself meanwhile */
		vm_doing_report(vm);
	if (ended_badly(vm) && atomic_load(&vm->probed_pci))
		message("the guest looked for PCI devices; quire has none, only virtio-mmio");
}

/*
 * A thread inherits the filter of the thread that made it, so the main loop gets its own when all
 * others have theirs.  The vCPUs wait for that, on vm->lock, before they enter the guest.
 */
static int start_threads(struct vm *vm, struct quire_error *err)
{
	int ret = vm_reclaim_start(vm, err);

	if (!ret)
		ret = gmem_start(vm->gm, err);
	if (!ret)
		ret = vm_merge_start(vm, err);
	if (!ret)
		ret = vm_virtio_start(vm, err);
	lock(&vm->lock);
	for (unsigned int i = 0; i < vm->nr_vcpus && !ret; i++)
		ret = vcpu_start(&vm->vcpu[i], err);
	sandbox_thread(SANDBOX_MAIN);
	sandbox_await_threads(thread_nr_started() + 1);
	unlock(&vm->lock);
	return ret;
}

int vm_run(struct vm *vm, struct ctl *ctl)
{
	struct quire_error err;

	vm->run_start_ns = monotonic_ns();
	vm->setup_ns = vm->run_start_ns - vm->config.start_ns;
	if (start_threads(vm, &err))
		vm_end(vm, QUIRE_STATUS_HOST, "%s", err.text);
	main_loop(vm, ctl);
	if (vm->config.on_ending)
		vm->config.on_ending(vm->config.ctx);
	stop_vcpus(vm);
	if (!vm->stuck) {
		vm_reclaim_stop(vm);
		vm_merge_stop(vm);
		vm_virtio_stop(vm);
	}
	vm->run_ns = monotonic_ns() - vm->run_start_ns;
	vm_screen_finish(vm);
	drain_output(vm);
	report(vm);
	return vm->status;
}
