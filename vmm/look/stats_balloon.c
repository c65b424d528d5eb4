/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>
#include "vmm/print/json.h"
#include "report.h"
#include "stats_balloon.h"
#include "vmm/print/table.h"

/* Counters in pages: the JSON member and the line of text for each. */
static const struct counter {
	const char *member, *line;
	size_t offset;
} counters[] = {
#define COUNTER(field, member, line) \
	{ \
		member, line, offsetof(struct balloon_record, field) \
	}
	COUNTER(target, "balloon_target_pages", "target"),
	COUNTER(actual, "balloon_actual_pages", "actual"),
	COUNTER(requested, "balloon_requested_pages", "requested"),
	COUNTER(inflated, "balloon_inflated_pages", "inflated"),
	COUNTER(deflated, "balloon_deflated_pages", "deflated"),
	COUNTER(reported, "balloon_reported_pages", "reported free"),
	COUNTER(duplicates, "balloon_duplicate_pages", "duplicates"),
	COUNTER(refused, "balloon_refused_pages", "refused"),
	COUNTER(kept, "balloon_kept_pages", "kept"),
	COUNTER(failed, "balloon_failed_pages", "failed"),
	COUNTER(hinted, "balloon_hinted_pages", "hinted"),
#undef COUNTER
};

static uint64_t value_of(const struct balloon_record *b, const struct counter *counter)
{
	uint64_t value;

	memcpy(&value, (const char *)b + counter->offset, sizeof(value));
	return value;
}

/* How long ago since_ns was; 0 if since_ns is 0, which means never. */
static uint64_t age_ns(const struct vm_info *info, uint64_t since_ns)
{
	return since_ns && info->now_ns > since_ns ? info->now_ns - since_ns : 0;
}

const char *balloon_mode_name(uint32_t mode)
{
	static const char *const name[] = {
		[BALLOON_MODE_OFF] = "off",
		[BALLOON_MODE_MANUAL] = "manual",
		[BALLOON_MODE_AUTO] = "auto",
	};

	return mode < ARRAY_SIZE(name) ? name[mode] : "?";
}

const char *balloon_driver_name(uint32_t driver)
{
	static const char *const name[] = {
		[BALLOON_NO_DRIVER] = "none",
		[BALLOON_DRIVER] = "ready",
		[BALLOON_DRIVER_BROKEN] = "broken",
	};

	return driver < ARRAY_SIZE(name) ? name[driver] : "?";
}

/* The VM may have written any number there. */
static unsigned int nr_stats(const struct balloon_record *b)
{
	return (unsigned int)min_u64(b->nr_stats, BALLOON_MAX_STATS);
}

bool balloon_guest_stat(const struct balloon_record *b, uint16_t tag, uint64_t *value)
{
	for (unsigned int i = 0; i < nr_stats(b); i++)
		if (b->stat[i].tag == tag) {
			*value = b->stat[i].value;
			return true;
		}
	return false;
}

/* Tags 0 and 1 are what was swapped in and out.  Tags 4 to 7 are sizes of memory and caches. */
static bool is_in_bytes(uint64_t tag)
{
	return tag <= 1 || (tag >= 4 && tag <= 7);
}

static const char *tag_name(uint64_t tag, char *buf, size_t len)
{
	const char *name = tag <= UINT16_MAX ? balloon_stat_name((uint16_t)tag) : NULL;

	snprintf(buf, len, "tag_%" PRIu64, tag);
	return name ? name : buf;
}

/* ---- JSON ---- */

static void put_guest(struct json *json, const struct vm_info *info)
{
	const struct balloon_record *b = &info->balloon;
	char key[64], buf[32];

	json_number(json, "guest_statistics_age_ns", age_ns(info, b->stats_ns));
	for (unsigned int i = 0; i < nr_stats(b); i++) {
		snprintf(key, sizeof(key), "guest_%s%s", tag_name(b->stat[i].tag, buf, sizeof(buf)),
			 is_in_bytes(b->stat[i].tag) ? "_bytes" : "");
		json_number(json, key, b->stat[i].value);
	}
}

void stats_balloon(struct json *json, const struct vm_info *info)
{
	const struct balloon_record *b = &info->balloon;

	json_text(json, "balloon_mode", balloon_mode_name(b->mode));
	if (b->mode == BALLOON_MODE_OFF)
		return;
	json_number(json, "balloon_manual", b->manual);
	json_text(json, "balloon_driver", balloon_driver_name(b->driver));
	json_number(json, "balloon_silent_ns", age_ns(info, b->silent_since_ns));
	for (unsigned int i = 0; i < ARRAY_SIZE(counters); i++)
		json_number(json, counters[i].member, value_of(b, &counters[i]));
	json_number(json, "balloon_operations", b->operations);
	if (b->nr_stats)
		put_guest(json, info);
}

/* ---- text ---- */

static void say_guest(FILE *f, const struct vm_info *info)
{
	const struct balloon_record *b = &info->balloon;
	char name[64], buf[32];

	fprintf(f, "\nguest, by its own account %.1f s ago\n",
		(double)age_ns(info, b->stats_ns) / 1e9);
	for (unsigned int i = 0; i < nr_stats(b); i++) {
		snprintf(name, sizeof(name), "%s", tag_name(b->stat[i].tag, buf, sizeof(buf)));
		for (char *p = name; *p; p++)
			if (*p == '_')
				*p = ' ';
		if (is_in_bytes(b->stat[i].tag))
			report_pages(f, name, b->stat[i].value / QUIRE_PAGE_SIZE);
		else
			report_count(f, name, b->stat[i].value);
	}
}

void report_balloon(FILE *f, const struct vm_info *info)
{
	const struct balloon_record *b = &info->balloon;

	report_group(f, "balloon");
	report_word(f, "mode", balloon_mode_name(b->mode));
	if (b->mode == BALLOON_MODE_OFF)
		return;
	report_word(f, "target set by", b->manual ? "hand" : "policy");
	report_word(f, "driver", balloon_driver_name(b->driver));
	if (b->silent_since_ns)
		report_seconds(f, "  has not answered for", age_ns(info, b->silent_since_ns));
	for (unsigned int i = 0; i < ARRAY_SIZE(counters); i++)
		report_pages(f, counters[i].line, value_of(b, &counters[i]));
	report_count(f, "operations", b->operations);
	if (b->nr_stats)
		say_guest(f, info);
}
