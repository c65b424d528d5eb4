/* SPDX-License-Identifier: MIT */
/* The processes of a VM and their privileges, as text and as JSON: see privileges.h. */
#include <inttypes.h>
#include <string.h>
#include "vmm/print/json.h"
#include "privileges.h"
#include "vmm/print/table.h"

#define WIDEST 24 /* of a cell; what is longer, such as a cgroup, shows its end */

const char *const privileged_name[PRIVILEGED_NR] = {
	[PRIVILEGED_LAUNCHER] = "launcher",
	[PRIVILEGED_MACHINE] = "machine",
	[PRIVILEGED_VM] = "vm",
};

static void read_one(const struct privileged_vm *vm, unsigned int who, const struct privilege *p,
		     char *text)
{
	text[0] = '\0';
	if (vm->pid[who])
		p->read(vm->pid[who], p->arg, text);
}

/* ---- for people ---- */

static const char *words(const char *key)
{
	static char text[64];

	snprintf(text, sizeof(text), "%s", key);
	for (char *p = text; *p; p++)
		*p = *p == '_' ? ' ' : *p;
	return text;
}

static void put_cell(struct table *t, const char *text)
{
	size_t length = strlen(text);

	if (!length)
		table_cell(t, "?");
	else if (length > WIDEST)
		table_cell(t, "...%s", text + length - (WIDEST - 3));
	else
		table_cell(t, "%s", text);
}

static void put_head(struct table *t, const struct privileged_vm *vm)
{
	table_column(t, "", false);
	table_column(t, "LAUNCHER", false);
	table_column(t, "MACHINE", false);
	table_column(t, "VM", false);
	table_column(t, "THE VM SAYS", false);
	table_cell(t, "process");
	for (unsigned int who = 0; who < PRIVILEGED_NR; who++)
		if (vm->pid[who])
			table_cell(t, "%d", (int)vm->pid[who]);
		else
			table_cell(t, "?");
	table_cell(t, "%s", "");
}

static void put_row(struct table *t, const struct privileged_vm *vm, const struct privilege *p)
{
	static const char *const said[] = {
		[PRIVILEGE_OFF] = "not given up",
		[PRIVILEGE_CLAIMED] = "given up",
		[PRIVILEGE_CONFIRMED] = "given up",
		[PRIVILEGE_DENIED] = "given up, but it is not",
	};
	char text[PRIVILEGE_TEXT];

	table_cell(t, "%s", words(p->key));
	for (unsigned int who = 0; who < PRIVILEGED_NR; who++) {
		read_one(vm, who, p, text);
		put_cell(t, text);
	}
	table_cell(t, "%s", p->given_up ? said[privilege_check(p, vm->info, text)] : "");
}

static int print_privileges(FILE *f, const struct privileged_vm *vm)
{
	struct table t = { 0 };
	int code;

	put_head(&t, vm);
	for (unsigned int i = 0; i < nr_privileges; i++)
		put_row(&t, vm, &privileges[i]);
	code = table_print(&t, f);
	table_finish(&t);
	return code;
}

static const char *role_of(const struct privileged_thread *thread, pid_t pid)
{
	if (thread->is_kernels)
		return "the kernel's";
	return thread->tid == pid ? "main" : thread->name;
}

static int print_threads(FILE *f, pid_t pid)
{
	static struct privileged_thread threads[PRIVILEGED_MAX_THREADS];
	unsigned int nr = privileged_threads(pid, threads, PRIVILEGED_MAX_THREADS);
	struct table t = { 0 };
	int code;

	table_column(&t, "THREAD", true);
	table_column(&t, "ROLE", false);
	table_column(&t, "FILTERS", true);
	for (unsigned int i = 0; i < nr; i++) {
		table_cell(&t, "%d", (int)threads[i].tid);
		table_cell(&t, "%s", role_of(&threads[i], pid));
		table_cell(&t, "%u", threads[i].nr_filters);
	}
	fputc('\n', f);
	code = table_print(&t, f);
	table_finish(&t);
	return code;
}

int privileges_print(FILE *f, const struct privileged_vm *vm)
{
	int code;

	fprintf(f, "VM %s\n\n", vm->info->name);
	code = print_privileges(f, vm);
	return code ? code : print_threads(f, vm->pid[PRIVILEGED_VM]);
}

/* ---- for programs ---- */

static void process_json(struct json *json, const struct privileged_vm *vm, unsigned int who)
{
	char text[PRIVILEGE_TEXT];

	if (!vm->pid[who])
		return;
	json_begin_object(json, NULL);
	json_text(json, "process", privileged_name[who]);
	json_number(json, "pid", (uint64_t)vm->pid[who]);
	for (unsigned int i = 0; i < nr_privileges; i++) {
		read_one(vm, who, &privileges[i], text);
		if (text[0])
			json_text(json, privileges[i].key, text);
	}
	json_end_object(json);
}

/* What the kernel says of a piece: all its rows agree that it is on, one does not, or unknown. */
static enum privilege_verdict check_piece(const struct privileged_vm *vm, unsigned int piece)
{
	enum privilege_verdict all = PRIVILEGE_CLAIMED, one;
	char text[PRIVILEGE_TEXT];

	if (!(vm->info->sandbox >> piece & 1))
		return PRIVILEGE_OFF;
	for (unsigned int i = 0; i < nr_privileges; i++) {
		if (!privileges[i].given_up || privileges[i].piece != piece)
			continue;
		read_one(vm, PRIVILEGED_VM, &privileges[i], text);
		one = privilege_check(&privileges[i], vm->info, text);
		all = one > all ? one : all;
	}
	return all;
}

static void pieces_json(struct json *json, const struct privileged_vm *vm)
{
	static const char *const verdict[] = {
		[PRIVILEGE_OFF] = "off",
		[PRIVILEGE_CLAIMED] = "claimed",
		[PRIVILEGE_CONFIRMED] = "confirmed",
		[PRIVILEGE_DENIED] = "denied",
	};

	json_begin_object(json, "pieces");
	for (unsigned int piece = 0; piece < SANDBOX_NR_PIECES; piece++)
		json_text(json, sandbox_piece_name[piece], verdict[check_piece(vm, piece)]);
	json_end_object(json);
}

static void threads_json(struct json *json, pid_t pid)
{
	static struct privileged_thread threads[PRIVILEGED_MAX_THREADS];
	unsigned int nr = privileged_threads(pid, threads, PRIVILEGED_MAX_THREADS);

	json_begin_array(json, "threads");
	for (unsigned int i = 0; i < nr; i++) {
		json_begin_object(json, NULL);
		json_number(json, "tid", (uint64_t)threads[i].tid);
		json_text(json, "role", role_of(&threads[i], pid));
		json_number(json, "filters", threads[i].nr_filters);
		json_end_object(json);
	}
	json_end_array(json);
}

void privileges_json(FILE *f, const struct privileged_vm *vm, unsigned int nr)
{
	struct json json;

	json_init(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "schema", "quire.sandbox/1");
	json_begin_array(&json, "vms");
	for (unsigned int i = 0; i < nr; i++) {
		json_begin_object(&json, NULL);
		json_text(&json, "name", vm[i].info->name);
		json_begin_array(&json, "processes");
		for (unsigned int who = 0; who < PRIVILEGED_NR; who++)
			process_json(&json, &vm[i], who);
		json_end_array(&json);
		pieces_json(&json, &vm[i]);
		threads_json(&json, vm[i].pid[PRIVILEGED_VM]);
		json_end_object(&json);
	}
	json_end_array(&json);
	json_end_object(&json);
}
