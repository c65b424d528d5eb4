/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_DESCRIPTOR_H
#define QUIRE_VMM_MONITOR_DESCRIPTOR_H

/* Descriptors of the guest's GDT and LDT: SDM Vol. 3A, chapter 3 and section 5. */
#include "work.h"

#define SELECTOR_RPL  3u
#define SELECTOR_MASK 0xfffcu /* index and table, as in error codes */

struct descriptor {
	struct kvm_segment s; /* selector as given; the base of 32 bits, or 64 of a system one */
	gva_t at;
};

static inline bool is_null(uint16_t selector)
{
	return !(selector & SELECTOR_MASK);
}

static inline bool is_code(const struct kvm_segment *s)
{
	return s->s && (s->type & 8);
}

static inline bool is_conforming(const struct kvm_segment *s)
{
	return is_code(s) && (s->type & 4);
}

static inline bool is_writable_data(const struct kvm_segment *s)
{
	return s->s && (s->type & 0xa) == 2;
}

/*
 * Read the descriptor of a selector that is not null.  Beyond its table it is exception `vector`
 * with the selector and `ext` as error code; so `vector` is GP, but TS where a TSS names it.
 */
enum emulate_result descriptor_read(struct work *w, uint16_t selector, uint8_t vector, uint32_t ext,
				    struct descriptor *d);

/* #vector(selector + ext) */
enum emulate_result descriptor_fault(struct work *w, uint8_t vector, uint16_t selector,
				     uint32_t ext);

/* Set the accessed bit, in the table and in d->s. */
enum emulate_result descriptor_accessed(struct work *w, struct descriptor *d);

/*
 * Is it code that CS may hold in the present mode?  Not both L and D; present.  #GP or #NP with the
 * selector.
 */
enum emulate_result descriptor_code(struct work *w, const struct descriptor *d, uint32_t ext);

/* Set CS to it at that CPL. */
void descriptor_set_cs(struct work *w, const struct descriptor *d, unsigned int cpl);

/*
 * Read and check what SS is to be at `cpl`: `vector` (GP or TS) where it is no stack for that, #SS
 * where it is not present.  A null selector is #vector, but at CPL 0 to 2 for code of 64 bits.
 */
enum emulate_result descriptor_stack(struct work *w, uint16_t selector, unsigned int cpl,
				     bool to_64_bits, uint8_t vector, uint32_t ext,
				     struct kvm_segment *ss);

/* A null SS, of long mode. */
struct kvm_segment descriptor_null(uint16_t selector);

#endif
