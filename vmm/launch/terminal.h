/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_TERMINAL_H
#define QUIRE_VMM_LAUNCH_TERMINAL_H

/*
 * The terminal on which a lone guest runs.  The launcher sets its mode and puts it back: the VM
 * process only reads and writes it.  So the terminal is as it was whatever ends the VM.
 *
 * All this does nothing if standard input is no terminal, or if another job has it: the kernel
 * stops a background job that touches its terminal.
 */
#include <stdbool.h>
#include <stdint.h>

/*
 * Remember how the terminal is, and hand over its keys one by one, without echo.  raw: all of them;
 * otherwise Ctrl-C, Ctrl-Z and their like still make signals.  If this process crashes, the
 * terminal is put back.  False: there is none to be taken.
 */
bool terminal_take(bool raw);

/* Set the mode of terminal_take() again, after the process was stopped: a shell sets its own. */
void terminal_retake(void);

/* Put the terminal back as it was when it was taken. */
void terminal_give_back(void);

/* How large it is now.  False: it was not taken, or does not know. */
bool terminal_size(uint16_t *columns, uint16_t *rows);

#endif
