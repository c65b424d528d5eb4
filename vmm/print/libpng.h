/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_LIBPNG_H
#define QUIRE_VMM_PRINT_LIBPNG_H

/*
 * libpng, loaded when an image is to be written.  Linked, it would cost every start of quire, and
 * of each VM's process, 0.15 ms: it brings two more libraries along.
 */
#include <png.h>
#include <quire/error.h>

#define LIBPNG_CALLS(X) \
	X(png_create_write_struct) \
	X(png_create_info_struct) \
	X(png_destroy_write_struct) \
	X(png_get_error_ptr) \
	X(png_init_io) \
	X(png_set_IHDR) \
	X(png_set_PLTE) \
	X(png_write_end) \
	X(png_write_info) \
	X(png_write_row)

#define LIBPNG_FIELD(name) __typeof__(&(name)) name;

struct libpng {
	LIBPNG_CALLS(LIBPNG_FIELD)
};

/* Fill in all of *lib.  0; -ENOENT with *err: there is no such library, or another version. */
int libpng_load(struct libpng *lib, struct quire_error *err);

#endif
