/* SPDX-License-Identifier: MIT */
#include "machine_lab_tap.h"

void lab_open_plain(struct lab *lab, uint64_t memory, enum overcommit_mode mode)
{
	struct machine_config config = lab_config(lab, memory, 0, mode);

	lab_open(lab, &config);
}

void lab_close(struct lab *lab, unsigned int fds)
{
	struct machine_state s;

	lab_await_vms(lab, 0);
	s = lab_state(lab);
	is(s.committed_pages + s.credit_pages + s.overhead_pages + s.nr_vms, 0,
	   "at the end nothing is promised and nothing charged");
	is(lab->faults, 0, "every sum was right after every step");
	machine_destroy(lab->m);
	is(open_fds(), fds, "and no descriptor is left");
}
