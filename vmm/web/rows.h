/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_ROWS_H
#define QUIRE_VMM_WEB_ROWS_H

/* The table of what the observer serves: rows.c. */
#include <stdbool.h>
#include <stdio.h>
#include "asset.h"
#include "place.h"
#include "question.h"

struct web_row {
	const char *method; /* GET, which is HEAD too, or POST */
	const char *path;
	unsigned int services; /* at which places: of enum web_service */
	bool token;	       /* only with the token, and from no other page */
	bool any_host;	       /* also if Host is a name: nothing here is secret */
	const char *type; /* of an answer with status 200; NULL: that of the form of metrics.  All
			   * others are plain text */

	/* The answer is one of these: */
	const struct web_asset *asset;
	/*
	 * ... written to f, by the asker's thread, which may wait for the machine and the VMs.
	 * Returns the status of HTTP.  If that is not 200, f has a line that says why.
	 */
	unsigned int (*answer)(const struct web_question *q, FILE *f);
	bool events; /* ... events, for as long as the client listens (live.h) */
};

extern const struct web_row web_rows[];
extern const unsigned int web_nr_rows;

/*
 * Find the row for a path at a place with these services.  NULL with *status: 404, 405, if there
 * are rows for the path with other methods only.
 */
const struct web_row *web_row_find(const char *method, const char *path, unsigned int services,
				   unsigned int *status);

#endif
