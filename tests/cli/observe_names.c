/* SPDX-License-Identifier: MIT */
#include "observe_names.h"

bool has_name(const struct names *set, const char *name)
{
	for (unsigned int i = 0; i < set->nr; i++)
		if (!strcmp(set->name[i], name))
			return true;
	return false;
}

void add_name(struct names *set, const char *name, size_t bytes)
{
	char copy[48];

	snprintf(copy, sizeof(copy), "%.*s", (int)bytes, name);
	if (has_name(set, copy))
		return;
	if (set->nr == MAX_NAMES)
		tap_bail("too many names");
	memcpy(set->name[set->nr++], copy, sizeof(copy));
}

struct names members(unsigned int indent)
{
	struct names set = { .nr = 0 };

	for (const char *p = lab_out; p && *p; p = strchr(p, '\n'), p += p != NULL) {
		size_t blanks = strspn(p, " ");

		if (blanks == indent && p[blanks] == '"')
			add_name(&set, p + blanks + 1, strcspn(p + blanks + 1, "\""));
	}
	return set;
}

struct names documented(const char *section)
{
	struct names set = { .nr = 0 };
	FILE *f = fopen("docs/stats.md", "r");
	bool inside = false;
	char line[512];

	if (!f)
		tap_bail("docs/stats.md: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "## ", 3))
			inside = !strcmp(line + 3, section);
		if (!inside || strncmp(line, "| `", 3))
			continue;
		*strchr(line + 1, '|') = '\0';
		for (char *p = strchr(line, '`'); p; p = strchr(p, '`')) {
			add_name(&set, p + 1, strcspn(p + 1, "`"));
			p = strchr(p + 1, '`') + 1;
		}
	}
	fclose(f);
	return set;
}

/* A documented name that is not printed, or one that is printed and not documented. */
static const char *difference(const struct names *doc, const struct names *printed)
{
	for (unsigned int i = 0; i < doc->nr; i++)
		if (!has_name(printed, doc->name[i]))
			return doc->name[i];
	for (unsigned int i = 0; i < printed->nr; i++)
		if (!has_name(doc, printed->name[i]))
			return printed->name[i];
	return "";
}

void same_names(const struct names *doc, const struct names *printed, const char *what)
{
	char odd[48];

	snprintf(odd, sizeof(odd), "%s", difference(doc, printed));
	ok(doc->nr > 0 && !*odd, "%s are those in docs/stats.md%s%s", what, *odd ? ", but " : "",
	   odd);
}
