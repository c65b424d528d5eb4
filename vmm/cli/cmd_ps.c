/* SPDX-License-Identifier: MIT */
/*
 * quire ps: running VMs at a glance, a line each.
 *
 * The line fits a terminal of 80 columns.  With --wide it has a column for each state that a page
 * can be in, and what the machine knows.  Fault rates are those of now (ROSTER_SAMPLE_MS); the
 * processor's share is since the start, as in ps(1).
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "vmm/print/json.h"
#include "vmm/look/named.h"
#include "vmm/look/roster.h"
#include "vmm/look/stats.h"
#include "vmm/print/table.h"

const char ps_usage[] =
	"usage: quire ps [--wide|--json] [--machine=ADDRESS] [VM...]\n"
	"\n"
	"Lists running guests: these VMs, or all guests of this user; for root, those of all\n"
	"users.  A line has the name, state, RAM, the memory that the guest occupies, its\n"
	"processor time in percent since its start, its page faults a second now, and its process\n"
	"id; and the user, if not all are yours.  A - is what nobody knows.\n" USAGE_VMS "\n"
	"  --wide             more columns, and whole names, however wide the lines get: the\n"
	"                     guest's number in its machine, how much of its RAM is in each state\n"
	"                     that a page can have, what the machine has promised it, and in how\n"
	"                     many percent of the last ten seconds a vCPU waited for memory\n"
	"  --json             everything as JSON (quire.ps/1, see docs/stats.md)\n"
	"  --machine=ADDRESS  guests of this machine only: @NAME or the path of its socket\n"
	"                     (default: QUIRE_MACHINE in the environment)\n"
	"\n"
	"Exit status: 0, also if there is no guest; 2 wrong usage; 121 no such VM or machine, or\n"
	"a host error.\n";

struct ps_options {
	char **words;	     /* the VMs asked for; ends with NULL */
	const char *machine; /* NULL: all */
	bool json, wide;
};

static int parse_options(int argc, char **argv, struct ps_options *opt, struct quire_error *err)
{
	const struct plain_option options[] = {
		{ .name = "json", .flag = &opt->json },
		{ .name = "wide", .flag = &opt->wide },
		{ .name = "machine", .word = &opt->machine },
	};
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (opt->json && opt->wide)
		return quire_fail(err, -EINVAL, "--json has everything, leave --wide out");
	opt->words = argv + optind;
	return named_address(opt->machine, &opt->machine, err);
}

/* In tenths of a percent of one processor. */
static uint64_t cpu_permille(const struct vm_info *info)
{
	return info->run_ns ? (uint64_t)((double)info->cpu_ns * 1000 / (double)info->run_ns) : 0;
}

static const char *state_of(const struct roster_vm *vm)
{
	return vm->answers ? stats_state_name(vm->info.state) : "silent";
}

/* ---- as a table ---- */

/* With names of at most so many characters the table has 80 columns; longer ones are cut. */
#define NAME_COLUMNS 20

/* A long name without its middle, because the names of copies differ at the end. */
static void put_name(struct table *t, const char *name, bool wide)
{
	size_t bytes = strlen(name), tail = NAME_COLUMNS / 2, head = NAME_COLUMNS - 3 - tail;

	if (wide || bytes <= NAME_COLUMNS)
		table_cell(t, "%s", name);
	else
		table_cell(t, "%.*s...%s", (int)head, name, name + bytes - tail);
}

static void put_states_head(struct table *t)
{
	char head[32];

	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		snprintf(head, sizeof(head), "%s", page_states[i].name);
		for (char *p = head; *p; p++)
			*p = (char)toupper((unsigned char)*p);
		table_column(t, head, true);
	}
}

/* Is there a VM of somebody else?  Then the table says whose each is. */
static bool has_strangers(const struct roster *r)
{
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].uid != geteuid())
			return true;
	return false;
}

static void put_user(struct table *t, uid_t uid)
{
	const struct passwd *user = getpwuid(uid);

	if (user)
		table_cell(t, "%.16s", user->pw_name);
	else
		table_cell(t, "%u", (unsigned int)uid);
}

static void put_head(struct table *t, const struct roster *r, bool wide)
{
	if (wide)
		table_column(t, "ID", true);
	if (wide && r->nr_machines > 1)
		table_column(t, "MACHINE", false);
	if (has_strangers(r))
		table_column(t, "USER", false);
	table_column(t, "NAME", false);
	table_column(t, "STATE", false);
	table_column(t, "RAM", true);
	table_column(t, "RESIDENT", true);
	if (wide) {
		put_states_head(t);
		table_column(t, "COMMIT", true);
		table_column(t, "STALL%", true);
	}
	table_column(t, "CPU%", true);
	table_column(t, "FAULTS/S", true);
	table_column(t, "PID", true);
}

/* A size, or what stands for one that nobody knows. */
static void put_pages(struct table *t, bool known, uint64_t pages)
{
	table_cell(t, "%s", known ? size_text(pages * QUIRE_PAGE_SIZE) : "-");
}

static void put_memory(struct table *t, const struct roster_vm *vm, bool wide)
{
	const struct stage2_counters *s2 = &vm->info.mem.s2;
	bool known = vm->answers || vm->id;

	put_pages(t, known, vm->answers ? s2->ram_pages : vm->account.ram_pages);
	put_pages(t, known,
		  vm->answers ? stats_resident_pages(&vm->info) : vm->account.resident_pages);
	for (unsigned int i = 0; i < PG_NR_STATES && wide; i++)
		put_pages(t, vm->answers, s2->pages[i]);
	if (wide)
		put_pages(t, vm->id, vm->account.ram_pages + vm->account.overhead_pages);
}

