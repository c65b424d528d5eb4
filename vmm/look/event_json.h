/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_EVENT_JSON_H
#define QUIRE_VMM_LOOK_EVENT_JSON_H

/* The events of a machine as JSON: quire.event/1, which docs/metrics.md describes. */
#include <stdbool.h>
#include <stdio.h>
#include "mmu/base/machine_event.h"

/* Write one event as an object in a line of its own. */
void event_json(FILE *f, const struct machine_event *event);

/* Write a line that says that the events [from, to) are lost: the machine has them no longer. */
void event_json_lost(FILE *f, uint64_t from, uint64_t to);

/*
 * Is the event about the VM that this word means: its name, the NAME of several NAME-1, NAME-2 and
 * so on, or its pid?
 */
bool event_is_of(const struct machine_event *event, const char *vm);

#endif
