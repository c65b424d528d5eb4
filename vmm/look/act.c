/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "vmm/print/table.h"
#include "act.h"

#define NEW_VM_NS (2 * NS_PER_S) /* for a VM that has just started to speak of its balloon */
#define LOOK_US	  20000

const char *const act_names[ACT_NR_KINDS] = {
	[ACT_PAUSE] = "pause",	   [ACT_RESUME] = "resume", [ACT_MERGE_NOW] = "merge now",
	[ACT_BALLOON] = "balloon", [ACT_END] = "end",	    [ACT_KILL] = "kill",
};

/* ---- through the machine ---- */

int act_check_balloon(const struct roster_vm *vm, struct quire_error *err)
{
	if (!vm->answers)
		return quire_fail(err, -ETIMEDOUT, "VM %s does not answer", vm->name);
	if (vm->info.balloon.mode == BALLOON_MODE_OFF)
		return quire_fail(err, -EOPNOTSUPP,
				  "VM %s has no balloon: it was started with "
				  "--balloon=off",
				  vm->name);
	return 0;
}

int act_reach_machine(const struct roster *r, const struct roster_vm *vm,
		      struct machine_client **machine, struct quire_error *err)
{
	if (!vm->id)
		return quire_fail(err, -ENOTCONN,
				  "VM %s is in no machine that is found here (see "
				  "--machine); without one its balloon stays as it is",
				  vm->name);
	return machine_client_connect(r->machine[vm->machine].address, machine, err);
}

int act_set_balloon(struct machine_client *machine, const struct roster_vm *vm,
		    const struct machine_balloon_target *target,
		    struct machine_balloon_state *state, struct quire_error *err)
{
	uint64_t until = monotonic_ns() + NEW_VM_NS;
	struct quire_error why;
	int code;

	while ((code = machine_client_balloon_set(machine, vm->id, target, state, &why)) ==
		       -EAGAIN &&
	       monotonic_ns() < until)
		usleep(LOOK_US);
	return code ? quire_fail(err, code == -ERANGE ? -EINVAL : code, "VM %s: %.240s", vm->name,
				 why.text) :
		      0;
}

static int set_size(const struct roster *r, const struct roster_vm *vm, uint64_t bytes,
		    struct quire_error *err)
{
	struct machine_balloon_target target = { .manual = bytes != ACT_BY_POLICY };
	struct machine_client *machine;
	int code = act_check_balloon(vm, err);

	if (!code && target.manual && bytes > vm->info.ram_bytes)
		return quire_fail(err, -EINVAL, "VM %s cannot have %s, its RAM is %s", vm->name,
				  size_text(bytes), size_text(vm->info.ram_bytes));
	if (!code)
		code = act_reach_machine(r, vm, &machine, err);
	if (code)
		return code;
	if (target.manual)
		target.pages = (vm->info.ram_bytes - bytes) / QUIRE_PAGE_SIZE;
	code = act_set_balloon(machine, vm, &target, NULL, err);
	machine_client_destroy(machine);
	return code;
}

int act_kill_by_machine(const struct roster *r, const struct roster_vm *vm, struct quire_error *err)
{
	struct machine_client *machine;
	struct quire_error why;
	int code = act_reach_machine(r, vm, &machine, err);

	if (code)
		return code;
	code = machine_client_kill(machine, vm->id, &why);
	machine_client_destroy(machine);
	return code ? quire_fail(err, code, "VM %s: %.240s", vm->name, why.text) : 0;
}

/* ---- all else: through the VM's own socket ---- */

static int kill_process(int fd)
{
	int process = ctl_peer_process(fd), code = process;

	if (process < 0)
		return code;
	code = syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0) ? -errno : 0;
	close(process);
	return code;
}

static int tell(int fd, enum act_kind kind, struct quire_error *why)
{
	uint64_t ticket;
	int code;

	switch (kind) {
	case ACT_PAUSE: return ctl_pause(fd, why);
	case ACT_RESUME: return ctl_command(fd, CTL_RESUME, why);
	case ACT_MERGE_NOW: return ctl_merge_now(fd, &ticket, why);
	case ACT_END: return ctl_command(fd, CTL_STOP, why);
	default: code = kill_process(fd);
	}
	return code ? quire_fail(why, code, "cannot kill it: %s", strerror(-code)) : 0;
}

int act_on(const struct roster *r, const struct roster_vm *vm, const struct act *act,
	   struct quire_error *err)
{
	struct quire_error why;
	struct ucred peer;
	int fd, code;

	if (act->kind == ACT_BALLOON)
		return set_size(r, vm, act->bytes, err);
	fd = ctl_open(vm->name, CTL_PATIENCE_S);
	if (fd < 0)
		return quire_fail(err, fd, "VM %s %s", vm->name,
				  fd == -EAGAIN ? "does not answer" : "has ended");
	if (ctl_peer(fd, &peer) || (uint32_t)peer.pid != vm->pid)
		code = quire_fail(&why, -ESRCH, "another VM has this name now");
	else
		code = tell(fd, act->kind, &why);
	close(fd);
	return code ? quire_fail(err, code, "VM %s: %.240s", vm->name, why.text) : 0;
}