/* For how much of the last ten seconds a vCPU waited for memory. */
static uint32_t stalled(const struct vm_info *info)
{
	return info->mem.stall.average[STALL_SOME][STALL_10S];
}

static void put_stall(struct table *t, const struct roster_vm *vm)
{
	if (vm->answers)
		table_cell(t, "%.1f", stalled(&vm->info) / 100.0);
	else
		table_cell(t, "-");
}

static void put_rates(struct table *t, const struct roster_vm *vm)
{
	uint64_t cpu = cpu_permille(&vm->info);

	if (vm->answers) {
		table_cell(t, "%" PRIu64 ".%" PRIu64, cpu / 10, cpu % 10);
		table_cell(t, "%" PRIu64, vm->faults_per_second);
	} else {
		table_cell(t, "-");
		table_cell(t, "-");
	}
}

/* What the machine calls it. */
static void put_machine(struct table *t, const struct roster *r, const struct roster_vm *vm)
{
	if (vm->id)
		table_cell(t, "%" PRIu32, vm->id);
	else
		table_cell(t, "-");
	if (r->nr_machines > 1)
		table_cell(t, "%s", vm->id ? roster_short_address(&r->machine[vm->machine]) : "-");
}

static int print_table(const struct roster *r, bool wide, struct quire_error *err)
{
	struct table t = { 0 };
	int code;

	if (r->nr_vms == 0) {
		puts("no VM is running");
		return 0;
	}
	put_head(&t, r, wide);
	for (unsigned int i = 0; i < r->nr_vms; i++) {
		const struct roster_vm *vm = &r->vm[i];

		if (wide)
			put_machine(&t, r, vm);
		if (has_strangers(r))
			put_user(&t, vm->uid);
		put_name(&t, vm->name, wide);
		table_cell(&t, "%s", state_of(vm));
		put_memory(&t, vm, wide);
		if (wide)
			put_stall(&t, vm);
		put_rates(&t, vm);
		table_cell(&t, "%" PRIu32, vm->pid);
	}
	code = table_print(&t, stdout);
	table_finish(&t);
	return code ? quire_fail(err, code, "no memory for the table") : 0;
}

/* ---- as JSON ---- */

static void put_answer(struct json *json, const struct roster_vm *vm)
{
	char key[64];

	json_number(json, "vcpus", vm->info.nr_vcpus);
	json_number(json, "ram_bytes", vm->info.ram_bytes);
	json_pages(json, "resident_bytes", stats_resident_pages(&vm->info));
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		snprintf(key, sizeof(key), "state_%s_pages", page_states[i].name);
		json_number(json, key, vm->info.mem.s2.pages[i]);
	}
	json_hundredths(json, "stall_some_10s_percent", stalled(&vm->info));
	json_tenths(json, "cpu_percent", cpu_permille(&vm->info));
	json_number(json, "cpu_ns", vm->info.cpu_ns);
	json_number(json, "vcpu_cpu_ns", vm->info.vcpu_cpu_ns);
	json_number(json, "run_ns", vm->info.run_ns);
	json_number(json, "faults", vm->info.mem.faults);
	json_number(json, "faults_per_second", vm->faults_per_second);
}

static void put_vm(struct json *json, const struct roster *r, const struct roster_vm *vm)
{
	json_begin_object(json, NULL);
	json_text(json, "name", vm->name);
	json_number(json, "pid", vm->pid);
	json_number(json, "uid", vm->uid);
	json_text(json, "state", state_of(vm));
	if (vm->id) {
		json_text(json, "machine", r->machine[vm->machine].address);
		json_number(json, "id", vm->id);
		json_pages(json, "commit_bytes",
			   vm->account.ram_pages + vm->account.overhead_pages);
	}
	if (vm->answers)
		put_answer(json, vm);
	json_end_object(json);
}

static void print_json(const struct roster *r)
{
	struct json json;

	json_init(&json, stdout);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.ps/1");
	json_begin_array(&json, "vms");
	for (unsigned int i = 0; i < r->nr_vms; i++)
		put_vm(&json, r, &r->vm[i]);
	json_end_array(&json);
	json_end_object(&json);
}

static void warn(const char *text)
{
	fprintf(stderr, "quire ps: %s\n", text);
}

/* The roster with only the VMs that are asked for. */
static int keep_named(struct roster *r, char **words, struct quire_error *err)
{
	struct named list = { 0 };
	int code = 0;

	for (; *words && !code; words++)
		code = named_add(&list, *words, err);
	if (!code)
		code = roster_keep(r, &list, err);
	named_finish(&list);
	return code;
}

static int list_vms(const struct ps_options *opt, struct quire_error *err)
{
	struct roster roster = { .warn = warn };
	int code = roster_find_machines(&roster, opt->machine, err);

	if (!code)
		code = roster_find_vms(&roster, opt->machine != NULL, true, err);
	if (!code && *opt->words)
		code = keep_named(&roster, opt->words, err);
	if (!code && opt->json)
		print_json(&roster);
	else if (!code)
		code = print_table(&roster, opt->wide, err);
	roster_finish(&roster);
	return code;
}

int cmd_ps(int argc, char **argv)
{
	struct ps_options opt = { 0 };
	struct quire_error err = { "" };
	int status = 0;

	if (parse_options(argc, argv, &opt, &err))
		status = QUIRE_STATUS_USAGE;
	else if (list_vms(&opt, &err))
		status = QUIRE_STATUS_HOST;
	if (status)
		warn(err.text);
	return status;
}
