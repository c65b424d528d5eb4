/* SPDX-License-Identifier: MIT */
/* quire map --json: quire.map/1, which docs/stats.md describes. */
#include "json.h"
#include "map_json.h"
#include "mmu/memory/gmem.h"

static void put_counts(struct json *json, const struct mapview *view)
{
	struct mapview_tally tally;
	uint64_t large = 0;
	char key[64];

	mapview_count(view, &tally);
	json_number(json, "ram_pages", tally.ram);
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		snprintf(key, sizeof(key), "state_%s_pages", page_states[i].name);
		json_number(json, key, tally.pages[i]);
		large += tally.large[i];
	}
	json_number(json, "large_leaf_pages", large);
}

static void put_run(struct json *json, gfn_t gfn, uint64_t nr, uint8_t byte)
{
	json_begin_object(json, NULL);
	json_number(json, "gfn", gfn);
	json_number(json, "pages", nr);
	json_text(json, "state", page_states[byte & ~GMEM_STATE_LARGE].name);
	json_number(json, "large_leaf", (byte & GMEM_STATE_LARGE) != 0);
	json_end_object(json);
}

static void put_runs(struct json *json, const struct mapview *view)
{
	uint64_t nr;

	json_begin_array(json, "runs");
	for (uint64_t i = 0; i < view->nr; i += nr) {
		for (nr = 1; i + nr < view->nr && view->states[i + nr] == view->states[i];)
			nr++;
		if ((view->states[i] & ~GMEM_STATE_LARGE) < PG_NR_STATES)
			put_run(json, view->start + i, nr, view->states[i]);
	}
	json_end_array(json);
}

void map_json(FILE *f, const struct vm_info *vm, const struct mapview *view)
{
	struct json json;

	json_init(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.map/1");
	json_text(&json, "name", vm->name);
	json_number(&json, "pid", vm->pid);
	put_counts(&json, view);
	put_runs(&json, view);
	json_end_object(&json);
}
