/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_QUESTION_H
#define QUIRE_VMM_WEB_QUESTION_H

/* What a request asks for, once it is known to be one that may be asked. */
#include <stdbool.h>
#include "vmm/look/metrics.h"

#define WEB_MAX_ARGUMENTS 4

/* "?name=value&..." behind the path; what is longer is refused. */
struct web_argument {
	char name[16];
	char value[80];
};

struct web_question {
	const char *machine; /* its address */
	struct web_argument argument[WEB_MAX_ARGUMENTS];
	unsigned int nr;
	enum metrics_form form; /* of metrics, as Accept asks for */
};

/* Add an argument.  False: there are too many, or it is too long. */
bool web_question_add(struct web_question *q, const char *name, const char *value);

/* The value of this name; NULL: there is none. */
const char *web_question_get(const struct web_question *q, const char *name);

#endif
