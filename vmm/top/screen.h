/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_SCREEN_H
#define QUIRE_VMM_TOP_SCREEN_H

/*
 * The terminal, by curses.  It is standard output and standard input.  While it is open, SIGINT,
 * SIGTERM, SIGHUP and SIGQUIT end no process but are noted, so that the terminal is put back.
 */
#include <quire/error.h>
#include "frame.h"

/* 0; -ENOTTY: this is no terminal, or one whose cursor cannot be moved. */
int screen_open(bool colour, struct quire_error *err);

/* Put the terminal back as it was. */
void screen_close(void);

void screen_size(unsigned int *rows, unsigned int *columns);

void screen_draw(const struct frame *f);

/* The next key, as enum model_key has it; 0: there is none now; -1: the terminal is gone. */
int screen_key(void);

/* The signal that came; 0: none did. */
int screen_signal(void);

#endif
