/* SPDX-License-Identifier: MIT */
#include "reclaim_lab.h"

void reclaim_open(struct world *w, uint64_t memory)
{
	w->fds = open_fds();
	lab_open_plain(&w->lab, memory, OVERCOMMIT_ALWAYS);
	w->control = lab_connect(&w->lab);
	w->s = lab_state(&w->lab);
}

void reclaim_close(struct world *w, struct vm *vm, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		lab_finish_vm(&vm[i].lab);
	close(w->control);
	lab_step(&w->lab);
	lab_close(&w->lab, w->fds);
}

void reclaim_say(struct world *w, struct vm *vm)
{
	struct machine_msg msg = wire_msg(MACHINE_RECLAIMED, 0);

	msg.reclaim = vm->says;
	say_msg(vm->lab.channel, msg, -1);
	lab_step(&w->lab);
}

int reclaim_hear(struct vm *vm)
{
	struct machine_msg msg;
	int type, other = 0;

	while ((type = hear(vm->lab.channel, &msg, NULL)) > 0) {
		if (type == MACHINE_RECLAIM) {
			vm->asked = msg.pages;
			vm->asks++;
		} else if (type == MACHINE_SUSPEND) {
			vm->still = msg.pages;
		} else if (type == MACHINE_RECALL) {
			say(vm->lab.channel, MACHINE_RETURN, 0, 0, -1);
		} else {
			other = type;
		}
		if (type == MACHINE_GRANT) {
			vm->lab.credits += vm->granted = msg.pages;
			vm->grants++;
			vm->waits = false;
		}
	}
	return type < 0 ? type : other;
}

/* What is resident is what it has credits for. */
static void settle(struct vm *vm)
{
	bool grows = vm->lab.credits > vm->resident;
	uint64_t from = grows ? vm->resident : vm->lab.credits;
	uint64_t to = grows ? vm->lab.credits : vm->resident;

	if (vm->lab.ram < 0 || from == to)
		return;
	if (fallocate(vm->lab.ram, grows ? 0 : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(from * QUIRE_PAGE_SIZE), (off_t)((to - from) * QUIRE_PAGE_SIZE)))
		abort();
	vm->resident = vm->lab.credits;
}

void reclaim_take(struct world *w, struct vm *vm, uint64_t pages)
{
	for (uint64_t end = vm->lab.credits + pages; vm->lab.credits < end;) {
		say_credit(vm->lab.channel, min_u64(end - vm->lab.credits, MACHINE_NEED_MAX), 0);
		lab_step(&w->lab);
		if (reclaim_hear(vm) != MACHINE_GRANT)
			tap_bail("no credits");
	}
	settle(vm);
}

void reclaim_admit(struct world *w, struct vm *vm, uint64_t credits, struct machine_admit admit)
{
	*vm = (struct vm){ .lab = lab_admit(&w->lab, w->control, admit) };
	lab_start(&w->lab, w->control, &vm->lab);
	say(vm->lab.channel, MACHINE_RETURN, 0, vm->lab.credits, -1);
	vm->lab.credits = 0;
	reclaim_take(w, vm, credits);
	lab_attach(&w->lab, &vm->lab, RAM, credits);
	vm->resident = credits;
	vm->says = (struct reclaim_record){ .on = 1, .more = 1 };
	reclaim_say(w, vm);
}

void reclaim_start(struct world *w, struct vm *vm, uint64_t credits, uint32_t shares)
{
	struct machine_admit admit = lab_promise(RAM, 0);

	admit.shares = shares;
	reclaim_admit(w, vm, credits, admit);
}

void reclaim_free(struct world *w, struct vm *vm, uint64_t pages)
{
	pages = min_u64(pages, vm->lab.credits);
	vm->lab.credits -= pages;
	vm->asked -= min_u64(pages, vm->asked);
	settle(vm);
	say(vm->lab.channel, MACHINE_RETURN, 0, pages, -1);
	lab_step(&w->lab);
	reclaim_hear(vm);
}

uint64_t reclaim_free_now(struct world *w)
{
	return lab_state(&w->lab).free_pages;
}

void reclaim_run_out(struct world *w, struct vm *vm, uint64_t need)
{
	reclaim_take(w, vm, reclaim_free_now(w) - w->s.min_pages);
	say_credit(vm->lab.channel, need, need);
	lab_step(&w->lab);
	vm->grants = 0;
}

struct machine_vm_record reclaim_record_of(struct world *w, const struct vm *vm)
{
	struct machine_msg msg;

	say(w->control, MACHINE_LIST, vm->lab.id, 0, -1);
	lab_step(&w->lab);
	while (hear(w->control, &msg, NULL) > 0)
		if (msg.type == MACHINE_VM && msg.vm == vm->lab.id)
			return msg.vm_record;
	tap_bail("no VM %u", vm->lab.id);
}
