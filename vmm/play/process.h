/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_PROCESS_H
#define QUIRE_VMM_PLAY_PROCESS_H

/*
 * Commands of quire's, executed as a user would do it.  Each has a group of its own, so that Ctrl-C
 * reaches us alone, and dies with us, however we end (PR_SET_PDEATHSIG).
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define WORDS_MAX 192

struct words {
	char *word[WORDS_MAX];
	unsigned int nr;
	char text[16384];
	size_t used;
	bool lost; /* one did not fit */
};

/* Add a word.  If one does not fit, there is no command: -E2BIG. */
__attribute__((format(printf, 2, 3))) void words_add(struct words *w, const char *fmt, ...);

/* Start `quire WORDS` on these descriptors.  Its process id, or -errno. */
pid_t process_start(const struct words *words, int input, int output, int errors);

/* What waitpid() gave, as the exit status, or 128 and the signal. */
int process_status(int status);

/* Wait until a process that was asked to end has done so; its status.  At last it is killed. */
int process_see_off(pid_t pid);

#endif
