/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_FINISH_H
#define QUIRE_VMM_VM_FINISH_H

/*
 * What to do with an instruction that KVM's emulator does not know (KVM_EXIT_INTERNAL_ERROR of
 * KVM_INTERNAL_ERROR_EMULATION): finish it, if the table of emulate.h has it.
 *
 * The instruction accesses memory with the guest's own permissions, and raises the exceptions that
 * the processor would.  An interrupt shadow (STI, MOV SS) ends with it.  It clears RFLAGS.RF, and
 * an exception pushes it set, if it is a fault.  With RFLAGS.TF a #DB follows, unless the
 * instruction raised an exception.  Breakpoints in DR0 to DR3 are not looked at.
 *
 * At CPL 3 an instruction that is not in the table is #UD, as KVM has it: a guest's program cannot
 * end the guest.
 */
#include "vcpu.h"

/* True: the vCPU can enter the guest again, or the VM ends.  False: nothing was done. */
bool finish_instruction(struct vcpu *vcpu);

#endif
