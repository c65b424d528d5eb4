/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_SHADOW_SHADOW_HISTORY_H
#define QUIRE_TESTS_SHADOW_SHADOW_HISTORY_H

/*
 * The history of the guest's tables, and of what processors flushed: each change and each flush has
 * a time of its own.  When there are too many, all processors flush, and all is forgotten.
 */
#include "shadow_lab.h"

/* All is as it is now, and all processors have flushed. */
void history_begin(void);

/* An entry of a table gets this value. */
void history_note(unsigned int page, unsigned int slot, uint64_t value);

/* Had this entry of a guest's table ever this value, A and D aside? */
bool history_had(gpa_t gpa, uint64_t value);

/* A number for each address that lab_gva() makes. */
unsigned int history_of_gva(gva_t gva);

/* Does a processor reach gpa there, by the frames that stage 2 has now? */
bool lab_reaches(gpa_t gpa, maddr_t maddr);

#endif
