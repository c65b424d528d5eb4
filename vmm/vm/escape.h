/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_ESCAPE_H
#define QUIRE_VMM_VM_ESCAPE_H

/*
 * The keys of a terminal that are quire's and not the guest's: Ctrl-A, and the key after it.  They
 * are QEMU's.
 */
#include <stdbool.h>
#include <stddef.h>

enum escape_action {
	ESCAPE_NONE,
	ESCAPE_QUIT,  /* x: end the guest */
	ESCAPE_BREAK, /* b: send a break */
	ESCAPE_WHERE, /* w: say where the vCPUs are */
	ESCAPE_HELP,  /* h, ?: say what there is */
};

/* Lines that name them. */
#define ESCAPE_HINT "Ctrl-A x ends the guest, Ctrl-A h shows more keys"
#define ESCAPE_USAGE \
	"Ctrl-A x ends the guest, Ctrl-A w says where it is, Ctrl-A b sends a break, " \
	"Ctrl-A Ctrl-A sends one Ctrl-A, Ctrl-A h shows this"

struct escape {
	bool begun; /* the last key was Ctrl-A */
};

/*
 * Go through keys[0, nr) up to the first action, or to the end.  *used becomes the number of keys
 * that are dealt with.  Those of them that are the guest's are moved to the front of `keys`;
 * returns how many they are.  They were typed before the action.
 */
size_t escape_keys(struct escape *e, char *keys, size_t nr, size_t *used,
		   enum escape_action *action);

#endif
