/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_VM_MADE_UP_H
#define QUIRE_TESTS_VM_MADE_UP_H

/*
 * A VM that is made up, for tests of the control socket: what its control server asks about pages.
 * The test that has such a VM says where its RAM ends, and defines the rest.
 *
 * Every third page is touched.  Of the pages that are to leave a quarter stays.  A ticket for an
 * even number of pages is good; each is done when it is asked for the second time.
 */
#include <quire/types.h>

/* Its RAM ends there. */
void made_up_set_end(gfn_t end);

#endif
