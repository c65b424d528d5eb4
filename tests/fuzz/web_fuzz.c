/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for what the observer reads itself: libmicrohttpd has taken a request apart, and
 * ours are the place that an option names, the values of Host, Origin and Authorization, paths, and
 * arguments.  The input is cut into strings at its NUL bytes.
 */
#include <stdlib.h>
#include <string.h>
#include "must.h"
#include "vmm/web/guard.h"
#include "vmm/web/place.h"
#include "vmm/web/question.h"
#include "vmm/web/rows.h"

#define MAX_STRINGS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What is accepted as a place can be read again by its name. */
static void try_place(const char *text)
{
	struct web_place place;
	struct quire_error err;

	if (web_place_read(text, &place, &err))
		return;
	must(place.fd == -1, "a place is open");
	must(place.address.any.sa_family == AF_INET || place.address.any.sa_family == AF_INET6,
	     "a place of no family");
	web_place_is_local(&place);
}

/* A host that is accepted has no letter but those of localhost and of hexadecimal digits. */
static void try_host(const char *host)
{
	if (!web_host_is_plain(host))
		return;
	must(!host[strspn(host, "0123456789abcdefABCDEF.:[]localhostLOCALHOST")], "a name");
	must(!strcasestr(host, "localhost.") && !strcasestr(host, "localhost-"), "a longer name");
}

static void try_token(const char *value)
{
	static const char token[WEB_TOKEN_BYTES] = "0123456789abcdef0123456789abcdef";

	if (web_token_is(value, token))
		must(!strcmp(value + strlen(value) - strlen(token), token), "another token");
}

static void try_question(char *const string[], unsigned int nr)
{
	struct web_question q = { .machine = "" };

	for (unsigned int i = 0; i + 1 < nr; i += 2) {
		bool added = web_question_add(&q, string[i], string[i + 1]);

		must(!added || !strcmp(q.argument[q.nr - 1].value, string[i + 1]), "a value");
		must(!added || web_question_get(&q, string[i]), "a name is lost");
	}
	must(q.nr <= WEB_MAX_ARGUMENTS, "too many arguments");
}

static void try_row(const char *method, const char *path)
{
	unsigned int status = 0;
	const struct web_row *row = web_row_find(method, path, WEB_METRICS, &status);

	must(row ? (row->services & WEB_METRICS) != 0 : status == 404 || status == 405,
	     "a row that is not served");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *text = calloc(1, bytes + 1), *string[MAX_STRINGS] = { NULL };
	unsigned int nr = 0;

	memcpy(text, data, bytes);
	for (size_t at = 0; at < bytes && nr < MAX_STRINGS; at += strlen(text + at) + 1)
		string[nr++] = text + at;
	for (unsigned int i = 0; i < nr; i++) {
		try_place(string[i]);
		try_host(string[i]);
		try_token(string[i]);
		try_row(string[i], i ? string[i - 1] : string[i]);
		must(!web_origin_is_own(string[i], NULL), "an origin without a host");
	}
	try_question(string, nr);
	free(text);
	return 0;
}
