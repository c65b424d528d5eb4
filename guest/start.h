/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_START_H
#define QUIRE_GUEST_START_H

#include <stdint.h>

/* When each stage of the boot was over, as TSC values. */
struct stages {
	uint64_t cpl3, parsed, memory;
};
extern struct stages stage;

void quill_main(uint64_t start_info, uint64_t entry_tsc) __attribute__((noreturn));

#endif
