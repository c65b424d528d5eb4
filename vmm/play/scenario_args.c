/* SPDX-License-Identifier: MIT */
/* The words that a guest gets from its scenario. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "scenario_yaml.h"

/* `$seed` and `$n` of a word are replaced. */
static void add_argument(const struct scenario *s, const struct scenario_guest *guest,
			 const char *text, struct words *w)
{
	char word[1024];
	size_t used = 0;

	while (*text && used < sizeof(word) - 24) {
		if (!strncmp(text, "$seed", 5)) {
			used += (size_t)sprintf(word + used, "%" PRIu64, s->seed);
			text += 5;
		} else if (!strncmp(text, "$n", 2)) {
			used += (size_t)sprintf(word + used, "%u", guest->number);
			text += 2;
		} else {
			word[used++] = *text++;
		}
	}
	words_add(w, "%.*s", (int)used, word);
	w->lost |= *text != '\0';
}

void scenario_args(const struct scenario *s, const struct scenario_guest *guest, struct words *w)
{
	const struct scenario_group *group = &s->group[guest->group];
	const yaml_node_t *list, *item;

	if (!group->args)
		return;
	list = yaml_document_get_node((yaml_document_t *)&s->document, group->args);
	for (unsigned int i = 0; (item = scenario_item(s, list, i)); i++)
		add_argument(s, guest, (const char *)item->data.scalar.value, w);
}
