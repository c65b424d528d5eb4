/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include "locks.h"

static const char *const level_name[] = {
	[LOCK_PROCESS] = "LOCK_PROCESS",
	[LOCK_VM] = "LOCK_VM",
	[LOCK_TEXT] = "LOCK_TEXT",
	[LOCK_UART] = "LOCK_UART",
	[LOCK_KEEPER] = "LOCK_KEEPER",
	[LOCK_VIRTIO] = "LOCK_VIRTIO",
	[LOCK_VIRTIO_STATE] = "LOCK_VIRTIO_STATE",
	[LOCK_GMEM] = "LOCK_GMEM",
	[LOCK_SWAP] = "LOCK_SWAP",
	[LOCK_FLUSH] = "LOCK_FLUSH",
	[LOCK_CREDITS] = "LOCK_CREDITS",
	[LOCK_CONSOLE] = "LOCK_CONSOLE",
	[LOCK_TAIL] = "LOCK_TAIL",
};

_Thread_local unsigned int locks_held;

void lock_order_violation(enum lock_level level)
{
	enum lock_level held = LOCK_TAIL;

	while (!(locks_held >> held & 1))
		held--;
	fprintf(stderr, "quire: lock order: taking %s while holding %s\n", level_name[level],
		level_name[held]);
	abort();
}
