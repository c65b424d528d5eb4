/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_PARSE_H
#define QUIRE_VMM_PRINT_PARSE_H

/*
 * Values that people type.  Each function takes a whole string and accepts exactly what is said
 * here: no blanks, no sign, nothing left over.  It returns 0; or -EINVAL or -ERANGE, with a line in
 * *err, which may be NULL, that has the text and says what would do.
 */
#include <quire/error.h>
#include <quire/types.h>

/* Guest RAM must leave room for the hole below 4 GiB in 48 bits of physical address. */
#define PARSE_MAX_RAM ((1ULL << 48) - GiB)

#define PARSE_MIN_MACHINE (4 * MiB)

/* A count: decimal digits, from min to max. */
int parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *value,
		struct quire_error *err);

/* A size: decimal digits, and at most one of K, M, G, T in either case, powers of 1024. */
int parse_size(const char *text, uint64_t *bytes, struct quire_error *err);

/* A size fit for guest RAM: not 0, a multiple of 4 KiB, at most PARSE_MAX_RAM. */
int parse_ram_size(const char *text, uint64_t *bytes, struct quire_error *err);

/* A size fit for a machine: at least PARSE_MIN_MACHINE, what the smallest guest takes. */
int parse_machine_size(const char *text, uint64_t *bytes, struct quire_error *err);

/* Seconds: more than 0, at most 10^9, with at most nine decimals, as in "0.25". */
int parse_seconds(const char *text, uint64_t *ns, struct quire_error *err);

/*
 * One of nr words, as in --irqchip=auto|on|off.  *index becomes its position in words.  The line in
 * *err lists the words.
 */
int parse_choice(const char *text, const char *const *words, unsigned int nr, unsigned int *index,
		 struct quire_error *err);

/* An address: 0x and hex digits, or what parse_size takes. */
int parse_address(const char *text, uint64_t *address, struct quire_error *err);

/* The number of a page: 0x and hex digits, or a count. */
int parse_gfn(const char *text, gfn_t *gfn, struct quire_error *err);

/* A range of addresses that is not empty: START+LENGTH or START-END, each an address. */
int parse_range(const char *text, uint64_t *start, uint64_t *end, struct quire_error *err);

#endif
