/* SPDX-License-Identifier: MIT */
/*
 * Which descriptors a child of the launcher keeps.  This is apart from the launcher's loop: readers
 * of images need it, and nothing else of the launcher.
 */
#include <limits.h>
#include <unistd.h>
#include "launch_impl.h"

void launch_close_all_but(int fd)
{
	if (fd > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned int)fd - 1, 0);
	close_range(fd > STDERR_FILENO ? (unsigned int)fd + 1 : STDERR_FILENO + 1, UINT_MAX, 0);
}
