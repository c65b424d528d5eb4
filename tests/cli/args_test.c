/* SPDX-License-Identifier: MIT */
/* What the command line accepts as numbers, and what it says about the rest. */
#include <errno.h>
#include <string.h>
#include "vmm/cli/args.h"
#include "tests/tap.h"

#define BAD UINT64_MAX /* no row below means this value */

struct row {
	const char *text;
	uint64_t want;
	int ret;
};

static const struct row sizes[] = {
	{ "0", 0, 0 },
	{ "1", 1, 0 },
	{ "4096", 4096, 0 },
	{ "1K", 1024, 0 },
	{ "1k", 1024, 0 },
	{ "128M", 128ULL << 20, 0 },
	{ "6G", 6ULL << 30, 0 },
	{ "2t", 2ULL << 40, 0 },
	{ "16777215T", 16777215ULL << 40, 0 },
	{ "18446744073709551615", UINT64_MAX, 0 },
	{ "18446744073709551616", BAD, -ERANGE },
	{ "99999999999999999999999", BAD, -ERANGE },
	{ "16777216T", BAD, -ERANGE },
	{ "", BAD, -EINVAL },
	{ "M", BAD, -EINVAL },
	{ "-1", BAD, -EINVAL },
	{ "+1", BAD, -EINVAL },
	{ " 1", BAD, -EINVAL },
	{ "1 ", BAD, -EINVAL },
	{ "1MB", BAD, -EINVAL },
	{ "1MM", BAD, -EINVAL },
	{ "1P", BAD, -EINVAL },
	{ "1.5G", BAD, -EINVAL },
	{ "0x1000", BAD, -EINVAL },
};

static const struct row machines[] = {
	{ "4M", 4 * MiB, 0 },	{ "1G", GiB, 0 },	   { "4194304", 4 * MiB, 0 },
	{ "4K", BAD, -ERANGE }, { "4095K", BAD, -ERANGE }, { "0", BAD, -ERANGE },
	{ "64", BAD, -ERANGE }, { "big", BAD, -EINVAL },   { "", BAD, -EINVAL },
};

static const struct row rams[] = {
	{ "128M", 128ULL << 20, 0 },   { "4K", 4096, 0 },	    { "4096", 4096, 0 },
	{ "0", BAD, -ERANGE },	       { "0G", BAD, -ERANGE },	    { "128", BAD, -EINVAL },
	{ "4097", BAD, -EINVAL },      { "255T", 255ULL << 40, 0 }, { "256T", BAD, -ERANGE },
	{ "16777215T", BAD, -ERANGE }, { "big", BAD, -EINVAL },
};

static const struct row seconds[] = {
	{ "1", 1000000000, 0 },
	{ "0.5", 500000000, 0 },
	{ "0.000000001", 1, 0 },
	{ "12.25", 12250000000, 0 },
	{ "1000000000", 1000000000ULL * 1000000000, 0 },
	{ "0", BAD, -ERANGE },
	{ "0.0", BAD, -ERANGE },
	{ "1000000001", BAD, -ERANGE },
	{ "99999999999999999999999", BAD, -ERANGE },
	{ ".5", BAD, -EINVAL },
	{ "1.", BAD, -EINVAL },
	{ "1.0000000001", BAD, -EINVAL },
	{ "1s", BAD, -EINVAL },
	{ "-1", BAD, -EINVAL },
	{ "", BAD, -EINVAL },
};

static void check(const char *what, const struct row *row, unsigned int nr,
		  int (*parse)(const char *, uint64_t *, struct quire_error *))
{
	for (; nr--; row++) {
		struct quire_error err = { "" };
		uint64_t got = BAD;
		int ret = parse(row->text, &got, &err);

		ok(ret == row->ret && got == row->want, "%s '%s'", what, row->text);
		if (row->ret)
			ok(err.text[0] && !strchr(err.text, '\n') && strstr(err.text, row->text),
			   "%s '%s': one line that names it: %s", what, row->text, err.text);
	}
}

static int count_1_to_64(const char *text, uint64_t *value, struct quire_error *err)
{
	return parse_count(text, 1, 64, value, err);
}

