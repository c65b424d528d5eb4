/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_KVM_EXIT_H
#define QUIRE_VMM_VM_KVM_EXIT_H

/* Why KVM_RUN returned: the exit reasons of linux/kvm.h. */
#include <stdint.h>

#define KVM_NR_EXITS 64 /* reasons below this are counted, each by itself */

#define KVM_EXIT_MEMORY_FAULT_39 39 /* the oldest <linux/kvm.h> lacks it */

/* "KVM_EXIT_IO" for KVM_EXIT_IO, and so on; "unknown" for a reason without a name. */
const char *kvm_exit_name(uint32_t reason);

#endif
