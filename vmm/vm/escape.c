/* SPDX-License-Identifier: MIT */
#include "escape.h"

#define CTRL_A '\x01'

static enum escape_action action_of(char key)
{
	switch (key) {
	case 'x': return ESCAPE_QUIT;
	case 'b': return ESCAPE_BREAK;
	case 'w': return ESCAPE_WHERE;
	case 'h':
	case '?': return ESCAPE_HELP;
	default: return ESCAPE_NONE;
	}
}

size_t escape_keys(struct escape *e, char *keys, size_t nr, size_t *used,
		   enum escape_action *action)
{
	size_t kept = 0, i = 0;

	*action = ESCAPE_NONE;
	while (i < nr && *action == ESCAPE_NONE) {
		char key = keys[i++];

		if (!e->begun && key == CTRL_A) {
			e->begun = true;
			continue;
		}
		if (e->begun)
			*action = action_of(key);
		if (!e->begun)
			keys[kept++] = key;
		else if (key == CTRL_A || key == 'a')
			keys[kept++] = CTRL_A;
		e->begun = false;
	}
	*used = i;
	return kept;
}
