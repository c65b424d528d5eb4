/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_WHERE_H
#define QUIRE_VMM_CLI_WHERE_H

/*
 * Places in a running guest: what a vCPU finds at virtual addresses, and which address a word
 * means.
 *
 * A kernel that placed itself at random (KASLR) is elsewhere than its symbols say.  Its slide is
 * found as crash(8) finds it: the vCPU's interrupt descriptor table names the handlers of #DE and
 * #PF, and the symbol file says where these were linked.  Both have to give the same slide, a
 * multiple of 2 MiB.  A file without these two symbols is no Linux kernel's: its slide is 0.
 */
#include <quire/error.h>
#include "vmm/look/ctl_client.h"
#include "symbols.h"

struct where {
	int fd;			 /* to the VM; borrowed */
	unsigned int cpu;	 /* through whose tables and registers */
	struct symbols *symbols; /* NULL: there are none */
	uint64_t slide;		 /* added to the addresses of symbols */
};

/*
 * Begin to look through vCPU cpu of the VM at fd, with the symbols of a file (NULL: none).
 * 0; or -errno with *err: as symbols_read() and the calls of ctl_client.h; -ENODATA: the vCPU does
 * not run the kernel of that file, or not yet.
 */
int where_begin(struct where *w, int fd, unsigned int cpu, const char *symbols_file,
		struct quire_error *err);

/* Frees the symbols; fd stays open. */
void where_end(struct where *w);

/*
 * The address that a word means: 0xHEX or a number; or NAME, NAME+OFFSET or NAME-OFFSET.
 * 0, or -EINVAL with *err.
 */
int where_is(const struct where *w, const char *word, gva_t *gva, struct quire_error *err);

/* "NAME+0xOFFSET" or "NAME" of an address, in a static buffer; NULL: no symbol is known there. */
const char *where_name(const struct where *w, gva_t gva);

/*
 * Walk as ctl_get_walk() does.  The VM waits only a moment for a vCPU to stop; this asks again for
 * two seconds.
 */
int where_walk(const struct where *w, gva_t gva, struct walk_access access, struct ctl_walked *out,
	       struct quire_error *err);

/*
 * Read up to `bytes` bytes at gva: what the vCPU finds there as supervisor, or else as user.
 * *done becomes how many there are: the first page that does not translate to RAM ends it.
 */
int where_read(const struct where *w, gva_t gva, void *buf, size_t bytes, size_t *done,
	       struct quire_error *err);

#endif
