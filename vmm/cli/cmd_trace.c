/* SPDX-License-Identifier: MIT */
/*
 * quire trace: which pages a guest touches, interval by interval, as a trace for quire sim.
 *
 * The VM is asked at the end of each interval which pages were touched in it.  So the trace has
 * each page once an interval, and the order within is that of the pages' numbers.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/look/ctl_client.h"
#include "mmu/base/clock.h"
#include "vmm/look/named.h"
#include "vmm/print/table.h"

const char trace_usage[] =
	"usage: quire trace [OPTION...] VM [FILE|-]\n"
	"\n"
	"Records which pages a running guest touches, as a trace for quire sim replace: each page\n"
	"once for each interval in which it was touched, lower pages first.  It goes to FILE, or\n"
	"to standard output (-), and ends after --seconds, with the guest, or at a SIGINT (^C).\n"
	"docs/reclaim.md says what such a trace cannot know.\n" USAGE_VM "\n"
	"  --interval=S  the length of an interval in seconds (default: 0.1)\n"
	"  --seconds=S   how long to record (default: 10)\n"
	"\n"
	"Exit status: 0; 2 wrong usage; 121 no such VM, or it does not answer, or somebody traces\n"
	"it already, or FILE cannot be written.\n";

struct recorder {
	uint64_t interval_ns, record_ns;
	const char *vm, *path; /* NULL: standard output */
	FILE *f;
	int fd;
	struct ctl_info info;
	uint64_t words;
	uint64_t *now;	/* a bit a page: touched in this interval ... */
	uint64_t *ever; /* ... or in any */
	uint64_t intervals, accesses, most;
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

static int parse_ns(const char *text, void *value, struct quire_error *err)
{
	return parse_seconds(text, value, err);
}

static int parse_options(int argc, char **argv, struct recorder *r, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "interval", .read = parse_ns, .value = &r->interval_ns },
		{ .name = "seconds", .read = parse_ns, .value = &r->record_ns },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (argc - optind < 1 || argc - optind > 2)
		return quire_fail(err, -EINVAL,
				  "say which VM (name or pid), and no more than one FILE; see "
				  "quire help trace");
	r->vm = argv[optind];
	r->path = argv[optind + 1];
	if (r->path && !strcmp(r->path, "-"))
		r->path = NULL;
	return 0;
}

/* ---- what was touched ---- */

static int ask(struct recorder *r, struct quire_error *err)
{
	int code = 0;

	for (uint64_t i = 0; i < r->info.nr_ram && !code; i++) {
		gfn_t end = r->info.ram[i].end;

		for (gfn_t g = r->info.ram[i].start; g < end && !code; g += CTL_MOST_FORGET)
			code = ctl_touched(r->fd, g, min_u64(CTL_MOST_FORGET, end - g),
					   &r->now[g / 64], err);
	}
	return code;
}

static uint64_t count(const uint64_t *bits, uint64_t words)
{
	uint64_t sum = 0;

	for (uint64_t w = 0; w < words; w++)
		sum += (uint64_t)__builtin_popcountll(bits[w]);
	return sum;
}

static void print_interval(struct recorder *r, uint64_t since_ns)
{
	uint64_t pages = count(r->now, r->words);

	fprintf(r->f, "# %.3f s: %" PRIu64 " pages\n", (double)since_ns / 1e9, pages);
	for (uint64_t w = 0; w < r->words; w++) {
		for (uint64_t bits = r->now[w]; bits; bits &= bits - 1)
			fprintf(r->f, "%#" PRIx64 "\n", 64 * w + (uint64_t)__builtin_ctzll(bits));
		r->ever[w] |= r->now[w];
	}
	r->intervals++;
	r->accesses += pages;
	r->most = max_u64(r->most, pages);
	fflush(r->f); /* whoever follows it sees whole intervals; ferror() tells of a failure */
}

/* ---- the recording ---- */

/* Until then, or until a signal. */
static void wait_until(uint64_t ns)
{
	struct timespec at = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = ns % NS_PER_S };

	while (!stopped && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

static void print_head(struct recorder *r)
{
	fprintf(r->f, "# quire trace of VM %s: %s of RAM, pages of 4 KiB, intervals of %g s\n",
		r->info.vm.name, size_text(r->info.vm.ram_bytes), (double)r->interval_ns / 1e9);
}

static int record(struct recorder *r, struct quire_error *err)
{
	uint64_t start = monotonic_ns(), end = start + r->record_ns, due = start;
	int code = 0;

	print_head(r);
	while (!code && !stopped && due < end && !ferror(r->f)) {
		due = min_u64(due + r->interval_ns, end);
		wait_until(due);
		code = ask(r, err);
		if (!code)
			print_interval(r, monotonic_ns() - start);
	}
	if (code != -ECONNRESET)
		return code;
	fputs("# the VM has ended\n", r->f);
	return 0;
}

static void print_sum(FILE *f, const struct recorder *r)
{
	fprintf(f,
		"%" PRIu64 " interval%s, %" PRIu64 " accesses to %" PRIu64
		" pages, at most %" PRIu64 " in an interval\n",
		r->intervals, r->intervals == 1 ? "" : "s", r->accesses, count(r->ever, r->words),
		r->most);
}

static int prepare(struct recorder *r, struct quire_error *err)
{
	const struct sigaction act = { .sa_handler = stop };
	int code = ctl_get_info(r->fd, &r->info, err);

	if (code)
		return code;
	r->words = r->info.ram[r->info.nr_ram - 1].end / 64 + 1;
	r->now = calloc(r->words, sizeof(*r->now));
	r->ever = calloc(r->words, sizeof(*r->ever));
	if (!r->now || !r->ever)
		return quire_fail(err, -ENOMEM, "no memory for the pages of %s", r->info.vm.name);
	code = ask(r, err); /* this answer is of what was before */
	if (code)
		return code;
	r->f = r->path ? fopen(r->path, "we") : stdout;
	if (!r->f)
		return quire_fail(err, -EIO, "cannot write %s: %m", r->path);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	return 0;
}

static int close_file(struct recorder *r, struct quire_error *err)
{
	bool failed = ferror(r->f);

	if (!r->path)
		failed |= fflush(r->f) != 0;
	else
		failed |= fclose(r->f) != 0;
	return failed ? quire_fail(err, -EIO, "cannot write %s: %m",
				   r->path ? r->path : "to standard output") :
			0;
}

static int trace(struct recorder *r, struct quire_error *err)
{
	int code = prepare(r, err), closed;

	if (code)
		return code;
	code = record(r, err);
	fputs("# ", r->f);
	print_sum(r->f, r);
	closed = close_file(r, err);
	if (!code && !closed && r->path) {
		printf("VM %s: ", r->info.vm.name);
		print_sum(stdout, r);
	}
	return code ? code : closed;
}

int cmd_trace(int argc, char **argv)
{
	struct recorder r = { .interval_ns = NS_PER_S / 10, .record_ns = 10 * NS_PER_S };
	struct quire_error err = { "" };
	int code;

	if (parse_options(argc, argv, &r, &err)) {
		fprintf(stderr, "quire trace: %s\n", err.text);
		return QUIRE_STATUS_USAGE;
	}
	r.fd = code = named_connect(r.vm, &err);
	if (r.fd >= 0) {
		code = trace(&r, &err);
		close(r.fd);
	}
	free(r.now);
	free(r.ever);
	if (!code)
		return 0;
	fprintf(stderr, "quire trace: %s\n", err.text);
	return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}
