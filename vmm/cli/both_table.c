/* SPDX-License-Identifier: MIT */
/*
 * The table is on standard error, like all that quire says itself: standard output is the guest's.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <quire/abi.h>
#include "vmm/vm/message.h"
#include "both_output.h"
#include "both_table.h"
#include "vmm/print/json.h"
#include "vmm/look/stats_end.h"
#include "vmm/look/stats_shadow.h"
#include "vmm/print/table.h"

#define SHOWN 68 /* bytes of a line that differs */

/* Both, and what was found. */
struct verdict {
	const struct vm_info *info[VM_NR_PAGINGS];
	int status[VM_NR_PAGINGS];
	struct both_text text[VM_NR_PAGINGS];
	struct both_difference output;
};

bool both_is_over(const struct both_side *side)
{
	int status = side->status;

	return side->end->told && side->end->end.how == LAUNCH_ENDED && side->end->end.info &&
	       (status <= QUIRE_STATUS_GUEST_MAX || status == QUIRE_STATUS_CRASH);
}

void both_say_why(enum vm_paging paging, const struct both_side *side)
{
	message("--paging=both: there is nothing to compare: with --paging=%s the run ended with "
		"status %d",
		paging_name[paging], side->status);
}

/* ---- what differs ---- */

static struct both_text map_output(const struct both_side *side)
{
	void *bytes = side->bytes ?
			      mmap(NULL, side->bytes, PROT_READ, MAP_PRIVATE, side->output, 0) :
			      NULL;

	if (bytes == MAP_FAILED)
		return (struct both_text){ 0 };
	return (struct both_text){ bytes, side->bytes };
}

static const char *output_name(const struct both_difference *d)
{
	if (!d->differs)
		return "equal";
	return d->numbers ? "different numbers" : "different";
}

static bool is_equal(const struct verdict *v)
{
	return v->status[0] == v->status[1] && !v->output.differs;
}

/* ---- the table ---- */

static void row(const char *name, const char *ept, const char *shadow)
{
	fprintf(stderr, "  %-30s %16s %16s\n", name, ept, shadow);
}

static const char *number(uint64_t value)
{
	static char text[2][24];
	static unsigned int turn;
	char *out = text[turn++ % 2];

	snprintf(out, sizeof(text[0]), "%" PRIu64, value);
	return out;
}

static void count_row(const char *name, uint64_t ept, uint64_t shadow)
{
	row(name, number(ept), number(shadow));
}

/* Without shadow tables there is no such thing. */
static void shadow_row(const char *name, uint64_t shadow)
{
	row(name, "-", number(shadow));
}

static void seconds_row(const char *name, uint64_t ept_ns, uint64_t shadow_ns)
{
	char ept[24], shadow[24];

	snprintf(ept, sizeof(ept), "%.3f s", (double)ept_ns / 1e9);
	snprintf(shadow, sizeof(shadow), "%.3f s", (double)shadow_ns / 1e9);
	row(name, ept, shadow);
}

static void size_row(const char *name, uint64_t ept, uint64_t shadow)
{
	char text[2][32];

	snprintf(text[0], sizeof(text[0]), "%s", size_text(ept));
	snprintf(text[1], sizeof(text[1]), "%s", size_text(shadow));
	row(name, text[0], text[1]);
}

static void put_exits(const struct vm_info *ept, const struct vm_info *shadow)
{
	char name[80];

	count_row("exits", stats_exits(ept), stats_exits(shadow));
	for (uint32_t reason = 0; reason < KVM_NR_EXITS; reason++) {
		if (!ept->exits[reason] && !shadow->exits[reason])
			continue;
		snprintf(name, sizeof(name), "  %s", stats_exit_name(reason));
		count_row(name, ept->exits[reason], shadow->exits[reason]);
	}
}

static uint64_t finished(const struct vm_info *info)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < EMULATE_NR_ROWS; i++)
		sum += info->finished[i];
	return sum;
}

static void put_emulated(const struct vm_info *ept, const struct vm_info *shadow)
{
	char name[80];

	count_row("instructions emulated", finished(ept),
		  finished(shadow) + stats_shadow_emulated(shadow));
	for (unsigned int i = 0; i < MONITOR_NR_ROWS; i++) {
		uint64_t nr = stats_shadow_emulated_by_name(shadow, i);

		snprintf(name, sizeof(name), "  %s", monitor_name(i));
		if (nr)
			shadow_row(name, nr);
	}
}