static const struct row counts[] = {
	{ "1", 1, 0 },		{ "64", 64, 0 },	{ "007", 7, 0 },
	{ "0", BAD, -ERANGE },	{ "65", BAD, -ERANGE }, { "18446744073709551617", BAD, -ERANGE },
	{ "-1", BAD, -EINVAL }, { "1x", BAD, -EINVAL }, { "", BAD, -EINVAL },
};

static const struct row addresses[] = {
	{ "0x0", 0, 0 },
	{ "0xFFFFffff80001000", 0xffffffff80001000, 0 },
	{ "0X10", 16, 0 },
	{ "4096", 4096, 0 },
	{ "3G", 3ULL << 30, 0 },
	{ "0x", BAD, -EINVAL },
	{ "0xg", BAD, -EINVAL },
	{ "0x1 ", BAD, -EINVAL },
	{ "0x10000000000000000", BAD, -ERANGE },
	{ "ffff", BAD, -EINVAL },
	{ "-1", BAD, -EINVAL },
	{ "", BAD, -EINVAL },
};

static void ranges(void)
{
	static const struct {
		const char *text;
		uint64_t start, end; /* both BAD: refused */
	} row[] = {
		{ "0+4K", 0, 4096 },
		{ "0x1000-0x3000", 0x1000, 0x3000 },
		{ "1M+0x1000", 1 << 20, (1 << 20) + 0x1000 },
		{ "0xfffffffffffff000+4094", 0xfffffffffffff000, UINT64_MAX - 1 },
		{ "0xfffffffffffff000+4096", BAD, BAD },
		{ "5-5", BAD, BAD },
		{ "6-5", BAD, BAD },
		{ "5+0", BAD, BAD },
		{ "5", BAD, BAD },
		{ "5-", BAD, BAD },
		{ "+5", BAD, BAD },
		{ "1-2-3", BAD, BAD },
		{ "", BAD, BAD },
		{ "0x00000000000000000000000000000000000000000000000000000000000000000001+1", BAD,
		  BAD },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(row); i++) {
		struct quire_error err = { "" };
		uint64_t start = BAD, end = BAD;
		int ret = parse_range(row[i].text, &start, &end, &err);

		if (row[i].end == BAD)
			ok(ret < 0 && err.text[0], "range '%s' is refused: %s", row[i].text,
			   err.text);
		else
			ok(ret == 0 && start == row[i].start && end == row[i].end, "range '%s'",
			   row[i].text);
	}
}

static void choices(void)
{
	static const char *const words[] = { "auto", "on", "off" };
	struct quire_error err = { "" };
	unsigned int i = 9;

	ok(!parse_choice("off", words, 3, &i, &err) && i == 2, "a word's position is found");
	ok(parse_choice("o", words, 3, &i, &err) == -EINVAL, "a prefix is not the word");
	ok(!strcmp(err.text, "'o' is not known, use auto, on or off"), "the words are listed: %s",
	   err.text);
}

static void option_names(void)
{
	static const struct option options[] = { { "scale", required_argument, NULL, 's' }, { 0 } };
	struct quire_error err = { "" };
	uint64_t value;
	int code = parse_count("0", 1, 64, &value, &err);

	ok(code == -ERANGE && refused_value(options, 's', &err) == -EINVAL &&
		   !strcmp(err.text, "--scale: 0 is out of range, use 1 to 64"),
	   "a value that is refused is told with its option: %s", err.text);
	quire_fail(&err, -EINVAL, "'x' is not a size");
	refused_value(options, 'm', &err);
	ok(!strcmp(err.text, "-m: 'x' is not a size"), "... also where that is a letter: %s",
	   err.text);
}

int main(void)
{
	tap_init();
	check("size", sizes, ARRAY_SIZE(sizes), parse_size);
	check("ram", rams, ARRAY_SIZE(rams), parse_ram_size);
	check("machine", machines, ARRAY_SIZE(machines), parse_machine_size);
	check("seconds", seconds, ARRAY_SIZE(seconds), parse_seconds);
	check("count", counts, ARRAY_SIZE(counts), count_1_to_64);
	check("address", addresses, ARRAY_SIZE(addresses), parse_address);
	ranges();
	choices();
	option_names();
	return tap_done();
}
