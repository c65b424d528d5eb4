/* SPDX-License-Identifier: MIT */
/*
 * The wait port: how a guest that only polls gives its processor back while it has nothing to do.
 *
 * A 32-bit write of N returns after N microseconds, or earlier at a cue: a device did
 * something that the guest may want to look at, or this process wants the vCPU's thread.  abi.h has
 * the guest's side.
 *
 * No cue is lost between a guest's last look and its wait, because cues are a count and not an
 * event: a vCPU waits only while the count is what it was when its last wait ended.  The count is a
 * futex, so wait_port_tell() needs no lock: devices call it while they hold their own.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <quire/abi.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "bus.h"

/* The count when the last wait of this thread's vCPU ended. */
static _Thread_local unsigned int seen;

void wait_port_tell(struct wait_port *port)
{
	atomic_fetch_add(&port->cues, 1);
	if (atomic_load(&port->waiting))
		syscall(SYS_futex, &port->cues, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/*
 * The wait ends with the system call: when the time is over, at a cue, or at a signal.
 * Guests look at the clock and wait again.
 */
void wait_port_wait(struct wait_port *port, uint32_t us)
{
	struct timespec time = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L };
	const struct timespec *limit = us == QUIRE_WAIT_FOREVER ? NULL : &time;

	atomic_fetch_add(&port->waiting, 1);
	syscall(SYS_futex, &port->cues, FUTEX_WAIT_PRIVATE, seen, limit, NULL, 0);
	atomic_fetch_sub(&port->waiting, 1);
	seen = atomic_load(&port->cues);
}

/* A narrower write asks for nothing, and neither does any but the first of a burst. */
static void wait_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	uint32_t us;

	(void)count;
	if (offset || width != sizeof(us))
		return;
	memcpy(&us, data, sizeof(us));
	wait_port_wait(ctx, us);
}

int wait_port_add(struct bus *ports, struct wait_port *port)
{
	struct device device = {
		.name = "wait",
		.base = QUIRE_WAIT_PORT,
		.bytes = 4,
		.max_width = 4,
		.write = wait_write,
		.ctx = port,
	};

	return bus_add(ports, &device);
}
