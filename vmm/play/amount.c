/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <quire/types.h>
#include <string.h>
#include "amount.h"

#define MAX_VALUE 1e18 /* what a uint64_t holds, and more than anything is */

static const struct unit {
	const char *name;
	enum amount_kind kind;
	double factor;
} units[] = {
	{ "K", AMOUNT_SIZE, 1024. },	   { "M", AMOUNT_SIZE, 1048576. },
	{ "G", AMOUNT_SIZE, 1073741824. }, { "T", AMOUNT_SIZE, 1099511627776. },
	{ "%", AMOUNT_SHARE, 0.01 },	   { "ns", AMOUNT_TIME, 1. },
	{ "us", AMOUNT_TIME, 1e3 },	   { "ms", AMOUNT_TIME, 1e6 },
	{ "s", AMOUNT_TIME, 1e9 },	   { "min", AMOUNT_TIME, 6e10 },
};

/* The digits behind the point count as whole ones, so that 0.6 is as near as a double gets. */
static const char *read_digits(const char *p, double *value)
{
	double places = 1;

	while (isdigit((unsigned char)*p))
		*value = *value * 10 + (*p++ - '0');
	if (*p == '.' && isdigit((unsigned char)p[1]))
		for (p++; isdigit((unsigned char)*p); places *= 10)
			*value = *value * 10 + (*p++ - '0');
	*value /= places;
	return p;
}

static const struct unit *find_unit(const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strlen(units[i].name) == length && !memcmp(units[i].name, name, length))
			return &units[i];
	return NULL;
}

const char *amount_read(const char *text, struct amount *out)
{
	const struct unit *unit;
	const char *p, *end;

	*out = (struct amount){ 0 };
	if (!isdigit((unsigned char)*text))
		return NULL;
	p = read_digits(text, &out->value);
	end = p;
	while (isalnum((unsigned char)*end) || *end == '_' || (*end == '%' && end == p))
		end++;
	if (end > p) {
		unit = find_unit(p, (size_t)(end - p));
		if (!unit)
			return NULL;
		out->kind = unit->kind;
		out->value *= unit->factor;
	}
	/* Too many digits are infinity, or no number at all. */
	return out->value <= MAX_VALUE ? end : NULL;
}
