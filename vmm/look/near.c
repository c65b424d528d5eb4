/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include "near.h"

#define LONGEST 63u /* characters of a name; longer words are near to nothing */

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int least = a < b ? a : b;

	return least < c ? least : c;
}

/* How many characters have to be put in, left out or changed to make b of a (Levenshtein). */
static unsigned int distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned int row[LONGEST + 1], corner, above;

	for (unsigned int j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned int i = 0; i < a_len; i++) {
		corner = row[0]++;
		for (unsigned int j = 0; j < b_len; j++) {
			above = row[j + 1];
			row[j + 1] = min3(above + 1, row[j] + 1, corner + (a[i] != b[j]));
			corner = above;
		}
	}
	return row[b_len];
}

/* The name without the dash and number of a copy. */
static size_t stem_of(const char *name)
{
	const char *dash = strrchr(name, '-');

	if (!dash || dash == name || !dash[1] || dash[1 + strspn(dash + 1, "0123456789")])
		return strlen(name);
	return (size_t)(dash - name);
}

/* LONGEST: not near. */
static unsigned int nearness(const char *word, const char *name)
{
	size_t word_len = strlen(word), len = strlen(name), stem = stem_of(name);
	unsigned int whole, without;

	if (word_len > LONGEST || len > LONGEST)
		return LONGEST;
	whole = distance(word, word_len, name, len);
	without = distance(word, word_len, name, stem);
	if (without < whole) {
		whole = without;
		len = stem;
	}
	return whole <= (len < 6 ? 1 : len / 3) ? whole : LONGEST;
}

static void put(char *text, const char *name, unsigned int i, unsigned int nr)
{
	size_t used = strlen(text);

	snprintf(text + used, NEAR_BYTES - used, "%s%s",
		 !i	     ? "" :
		 i + 1 == nr ? " or " :
			       ", ",
		 name);
}

bool near_names(const char *word, char **names, unsigned int nr, char text[NEAR_BYTES])
{
	const char *best[NEAR_MAX];
	unsigned int found = 0;

	for (unsigned int d = 0; d <= LONGEST / 3 && found < NEAR_MAX; d++)
		for (unsigned int i = 0; i < nr && found < NEAR_MAX; i++)
			if (nearness(word, names[i]) == d)
				best[found++] = names[i];
	text[0] = '\0';
	for (unsigned int i = 0; i < found; i++)
		put(text, best[i], i, found);
	return found > 0;
}
