/* SPDX-License-Identifier: MIT */
/*
 * What quire stat --sandbox makes of a VM that lies: one that says it has given up everything, and
 * is a process like any other.  And of processes that are gone, or that have odd names.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "tests/tap.h"
#include "vmm/cli/privileges.h"
#include "vmm/look/process.h"

static const struct privilege *find(const char *key)
{
	for (unsigned int i = 0; i < nr_privileges; i++)
		if (!strcmp(privileges[i].key, key))
			return &privileges[i];
	tap_bail("no privilege %s", key);
	return NULL;
}

static void read_of(pid_t pid, const char *key, char *text)
{
	const struct privilege *p = find(key);

	text[0] = '\0';
	p->read(pid, p->arg, text);
}

static void test_liar(void)
{
	static const char *const kept[] = { "user_namespace", "mount_namespace",  "ipc_namespace",
					    "uts_namespace",  "net_namespace",	  "root",
					    "filter",	      "no_new_privileges" };
	struct vm_info liar = { .sandbox = (1u << SANDBOX_NR_PIECES) - 1 }, honest = { 0 };
	char text[PRIVILEGE_TEXT];

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		read_of(getpid(), kept[i], text);
		is(privilege_check(find(kept[i]), &liar, text), PRIVILEGE_DENIED,
		   "who has not given up %s is found out (%s)", kept[i], text);
		is(privilege_check(find(kept[i]), &honest, text), PRIVILEGE_OFF,
		   "... unless it says so");
	}
	is(privilege_check(find("dumpable"), &liar, ""), PRIVILEGE_CLAIMED,
	   "what the kernel does not show is only claimed");
}

static void test_document_of_liar(void)
{
	struct vm_info liar = { .name = "liar", .sandbox = 1u << SANDBOX_SECCOMP };
	struct privileged_vm vm = { .info = &liar, .pid = { [PRIVILEGED_VM] = getpid() } };
	char *text = NULL, *json = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	is(privileges_print(f, &vm), 0, "it is shown");
	fclose(f);
	ok(strstr(text, "given up, but it is not"), "... with what is wrong");
	f = open_memstream(&json, &bytes);
	privileges_json(f, &vm, 1);
	fclose(f);
	ok(strstr(json, "\"seccomp\": \"denied\""), "... in the document, too");
	ok(!strstr(json, "launcher"), "... which has no process that was not found");
	free(text);
	free(json);
}

static void test_gone(void)
{
	char text[PRIVILEGE_TEXT];
	unsigned int known = 0;

	for (unsigned int i = 0; i < nr_privileges; i++) {
		read_of(0x7ffffff0, privileges[i].key, text);
		known += text[0] != '\0';
	}
	is(known, 0, "nothing is known of a process that is gone");
	is(process_parent(0x7ffffff0), 0, "... not even a parent");
}

/* The name of a thread is what a hostile process can write into these files. */
static void test_names(void)
{
	struct privileged_thread thread;
	char name[16] = "x) R 1 Z\nUid:";

	prctl(PR_SET_NAME, name, 0, 0, 0);
	is(privileged_threads(getpid(), &thread, 1), 1, "this process has a thread");
	is(thread.tid, getpid(), "... with its id");
	ok(!thread.is_kernels && !thread.filtered, "... which no name makes another");
	ok(!strchr(thread.name, '\n'), "... nor writes a line of its own");
	prctl(PR_SET_NAME, "privileges_test", 0, 0, 0);
}

static void test_fields(void)
{
	const char *text = "Name:\tx\nNoLabel\nGroups:\t \nLast:\tvalue";
	char value[8];

	ok(process_field(text, "Groups:", value, sizeof(value)) && !value[0],
	   "a line without a value is one");
	ok(process_field(text, "Last:", value, sizeof(value)) && !strcmp(value, "value"),
	   "the last line needs no end");
	ok(!process_field(text, "x", value, sizeof(value)), "a label is at the begin of a line");
	ok(process_field("Long: 0123456789", "Long:", value, sizeof(value)) &&
		   !strcmp(value, "0123456"),
	   "a long value is cut");
}

int main(void)
{
	tap_init();
	test_liar();
	test_document_of_liar();
	test_gone();
	test_names();
	test_fields();
	return tap_done();
}
