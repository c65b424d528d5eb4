/* SPDX-License-Identifier: MIT */
#include "question.h"
#include <stddef.h>
#include <string.h>

bool web_question_add(struct web_question *q, const char *name, const char *value)
{
	struct web_argument *a = &q->argument[q->nr];

	if (q->nr == WEB_MAX_ARGUMENTS || strlen(name) >= sizeof(a->name) ||
	    strlen(value) >= sizeof(a->value))
		return false;
	strcpy(a->name, name);
	strcpy(a->value, value);
	q->nr++;
	return true;
}

const char *web_question_get(const struct web_question *q, const char *name)
{
	for (unsigned int i = 0; i < q->nr; i++)
		if (!strcmp(q->argument[i].name, name))
			return q->argument[i].value;
	return NULL;
}
