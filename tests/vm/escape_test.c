/* SPDX-License-Identifier: MIT */
/* The keys of a terminal that are quire's: Ctrl-A and what follows it, in pieces of any size. */
#include <string.h>
#include "vmm/vm/escape.h"
#include "tests/tap.h"

#define MARK "0XBWH" /* how an action is written in what a row wants */

static const struct {
	const char *typed, *want, *what;
} rows[] = {
	{ "ls\r", "ls\r", "other keys are the guest's" },
	{ "\x03\x1a\x1c", "\x03\x1a\x1c", "so are Ctrl-C, Ctrl-Z and Ctrl-\\" },
	{ "a\x01xb", "aXb", "Ctrl-A x ends the guest, and later keys are still keys" },
	{ "\x01"
	  "bh",
	  "Bh", "Ctrl-A b is a break, before the key that follows it" },
	{ "\x01wy", "Wy", "Ctrl-A w asks where the guest is" },
	{ "\x01h\x01?", "HH", "Ctrl-A h and Ctrl-A ? ask for help" },
	{ "\x01\x01x", "\x01x", "Ctrl-A Ctrl-A is one Ctrl-A" },
	{ "\x01"
	  "ax",
	  "\x01x", "Ctrl-A a too" },
	{ "\x01zx", "x", "Ctrl-A and a key without a meaning are nothing" },
	{ "\x01\x01\x01\x01", "\x01\x01", "four of them are two" },
};

/* What comes out of `typed` in pieces of this size: keys, and a mark for each action. */
static void filter(const char *typed, size_t piece, char *out)
{
	struct escape e = { .begun = false };
	size_t length = strlen(typed);

	for (size_t at = 0; at < length;) {
		size_t nr = length - at < piece ? length - at : piece, used;
		enum escape_action action;
		char keys[64];

		memcpy(keys, typed + at, nr);
		out += escape_keys(&e, memcpy(out, keys, nr), nr, &used, &action);
		if (action != ESCAPE_NONE)
			*out++ = MARK[action];
		at += used;
	}
	*out = '\0';
}

int main(void)
{
	char out[128];

	tap_init();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool right = true;

		for (size_t piece = 1; piece <= 8; piece++) {
			filter(rows[i].typed, piece, out);
			right = right && !strcmp(out, rows[i].want);
		}
		ok(right, "%s", rows[i].what);
	}
	return tap_done();
}
