/* SPDX-License-Identifier: MIT */
#include "live.h"
#include <pthread.h>
#include <quire/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "maps.h"
#include "mmu/base/clock.h"
#include "vmm/look/act.h"
#include "vmm/look/stats_balloon.h"
#include "vmm/look/watch.h"
#include "vmm/print/json.h"
#include "vmm/print/mapview.h"

static struct live {
	struct watch watch;	/* the asker's alone */
	pthread_mutex_t lock;	/* of all that follows */
	struct watch_ring past; /* a copy of its points */
	struct maps maps;
	char *look; /* the event, whole */
	size_t look_bytes;
} live = { .lock = PTHREAD_MUTEX_INITIALIZER };

void live_init(const char *machine)
{
	watch_init(&live.watch, machine);
}

/* ---- events ---- */

/* An event has its data in one line, and our JSON has new lines between its values only. */
static void put_event(FILE *f, const char *name, const char *text)
{
	fprintf(f, "event: %s\ndata: ", name);
	for (const char *p = text; *p; p++) {
		if (*p == '\n')
			p += strspn(p + 1, " ");
		else
			putc(*p, f);
	}
	fputs("\n\n", f);
}

static void write_event(FILE *f, const char *name, void (*write)(struct json *))
{
	struct json json;
	char *text = NULL;
	size_t bytes;
	FILE *g = open_memstream(&text, &bytes);

	if (!g)
		return;
	json_init(&json, g);
	json_begin_object(&json, NULL);
	write(&json);
	json_end_object(&json);
	if (!fclose(g))
		put_event(f, name, text);
	free(text);
}

static void put_point(struct json *json, const struct watch_point *p)
{
	char key[64];

	json_number(json, "at_ms", p->at_ns / NS_PER_MS);
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		snprintf(key, sizeof(key), "state_%s_pages", page_states[i].name);
		json_number(json, key, p->state_pages[i]);
	}
	for (unsigned int i = 0; i < WATCH_NR_RATES; i++) {
		snprintf(key, sizeof(key), "%s_per_second", watch_rates[i].name);
		json_number(json, key, p->per_second[i]);
	}
	json_number(json, "stall_permille", p->stall_permille);
}

static void put_palette(struct json *json)
{
	char rgb[8];

	json_begin_array(json, "palette");
	for (unsigned int i = 0; i < 2 * PG_NR_STATES; i++) {
		snprintf(rgb, sizeof(rgb), "#%06x", mapview_png_rgb(i));
		json_text(json, NULL, rgb);
	}
	json_end_array(json);
	json_begin_array(json, "states");
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		json_text(json, NULL, page_states[i].name);
	json_end_array(json);
}

static void put_hello(struct json *json)
{
	const struct watch_point *p;

	put_palette(json);
	json_begin_array(json, "rates");
	for (unsigned int i = 0; i < WATCH_NR_RATES; i++)
		json_text(json, NULL, watch_rates[i].name);
	json_end_array(json);
	json_begin_array(json, "points");
	for (unsigned int i = WATCH_POINTS; i-- > 1;) {
		p = watch_point(&live.past, i);
		if (!p)
			continue;
		json_begin_object(json, NULL);
		put_point(json, p);
		json_end_object(json);
	}
	json_end_array(json);
}

static void put_no_map(struct json *json, uint32_t pid)
{
	char text[128];

	if (!maps_refused(&live.maps, pid))
		return;
	snprintf(text, sizeof(text), "no map: all maps together may take %llu MiB",
		 MAPS_MAX_BYTES >> 20);
	json_text(json, "no_map", text);
}

static void put_vm(struct json *json, const struct roster_vm *vm)
{
	const struct watch_ring *ring = watch_ring_of(&live.watch, vm);
	const struct watch_point *p = ring ? watch_point(ring, 0) : NULL;

	json_begin_object(json, NULL);
	json_text(json, "name", vm->name);
	json_number(json, "pid", vm->pid);
	json_text(json, "state", vm->answers ? stats_state_name(vm->info.state) : "silent");
	put_no_map(json, vm->pid);
	if (vm->answers && p) {
		json_number(json, "ram_bytes", vm->info.ram_bytes);
		json_text(json, "domain", stats_domain(&vm->info));
		json_text(json, "merge", stats_merge_name(vm->info.merge.mode));
		json_text(json, "balloon", balloon_mode_name(vm->info.balloon.mode));
		put_point(json, p);
	}
	json_end_object(json);
}

static void put_look(struct json *json)
{
	const struct watch *w = &live.watch;
	const struct watch_point *p = watch_point(&w->all, 0);

	if (w->away)
		json_text(json, "away", w->why.text);
	if (w->look.machine) {
		json_begin_object(json, "machine");
		stats_machine(json, &w->look.machine->state);
		json_end_object(json);
	}
	if (p) {
		json_begin_object(json, "all");
		put_point(json, p);
		json_end_object(json);
	}
	json_begin_array(json, "vms");
	for (unsigned int i = 0; i < w->look.roster.nr_vms; i++)
		put_vm(json, &w->look.roster.vm[i]);
	json_end_array(json);
}

/* ---- looking ---- */

static void write_look(void)
{
	FILE *f;

	free(live.look);
	live.look = NULL;
	f = open_memstream(&live.look, &live.look_bytes);
	if (!f)
		return;
	write_event(f, "look", put_look);
	fclose(f);
}

/* Whoever does not answer at all is waited for outside the lock, which the server takes. */
static void look(void)
{
	struct quire_error err;
	int code = watch_step(&live.watch, &err);

	pthread_mutex_lock(&live.lock);
	if (!code)
		maps_update(&live.maps, &live.watch.look.roster);
	live.past = live.watch.all;
	write_look();
	pthread_mutex_unlock(&live.lock);
}

unsigned int live_look(void)
{
	uint64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID), rest_ms;

	look();
	rest_ms = (clock_ns(CLOCK_THREAD_CPUTIME_ID) - before) * LIVE_REST / NS_PER_MS;
	return (unsigned int)(rest_ms > LIVE_LEAST_MS ? rest_ms : LIVE_LEAST_MS);
}

uint64_t live_generation(void)
{
	uint64_t generation;

	pthread_mutex_lock(&live.lock);
	generation = live.look ? live.maps.generation : 0;
	pthread_mutex_unlock(&live.lock);
	return generation;
}

static char *events_since(uint64_t since, size_t *bytes)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, bytes);

	if (!f)
		return NULL;
	if (!since) {
		fputs("retry: 2000\n", f);
		write_event(f, "hello", put_hello);
	}
	fwrite(live.look, 1, live.look_bytes, f);
	maps_write(&live.maps, since, f, "event: map\ndata: ", "\n\n");
	if (!fclose(f))
		return text;
	free(text);
	return NULL;
}

char *live_events(uint64_t *generation, size_t *bytes)
{
	char *text = NULL;

	pthread_mutex_lock(&live.lock);
	if (live.look && live.maps.generation > *generation) {
		text = events_since(*generation, bytes);
		*generation = live.maps.generation;
	}
	pthread_mutex_unlock(&live.lock);
	return text;
}
