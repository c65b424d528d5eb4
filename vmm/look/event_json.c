/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "event_json.h"
#include "mmu/base/clock.h"
#include "vmm/print/json.h"

#define SCHEMA "quire.event/1"

/* UTC as RFC 3339 has it, to the microsecond. */
static void put_time(struct json *json, uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / NS_PER_S);
	uint64_t us = realtime_ns % NS_PER_S / 1000;
	char text[64], date[32] = "";
	struct tm tm;

	if (gmtime_r(&seconds, &tm))
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%06" PRIu64 "Z", date, us);
	json_text(json, "time", text);
}

static void put_vm(struct json *json, const struct machine_event *e)
{
	if (e->name[0] || e->vm)
		json_text(json, "vm", e->name);
	if (e->vm)
		json_number(json, "id", e->vm);
	if (e->pid > 0)
		json_number(json, "pid", (uint64_t)e->pid);
}

void event_json(FILE *f, const struct machine_event *e)
{
	const struct event_row *row = &event_rows[e->kind];
	struct json json;

	json_init_line(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", SCHEMA);
	json_number(&json, "seq", e->seq);
	put_time(&json, e->realtime_ns);
	json_number(&json, "monotonic_ns", e->monotonic_ns);
	json_text(&json, "kind", row->name);
	put_vm(&json, e);
	if (e->reason[0])
		json_text(&json, "reason", e->reason);
	for (unsigned int i = 0; row->number[i]; i++)
		if (e->number[i] != EVENT_UNKNOWN)
			json_signed(&json, row->number[i], e->number[i]);
	json_text(&json, "text", e->text);
	json_end_object(&json);
}

void event_json_lost(FILE *f, uint64_t from, uint64_t to)
{
	struct json json;

	json_init_line(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", SCHEMA);
	json_number(&json, "seq", from);
	json_text(&json, "kind", "lost");
	json_number(&json, "events", to - from);
	json_text(&json, "text", "the machine has these events no longer");
	json_end_object(&json);
}

static bool is_number(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

bool event_is_of(const struct machine_event *e, const char *vm)
{
	size_t bytes = strlen(vm);

	if (!strcmp(e->name, vm))
		return true;
	if (is_number(vm) && e->pid > 0 && strtoul(vm, NULL, 10) == (unsigned long)e->pid)
		return true;
	return !strncmp(e->name, vm, bytes) && e->name[bytes] == '-' &&
	       is_number(e->name + bytes + 1);
}
