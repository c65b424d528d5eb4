/* SPDX-License-Identifier: MIT */
/* The log of what the balloon policy decided, and words for it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include "balloon_internal.h"

static const char *const reason_names[BALLOON_NR_REASONS] = {
	[BALLOON_STEADY] = "steady",	     [BALLOON_SILENT] = "silent",
	[BALLOON_MANUAL] = "manual",	     [BALLOON_PRESSURE] = "pressure",
	[BALLOON_COOLING] = "cooling",	     [BALLOON_STUCK] = "stuck",
	[BALLOON_RECLAIM] = "reclaim",	     [BALLOON_SPARED] = "spared",
	[BALLOON_AT_MINIMUM] = "at-minimum", [BALLOON_NO_SPARE] = "no-spare",
	[BALLOON_GIVEN] = "given",	     [BALLOON_TAXED] = "taxed",
	[BALLOON_NOBODY] = "nobody",	     [BALLOON_PLENTY] = "plenty",
};

static const char *const explanations[BALLOON_NR_REASONS] = {
	[BALLOON_STEADY] = "nothing to do",
	[BALLOON_SILENT] = "no driver or no recent statistics, so no decision",
	[BALLOON_MANUAL] = "set by hand",
	[BALLOON_PRESSURE] = "the guest needs it",
	[BALLOON_COOLING] = "nothing is taken after a release",
	[BALLOON_STUCK] = "the guest could not fill its balloon further",
	[BALLOON_RECLAIM] = "lowest shares per page",
	[BALLOON_SPARED] = "the machine is short, but others have fewer shares per page",
	[BALLOON_AT_MINIMUM] = "the machine is short, but the guest is at its minimum",
	[BALLOON_NO_SPARE] = "the machine is short, but the guest has nothing to spare",
	[BALLOON_GIVEN] = "the guest runs low",
	[BALLOON_TAXED] = "the guest runs low, but nobody has fewer shares per page",
	[BALLOON_NOBODY] = "the guest runs low, but nobody has anything to spare",
	[BALLOON_PLENTY] = "the machine has plenty",
};

static const char *const sign_names[BALLOON_NR_SIGNS] = {
	"deflated-itself", "touched-ballooned", "oom-kill", "alloc-stall",
	"swapping",	   "major-faults",	"asked",
};

const char *balloon_reason_name(enum balloon_reason reason)
{
	return reason < BALLOON_NR_REASONS ? reason_names[reason] : NULL;
}

/*
 * Did the decision move nothing?  It is worth knowing now, and not worth a place in the log later.
 */
static bool passing(const struct balloon_decision *d)
{
	const uint32_t idle = 1u << BALLOON_STEADY | 1u << BALLOON_COOLING | 1u << BALLOON_SPARED |
			      1u << BALLOON_AT_MINIMUM | 1u << BALLOON_NO_SPARE |
			      1u << BALLOON_TAXED | 1u << BALLOON_NOBODY;

	return d->from_pages == d->to_pages && (idle & 1u << d->reason);
}

static int direction(uint64_t from, uint64_t to)
{
	return (to > from) - (to < from);
}

/* Does the run of equal decisions go on? */
static bool continues(const struct balloon_decision *last, const struct balloon_plan *plan,
		      uint64_t to)
{
	return last->reason == plan->reason && last->signs == plan->signs &&
	       last->to_pages == plan->from_pages &&
	       direction(last->from_pages, last->to_pages) == direction(plan->from_pages, to);
}

