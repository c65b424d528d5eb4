/* SPDX-License-Identifier: MIT */
/*
 * What VMs occupy, measured, against what they were charged.
 *
 * A VM process that its guest took over need not ask for credits.  It can write into its RAM file
 * and touch memory of its own, and nothing on its channel shows that.  But the kernel counts both:
 * the blocks of the file, of which the machine has a descriptor, and the anonymous memory of the
 * process (/proc/PID/statm, which everybody may read, unless /proc hides other users' processes).
 *
 * So once in measure_ms the machine looks at each VM.  One that occupies too much (oom_unpaid())
 * gets two strikes, and loses one if it does not.  With STRIKES_MAX it is killed.  That is at the
 * second look in a row, and a VM that occupies too much at every other look only gains a little
 * time.  A single look proves nothing: a guest that touches a page at the wrong moment has it for
 * an instant before the credit for it is found (docs/locking.md, "Pages that go").
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <unistd.h>
#include "mmu/base/mib.h"
#include "mmu/base/sanitized.h"
#include "oom.h"
#include "server_internal.h"

#define STRIKES_MAX 4

void measure_begin(struct machine *m, struct tenant *t)
{
	struct pollfd process = { .fd = t->process.fd, .events = POLLIN };
	char path[32];

	snprintf(path, sizeof(path), "%d/statm", (int)t->pid);
	t->statm = m->proc < 0 ? -1 : openat(m->proc, path, O_RDONLY | O_CLOEXEC);
	/* While it lives, nobody else has its number. */
	if (poll(&process, 1, 0))
		measure_end(t);
	if (!m->next_measure_ns)
		m->next_measure_ns = machine_now(m) + m->config.measure_ms * NS_PER_MS;
}

void measure_end(struct tenant *t)
{
	if (t->statm >= 0)
		close(t->statm);
	t->statm = -1;
}

/* Sanitizers keep memory of their own, for which nobody is charged. */
static uint64_t anon_pages(const struct tenant *t)
{
#if QUIRE_SANITIZED
	(void)t;
	return 0;
#else
	uint64_t size, resident, shared;
	char line[128];
	ssize_t n = t->statm < 0 ? -1 : pread(t->statm, line, sizeof(line) - 1, 0);

	if (n <= 0)
		return 0;
	line[n] = '\0';
	if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64, &size, &resident, &shared) != 3)
		return 0;
	return resident > shared ? resident - shared : 0;
#endif
}

struct machine_holding measure(const struct tenant *t)
{
	return (struct machine_holding){
		.ram_pages = t->promise.ram_pages,
		.resident_pages = tenant_resident_pages(t),
		.credit_pages = t->account.credit_pages,
		.alone_pages = t->member ? t->member->nr_frames : 0,
		.overhead_pages = t->account.overhead_pages,
		.ignored_pages = t->ignores ? t->asked_pages : 0,
		.anon_pages = anon_pages(t),
		.oom_score_adj = tenant_can_be_killed(t) ? t->promise.oom_score_adj :
							   OOM_SCORE_ADJ_MIN,
	};
}

static void end_it(struct machine *m, struct tenant *t, const struct machine_holding *had)
{
	event_note(m, EVENT_EXCESS, t, NULL,
		   NUMBERS(event_bytes(had->resident_pages), event_bytes(had->anon_pages),
			   event_bytes(had->credit_pages), event_bytes(had->overhead_pages)),
		   "it occupies more than it was charged: RAM %s, its process %s; credits %s, "
		   "overhead %s: killing pid %d",
		   mib_text(had->resident_pages), mib_text(had->anon_pages),
		   mib_text(had->credit_pages), mib_text(had->overhead_pages), (int)t->pid);
	if (tenant_kill(m, t, MACHINE_EXCEEDED))
		t->gone.had = *had;
}

static void look_at(struct machine *m, struct tenant *t)
{
	struct machine_holding had = measure(t);

	if (oom_unpaid(&had))
		t->strikes += 2;
	else if (t->strikes)
		t->strikes--;
	if (t->strikes >= STRIKES_MAX)
		end_it(m, t, &had);
}

void measure_expire(struct machine *m, uint64_t now)
{
	struct tenant *t;

	if (!m->next_measure_ns || now < m->next_measure_ns)
		return;
	m->next_measure_ns = m->nr_tenants ? now + m->config.measure_ms * NS_PER_MS : 0;
	TAILQ_FOREACH(t, &m->tenants, link)
	if (tenant_can_be_killed(t))
		look_at(m, t);
}
