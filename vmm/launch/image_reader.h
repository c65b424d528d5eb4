/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_IMAGE_READER_H
#define QUIRE_VMM_LAUNCH_IMAGE_READER_H

/*
 * Images are read by a process that can do nothing else.
 *
 * The headers of an image are the first hostile bytes that quire looks at, and the launcher may be
 * root.  So a child looks at them: image_read().  It has a pipe, two system calls (write, and the
 * end), no environment and no capabilities.  What comes out of the pipe is numbers, which
 * image_plan() checks as if the guest had sent them.
 */
#include "vmm/boot/image.h"
#include "vmm/vm/sandbox.h"

/*
 * Have config's file read.  With SANDBOX_OFF this process does it itself.
 *
 * 0: *outline is what the reader says, or what somebody says who took it over.  -errno with *err:
 *   -EPERM   the mode is strict, and this host has no filters of system calls
 *   -ECHILD  the reader came to a bad end
 *   -EINTR   somebody killed it, with SIGKILL
 *   -ENOMEM  there is no process to be had
 */
int image_reader_run(const struct image_config *config, enum sandbox_mode mode,
		     struct image_outline *outline, struct quire_error *err);

#endif
