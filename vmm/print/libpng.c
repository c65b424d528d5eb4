/* SPDX-License-Identifier: MIT */
#include "libpng.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>

#define TEXT_OF(x) #x
#define NAME_OF(x) "libpng" TEXT_OF(x) ".so." TEXT_OF(x)

int libpng_load(struct libpng *lib, struct quire_error *err)
{
	void *library = dlopen(NAME_OF(PNG_LIBPNG_VER_SONUM), RTLD_NOW | RTLD_LOCAL);
	bool whole = library != NULL;

#define LOAD(name) \
	lib->name = whole ? (__typeof__(lib->name))dlsym(library, #name) : NULL; \
	whole = whole && lib->name;

	LIBPNG_CALLS(LOAD)
#undef LOAD
	if (whole)
		return 0;
	return quire_fail(err, -ENOENT,
			  "cannot load " NAME_OF(PNG_LIBPNG_VER_SONUM) ": install libpng");
}
