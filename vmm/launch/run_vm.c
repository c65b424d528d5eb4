/* SPDX-License-Identifier: MIT */
/*
 * The life of a VM process.
 *
 * The launcher executes it after the machine has admitted the VM, so it may use memory.  It has a
 * channel to the machine, from which it gets credits for every page that comes in, and a leash to
 * the launcher (leash.h).  It makes the VM and runs it to its end, in this order:
 *
 *   1. It does what needs privileges, files or names, while there is one thread.
 *   2. It enters the sandbox.
 *   3. It gets credits, and shows the RAM file to the machine, which has to see what this VM holds
 *      when somebody must be killed.
 *   4. It places the image, which needs pages.
 *   5. It fills in two numbers for which the device tree has room, the set-up time last of all.
 *   6. It runs the VM.
 *
 * Others may want the VM to end before there is one.  Then `stop` is noted, and looked at when the
 * VM is about to run.  They may also want it to end while it is taken apart: by then `vm` is NULL.
 */
#include <errno.h>
#include <libfdt.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mmu/base/locks.h"
#include "mmu/machine/credits.h"
#include "mmu/base/clock.h"
#include "vmm/vm/ctl.h"
#include "vmm/boot/fdt.h"
#include "leash.h"
#include "vmm/vm/message.h"
#include "run.h"
#include "run_balloon.h"

struct process {
	struct run *run;
	const struct launch_seat *seat;
	struct gmem_credits gmem_credits;
	struct swap_quota swap_quota;
	struct credits *credits;
	struct ctl *ctl;
	struct run_balloon balloon;

	struct lock lock;
	uint64_t reclaim;     /* [lock] what the machine wants freed */
	struct vm *vm;	      /* [lock] NULL unless it may be told to end */
	int stop;	      /* [lock] the status with which it is to end; 0: it is not */
	bool suspended;	      /* [lock] the machine wants the guest to stand still */
	const char *stop_why; /* [lock] a line to print; NULL: none */
};

static void tell(struct process *p, enum leash_type type)
{
	struct leash_msg msg = { .type = type };

	leash_send(p->seat->leash, &msg, -1);
}

/* ---- who wants it to end ---- */

static void stop_locked(struct process *p)
{
	if (!p->vm || !p->stop)
		return;
	if (p->stop_why)
		vm_end(p->vm, p->stop, "%s", p->stop_why);
	else
		vm_end(p->vm, p->stop, NULL);
}

static void stop(struct process *p, int status, const char *why)
{
	lock(&p->lock);
	if (!p->stop) {
		p->stop = status;
		p->stop_why = why;
	}
	stop_locked(p);
	unlock(&p->lock);
}

static void publish(struct process *p, struct vm *vm)
{
	lock(&p->lock);
	p->vm = vm;
	if (vm && p->reclaim)
		vm_ask_reclaim(vm, p->reclaim);

	if (vm)
		vm_suspend(vm, p->suspended);
	stop_locked(p);
	unlock(&p->lock);
}

/* Main loop: the launcher has said something, or is gone.  Without it nobody would know of us. */
static void on_leash(void *ctx)
{
	struct process *p = ctx;
	struct leash_msg msg;
	int fd, code = leash_recv(p->seat->leash, &msg, &fd);

	if (code < 0)
		stop(p, QUIRE_STATUS_HOST, "the launcher is gone");
	else if (code && msg.type == LEASH_STOP)
		stop(p, msg.status, NULL);
	else if (code && msg.type == LEASH_WINDOW)
		vm_set_window(p->vm, msg.columns, msg.rows);
	if (code <= 0 || fd < 0)
		return;
	if (msg.type == LEASH_CHANNEL)
		credits_replace_channel(p->credits, fd);
	else
		close(fd);
}

/* ---- credits ---- */

static void on_channel_thread(void *ctx)
{
	(void)ctx;
	sandbox_thread(SANDBOX_CHANNEL);
}

static void on_stop(void *ctx)
{
	stop(ctx, 128 + SIGTERM, "stopped by the machine");
}

