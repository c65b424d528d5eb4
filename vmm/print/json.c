/* SPDX-License-Identifier: MIT */
/*
 * JSON as RFC 8259 has it: each member has a line, and each depth is indented by two blanks.  Or
 * all of it is in one line.
 */
#include <inttypes.h>
#include <quire/types.h>
#include "json.h"

/*
 * Strings come from the command line and may hold any bytes.  What is not printable ASCII is
 * written as the code point of the byte (Latin-1), so the text is always valid.
 */
static void put_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}

static void new_line(struct json *json)
{
	fprintf(json->f, "\n%*s", (int)json->depth * 2, "");
}

/* Begin the next value: a comma if it is not the first, a new line, and the indentation. */
static void separate(struct json *json)
{
	if (json->depth && !json->first)
		fputs(json->line ? ", " : ",", json->f);
	if (json->depth && !json->line)
		new_line(json);
	json->first = false;
}

static void put_key(struct json *json, const char *key)
{
	separate(json);
	if (!key)
		return;
	put_string(json->f, key);
	fputs(": ", json->f);
}

static void open_bracket(struct json *json, const char *key, char bracket)
{
	if (json->listener) {
		json->listener->begin(json->ctx, key);
		return;
	}
	put_key(json, key);
	fputc(bracket, json->f);
	json->depth++;
	json->first = true;
}

static void close_bracket(struct json *json, char bracket)
{
	bool empty = json->first;

	if (json->listener) {
		json->listener->end(json->ctx);
		return;
	}
	json->depth--;
	if (!empty && !json->line)
		new_line(json);
	fputc(bracket, json->f);
	json->first = false;
	if (!json->depth)
		fputc('\n', json->f);
}

void json_init(struct json *json, FILE *f)
{
	*json = (struct json){ .f = f, .first = true };
}

void json_init_line(struct json *json, FILE *f)
{
	json_init(json, f);
	json->line = true;
}

void json_init_listener(struct json *json, const struct json_listener *listener, void *ctx)
{
	*json = (struct json){ .listener = listener, .ctx = ctx };
}

void json_begin_object(struct json *json, const char *key)
{
	open_bracket(json, key, '{');
}

void json_end_object(struct json *json)
{
	close_bracket(json, '}');
}

void json_begin_array(struct json *json, const char *key)
{
	open_bracket(json, key, '[');
}

void json_end_array(struct json *json)
{
	close_bracket(json, ']');
}

/* Is there a listener?  Then it has been told. */
static bool told_number(struct json *json, const char *key, double value)
{
	if (json->listener)
		json->listener->number(json->ctx, key, value);
	return json->listener;
}

static bool told_text(struct json *json, const char *key, const char *value)
{
	if (json->listener)
		json->listener->text(json->ctx, key, value);
	return json->listener;
}

void json_number(struct json *json, const char *key, uint64_t value)
{
	if (told_number(json, key, (double)value))
		return;
	put_key(json, key);
	fprintf(json->f, "%" PRIu64, value);
}

void json_pages(struct json *json, const char *key, uint64_t pages)
{
	json_number(json, key, pages * QUIRE_PAGE_SIZE);
}

void json_signed(struct json *json, const char *key, int64_t value)
{
	if (told_number(json, key, (double)value))
		return;
	put_key(json, key);
	fprintf(json->f, "%" PRId64, value);
}

void json_tenths(struct json *json, const char *key, uint64_t tenths)
{
	if (told_number(json, key, (double)tenths / 10))
		return;
	put_key(json, key);
	fprintf(json->f, "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
}

void json_hundredths(struct json *json, const char *key, uint64_t hundredths)
{
	if (told_number(json, key, (double)hundredths / 100))
		return;
	put_key(json, key);
	fprintf(json->f, "%" PRIu64 ".%02" PRIu64, hundredths / 100, hundredths % 100);
}

/* Addresses may be beyond 2^53, where many readers of JSON round numbers. */
void json_hex(struct json *json, const char *key, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	json_text(json, key, text);
}

void json_text(struct json *json, const char *key, const char *value)
{
	if (told_text(json, key, value))
		return;
	put_key(json, key);
	put_string(json->f, value);
}
