/* SPDX-License-Identifier: MIT */
/*
 * Numbers and audits of a stress.  They come from the VMs' control sockets and from the machine,
 * as those of quire stat do.  Only what a guest does, and how long it stood still, is its own word.
 *
 * A VM that has much to do answers late.  Then its last numbers stand until it has answered.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <quire/abi.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/base/mib.h"
#include "vmm/look/stats.h"
#include "stress.h"

#define ANSWER_NS (NS_PER_S / 10) /* all guests together have so long to answer a look */
#define SETTLE_NS (20 * NS_PER_S) /* what is on its way has so long to arrive */
#define AGAIN_US  20000

void stress_fail(struct stress *s, enum stress_check check, const char *fmt, ...)
{
	va_list ap;

	if (s->failed[check][0])
		return;
	va_start(ap, fmt);
	vsnprintf(s->failed[check], sizeof(s->failed[check]), fmt, ap);
	va_end(ap);
}

/* ---- numbers ---- */

/* Those that count what has happened; all others are of now. */
static bool is_count(enum stress_number n)
{
	return n == STRESS_LOADS || n == STRESS_STALL_NS || n == STRESS_OPERATIONS;
}

/* What a guest says of itself stays. */
static void take_info(struct stress_guest *g)
{
	static const struct {
		enum stress_number number;
		const char *state;
	} states[] = {
		{ STRESS_ABSENT, "absent" },	   { STRESS_PRIVATE, "private" },
		{ STRESS_SHARED, "shared" },	   { STRESS_ZERO, "zero" },
		{ STRESS_BALLOONED, "ballooned" }, { STRESS_COMPRESSED, "compressed" },
		{ STRESS_SWAPPED, "swapped" },	   { STRESS_ARCHIVED, "archived" },
	};
	const struct vm_info *info = &g->run.info.vm;
	uint64_t *of = g->now.of;

	for (unsigned int i = 0; i < ARRAY_SIZE(states); i++)
		of[states[i].number] = stats_state_pages(info, states[i].state);
	of[STRESS_RAM] = info->mem.s2.ram_pages;
	of[STRESS_RESIDENT] = stats_resident_pages(info);
	of[STRESS_POOL] = info->mem.pool.pool_pages;
	of[STRESS_STALL_NS] = info->mem.stall.total_ns[STALL_SOME];
	of[STRESS_LOADS] = 0;
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		of[STRESS_LOADS] += histogram_total(&info->mem.loads[i]);
}

struct stress_numbers stress_sum(const struct stress_guest *g)
{
	struct stress_numbers sum = g->now;

	for (unsigned int n = 0; n < STRESS_NR_NUMBERS; n++)
		if (is_count(n))
			sum.of[n] += g->past.of[n];
	sum.of[STRESS_PAUSE_US] = max_u64(sum.of[STRESS_PAUSE_US], g->past.of[STRESS_PAUSE_US]);
	return sum;
}

struct stress_numbers stress_between(const struct stress_numbers *a, const struct stress_numbers *b)
{
	struct stress_numbers n = *b;

	for (unsigned int i = 0; i < STRESS_NR_NUMBERS; i++)
		if (is_count(i))
			n.of[i] -= min_u64(n.of[i], a->of[i]);
	return n;
}

void stress_add(struct stress_numbers *to, const struct stress_numbers *from)
{
	uint64_t pause = max_u64(to->of[STRESS_PAUSE_US], from->of[STRESS_PAUSE_US]);

	for (unsigned int n = 0; n < STRESS_NR_NUMBERS; n++)
		to->of[n] += from->of[n];
	to->of[STRESS_PAUSE_US] = pause;
}

/* ---- asking the VMs ---- */

/* A life is over: it has nothing any more, and what it did counts. */
void stress_bury(struct stress_guest *g)
{
	g->past = stress_sum(g);
	memset(&g->now, 0, sizeof(g->now));
}

/* Take its answer if it comes until then. */
static void take_answer(struct stress_guest *g, uint64_t until_ns)
{
	if (stage_take_answer(&g->run, until_ns))
		take_info(g);
}

static void ask_guests(struct stress *s, uint64_t patience_ns)
{
	uint64_t until = monotonic_ns() + patience_ns;

	for (unsigned int i = 0; i < s->opt.guests; i++)
		stage_ask(&s->guest[i].run);
	for (unsigned int i = 0; i < s->opt.guests; i++)
		take_answer(&s->guest[i], until);
}

/* ---- asking the machine ---- */

static void take_account(void *ctx, uint32_t vm, const struct machine_vm_record *record)
{
	struct stress *s = ctx;

	(void)vm;
	for (unsigned int i = 0; i < s->opt.guests; i++) {
		struct stress_guest *g = &s->guest[i];

		if (!g->run.known || !g->run.launcher || record->pid != (int32_t)g->run.info.vm.pid)
			continue;
		g->run.account = *record;
		g->now.of[STRESS_PROMISED] = record->ram_pages + record->overhead_pages;
	}
}

static int ask_machine(struct stress *s, struct quire_error *err)
{
	int code = machine_client_get(s->machine.client, &s->state, err);

	return code ? code : machine_client_list(s->machine.client, take_account, s, err);
}

