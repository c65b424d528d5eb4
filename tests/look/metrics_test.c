/* SPDX-License-Identifier: MIT */
/* Metrics: names, units and forms, and texts and numbers that no honest VM has. */
#include <stdlib.h>
#include <string.h>
#include "tests/tap.h"
#include "vmm/look/look.h"
#include "vmm/look/metrics.h"
#include "vmm/look/metrics_member.h"

static struct machine_state books;
static struct roster_vm vm[2];
static struct roster_machine machine = { .address = (char *)"@m" };
static struct look look = {
	.roster = { .machine = &machine, .nr_machines = 1, .vm = vm, .nr_vms = 2 },
};

static char *text_of(enum metrics_form form)
{
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	if (!f || metrics_write(f, form, &look, NULL) || fclose(f))
		tap_bail("cannot write the metrics");
	return text;
}

/* Is this a line of the text? */
static bool has(const char *text, const char *line)
{
	size_t bytes = strlen(line);

	for (const char *p = strstr(text, line); p; p = strstr(p + 1, line))
		if ((p == text || p[-1] == '\n') && p[bytes] == '\n')
			return true;
	printf("# no line %s\n", line);
	return false;
}

static void hostile_texts(void)
{
	char *text;

	snprintf(vm[0].info.name, sizeof(vm[0].info.name), "%s", "a\"} 1\n#\\");
	snprintf(vm[0].info.domain, sizeof(vm[0].info.domain), "%s", "d\xff");
	text = text_of(METRICS_OPENMETRICS);
	ok(has(text, "quire_vm_faults_total{vm=\"a\\\"} 1\\n#\\\\\",domain=\"d\\u00ff\"} 0") ||
		   has(text,
		       "quire_vm_faults_total{vm=\"a\\\"} 1\\n#\\\\\",domain=\"d\xc3\xbf\"} 0"),
	   "quotes, line ends and backslashes in a name are escaped");
	ok(!strcmp(text + strlen(text) - strlen("\n# EOF\n"), "\n# EOF\n"), "it ends in # EOF");
	free(text);
}

static void hostile_numbers(void)
{
	char *text;

	vm[1].info.mem.faults = UINT64_MAX;
	text = text_of(METRICS_TEXT);
	ok(has(text, "quire_vm_faults_total{vm=\"\",domain=\"none\"} 18446744073709551616"),
	   "a number beyond 2^63 is no reason to have no metrics");
	free(text);
}

static void forms(void)
{
	char *text = text_of(METRICS_TEXT);

	ok(has(text, "# TYPE quire_vm_faults_total counter"),
	   "text: a counter has its sample's name");
	ok(has(text, "# TYPE quire_vm_run_state gauge"), "... and states are a gauge");
	ok(!strstr(text, "# UNIT") && !strstr(text, "# EOF"), "... without units and end");
	free(text);
	text = text_of(METRICS_OPENMETRICS);
	ok(has(text, "# TYPE quire_vm_faults counter"),
	   "OpenMetrics: a counter has the name before");
	ok(has(text, "# UNIT quire_vm_cpu_seconds seconds"), "... and its unit");
	free(text);
	ok(metrics_form_accepted(NULL) == METRICS_TEXT, "who accepts anything gets the old text");
	ok(metrics_form_accepted("text/plain;version=0.0.4;q=0.5,*/*;q=0.1") == METRICS_TEXT,
	   "... and who wants it");
	ok(metrics_form_accepted("application/openmetrics-text;version=1.0.0,text/plain;q=0.5") ==
		   METRICS_OPENMETRICS,
	   "Prometheus gets OpenMetrics");
}

static void values(void)
{
	char *text;

	books.settings.memory_pages = 3;
	machine.state = books;
	look.machine = &machine;
	vm[1].info.mem.s2.pages[PG_SHARED] = 2;
	vm[1].info.cpu_ns = 1500000001;
	vm[1].info.mem.stall.average[STALL_FULL][0] = 1234;
	vm[1].info.state = VM_PAUSED;
	histogram_add(&vm[1].info.mem.credit_waits, 4095);
	histogram_add(&vm[1].info.mem.credit_waits, 4096);
	histogram_add(&vm[1].info.mem.credit_waits, UINT64_MAX);
	text = text_of(METRICS_OPENMETRICS);
	ok(has(text, "quire_machine_memory_bytes 12288"), "pages are bytes");
	ok(has(text, "quire_vm_state_bytes{vm=\"\",domain=\"none\",state=\"shared\"} 8192"),
	   "a part of a member's name is a label");
	ok(has(text, "quire_vm_cpu_seconds_total{vm=\"\",domain=\"none\"} 1.500000001"),
	   "nanoseconds are seconds");
	ok(has(text, "quire_vm_stall_ratio{vm=\"\",domain=\"none\",kind=\"full\",seconds=\"10\"} "
		     "0.1234"),
	   "percent are a ratio");
	ok(has(text,
	       "quire_vm_run_state{vm=\"\",domain=\"none\",quire_vm_run_state=\"paused\"} 1") &&
		   has(text,
		       "quire_vm_run_state{vm=\"\",domain=\"none\",quire_vm_run_state=\"running\"}"
		       " 0"),
	   "one state of all is 1");
	ok(has(text, "quire_vm_credit_wait_duration_seconds_bucket{vm=\"\",domain=\"none\","
		     "le=\"4.095e-06\"} 1"),
	   "4095 ns are in the bucket of at most 4095 ns");
	ok(has(text, "quire_vm_credit_wait_duration_seconds_bucket{vm=\"\",domain=\"none\","
		     "le=\"1.6383e-05\"} 2"),
	   "... and 4096 ns in the next");
	ok(has(text, "quire_vm_credit_wait_duration_seconds_bucket{vm=\"\",domain=\"none\","
		     "le=\"+Inf\"} 3"),
	   "... and what has no end in the last");
	free(text);
}

