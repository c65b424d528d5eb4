/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MACHINE_MACHINE_LAB_TAP_H
#define QUIRE_TESTS_MACHINE_MACHINE_LAB_TAP_H

/* How tests of one machine, stepped, begin and end. */
#include "machine_lab.h"
#include "tests/tap.h"

#define MIB_PAGES (MiB / QUIRE_PAGE_SIZE)
#define GIB_PAGES (GiB / QUIRE_PAGE_SIZE)

/* Creates a machine without swap; memory is in pages. */
void lab_open_plain(struct lab *lab, uint64_t memory, enum overcommit_mode mode);

/* The end of a test: nobody is left, nothing is charged. */
void lab_close(struct lab *lab, unsigned int fds);

#endif
