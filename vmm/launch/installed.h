/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_INSTALLED_H
#define QUIRE_VMM_LAUNCH_INSTALLED_H

/* What belongs to the program: what make install has put beside it. */
#include <stdbool.h>

/*
 * The path of an installed image.  For a plain name, without a slash, of which there is no file in
 * the working directory: ../lib/quire/NAME from the folder of the program that runs, which is
 * PREFIX/lib/quire/NAME.  malloc'd; NULL: the image is not one of these.
 */
char *installed_image(const char *name);

/*
 * The path of quill.elf, our own guest, that belongs to the program that runs: in its build folder,
 * or where make install puts it.  malloc'd; NULL: it is at neither place.
 */
char *installed_quill(void);

#endif
