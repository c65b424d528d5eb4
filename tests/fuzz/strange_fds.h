/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_FUZZ_STRANGE_FDS_H
#define QUIRE_TESTS_FUZZ_STRANGE_FDS_H

/*
 * Descriptors of every kind that nobody expects: what a process that was taken over could hand to
 * others.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STRANGE_BYTES (1UL << 20) /* the size of files with contents */

/* A descriptor of this kind, any number; the caller does not close it.  -1: this host has none. */
int strange_fd(unsigned int which);

/* One of the kinds is a file on tmpfs, open for reading, whose size changes: set it. */
void strange_resize(uint64_t bytes);

/*
 * Send a packet with up to 8 descriptors, whose kinds are the bytes of `kinds`.  What the socket
 * does not take is lost.
 */
void strange_send(int fd, const void *packet, size_t bytes, unsigned int nr, uint64_t kinds);

/* The descriptors that this process has open. */
unsigned int strange_count(void);

#endif
