/* SPDX-License-Identifier: MIT */
/*
 * The event log.  One call, event_note(), makes the line of the log and the record that clients can
 * ask for.  Records are in a ring: the newest takes the place of the oldest.
 *
 * Who follows the log asks for the next part of it, again and again, and says how long it would
 * wait for one.  It gets at most one part for each question.  So one that does not read costs what
 * its socket holds, and the machine never waits.
 *
 * What VMs and clients can bring about as often as they like must not push everything else out of
 * the ring.  Clients of other users, and those that say nothing, have no record.  What a VM says of
 * its merging has one in PASS_NS at most.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "server_internal.h"
#include "mmu/base/wire.h"

#define RING	1024u
#define PASS_NS NS_PER_S

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int events_init(struct machine *m)
{
	m->event = calloc(RING, sizeof(*m->event));
	m->next_event = 1;
	return m->event ? 0 : -ENOMEM;
}

void events_finish(struct machine *m)
{
	free(m->event);
	m->event = NULL;
}

static void copy(char *to, size_t room, const char *from)
{
	size_t bytes = from ? strnlen(from, room - 1) : 0;

	memcpy(to, from ? from : "", bytes);
	to[bytes] = '\0';
}

struct machine_event *event_note(struct machine *m, enum event_kind kind, const struct tenant *t,
				 const char *reason, const int64_t *number, const char *fmt, ...)
{
	struct machine_event *e = &m->event[m->next_event % RING];
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	*e = (struct machine_event){
		.seq = m->next_event++,
		.monotonic_ns = machine_now(m),
		.realtime_ns = realtime_ns(),
		.kind = kind,
		.vm = t ? t->id : 0,
		.pid = t ? t->pid : 0,
	};
	copy(e->name, sizeof(e->name), t ? t->promise.name : "");
	copy(e->reason, sizeof(e->reason), reason);
	copy(e->text, sizeof(e->text), text);
	if (number)
		memcpy(e->number, number, sizeof(e->number));
	if (event_rows[kind].unlogged)
		return e;
	if (t && !event_rows[kind].complete)
		machine_log(m, "vm %u '%s': %s", t->id, t->promise.name, text);
	else
		machine_log(m, "%s", text);
	return e;
}

void events_passed(struct machine *m, struct tenant *t, const struct merge_pass *pass)
{
	uint64_t now = machine_now(m);

	if (now < t->next_pass_ns)
		return;
	t->next_pass_ns = now + PASS_NS;
	event_note(m, EVENT_MERGE_PASS, t, NULL,
		   NUMBERS(event_count(pass->full_scans), event_count(pass->merged_pages),
			   event_count(pass->zeroed_pages), event_count(pass->pages_scanned),
			   event_count(pass->pages_skipped)),
		   "pass %llu: %llu pages merged and %llu of zeroes found since it started",
		   (unsigned long long)pass->full_scans, (unsigned long long)pass->merged_pages,
		   (unsigned long long)pass->zeroed_pages);
}

/* ---- the observer ---- */

int machine_adopt_news(struct machine *m, int fd)
{
	int code;

	m->news = (struct source){ .kind = SERVER_SOURCE_NEWS, .fd = fd };
	code = source_add(m, &m->news);
	if (code)
		source_close(m, &m->news);
	return code;
}

void events_take_news(struct machine *m)
{
	struct machine_news news;
	ssize_t n = read(m->news.fd, &news, sizeof(news));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == (ssize_t)sizeof(news)) {
		news.reason[EVENT_REASON_MAX] = news.text[EVENT_TEXT_MAX] = '\0';
		event_note(m, EVENT_OBSERVER, NULL, news.reason, news.number, "%s", news.text);
		return;
	}
	source_close(m, &m->news);
	event_note(m, EVENT_OBSERVER, NULL, "starter ended", NUMBERS(EVENT_UNKNOWN, EVENT_UNKNOWN),
		   "what starts the observer has ended: if the observer ends, it stays so");
}

/* ---- questions ---- */

static void stop_waiting(struct machine *m, struct client *c)
{
	m->nr_followers -= c->waits_for_event != 0;
	c->waits_for_event = c->event_deadline_ns = 0;
}

/* Send the part of the log that begins with `from`, or with the oldest that there is. */
static void send_part(struct machine *m, struct client *c, uint64_t from)
{
	uint64_t oldest = m->next_event > RING ? m->next_event - RING : 1;
	uint64_t seq = min_u64(max_u64(from, oldest), m->next_event);
	struct machine_msg end = wire_msg(MACHINE_END, 0);

	for (unsigned int nr = 0; nr < MACHINE_LIST_MAX && seq < m->next_event; nr++, seq++) {
		struct machine_msg answer = wire_msg(MACHINE_EVENT, m->event[seq % RING].vm);

		answer.event = m->event[seq % RING];
		client_send(m, c, &answer, -1);
	}
	end.pages = seq;
	client_send(m, c, &end, -1);
}

bool events_on_ask(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	(void)fd;
	if (msg->events.wait_ms > MACHINE_EVENTS_WAIT_MS)
		return false;
	if (!msg->events.wait_ms || msg->events.from != m->next_event) {
		send_part(m, c, msg->events.from);
		return true;
	}
	c->waits_for_event = msg->events.from;
	c->event_deadline_ns = machine_now(m) + msg->events.wait_ms * NS_PER_MS;
	m->nr_followers++;
	return true;
}

void events_answer(struct machine *m, struct client *c)
{
	uint64_t from = c->waits_for_event;

	if (!from)
		return;
	stop_waiting(m, c);
	send_part(m, c, from);
}

void events_forget(struct machine *m, struct client *c)
{
	stop_waiting(m, c);
}

void events_serve(struct machine *m)
{
	struct client *c, *next;
	uint64_t now;

	if (!m->nr_followers)
		return;
	now = machine_now(m);
	for (c = TAILQ_FIRST(&m->clients); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->waits_for_event &&
		    (c->waits_for_event < m->next_event || now >= c->event_deadline_ns))
			events_answer(m, c);
	}
}
