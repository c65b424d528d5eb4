/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for trace_read(): the input is a trace, or what somebody takes for one.  It is
 * read, or refused in one line.  What was read goes through every policy: no access is lost, and
 * nothing has fewer faults than OPT.
 */
#include <string.h>
#include "mmu/reclaim/simulate.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void run_all(const struct trace *t, uint32_t frames, uint32_t batch)
{
	struct sim sim = { .policy = SIM_NR_POLICIES - 1, .frames = frames, .batch = batch };
	struct quire_error err;
	struct sim_result best, r;

	must(!sim_run(t, &sim, &best, &err), "opt does not run");
	for (sim.policy = 0; sim.policy < SIM_NR_POLICIES; sim.policy++) {
		must(!sim_run(t, &sim, &r, &err), "a policy does not run");
		must(r.faults >= best.faults && r.faults <= trace_length(t), "faults");
		must(r.evictions <= r.faults && r.faults - r.evictions <= frames, "evictions");
		must(r.write_backs <= r.evictions && r.write_backs <= t->nr_writes, "write-backs");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct quire_error err = { "" };
	struct trace t;
	FILE *f;

	if (bytes < 3)
		return 0;
	f = fmemopen((void *)(uintptr_t)(data + 2), bytes - 2, "r");
	must(f, "no stream");
	if (trace_read(&t, f, "input", &err)) {
		must(err.text[0] && !strchr(err.text, '\n'), "a refusal is one line");
	} else {
		must(t.nr_pages && t.nr_pages <= trace_length(&t), "pages of a trace");
		run_all(&t, data[0] % 32u + 1, data[1] % 8u);
		trace_finish(&t);
	}
	fclose(f);
	return 0;
}
