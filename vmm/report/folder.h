/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_REPORT_FOLDER_H
#define QUIRE_VMM_REPORT_FOLDER_H

/* The report of one scenario: files in a folder. */
#include <jansson.h>
#include <quire/error.h>

/*
 * Make the folder if need be, and see that it can be written.  Call it before the scenario starts:
 * nobody wants to hear of it afterwards.  A result.json and pictures of maps that are there from
 * before are removed, so that they are not taken for this one's.  0; -errno with *err.
 */
int folder_prepare(const char *dir, struct quire_error *err);

/*
 * Write result.json, index.html, an SVG for each chart and for each map; files of these names are
 * written over.  0; -errno with *err: some are written, result.json first.
 */
int folder_write(const char *dir, const json_t *result, struct quire_error *err);

#endif
