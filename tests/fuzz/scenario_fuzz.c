/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for scenario_read(): the input is the file.  Whatever it is, there is a scenario
 * or there are faults, in the order of the file, each a line with a place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/play/scenario.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_faults(const struct scenario_faults *faults)
{
	for (unsigned int i = 0; i < faults->nr; i++) {
		const struct scenario_fault *f = &faults->fault[i];

		if (!f->line || !f->column || !f->text[0])
			abort();
		if (i &&
		    (f[-1].line > f->line || (f[-1].line == f->line && f[-1].column > f->column)))
			abort();
	}
}

/* What a scenario is played by. */
static void check_scenario(const struct scenario *s)
{
	if (!s->name || !s->guest || !s->group)
		abort();
	for (unsigned int i = 0; i < s->nr_guests; i++) {
		struct words w = { 0 };

		scenario_args(s, &s->guest[i], &w);
		if (!s->group[s->guest[i].group].image)
			abort();
	}
	for (unsigned int i = 0; i < s->nr_steps; i++) {
		const struct scenario_step *step = &s->step[i];

		if ((step->action == ACTION_EXPECT || step->action == ACTION_ALWAYS) &&
		    !step->check)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct scenario_faults faults;
	static struct scenario s;
	struct quire_error err = { "" };
	static int fd = -1;
	char path[32];
	int code;

	if (fd < 0)
		fd = memfd_create("scenario", 0);
	if (ftruncate(fd, 0) || pwrite(fd, data, bytes, 0) != (ssize_t)bytes)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	faults.nr = 0;
	code = scenario_read(path, &s, &faults, &err);
	if (code == -EINVAL ? !faults.nr : faults.nr || (code && !err.text[0]))
		abort();
	check_faults(&faults);
	if (!code)
		check_scenario(&s);
	scenario_finish(&s);
	return 0;
}