/* A VM that is no quire may name a statistic of its guest twice. */
static void twice(void)
{
	struct balloon_record *b = &vm[0].info.balloon;
	const char *first;
	char *text;

	b->mode = BALLOON_MODE_MANUAL;
	b->nr_stats = 3;
	b->stat[0] = (struct balloon_stat){ .tag = 4, .value = 111 };
	b->stat[1] = (struct balloon_stat){ .tag = 5, .value = 222 };
	b->stat[2] = (struct balloon_stat){ .tag = 4, .value = 333 };
	text = text_of(METRICS_TEXT);
	first = strstr(text, "\nquire_vm_guest_free_memory_bytes{");
	ok(first && !strstr(first + 1, "\nquire_vm_guest_free_memory_bytes{") &&
		   strstr(first, "} 333\n"),
	   "of two values of one member the last one counts, and there is one line");
	free(text);
	b->mode = BALLOON_MODE_OFF;
}

/* Whole numbers and nanoseconds, up to the last that is exact and beyond. */
static void sizes(void)
{
	static const struct {
		uint64_t value;
		const char *whole, *seconds;
	} row[] = {
		{ 0, "0", "0.000000000" },
		{ 7, "7", "0.000000007" },
		{ 999999999, "999999999", "0.999999999" },
		{ 1000000000, "1000000000", "1.000000000" },
		{ (1ULL << 52) - 1, "4503599627370495", "4503599.627370495" },
		{ 1ULL << 52, "4503599627370496", "4503599.627370496" },
		{ 1ULL << 63, "9223372036854775808", "9223372036.854776382" },
	};
	char line[160], *text;
	bool all = true;

	for (unsigned int i = 0; i < ARRAY_SIZE(row); i++) {
		vm[1].info.mem.faults = vm[1].info.cpu_ns = row[i].value;
		text = text_of(METRICS_TEXT);
		snprintf(line, sizeof(line), "quire_vm_faults_total{vm=\"\",domain=\"none\"} %s",
			 row[i].whole);
		all &= has(text, line);
		snprintf(line, sizeof(line),
			 "quire_vm_cpu_seconds_total{vm=\"\",domain=\"none\"} %s", row[i].seconds);
		all &= has(text, line);
		free(text);
	}
	ok(all, "numbers of all sizes");
}

/* VMs need not have the same members: what one has and the other has not may come in between. */
static void other_members(void)
{
	static const char *const line[] = {
		"quire_vm_exits_total{vm=\"\",domain=\"none\",reason=\"io\"} 5",
		"quire_vm_exits_total{vm=\"\",domain=\"none\",reason=\"mmio\"} 6",
		"quire_vm_exits_total{vm=\"\",domain=\"none\",reason=\"shutdown\"} 7",
	};
	const char *at[ARRAY_SIZE(line)];
	char *text;

	memset(vm[0].info.exits, 0, sizeof(vm[0].info.exits));
	vm[0].info.exits[KVM_EXIT_IO] = 1;
	vm[0].info.exits[KVM_EXIT_SHUTDOWN] = 2;
	vm[1].info.exits[KVM_EXIT_IO] = 5;
	vm[1].info.exits[KVM_EXIT_MMIO] = 6;
	vm[1].info.exits[KVM_EXIT_SHUTDOWN] = 7;
	vm[1].info.paging = VM_PAGING_SHADOW;
	vm[1].info.shadow_mmu.fills = 8;
	text = text_of(METRICS_OPENMETRICS);
	for (unsigned int i = 0; i < ARRAY_SIZE(line); i++)
		at[i] = strstr(text, line[i]);
	ok(at[0] && at[0] < at[1] && at[1] < at[2] && strchr(at[0], '\n') + 1 == at[1],
	   "a member that the VM before did not have is in its place");
	ok(has(text, "quire_vm_shadow_fills_total{vm=\"\",domain=\"none\"} 8"),
	   "... and an object");
	free(text);
}

/* What comes after a member is guessed from what came last. */
static void same_key(void)
{
	struct metrics_members all = { NULL };
	struct metrics_member *of_vm = metrics_member(&all, NULL, "vm");
	struct metrics_member *shadow = metrics_member(&all, of_vm, "shadow"), *inside, *beside;

	inside = metrics_member(&all, shadow, "large_leaves");
	ok(metrics_member(&all, of_vm, "shadow") == shadow, "a path is one member");
	beside = metrics_member(&all, of_vm, "large_leaves");
	ok(!strcmp(inside->row->name, "quire_vm_shadow_large_leaves") &&
		   !strcmp(beside->row->name, "quire_vm_large_leaves"),
	   "a key that is in two objects means two metrics");
	metrics_members_finish(&all);
}

int main(void)
{
	vm[0].answers = vm[1].answers = true;
	vm[0].fd = vm[1].fd = -1;
	forms();
	hostile_texts();
	hostile_numbers();
	values();
	twice();
	sizes();
	other_members();
	same_key();
	return tap_done();
}