/* The first machine may be lost before credits_create() has returned. */
static void on_lost(void *ctx)
{
	struct process *p = ctx;
	struct leash_msg msg = { .type = LEASH_LOST };

	lock(&p->lock);
	unlock(&p->lock);
	msg.pages = credits_held(p->credits);
	msg.swap_pages = credits_swap_held(p->credits);
	leash_send(p->seat->leash, &msg, -1);
}

/* Before there is a VM it is noted. */
static void on_suspend(void *ctx, bool suspended)
{
	struct process *p = ctx;

	lock(&p->lock);
	p->suspended = suspended;
	if (p->vm)
		vm_suspend(p->vm, suspended);
	unlock(&p->lock);
}

static void on_target(void *ctx, uint64_t pages, bool manual)
{
	struct process *p = ctx;

	run_balloon_order(&p->balloon, pages, manual);
	lock(&p->lock);
	if (p->vm)
		vm_wake(p->vm);
	unlock(&p->lock);
}

static void on_reclaim(void *ctx, uint64_t pages)
{
	struct process *p = ctx;

	lock(&p->lock);
	p->reclaim = pages;
	if (p->vm)
		vm_ask_reclaim(p->vm, pages);
	unlock(&p->lock);
}

/* The reclaimer's thread. */
static void tell_reclaim(void *ctx, const struct reclaim_record *record)
{
	credits_tell_reclaim(((struct process *)ctx)->credits, record);
}

/* Main loop. */
static uint64_t on_balloon(void *ctx, struct vm *vm)
{
	struct process *p = ctx;

	return run_balloon_serve(&p->balloon, vm, p->credits);
}

static bool take(void *ctx, uint64_t pages)
{
	return credits_take(((struct process *)ctx)->credits, pages);
}

static int wait_for_credits(void *ctx, uint64_t need, uint64_t want)
{
	return credits_wait(((struct process *)ctx)->credits, need, want);
}

static int seek(void *ctx, uint64_t need, uint64_t want, void (*news)(void *arg), void *arg)
{
	return credits_seek(((struct process *)ctx)->credits, need, want, news, arg);
}

static void stop_seeking(void *ctx)
{
	credits_stop_seeking(((struct process *)ctx)->credits);
}

static void put(void *ctx, uint64_t pages)
{
	credits_put(((struct process *)ctx)->credits, pages);
}

static void ask(void *ctx)
{
	credits_ask(((struct process *)ctx)->credits);
}

static void give(void *ctx, uint64_t pages)
{
	credits_give(((struct process *)ctx)->credits, pages);
}

static void put_swap(void *ctx, uint64_t pages)
{
	credits_put_swap(((struct process *)ctx)->credits, pages);
}

static void give_swap(void *ctx, uint64_t pages)
{
	credits_give_swap(((struct process *)ctx)->credits, pages);
}

/* All of them or none. */
static bool take_swap(void *ctx, uint64_t pages)
{
	uint64_t taken = credits_take_swap(((struct process *)ctx)->credits, pages);

	if (taken == pages)
		return true;
	put_swap(ctx, taken);
	return false;
}

static int join(void *ctx)
{
	return credits_join(((struct process *)ctx)->credits);
}

/* A vCPU's thread. */
static void on_printed(void *ctx)
{
	tell(ctx, LEASH_PRINTED);
}

/* The launcher disassembles: to load a library takes calls that are not in the table. */
static void on_code(void *ctx, const struct code *code)
{
	struct process *p = ctx;
	struct leash_msg msg = { .type = LEASH_CODE, .code = *code };

	leash_send(p->seat->leash, &msg, -1);
}

static void on_ending(void *ctx)
{
	credits_cancel(((struct process *)ctx)->credits);
}

/* The lock is held so that on_lost() finds p->credits set. */
static int get_credits(struct process *p, struct quire_error *err)
{
	struct credits_config config = {
		.channel = p->seat->channel,
		.held_pages = p->seat->credit_pages,
		.promise_pages = p->run->vm_config.ram_bytes / QUIRE_PAGE_SIZE,
		.on_thread_start = on_channel_thread,
		.on_stop = on_stop,
		.on_lost = on_lost,
		.on_balloon = on_target,
		.on_reclaim = on_reclaim,

		.on_suspend = on_suspend,
		.ctx = p,
	};
	int ret;

	lock(&p->lock);
	ret = credits_create(&config, &p->credits, err);
	unlock(&p->lock);
	p->gmem_credits = (struct gmem_credits){
		.take = take,
		.wait = wait_for_credits,
		.seek = seek,
		.stop_seeking = stop_seeking,
		.put = put,
		.ask = ask,
		.give = give,
		.ctx = p,
	};
	return ret;
}

