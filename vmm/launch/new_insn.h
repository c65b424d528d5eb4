/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_NEW_INSN_H
#define QUIRE_VMM_LAUNCH_NEW_INSN_H

/* Instructions that Capstone 4 does not know, or takes for others: by name, for listings. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct new_insn {
	size_t bytes;
	const char *name;
	const char *operand; /* a register, or "" */
};

/* Is one of them at byte[0, left)?  If not, *out is untouched.  mode64: there are REX prefixes. */
bool new_insn(const uint8_t *byte, size_t left, bool mode64, struct new_insn *out);

#endif
