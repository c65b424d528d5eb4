/* SPDX-License-Identifier: MIT */
#include "libmicrohttpd.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>

#define LIBRARY "libmicrohttpd.so.12"

int libmicrohttpd_load(struct libmicrohttpd *lib, struct quire_error *err)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	bool whole = library != NULL;

#define LOAD(name) \
	lib->name = whole ? (__typeof__(lib->name))dlsym(library, #name) : NULL; \
	whole = whole && lib->name;

	LIBMICROHTTPD_CALLS(LOAD)
#undef LOAD
	if (whole)
		return 0;
	return quire_fail(err, -ENOENT, "cannot load " LIBRARY ": install libmicrohttpd12");
}
