/* SPDX-License-Identifier: MIT */
/* Results of scenarios: what guests and files are called, and say, spoils neither JSON nor TAP. */
#include <stdlib.h>
#include <string.h>
#include "tests/tap.h"
#include "vmm/play/result.h"

/* Malloc'd. */
static char *printed(int (*print)(FILE *f, const json_t *result), const json_t *result)
{
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	if (!f || print(f, result) || fclose(f))
		tap_bail("the result cannot be printed");
	return text;
}

static bool is_text(const char *text)
{
	for (; *text; text++)
		if ((*text < ' ' || *text > '~') && *text != '\n')
			return false;
	return true;
}

static const char *value_of(const json_t *result, size_t check)
{
	const json_t *of = json_array_get(json_object_get(result, "checks"), check);
	const char *value = json_string_value(json_object_get(of, "value"));

	return value ? value : "(none)";
}

static void add(json_t *result, bool ok, const char *text, const char *value)
{
	struct result_check check = { .kind = "exit", .text = text, .line = 4, .ok = ok };

	snprintf(check.value, sizeof(check.value), "%s", value);
	result_check(result, &check);
}

static void test_strange_bytes(void)
{
	json_t *result = result_new("n", "a\xff.yaml", 1), *again;
	char *text;

	ok(result, "a file's name may have any bytes");
	add(result, true, "a ends", "status 0: caf\xc3\xa9");
	add(result, false, "b ends", "status 4: \xff\xfe\x1b[31m");
	add(result, false, "c ends", "cut in the middle: \xc3");
	add(result, false, "one\n  < two", "1");
	add(result, false, "e ends", "\xc2\x9b;31m\xc2\xa0");
	is(result_failures(result), 4, "a check that failed counts, whatever the guest said last");
	ok(!strcmp(value_of(result, 0), "status 0: caf\xc3\xa9"), "UTF-8 stays");
	ok(!strcmp(value_of(result, 1), "status 4: ???[31m"), "other bytes become ?");
	ok(!strcmp(value_of(result, 2), "cut in the middle: ?"), "... so does half a character");
	ok(!strcmp(value_of(result, 4), "??;31m??"), "... and a control character of two bytes");
	result_event(result, 1, 4, "b\xff ended");
	result_end(result, RESULT_FAIL, "line 4: \xc3", 2);
	text = printed(result_json, result);
	again = json_loads(text, 0, NULL);
	ok(json_equal(result, again), "the result is JSON");
	is(json_array_size(json_object_get(again, "events")), 1, "... with its event");
	ok(json_object_get(again, "reason"), "... and its reason");
	json_decref(again);
	free(text);
	add(result, false, "d", "\t");
	json_array_remove(json_object_get(result, "checks"), 0);
	text = printed(result_tap, result);
	ok(is_text(text), "TAP has nothing that a terminal obeys");
	ok(strstr(text, "not ok 3 - line 4: exit: one   < two\n"), "... and a line for each check");
	free(text);
	json_decref(result);
}

int main(void)
{
	tap_init();
	test_strange_bytes();
	return tap_done();
}
