/* SPDX-License-Identifier: MIT */
#include "answers.h"
#include "vmm/look/look.h"

unsigned int answer_stats(const struct web_question *q, FILE *f)
{
	struct quire_error err;
	struct look look;
	int code = look_take(&look, q->machine, NULL, &err);

	if (code) {
		fprintf(f, "%s\n", err.text);
		return 503;
	}
	code = look_document(f, &look.roster, look.machine);
	look_finish(&look);
	return code ? 503 : 200;
}