/* memory + excess = free + credits + store + overhead; and what exists was paid for. */
static void check_books(struct stress *s)
{
	const struct machine_state *m = &s->state;
	uint64_t right = m->free_pages + m->credit_pages + m->store_pages + m->overhead_pages;

	if (m->settings.memory_pages + stats_excess_pages(m) != right)
		stress_fail(s, STRESS_BOOKS,
			    "memory is %" PRIu64 " pages, but free %" PRIu64 ", credits %" PRIu64
			    ", store %" PRIu64 " and overhead %" PRIu64 " are %" PRIu64,
			    m->settings.memory_pages, m->free_pages, m->credit_pages,
			    m->store_pages, m->overhead_pages, right);
	if (m->resident_pages > m->credit_pages + m->store_pages)
		stress_fail(s, STRESS_BOOKS,
			    "%" PRIu64 " pages are resident, but only %" PRIu64
			    " are credits and store",
			    m->resident_pages, m->credit_pages + m->store_pages);
	if (m->swap_held_pages > m->settings.swap_pages)
		stress_fail(s, STRESS_BOOKS, "VMs hold %" PRIu64 " pages of a swap of %" PRIu64,
			    m->swap_held_pages, m->settings.swap_pages);
}

/* ---- a look ---- */

static struct stress_sample *new_sample(struct stress *s)
{
	unsigned int room = s->room ? 2 * s->room : 256;
	struct stress_sample *sample = s->sample;

	if (s->nr_samples == s->room) {
		sample = reallocarray(sample, room, sizeof(*sample));
		if (!sample)
			return NULL;
		s->sample = sample;
		s->room = room;
	}
	return memset(&sample[s->nr_samples++], 0, sizeof(*sample));
}

static int note_sample(struct stress *s, struct quire_error *err)
{
	struct stress_sample *sample = new_sample(s);

	if (!sample)
		return quire_fail(err, -ENOMEM, "no memory for what was seen");
	sample->ns = monotonic_ns() - s->start_ns;
	sample->machine = s->state;
	for (unsigned int i = 0; i < s->opt.guests; i++) {
		struct stress_numbers sum = stress_sum(&s->guest[i]);

		sample->running += s->guest[i].run.launcher != 0;
		stress_add(&sample->sum, &sum);
	}
	return 0;
}

int stress_look(struct stress *s, struct quire_error *err)
{
	int code;

	ask_guests(s, ANSWER_NS);
	code = ask_machine(s, err);
	if (code)
		return code;
	check_books(s);
	return note_sample(s, err);
}

/* ---- audits ---- */

/* Does the machine say of this guest what it says of itself, and what the kernel counts? */
static bool agrees(const struct stress_guest *g, char *why, size_t size)
{
	const uint64_t *of = g->now.of;
	uint64_t sum = 0;

	for (unsigned int n = STRESS_ABSENT; n <= STRESS_SWAPPED; n++)
		sum += of[n];
	snprintf(why, size,
		 "%s has %" PRIu64 " pages of RAM, %" PRIu64 " in all states, %" PRIu64
		 " resident, %" PRIu64 " by the kernel's count, and %" PRIu64 " credits",
		 g->run.name, of[STRESS_RAM], sum, of[STRESS_RESIDENT],
		 g->run.account.resident_pages, g->run.account.credit_pages);
	return sum == of[STRESS_RAM] && of[STRESS_RESIDENT] == g->run.account.resident_pages &&
	       of[STRESS_RESIDENT] <= g->run.account.credit_pages;
}

/* Whose VM is gone says nothing; that it was killed may not be known yet. */
static bool all_agree(const struct stress *s, char *why, size_t size)
{
	for (unsigned int i = 0; i < s->opt.guests; i++) {
		const struct stress_guest *g = &s->guest[i];

		if (g->run.launcher && g->run.known && g->run.ctl >= 0 && !g->shot &&
		    !agrees(g, why, size))
			return false;
	}
	return true;
}

/* A guest that waits for memory comes to a halt only when it has that. */
static void hold_still(struct stress *s, bool still)
{
	for (unsigned int i = 0; i < s->opt.guests; i++) {
		struct stress_guest *g = &s->guest[i];

		take_answer(g, monotonic_ns() + CTL_PATIENCE_S * NS_PER_S);
		if (g->run.ctl < 0 || g->run.asked)
			continue;
		g->held |= still;
		if (still)
			ctl_pause(g->run.ctl, NULL);
		else
			ctl_command(g->run.ctl, CTL_RESUME, NULL);
	}
}

void stress_audit(struct stress *s)
{
	uint64_t until = monotonic_ns() + SETTLE_NS;
	char why[200] = "";
	bool good;

	hold_still(s, true);
	do {
		ask_guests(s, CTL_PATIENCE_S * NS_PER_S);
		good = !ask_machine(s, NULL) && all_agree(s, why, sizeof(why));
	} while (!good && monotonic_ns() < until && !usleep(AGAIN_US));
	hold_still(s, false);
	if (!good)
		stress_fail(s, STRESS_KERNEL, "%s", why);
}

static bool is_empty(const struct machine_state *m)
{
	return !m->nr_vms && !m->committed_pages && !m->credit_pages && !m->overhead_pages &&
	       !m->store_pages && !m->resident_pages && !m->swap_held_pages &&
	       m->free_pages == m->settings.memory_pages;
}

void stress_check_empty(struct stress *s)
{
	uint64_t until = monotonic_ns() + SETTLE_NS;
	const struct machine_state *m = &s->state;
	struct quire_error err;
	int code;

	do {
		code = machine_client_get(s->machine.client, &s->state, &err);
	} while (!code && !is_empty(m) && monotonic_ns() < until && !usleep(AGAIN_US));
	if (code)
		stress_fail(s, STRESS_EMPTY, "%s", err.text);
	else if (!is_empty(m))
		stress_fail(s, STRESS_EMPTY,
			    "%u VMs, a promise of %s, credits of %s, overhead of %s, swap of %s, "
			    "a store of %s; %s of %s are free",
			    m->nr_vms, mib_text(m->committed_pages), mib_text(m->credit_pages),
			    mib_text(m->overhead_pages), mib_text(m->swap_held_pages),
			    mib_text(m->store_pages), mib_text(m->free_pages),
			    mib_text(m->settings.memory_pages));
}
