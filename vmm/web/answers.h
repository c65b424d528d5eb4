/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_ANSWERS_H
#define QUIRE_VMM_WEB_ANSWERS_H

/* What rows answer (rows.h). */
#include <stdio.h>
#include "question.h"

/* What `quire stat --json` prints of this machine. */
unsigned int answer_stats(const struct web_question *q, FILE *f);

#endif
