/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_ARGS_H
#define QUIRE_VMM_CLI_ARGS_H

/*
 * The options of commands.  Their values are read by the functions of parse.h.
 */
#include <getopt.h>
#include <stddef.h>
#include <quire/error.h>
#include <quire/types.h>
#include "vmm/print/parse.h"

/* For a '?' of getopt_long(): -EINVAL, and *err has the option and the command that explains it. */
int unknown_option(char **argv, struct quire_error *err);

/* An option of a command, of one of four kinds; the other pointers are NULL. */
struct plain_option {
	const char *name;
	bool *flag;		   /* it is there or not */
	const char **word;	   /* its value is any word */
	uint64_t *count, min, max; /* its value is a count, as for parse_count() */
	/* Its value is read so, into `value`.  0 or as the functions of parse.h. */
	int (*read)(const char *text, void *value, struct quire_error *err);
	void *value;
};

/*
 * Read the options of a command that has none but such, nr of them; what is not given stays as it
 * is.  Its other words begin at argv[optind].  0, or -EINVAL as unknown_option() or
 * refused_value().
 */
#define MAX_PLAIN_OPTIONS 14u
int read_plain_options(int argc, char **argv, const struct plain_option *options, unsigned int nr,
		       struct quire_error *err);

/* How an option is written, "-m" or "--module", in buf.  option: what getopt_long() returned. */
const char *option_name(const struct option *options, int option, char *buf, size_t size);

/* An option's value was refused, as *err says: -EINVAL, and *err begins with the option's name. */
int refused_value(const struct option *options, int option, struct quire_error *err);

/* In place of an address: quire run starts a machine for itself, whatever other machines run. */
#define MACHINE_OWN "own"

/*
 * Which machine a command is about: `option`, the value of --machine, or else (NULL: not given)
 * the environment's QUIRE_MACHINE if that is set and not empty, or else NULL.
 */
const char *named_machine(const char *option);

/*
 * The same for commands that talk to a machine and cannot start one.  MACHINE_OWN in the
 * environment names none of the machines that run, so *address becomes NULL.
 * 0; -EINVAL: the option itself is MACHINE_OWN or empty.
 */
int named_address(const char *option, const char **address, struct quire_error *err);

#endif
