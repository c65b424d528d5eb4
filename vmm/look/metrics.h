/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_METRICS_H
#define QUIRE_VMM_LOOK_METRICS_H

/*
 * The numbers of quire.stats/1 as metrics for Prometheus and what reads the same text.
 *
 * There is no second set of numbers: what writes the document of `quire stat --json` is listened
 * to, and each of its members becomes a sample of the metric that metrics_table[] names.
 * docs/metrics.md lists them all.  Prometheus wants base units, so a value is converted by the end
 * of the member's name: pages become bytes, nanoseconds seconds, and percent a ratio.
 *
 * Sources: OpenMetrics 1.0.0 (prometheus/OpenMetrics, specification/OpenMetrics.md), and the text
 * format 0.0.4 of Prometheus ("Exposition formats").
 */
#include <stdio.h>
#include <quire/error.h>

struct look;

enum metrics_form {
	METRICS_OPENMETRICS, /* OpenMetrics 1.0.0, which ends in "# EOF" */
	METRICS_TEXT,	     /* text format 0.0.4, for scrapers that do not know the other */
};

/* The form that an HTTP header `Accept` asks for; NULL: there was none. */
enum metrics_form metrics_form_accepted(const char *accept);

/* The Content-Type of a form. */
const char *metrics_content_type(enum metrics_form form);

/*
 * Write what *look saw.  0; -EIO: f could not be written; -ENOMEM; with *err, which may be NULL.
 */
int metrics_write(FILE *f, enum metrics_form form, const struct look *look,
		  struct quire_error *err);

#endif
