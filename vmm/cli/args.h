/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_ARGS_H
#define QUIRE_VMM_CLI_ARGS_H

/*
 * Reading what people type.  Each parse function takes a whole string and accepts exactly what is
 * said here: no blanks, no sign, nothing left over.  It returns 0; or -EINVAL or -ERANGE, with a
 * line in *err that has the text and says what would do.
 */
#include <getopt.h>
#include <stddef.h>
#include <quire/error.h>
#include <quire/types.h>

/* Guest RAM must leave room for the hole below 4 GiB in 48 bits of physical address. */
#define ARGS_MAX_RAM ((1ULL << 48) - GiB)

#define ARGS_MIN_MACHINE (4 * MiB)

/* For a '?' of getopt_long(): -EINVAL, and *err has the option and the command that explains it. */
int unknown_option(char **argv, struct quire_error *err);

/* An option of a command, of one of four kinds; the other pointers are NULL. */
struct plain_option {
	const char *name;
	bool *flag;		   /* it is there or not */
	const char **word;	   /* its value is any word */
	uint64_t *count, min, max; /* its value is a count, as for parse_count() */
	/* Its value is read so, into `value`.  0 or as the parse functions below. */
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

/* A count: decimal digits, from min to max. */
int parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *value,
		struct quire_error *err);

/* A size: decimal digits, and at most one of K, M, G, T in either case, powers of 1024. */
int parse_size(const char *text, uint64_t *bytes, struct quire_error *err);

/* A size fit for guest RAM: not 0, a multiple of 4 KiB, at most ARGS_MAX_RAM. */
int parse_ram_size(const char *text, uint64_t *bytes, struct quire_error *err);

/* A size fit for a machine: at least ARGS_MIN_MACHINE, what the smallest guest takes. */
int parse_machine_size(const char *text, uint64_t *bytes, struct quire_error *err);

/* Seconds: more than 0, at most 10^9, with at most nine decimals, as in "0.25". */
int parse_seconds(const char *text, uint64_t *ns, struct quire_error *err);

/*
 * One of nr words, as in --irqchip=auto|on|off.  *index becomes its position in words.  The line in
 * *err lists the words.
 */
int parse_choice(const char *text, const char *const *words, unsigned int nr, unsigned int *index,
		 struct quire_error *err);

/* An address: 0x and hex digits, or what parse_size takes. */
int parse_address(const char *text, uint64_t *address, struct quire_error *err);

/* The number of a page: 0x and hex digits, or a count. */
int parse_gfn(const char *text, gfn_t *gfn, struct quire_error *err);

/* A range of addresses that is not empty: START+LENGTH or START-END, each an address. */
int parse_range(const char *text, uint64_t *start, uint64_t *end, struct quire_error *err);

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
