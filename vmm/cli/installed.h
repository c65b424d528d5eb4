/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_INSTALLED_H
#define QUIRE_VMM_CLI_INSTALLED_H

/* What make install has put beside the program. */
#include <stdbool.h>

/*
 * The path of an installed image.  For a plain name, without a slash, of which there is no file in
 * the working directory: ../lib/quire/NAME from the folder of the program that runs, which is
 * PREFIX/lib/quire/NAME.  malloc'd; NULL: the image is not one of these.
 */
char *installed_image(const char *name);

#endif
