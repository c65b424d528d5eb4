/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_AUDIT_H
#define QUIRE_MMU_BASE_AUDIT_H

/*
 * An audit counts everything again, compares, and says what is wrong.  The functions that audit
 * take `report`, which may be NULL and hears each fault as one line, and return how many there are.
 */
#include <stdint.h>

struct audit {
	void (*report)(void *ctx, const char *what);
	void *ctx;
	unsigned int faults;
};

/* Something is wrong: count it, and report the line. */
__attribute__((format(printf, 2, 3))) void audit_fault(struct audit *a, const char *format, ...);

/* It is a fault if the books and the truth differ. */
void audit_expect(struct audit *a, uint64_t books, uint64_t truth, const char *what);

#endif
