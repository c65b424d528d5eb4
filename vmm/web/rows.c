/* SPDX-License-Identifier: MIT */
#include "rows.h"
#include <quire/types.h>
#include <string.h>
#include "answers.h"

#define HTML	   "text/html; charset=utf-8"
#define CSS	   "text/css; charset=utf-8"
#define JAVASCRIPT "text/javascript; charset=utf-8"
#define JSON	   "application/json"
#define EVENTS	   "text/event-stream"

/* clang-format off */
const struct web_row web_rows[] = {
	{ "GET", "/",		WEB_PAGE, .type = HTML,	      .asset = &web_page_html },
	{ "GET", "/page.css",	WEB_PAGE, .type = CSS,	      .asset = &web_page_css },
	{ "GET", "/page.js",	WEB_PAGE, .type = JAVASCRIPT, .asset = &web_page_js },
	{ "GET", "/stats.json",	WEB_PAGE, .type = JSON,	      .answer = answer_stats },
	{ "GET", "/events",	WEB_PAGE, .type = EVENTS,     .events = true },
	{ "GET", "/owners",	WEB_PAGE, .type = JSON,	      .answer = answer_owners },
	{ "POST", "/act",	WEB_PAGE, .type = JSON,	      .answer = answer_act, .token = true },
	{ "GET", "/metrics",	WEB_PAGE | WEB_METRICS,	      .answer = answer_metrics,
	  .any_host = true },
};
/* clang-format on */

const unsigned int web_nr_rows = ARRAY_SIZE(web_rows);

const struct web_row *web_row_find(const char *method, const char *path, unsigned int services,
				   unsigned int *status)
{
	const char *wanted = strcmp(method, "HEAD") ? method : "GET";

	*status = 404;
	for (unsigned int i = 0; i < web_nr_rows; i++) {
		const struct web_row *row = &web_rows[i];

		if (!(row->services & services) || strcmp(row->path, path))
			continue;
		if (!strcmp(row->method, wanted))
			return row;
		*status = 405;
	}
	return NULL;
}
