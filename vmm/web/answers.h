/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_ANSWERS_H
#define QUIRE_VMM_WEB_ANSWERS_H

/* What rows answer (rows.h). */
#include <stdio.h>
#include "question.h"

/* What `quire stat --json` prints of this machine. */
unsigned int answer_stats(const struct web_question *q, FILE *f);

/* What `quire metrics` prints of it. */
unsigned int answer_metrics(const struct web_question *q, FILE *f);

/*
 * Which pages share a frame with ?gfn=N of ?vm=NAME, itself included: {"state", "owners": [{"name",
 * "pages"}]}.  Without owners if it is not shared.
 */
unsigned int answer_owners(const struct web_question *q, FILE *f);

/*
 * Do ?do=NAME to ?vm=NAME, which has ?pid=N: NAME is that of an action (act.h).  `balloon` also
 * takes ?size=SIZE|auto.
 */
unsigned int answer_act(const struct web_question *q, FILE *f);

#endif
