/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_PLACE_H
#define QUIRE_MMU_BASE_PLACE_H

/*
 * A directory below which a process goes on to use files when it has given up all others.  Whoever
 * has such a need says so with one of these; whoever sets up the sandbox makes it a rule.
 */
enum place_use {
	PLACE_READ, /* open files for reading */
	PLACE_TIDY, /* open directories, remove files */
	PLACE_KEEP, /* make files, open and remove them */
};

struct place {
	char path[112]; /* absolute; longer than that of a socket.  Empty: */
	int fd;		/* ... an open directory that has none */
	enum place_use use;
};

#endif