static void put_counters(const struct vm_info *ept, const struct vm_info *shadow)
{
	put_exits(ept, shadow);
	shadow_row("  of which exceptions", stats_shadow_exceptions(shadow));
	count_row("violations of stage 2", ept->mem.faults, shadow->mem.faults);
	shadow_row("hidden faults", shadow->shadow.hidden_faults);
	shadow_row("true faults", shadow->shadow.true_faults);
	shadow_row("interrupts", shadow->shadow.interrupts);
	put_emulated(ept, shadow);
	shadow_row("flushes", shadow->shadow.flushes);
	seconds_row("time", ept->run_ns, shadow->run_ns);
	seconds_row("  of the processor", ept->cpu_ns, shadow->cpu_ns);
	size_row("memory at most", ept->mem.most_resident_pages * QUIRE_PAGE_SIZE,
		 shadow->mem.most_resident_pages * QUIRE_PAGE_SIZE);
	size_row("shadow tables at most", 0, shadow->shadow_mmu.most_pages * QUIRE_PAGE_SIZE);
}

static void put_line(unsigned int paging, const struct both_text *line)
{
	fprintf(stderr, "    %-6s ", paging_name[paging]);
	if (!line->bytes)
		fputs("(has ended)", stderr);
	for (size_t i = 0; i < line->nr && i < SHOWN; i++) {
		unsigned char c = (unsigned char)line->bytes[i];

		fputc(c >= ' ' && c < 127 ? c : '?', stderr);
	}
	fputs(line->nr > SHOWN ? "...\n" : "\n", stderr);
}

static void put_difference(const struct both_difference *d)
{
	if (!d->differs)
		return;
	fprintf(stderr, "  the output differs%s, first in line %" PRIu64 ":\n",
		d->numbers ? " in numbers only" : "", d->line);
	for (unsigned int p = 0; p < VM_NR_PAGINGS; p++)
		put_line(p, &d->at[p]);
}

static void put_table(const struct verdict *v)
{
	const struct both_difference *d = &v->output;

	fputc('\n', stderr);
	row("", paging_name[VM_PAGING_EPT], paging_name[VM_PAGING_SHADOW]);
	count_row("exit status", (uint64_t)v->status[0], (uint64_t)v->status[1]);
	count_row("bytes of output", v->text[0].nr, v->text[1].nr);
	put_counters(v->info[VM_PAGING_EPT], v->info[VM_PAGING_SHADOW]);
	fputc('\n', stderr);
	put_difference(d);
	fprintf(stderr, "  output: %s; exit status: %s\n", output_name(d),
		v->status[0] == v->status[1] ? "equal" : "different");
}

/* ---- JSON ---- */

static void put_comparison(struct json *json, const struct verdict *v)
{
	const struct both_difference *d = &v->output;
	char line[SHOWN + 1], name[32];

	json_begin_object(json, "comparison");
	json_number(json, "status_equal", v->status[0] == v->status[1]);
	json_number(json, "output_equal", !d->differs);
	for (unsigned int p = 0; p < VM_NR_PAGINGS; p++) {
		snprintf(name, sizeof(name), "%s_output_bytes", paging_name[p]);
		json_number(json, name, v->text[p].nr);
	}
	if (d->differs) {
		json_number(json, "only_numbers_differ", d->numbers);
		json_number(json, "first_line", d->line);
	}
	for (unsigned int p = 0; p < VM_NR_PAGINGS; p++) {
		if (!d->at[p].bytes)
			continue;
		snprintf(name, sizeof(name), "%s_line", paging_name[p]);
		snprintf(line, sizeof(line), "%.*s", (int)min_u64(d->at[p].nr, SHOWN),
			 d->at[p].bytes);
		json_text(json, name, line);
	}
	json_end_object(json);
}

static int write_stats(const struct run *run, const struct both_side *side, const struct verdict *v)
{
	struct stats_vm vm[VM_NR_PAGINGS];
	const struct both_end *last = side[VM_PAGING_EPT].end;
	struct json json;

	for (unsigned int p = 0; p < VM_NR_PAGINGS; p++)
		vm[p] = stats_of_end(&side[p].end->end, run->vm_config.nr_vcpus,
				     run->vm_config.ram_bytes);
	json_init(&json, run->stats);
	json_begin_object(&json, NULL);
	stats_members(&json, last->has_machine ? &last->machine : NULL, vm, VM_NR_PAGINGS);
	put_comparison(&json, v);
	json_end_object(&json);
	return fflush(run->stats) || ferror(run->stats) ? -EIO : 0;
}

/* ---- all of it ---- */

int both_tell(const struct run *run, const struct both_side side[VM_NR_PAGINGS])
{
	struct verdict v = { 0 };

	for (unsigned int p = 0; p < VM_NR_PAGINGS; p++) {
		v.info[p] = side[p].end->end.info;
		v.status[p] = side[p].status;
		v.text[p] = map_output(&side[p]);
	}
	both_compare(v.text, &v.output);
	put_table(&v);
	if (run->stats && write_stats(run, side, &v))
		message("--stats: cannot write %s: %s", run->stats_path, strerror(errno));
	return is_equal(&v) ? v.status[0] : QUIRE_STATUS_DIFFERENT;
}
