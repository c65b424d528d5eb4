/* SPDX-License-Identifier: MIT */
/*
 * JSON: what a listener is told is what a reader makes of the text.  Random documents are written
 * both ways, the text is parsed by a library, and both become a list of paths and values.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tap.h"
#include "vmm/print/json.h"

#define NR_DOCUMENTS 300
#define MAX_DEPTH    6

/* ---- lists of what there is ---- */

/* A value is a line "DEPTH KEY VALUE", an object or array has one for each of its ends. */
struct list {
	FILE *f;
	unsigned int depth;
};

static void begin(void *ctx, const char *key)
{
	struct list *list = ctx;

	fprintf(list->f, "%u %s begin\n", list->depth++, key ? key : "-");
}

static void end(void *ctx)
{
	struct list *list = ctx;

	fprintf(list->f, "%u end\n", --list->depth);
}

static void number(void *ctx, const char *key, double value)
{
	struct list *list = ctx;

	fprintf(list->f, "%u %s %a\n", list->depth, key ? key : "-", value);
}

/* Text is Latin-1 for a listener, and UTF-8 in JSON. */
static void text(void *ctx, const char *key, const char *value)
{
	struct list *list = ctx;

	fprintf(list->f, "%u %s '", list->depth, key ? key : "-");
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		fprintf(list->f, c > 0x7f ? "%c%c" : "%c", c > 0x7f ? 0xc0 | c >> 6 : c,
			0x80 | (c & 0x3f));
	}
	fputs("'\n", list->f);
}

static const struct json_listener listener = {
	.begin = begin,
	.end = end,
	.number = number,
	.text = text,
};

static void list_parsed(struct list *list, const char *key, json_t *value)
{
	if (json_is_number(value)) {
		number(list, key, json_number_value(value));
	} else if (json_is_string(value)) {
		fprintf(list->f, "%u %s '%s'\n", list->depth, key ? key : "-",
			json_string_value(value));
	} else {
		begin(list, key);
		for (void *i = json_object_iter(value); i; i = json_object_iter_next(value, i))
			list_parsed(list, json_object_iter_key(i), json_object_iter_value(i));
		for (size_t i = 0; i < json_array_size(value); i++)
			list_parsed(list, NULL, json_array_get(value, i));
		end(list);
	}
}

/* ---- random documents ---- */

/* Numbers of all sizes, and those about which doubles and integers disagree. */
static uint64_t some_number(uint64_t *seed)
{
	uint64_t n = tap_random(seed);

	switch (n % 4) {
	case 0: return n >> (n >> 8) % 64;
	case 1: return (1ULL << (n >> 8) % 64) - 1;
	case 2: return (1ULL << 53) + (n >> 8) % 8;
	default: return UINT64_MAX - (n >> 8) % 3;
	}
}

static void put_some_text(struct json *json, const char *key, uint64_t *seed)
{
	char word[16] = "";
	unsigned int nr = tap_random(seed) % sizeof(word);

	for (unsigned int i = 0; i < nr; i++)
		word[i] = (char)(1 + tap_random(seed) % 255);
	json_text(json, key, word);
}

static void put_members(struct json *json, bool in_array, unsigned int depth, uint64_t *seed);

static void put_below(struct json *json, const char *key, unsigned int depth, uint64_t *seed)
{
	bool array = tap_random(seed) % 2;

	(array ? json_begin_array : json_begin_object)(json, key);
	if (depth < MAX_DEPTH)
		put_members(json, array, depth + 1, seed);
	(array ? json_end_array : json_end_object)(json);
}

static void put_members(struct json *json, bool in_array, unsigned int depth, uint64_t *seed)
{
	unsigned int nr = tap_random(seed) % 8;
	char name[16];

	for (unsigned int i = 0; i < nr; i++) {
		const char *key = in_array ? NULL : name;

		snprintf(name, sizeof(name), "member_%u", i);
		switch (tap_random(seed) % 8) {
		case 0: json_number(json, key, some_number(seed)); break;
		case 1: json_signed(json, key, (int64_t)some_number(seed)); break;
		case 2: json_pages(json, key, some_number(seed)); break;
		case 3: json_tenths(json, key, some_number(seed) >> 12); break;
		case 4: json_hundredths(json, key, some_number(seed) >> 12); break;
		case 5: json_hex(json, key, some_number(seed)); break;
		case 6: put_some_text(json, key, seed); break;
		case 7: put_below(json, key, depth, seed); break;
		}
	}
}

static void put_document(struct json *json, uint64_t seed)
{
	json_begin_object(json, NULL);
	put_members(json, false, 0, &seed);
	json_end_object(json);
}

/* ---- both ways ---- */

static char *told(uint64_t seed)
{
	struct list list = { 0 };
	struct json json;
	char *lines;
	size_t bytes;

	list.f = open_memstream(&lines, &bytes);
	json_init_listener(&json, &listener, &list);
	put_document(&json, seed);
	fclose(list.f);
	return lines;
}

static char *parsed(uint64_t seed, bool in_line)
{
	struct list list = { 0 };
	struct json json;
	char *document, *lines;
	size_t bytes;
	FILE *f = open_memstream(&document, &bytes);
	json_t *root;

	if (in_line)
		json_init_line(&json, f);
	else
		json_init(&json, f);
	put_document(&json, seed);
	fclose(f);
	root = json_loadb(document, bytes, JSON_DECODE_INT_AS_REAL, NULL);
	if (!root)
		tap_bail("no JSON: %s", document);
	list.f = open_memstream(&lines, &bytes);
	list_parsed(&list, NULL, root);
	fclose(list.f);
	json_decref(root);
	free(document);
	return lines;
}

int main(int argc, char **argv)
{
	uint64_t seed = tap_seed(argc, argv);
	unsigned int nr_values = 0, differ = 0;

	for (unsigned int i = 0; i < NR_DOCUMENTS; i++) {
		uint64_t document = tap_random(&seed);
		char *a = told(document), *b = parsed(document, i % 2);

		differ += strcmp(a, b) != 0;
		if (strcmp(a, b) != 0 && differ == 1)
			printf("# told:\n%s# parsed:\n%s", a, b);
		for (const char *p = a; *p; p++)
			nr_values += *p == '\n';
		free(a);
		free(b);
	}
	is(differ, 0, "a listener is told what the text says");
	ok(nr_values > 4 * NR_DOCUMENTS, "... of many values: %u", nr_values);
	return tap_done();
}
