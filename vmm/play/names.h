/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_NAMES_H
#define QUIRE_VMM_PLAY_NAMES_H

/*
 * Which names an expression may use: those of quire.stats/1.  The list of them is an example, a
 * document of an invented machine and an invented VM that have every member.  So there is no second
 * list beside what `quire stat --json` prints.
 */
#include <jansson.h>

/* The example, with members `machine` and `vm`.  Free it with json_decref().  NULL: no memory. */
json_t *names_example(void);

#endif