/* ---- the VM ---- */

/* Without an interrupt controller drivers poll: take their interrupts out of the device tree. */
static void set_interrupts(struct run *run)
{
	int node = -1;

	if (run->vm_config.irqchip)
		return;
	while ((node = fdt_node_offset_by_compatible(run->fdt, node, FDT_VIRTIO)) >= 0)
		fdt_nop_property(run->fdt, node, "interrupts");
}

static void set_tsc_khz(struct run *run, const struct vm *vm)
{
	int node = fdt_path_offset(run->fdt, "/hypervisor");
	uint32_t khz = vm_tsc_khz(vm);

	if (khz)
		fdt_setprop_inplace_u32(run->fdt, node, "quire,tsc-khz", khz);
	else
		fdt_nop_property(run->fdt, node, "quire,tsc-khz");
}

/*
 * Write the device tree again with the time that all this took.  To be called as late as possible.
 */
static int set_setup_time(struct run *run, struct vm *vm, struct quire_error *err)
{
	int node = fdt_path_offset(run->fdt, "/hypervisor"), ret;

	for (unsigned int i = 0; i < run->plan.nr_segments; i++) {
		const struct image_segment *s = &run->plan.segment[i];

		if (s->data != run->fdt)
			continue;
		fdt_setprop_inplace_u64(run->fdt, node, "quire,setup-ns",
					monotonic_ns() - run->vm_config.start_ns);
		ret = guest_write(vm_gmem(vm), s->gpa, run->fdt, run->fdt_bytes);
		if (ret)
			return quire_fail(err, ret, "cannot write the device tree: %s",
					  strerror(-ret));
	}
	return 0;
}

/* Open the control socket under the VM's name.  -EDOM: the name is at fault. */
static int listen_as(struct process *p, struct quire_error *err)
{
	int ret = ctl_create(p->seat->name, &p->ctl, err);

	return ret == -EADDRINUSE || ret == -EINVAL ? -EDOM : ret;
}

/* Does such an image believe in a PC with a display? */
static bool has_display(enum image_kind kind)
{
	return kind != IMAGE_PVH64 && kind != IMAGE_PVH32;
}

static void configure(struct process *p)
{
	struct vm_config *config = &p->run->vm_config;

	config->name = p->seat->name;
	config->is_copy = !p->seat->alone;
	config->domain = p->run->domain;
	config->credits = &p->gmem_credits;
	p->swap_quota = (struct swap_quota){
		.take = take_swap,
		.put = put_swap,
		.give = give_swap,
		.ctx = p,
	};
	config->swap.quota = &p->swap_quota;
	config->watch_fd = p->seat->leash;
	config->on_watch = on_leash;
	config->on_ending = on_ending;
	config->vga_text = config->vga_text && has_display(p->run->plan.kind);
	config->wait_for = p->run->launch.wait_for;
	config->on_printed = on_printed;
	config->on_code = on_code;
	config->on_balloon = on_balloon;
	config->join = join;
	config->tell_reclaim = tell_reclaim;
	config->ctx = p;
	config->timeout_since_ns = p->seat->timeout_since_ns;
	config->start_ns = p->seat->alone && !p->seat->reboots ? p->run->start_ns : monotonic_ns();
}

static int enter_sandbox(struct process *p, const struct vm *vm, int ram, struct quire_error *err)
{
	struct sandbox_keep keep = { .nr = 0 };

	if (p->run->sandbox == SANDBOX_OFF)
		return 0;
	sandbox_keep(&keep, p->seat->leash);
	sandbox_keep(&keep, p->seat->channel);
	sandbox_keep(&keep, ram);
	vm_keep(vm, &keep);
	ctl_keep(p->ctl, &keep);
	return sandbox_enter(p->run->sandbox, &keep, err);
}