void balloon_log_add(const struct balloon_policy *p, const struct balloon_machine *m,
		     const struct balloon_input *in, struct balloon_vm *vm, uint64_t wanted)
{
	const struct balloon_plan *plan = &vm->plan;
	struct balloon_decision *d = &vm->log[(vm->logged - 1) % BALLOON_LOG_SIZE];

	if (!vm->logged || !continues(d, plan, vm->target_pages)) {
		if (!vm->logged || !passing(d))
			d = &vm->log[vm->logged++ % BALLOON_LOG_SIZE];
		*d = (struct balloon_decision){
			.reason = plan->reason,
			.signs = plan->signs,
			.first_ns = m->now_ns,
			.from_pages = plan->from_pages,
		};
	}
	d->ticks++;
	d->last_ns = m->now_ns;
	d->to_pages = vm->target_pages;
	d->shares = in->shares;
	d->actual_pages = balloon_actual(in);
	d->resident_pages = in->resident_pages;
	d->available_pages = plan->answers ? balloon_expected(in, vm) : 0;
	d->active_pages = plan->active_pages;
	d->margin_pages = plan->margin_pages;
	d->limit_pages = plan->limit_pages;
	d->charge_pages = balloon_charge(&p->config, plan->active_pages, plan->resident_pages) /
			  (1000 - p->config.tax_permille);
	d->free_pages = m->free_pages;
	d->short_pages = wanted;
	d->quiet_ns = less(vm->cool_ns, m->now_ns);
}

unsigned int balloon_log_count(const struct balloon_vm *vm)
{
	return min_u64(vm->logged, BALLOON_LOG_SIZE);
}

const struct balloon_decision *balloon_log_get(const struct balloon_vm *vm, unsigned int i)
{
	return &vm->log[(vm->logged - 1 - i) % BALLOON_LOG_SIZE];
}

/* A line that grows.  What does not fit is only counted, as snprintf() does. */
struct line {
	char *buf;
	size_t len, used;
};

__attribute__((format(printf, 2, 3))) static void say(struct line *line, const char *fmt, ...)
{
	size_t at = min_u64(line->used, line->len);
	va_list args;

	va_start(args, fmt);
	line->used += vsnprintf(line->len ? line->buf + at : NULL, line->len - at, fmt, args);
	va_end(args);
}

/* MiB with one decimal, rounded down. */
static void say_size(struct line *line, const char *before, uint64_t pages, const char *after)
{
	uint64_t tenths = pages * 10 / (MiB / QUIRE_PAGE_SIZE);

	say(line, "%s%" PRIu64 ".%" PRIu64 "%s", before, tenths / 10, tenths % 10, after);
}

static void say_signs(struct line *line, uint32_t signs)
{
	const char *separator = " (";

	for (unsigned int i = 0; i < BALLOON_NR_SIGNS; i++)
		if (signs & 1u << i) {
			say(line, "%s%s", separator, sign_names[i]);
			separator = ", ";
		}
	say(line, "%s", signs ? ")" : "");
}

static void say_change(struct line *line, const struct balloon_decision *d)
{
	say_size(line, "balloon ", d->from_pages, "");
	if (d->to_pages != d->from_pages)
		say_size(line, " -> ", d->to_pages, "");
	say(line, " MiB");
	if (d->ticks > 1)
		say(line, " in %" PRIu32 " ticks", d->ticks);
}

/* Shares per GiB of charge, the number that reclaim compares. */
static void say_rho(struct line *line, const struct balloon_decision *d)
{
	uint64_t pages = max_u64(d->charge_pages, 1);

	say(line, "; rho %" PRIu64 " = %" PRIu32 " shares / ",
	    (uint64_t)d->shares * (GiB / QUIRE_PAGE_SIZE) / pages, d->shares);
	say_size(line, "", d->charge_pages, " MiB charged");
	say_size(line, " (resident ", d->resident_pages, "");
	say_size(line, ", active ", d->active_pages, ")");
}

int balloon_describe(const struct balloon_decision *d, char *buf, size_t len)
{
	struct line line = { buf, len, 0 };

	say(&line, "%s: ", reason_names[d->reason]);
	say_change(&line, d);
	say(&line, ": %s", explanations[d->reason]);
	say_signs(&line, d->signs);
	if (d->reason != BALLOON_SILENT && d->reason != BALLOON_MANUAL) {
		say_size(&line, "; available ", d->available_pages, "");
		say_size(&line, ", margin ", d->margin_pages, "");
		say_size(&line, ", limit ", d->limit_pages, "");
		say_rho(&line, d);
	}
	say_size(&line, "; machine free ", d->free_pages, "");
	say_size(&line, ", wants ", d->short_pages, "");
	if (d->quiet_ns)
		say(&line, "; quiet for %" PRIu64 " s yet", d->quiet_ns / 1000000000);
	return (int)line.used;
}
