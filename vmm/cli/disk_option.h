/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_DISK_OPTION_H
#define QUIRE_VMM_CLI_DISK_OPTION_H

#include <quire/error.h>
#include "vmm/vm/vm.h"

/*
 * The value of --disk: FILE, then ",ro", ",overlay", ",overlay=DIR" or nothing.  *disk is zeroed.
 * Writes to text.  0 or -EINVAL with *err.
 */
int parse_disk(char *text, struct disk_spec *disk, struct quire_error *err);

#endif
