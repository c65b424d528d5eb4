/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MEMORY_FILES_H
#define QUIRE_TESTS_MEMORY_FILES_H

#include <stdint.h>

/*
 * A new file of `bytes` bytes, all holes, on a new tmpfs that is mounted nowhere, with this huge=
 * option, and with room for `room` bytes if that is not 0.  -1: no privilege to make one.
 */
int tmpfs_file(const char *huge, uint64_t room, uint64_t bytes);

/*
 * A segment of a store, all holes, as a machine makes it that may mount nothing: to write.  *for_vm
 * becomes a descriptor that a VM takes.  -1: it cannot be made.
 */
int segment_file(uint64_t bytes, int *for_vm);

#endif
