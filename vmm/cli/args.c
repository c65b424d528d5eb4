/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "args.h"

int unknown_option(char **argv, struct quire_error *err)
{
	return quire_fail(err, -EINVAL,
			  "%s: unknown option, or its value is missing; see quire help %s",
			  argv[optind - 1], argv[0]);
}

static int refuse(const char *name, struct quire_error *err)
{
	const struct quire_error why = *err;

	return quire_fail(err, -EINVAL, "%s: %.240s", name, why.text);
}

static int take_value(const struct plain_option *o, struct quire_error *err)
{
	char name[32];
	int code = 0;

	if (o->flag)
		*o->flag = true;
	else if (o->word)
		*o->word = optarg;
	else if (o->count)
		code = parse_count(optarg, o->min, o->max, o->count, err);
	else
		code = o->read(optarg, o->value, err);
	snprintf(name, sizeof(name), "--%s", o->name);
	return code ? refuse(name, err) : 0;
}

int read_plain_options(int argc, char **argv, const struct plain_option *options, unsigned int nr,
		       struct quire_error *err)
{
	struct option longs[MAX_PLAIN_OPTIONS + 1] = { 0 };
	int i = 0;

	assert(nr <= MAX_PLAIN_OPTIONS);
	for (unsigned int o = 0; o < nr; o++)
		longs[o] = (struct option){
			.name = options[o].name,
			.has_arg = options[o].flag ? no_argument : required_argument,
		};
	opterr = 0;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "", longs, &i)) != -1;) {
		if (c)
			return unknown_option(argv, err);
		if (take_value(&options[i], err))
			return -EINVAL;
	}
	return 0;
}

const char *option_name(const struct option *options, int option, char *buf, size_t size)
{
	snprintf(buf, size, "-%c", option);
	for (const struct option *o = options; o->name; o++)
		if (o->val == option)
			snprintf(buf, size, "--%s", o->name);
	return buf;
}

int refused_value(const struct option *options, int option, struct quire_error *err)
{
	char name[32];

	return refuse(option_name(options, option, name, sizeof(name)), err);
}

const char *named_machine(const char *option)
{
	const char *variable = getenv("QUIRE_MACHINE");

	if (option)
		return option;
	return variable && *variable ? variable : NULL;
}

int named_address(const char *option, const char **address, struct quire_error *err)
{
	const char *named = named_machine(option);

	*address = NULL;
	if (option && !*option)
		return quire_fail(err, -EINVAL,
				  "--machine: no address; give @NAME or the path of a socket");
	if (option && !strcmp(option, MACHINE_OWN))
		return quire_fail(err, -EINVAL,
				  "--machine=" MACHINE_OWN " is for quire run; "
				  "give @NAME or the path of a socket");
	if (named && strcmp(named, MACHINE_OWN))
		*address = named;
	return 0;
}
