/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "phrase.h"

/* So much of the text matches after one more byte. */
static size_t step(const struct phrase *p, size_t matched, char byte)
{
	while (matched && p->text[matched] != byte)
		matched = p->again[matched - 1];
	return matched + (p->text[matched] == byte);
}

void phrase_init(struct phrase *p, const char *text)
{
	size_t matched = 0;

	*p = (struct phrase){ .text = text, .length = strlen(text) };
	for (size_t i = 1; i < p->length; i++) {
		matched = step(p, matched, text[i]);
		p->again[i] = (uint8_t)matched;
	}
}

bool phrase_completes(struct phrase *p, const char *data, size_t bytes)
{
	for (size_t i = 0; p->text && i < bytes; i++) {
		p->matched = step(p, p->matched, data[i]);
		if (p->matched < p->length)
			continue;
		p->text = NULL;
		return true;
	}
	return false;
}
