/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_WALK_SHADOW_H
#define QUIRE_VMM_CLI_WALK_SHADOW_H

/*
 * Of a guest on shadow tables, what its processor walks: each entry, and what it stands for.  It
 * goes beside the 2D walk of the same moment, for the same access.
 */
#include <stdio.h>
#include "vmm/look/ctl_client.h"

struct json;

/* Print it as text, nothing if the guest is not on shadow tables. */
void walk_shadow_text(FILE *f, const struct ctl_walked *walked, struct walk_access access);

/* Write the member "shadow" of quire.walk/1, likewise; docs/stats.md describes it. */
void walk_shadow_json(struct json *json, const struct ctl_walked *walked,
		      struct walk_access access);

#endif
