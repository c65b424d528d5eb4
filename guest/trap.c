/* SPDX-License-Identifier: MIT */
/*
 * The CPL 3 half of trap handling (the other is traps.S).
 *
 * First the hook, if one is set, may repair the cause.  Otherwise, a trap inside guarded() ends
 * that call.  Any other trap is a bug: we print one line and let the *same instruction* fault
 * again with an empty IDT.  So the triple fault that the VMM sees has the registers, the rip and
 * the CR2 of the culprit, and not those of its undertaker.
 */
#include "kernel.h"

extern uint64_t guard_rsp;
extern const char guard_escape[];
void trap_handle(struct trap *trap);

bool (*volatile trap_hook)(struct trap *trap);
struct trap guard_trap;

static const char *vector_name(uint64_t vector)
{
	static const char names[][4] = {
		"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "CSO", "#TS",
		"#NP", "#SS", "#GP", "#PF", "R15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
	};

	return vector < ARRAY_SIZE(names) ? names[vector] : "???";
}

void trap_handle(struct trap *trap)
{
	bool (*hook)(struct trap *) = trap_hook;

	if (hook && hook(trap))
		return;
	if (guard_rsp) {
		guard_trap = *trap;
		trap->rip = (uint64_t)guard_escape;
		trap->rsp = guard_rsp;
		return;
	}
	print("quill: unhandled exception: vector %lu (%s) error 0x%lx rip 0x%lx cr2 0x%lx\n",
	      trap->vector, vector_name(trap->vector), trap->error, trap->rip, trap->cr2);
	console_flush();
	if (trap->vector == VECTOR_BP)
		trap->rip--;
	nucleus_call(CALL_DIE, (uint64_t)trap, 0);
}
