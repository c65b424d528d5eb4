/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include "vmm/look/stats.h"
#include "names.h"

/* Members that are left out at 0 are not 0 in it. */
static void invent_vm(struct vm_info *info)
{
	static const uint16_t last_tag = 15;

	memset(info, 1, sizeof(*info));
	memset(info->name, 0, sizeof(info->name));
	memset(info->domain, 0, sizeof(info->domain));
	info->state = VM_ENDED;
	info->paging = VM_PAGING_SHADOW;
	info->reclaim_policy = VM_RECLAIM_OFF;
	info->tendency = 0;
	info->balloon.mode = BALLOON_MODE_AUTO;
	info->balloon.nr_stats = 0;
	for (uint16_t tag = 0; tag <= last_tag; tag++)
		if (balloon_stat_name(tag))
			info->balloon.stat[info->balloon.nr_stats++].tag = tag;
}

static json_t *read_back(FILE *f, char **text)
{
	int failed = fclose(f);
	json_t *document = failed ? NULL : json_loads(*text, 0, NULL);

	free(*text);
	return document;
}

json_t *names_example(void)
{
	const struct machine_vm_record record = { .pid = 1 };
	const struct machine_state machine = { .settings.limit_in_pages = 1 };
	struct stats_vm vm = { .account = { .machine = "", .id = 1, .record = &record } };
	struct vm_info *info = malloc(sizeof(*info));
	json_t *document, *example = NULL;
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);

	if (f && info) {
		invent_vm(info);
		vm.info = info;
		stats_document(f, &machine, &vm, 1);
	}
	document = f ? read_back(f, &text) : NULL;
	free(info);
	if (document)
		example = json_pack("{s:O, s:O}", "machine", json_object_get(document, "machine"),
				    "vm", json_array_get(json_object_get(document, "vms"), 0));
	json_decref(document);
	return example;
}
