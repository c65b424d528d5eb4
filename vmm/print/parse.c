/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "mmu/base/digits.h"
#include "parse.h"

int parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *value,
		struct quire_error *err)
{
	const char *p = text;
	uint64_t v = 0;
	int ret = digits_read(&p, 10, &v);

	if (ret == -EINVAL || (!ret && *p))
		return quire_fail(err, -EINVAL, "'%s' is not a number", text);
	if (ret || v < min || v > max)
		return quire_fail(err, -ERANGE, "%s is out of range, use %llu to %llu", text,
				  (unsigned long long)min, (unsigned long long)max);
	*value = v;
	return 0;
}

/* The bits to shift by for the letter of a unit; -1: it is none. */
static int unit_shift(char c)
{
	switch (c) {
	case 'k':
	case 'K': return 10;
	case 'm':
	case 'M': return 20;
	case 'g':
	case 'G': return 30;
	case 't':
	case 'T': return 40;
	}
	return -1;
}

int parse_size(const char *text, uint64_t *bytes, struct quire_error *err)
{
	const char *p = text;
	uint64_t v = 0;
	int shift = 0, ret = digits_read(&p, 10, &v);

	if (!ret && *p)
		shift = unit_shift(*p++);
	if (ret == -EINVAL || shift < 0 || (!ret && *p))
		return quire_fail(err, -EINVAL, "'%s' is not a size, use a number and K, M, G or T",
				  text);
	if (ret || v > UINT64_MAX >> shift)
		return quire_fail(err, -ERANGE, "%s is more than 64 bits can count", text);
	*bytes = v << shift;
	return 0;
}

int parse_ram_size(const char *text, uint64_t *bytes, struct quire_error *err)
{
	uint64_t v = 0;
	int ret = parse_size(text, &v, err);

	if (ret)
		return ret;
	if (!v)
		return quire_fail(err, -ERANGE, "%s is no memory at all, try 128M", text);
	if (v % QUIRE_PAGE_SIZE)
		return quire_fail(err, -EINVAL,
				  "%s is not a multiple of 4 KiB pages (no letter means bytes)",
				  text);
	if (v > PARSE_MAX_RAM)
		return quire_fail(err, -ERANGE,
				  "%s is more than a guest can address, the most is 255T", text);
	*bytes = v;
	return 0;
}

int parse_machine_size(const char *text, uint64_t *bytes, struct quire_error *err)
{
	uint64_t v = 0;
	int ret = parse_size(text, &v, err);

	if (ret)
		return ret;
	if (v < PARSE_MIN_MACHINE)
		return quire_fail(
			err, -ERANGE,
			"%s is too little for any guest, use at least %uM (a number without "
			"a letter is bytes)",
			text, (unsigned int)(PARSE_MIN_MACHINE / MiB));
	*bytes = v;
	return 0;
}

/* Read the decimals behind a point as nanoseconds, and move *text past them. */
static int read_fraction(const char **text, uint64_t *ns)
{
	uint64_t unit = 100000000;
	const char *p = *text;

	for (*ns = 0; *p >= '0' && *p <= '9'; p++, unit /= 10) {
		if (!unit)
			return -EINVAL;
		*ns += (uint64_t)(*p - '0') * unit;
	}
	if (p == *text)
		return -EINVAL;
	*text = p;
	return 0;
}

int parse_seconds(const char *text, uint64_t *ns, struct quire_error *err)
{
	const char *p = text;
	uint64_t whole = 0, fraction = 0;
	int ret = digits_read(&p, 10, &whole);

	if (!ret && *p == '.') {
		p++;
		ret = read_fraction(&p, &fraction);
	}
	if (ret == -EINVAL || (!ret && *p))
		return quire_fail(err, -EINVAL, "'%s' is not a number of seconds", text);
	if (ret || whole > 1000000000 || !(whole | fraction))
		return quire_fail(err, -ERANGE,
				  "%s seconds is out of range, use more than 0, at most 10^9",
				  text);
	*ns = whole * 1000000000 + fraction;
	return 0;
}

int parse_choice(const char *text, const char *const *words, unsigned int nr, unsigned int *index,
		 struct quire_error *err)
{
	char list[128] = "";

	for (unsigned int i = 0; i < nr; i++) {
		if (!strcmp(text, words[i])) {
			*index = i;
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 !i	     ? "" :
			 i + 1 == nr ? " or " :
				       ", ",
			 words[i]);
	}
	return quire_fail(err, -EINVAL, "'%s' is not known, use %s", text, list);
}

int parse_address(const char *text, uint64_t *address, struct quire_error *err)
{
	const char *p = text + 2;
	uint64_t v = 0;
	int ret;

	if (!digits_are_hex(text)) {
		if (parse_size(text, address, NULL))
			return quire_fail(err, -EINVAL,
					  "'%s' is not an address, use 0x and hex "
					  "digits, or a number and K, M, G or T",
					  text);
		return 0;
	}
	ret = digits_read(&p, 16, &v);
	if (ret == -ERANGE)
		return quire_fail(err, ret, "%s has more than 64 bits", text);
	if (ret || *p)
		return quire_fail(err, -EINVAL, "'%s' is not a hexadecimal number", text);
	*address = v;
	return 0;
}

int parse_gfn(const char *text, gfn_t *gfn, struct quire_error *err)
{
	int code = digits_are_hex(text) ? parse_address(text, gfn, NULL) :
					  parse_count(text, 0, UINT64_MAX, gfn, NULL);

	if (code)
		return quire_fail(err, -EINVAL, "'%.80s' is not the number of a page", text);
	return 0;
}

int parse_range(const char *text, uint64_t *start, uint64_t *end, struct quire_error *err)
{
	char copy[64], *sep;
	bool length;
	int ret;

	if (strlen(text) >= sizeof(copy))
		return quire_fail(err, -EINVAL, "'%.80s' is not a range", text);
	strcpy(copy, text);
	sep = strpbrk(copy, "+-");
	if (!sep)
		return quire_fail(err, -EINVAL,
				  "'%s' is not a range, use START+LENGTH or START-END", text);
	length = *sep == '+';
	*sep++ = '\0';
	ret = parse_address(copy, start, err);
	if (!ret)
		ret = parse_address(sep, end, err);
	if (ret)
		return ret;
	if (length && __builtin_add_overflow(*start, *end, end))
		return quire_fail(err, -ERANGE, "%s goes past 2^64", text);
	if (*start >= *end)
		return quire_fail(err, -EINVAL, "%s is empty", text);
	return 0;
}
