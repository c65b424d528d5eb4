/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LISTING_H
#define QUIRE_VMM_LAUNCH_LISTING_H

/*
 * The last part of a crash report: the code around RIP, disassembled.
 *
 * Capstone takes 2 ms to load, which no VM and no command is to pay.  So it is loaded when a guest
 * has crashed, by a child of the launcher, because a VM in its sandbox can load nothing any more.
 * The child is then held to a table of its own: the bytes are the guest's.
 */
#include "vmm/vm/code.h"

/*
 * Print the code on standard error, which is a stream without a buffer.  Returns when that is done.
 * Code that makes no sense is not printed.
 */
void listing_print(const struct code *code);

#endif
