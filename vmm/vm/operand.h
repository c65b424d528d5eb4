/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_OPERAND_H
#define QUIRE_VMM_VM_OPERAND_H

/*
 * Guest memory as an instruction that we emulate sees it: translated by the guest's own tables with
 * the permissions of e->cpl, A and D bits set, pages brought in.  e->ctx is the struct vcpu, whose
 * thread calls these.  The results are those of struct emulate_memory (vmm/monitor/emulate.h).
 */
#include "vmm/monitor/emulate.h"

enum emulate_result operand_read(struct emulation *e, gva_t gva, void *buf, size_t len);
enum emulate_result operand_write(struct emulation *e, gva_t gva, const void *buf, size_t len);
enum emulate_result operand_exchange(struct emulation *e, gva_t gva, uint64_t old[2],
				     const uint64_t new[2]);
enum emulate_result operand_fetch(struct emulation *e, gva_t gva, void *buf, size_t len);

#endif
