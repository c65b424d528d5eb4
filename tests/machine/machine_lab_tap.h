/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MACHINE_MACHINE_LAB_TAP_H
#define QUIRE_TESTS_MACHINE_MACHINE_LAB_TAP_H

/* How tests of one machine, stepped, begin and end. */
#include "machine_lab.h"
#include "tests/tap.h"

#define MIB_PAGES (MiB / QUIRE_PAGE_SIZE)
#define GIB_PAGES (GiB / QUIRE_PAGE_SIZE)

static inline void lab_open_plain(struct lab *lab, uint64_t memory, enum overcommit_mode mode)
{
	struct machine_config config = lab_config(lab, memory, 0, mode);

	lab_open(lab, &config);
}

/* The end of a test: nobody is left, nothing is charged. */
static inline void lab_close(struct lab *lab, unsigned int fds)
{
	struct machine_state s;

	lab_await_vms(lab, 0);
	s = lab_state(lab);
	is_hex(s.committed_pages + s.credit_pages + s.overhead_pages + s.nr_vms, 0,
	       "at the end nothing is promised and nothing charged");
	is_hex(lab->faults, 0, "every sum was right after every step");
	machine_destroy(lab->m);
	is_hex(open_fds(), fds, "and no descriptor is left");
}

#endif