/*
 * Do all that needs privileges, files or names.  It starts no thread and brings in no page of RAM.
 */
static int open_all(struct process *p, struct vm **vm, int *ram, struct quire_error *err)
{
	int ret;

	configure(p);
	ret = vm_open_disks(&p->run->vm_config, p->run->disk, err);
	if (ret)
		return ret == -EINVAL || ret == -EBUSY ? -EDOM : ret;
	if (p->run->sandbox != SANDBOX_OFF) {
		sandbox_has_cgroup(p->seat->cgroup == LAUNCH_CGROUP_OWN,
				   p->seat->cgroup == LAUNCH_CGROUP_REFUSED);
		sandbox_take_uid();
	}
	ret = vm_create(&p->run->vm_config, vm, err);
	if (ret)
		return ret;
	*ram = gmem_open_ram(vm_gmem(*vm));
	if (*ram < 0)
		return quire_fail(err, *ram, "cannot show guest RAM to the machine: %s",
				  strerror(-*ram));
	set_tsc_khz(p->run, *vm);
	set_interrupts(p->run);
	ret = vm_set_start(*vm, &p->run->plan, err);
	return ret ? ret : listen_as(p, err);
}

static int make_vm(struct process *p, struct vm **vm, struct quire_error *err)
{
	int ram = -1, ret = open_all(p, vm, &ram, err);

	if (!ret)
		ret = enter_sandbox(p, *vm, ram, err);
	if (!ret)
		ret = get_credits(p, err);
	if (!ret) {
		ret = credits_attach(p->credits, ram);
		if (ret)
			quire_fail(err, ret, "cannot show guest RAM to the machine: %s",
				   strerror(-ret));
	}
	if (ram >= 0)
		close(ram);
	if (!ret)
		ret = image_place(&p->run->plan, vm_gmem(*vm), err);
	if (!ret)
		ret = set_setup_time(p->run, *vm, err);
	return ret;
}

/* ---- the end ---- */

/* The guest shall start again, and find the input that it had not read. */
static void ask_for_restart(struct process *p, struct vm *vm)
{
	const struct leash_msg reset = { .type = LEASH_RESET, .begun_key = vm_has_begun_key(vm) };
	char input[VM_INPUT_BYTES];

	leash_send_input(p->seat->leash, input, vm_take_unread(vm, input));
	leash_send(p->seat->leash, &reset, -1);
}

static int run_to_its_end(struct process *p, struct vm *vm)
{
	int status;

	publish(p, vm);
	tell(p, LEASH_RUNNING);
	vm_give_input(vm, p->seat->input, p->seat->input_bytes);
	if (p->seat->begun_key)
		vm_begin_key(vm);
	status = vm_run(vm, p->ctl);
	if (vm_was_reset(vm) && !status)
		ask_for_restart(p, vm);
	publish(p, NULL);
	if (p->seat->info)
		vm_info(vm, p->seat->info);
	if (vm_is_stuck(vm)) {
		fflush(NULL);
		_exit(status);
	}
	return status;
}

static int failure_status(const struct process *p, int code)
{
	if (p->stop)
		return p->stop;
	return code == -EDOM   ? QUIRE_STATUS_USAGE :
	       code == -EDQUOT ? QUIRE_STATUS_OOM :
				 QUIRE_STATUS_HOST;
}

int run_vm(struct run *run, const struct launch_seat *seat)
{
	struct process p = { .run = run, .seat = seat };
	struct quire_error err = { "" };
	struct vm *vm = NULL;
	int ret, status;

	lock_init(&p.lock, LOCK_PROCESS);
	ret = make_vm(&p, &vm, &err);
	if (ret) {
		message("%s", err.text);
		status = failure_status(&p, ret);
	} else {
		status = run_to_its_end(&p, vm);
	}
	if (p.credits)
		credits_cancel(p.credits);
	ctl_destroy(p.ctl);
	vm_destroy(vm);
	vm_close_disks(&p.run->vm_config);
	credits_destroy(p.credits);
	lock_finish(&p.lock);
	return status;
}
