/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_JSON_H
#define QUIRE_VMM_PRINT_JSON_H

/*
 * A writer of JSON.  The caller makes one call for each value, in the order of the text.  `key` is
 * NULL inside an array, and for the outermost value.  No call fails; ferror() tells whether the
 * stream did.
 *
 * The same calls give the values to whoever wants no text: who reads our own documents need not
 * parse them.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Who is told of each value instead.  A number is what most readers of JSON make of its text: the
 * nearest double.  A text has the caller's bytes.  Key and text are valid during the call.
 */
struct json_listener {
	void (*begin)(void *ctx, const char *key); /* an object or an array */
	void (*end)(void *ctx);
	void (*number)(void *ctx, const char *key, double value);
	void (*text)(void *ctx, const char *key, const char *value);
};

struct json {
	FILE *f;
	const struct json_listener *listener; /* NULL: the text is written to f */
	void *ctx;			      /* of the listener */
	unsigned int depth;
	bool first; /* nothing is written yet at this depth */
	bool line;  /* all of it is in one line */
};

void json_init(struct json *json, FILE *f);

/* The same, for a document in one line. */
void json_init_line(struct json *json, FILE *f);

/* Write nothing, and tell *listener, which outlives *json. */
void json_init_listener(struct json *json, const struct json_listener *listener, void *ctx);

void json_begin_object(struct json *json, const char *key);
void json_end_object(struct json *json);
void json_begin_array(struct json *json, const char *key);
void json_end_array(struct json *json);
void json_number(struct json *json, const char *key, uint64_t value);
void json_signed(struct json *json, const char *key, int64_t value);

/* Pages of 4 KiB, as a number of bytes. */
void json_pages(struct json *json, const char *key, uint64_t pages);

/* A number with one decimal: 123 tenths are 12.3. */
void json_tenths(struct json *json, const char *key, uint64_t tenths);

/* ... and with two: 123 hundredths are 1.23. */
void json_hundredths(struct json *json, const char *key, uint64_t hundredths);

/* A string with a hexadecimal number: "0x1f". */
void json_hex(struct json *json, const char *key, uint64_t value);

/* A string.  It may hold any bytes; what is not printable ASCII is escaped. */
void json_text(struct json *json, const char *key, const char *value);

#endif
