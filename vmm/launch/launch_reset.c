/* SPDX-License-Identifier: MIT */
/*
 * Guests that reset themselves.
 *
 * A guest that is reset gets a new process: its old one ends, says on its leash why, and the copy
 * waits to be started again, as it did at first.  It keeps its place, its name and its --timeout.
 *
 * The other way would be to set everything back inside the process: RAM, virtio devices, balloon,
 * keeper, KVM's interrupt controllers, each in its own way and at its own risk.  The end of a
 * process does all of that, and the books of the machine are exact because nothing is special: what
 * the old one held has come back before the new one is promised anything.  The price is a start,
 * some milliseconds.  The image costs nothing: the launcher has it anyway, for all copies and once.
 *
 * A VM that was taken over can say that it was reset, too.  It gains what its guest could have by
 * itself, and --max-reboots bounds both.
 *
 * Disks are no part of the process: the launcher has the image, locked, and the file of an overlay
 * (disk.h), and hands them to each process of the copy.  It looks at nothing in there.
 *
 * A restart is a promise to be made again.  If others were promised the room meanwhile, the machine
 * refuses it as it would any guest.
 */
#include <quire/abi.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "launch_impl.h"

int copy_open_deltas(const struct launch *l, struct copy *c)
{
	for (unsigned int i = 0; i < l->config->nr_disks; i++) {
		const struct disk_spec *spec = l->config->disk[i].spec;

		if (spec->mode != DISK_OVERLAY || c->delta_fd[i] >= 0)
			continue;
		c->delta_fd[i] = disk_make_delta(spec);
		if (c->delta_fd[i] < 0)
			return c->delta_fd[i];
	}
	return 0;
}

/*
 * A process that ended by itself has nothing in flight, but its ring may have the image for a
 * moment longer.  One that was killed has it, and so the lock, until its last write is done.
 */
void copy_leave_disks(const struct launch *l, struct copy *c)
{
	for (unsigned int i = 0; i < l->config->nr_disks; i++) {
		const struct launch_disk *disk = &l->config->disk[i];

		if (disk->spec->mode == DISK_READ_WRITE && !c->signal && !c->killed)
			disk_unlock(disk->image);
		if (c->delta_fd[i] >= 0)
			close(c->delta_fd[i]);
		c->delta_fd[i] = -1;
	}
}

bool copy_wants_restart(const struct launch *l, const struct copy *c)
{
	return c->reset && !c->signal && !c->status && !l->stop_status;
}

/* The status of a copy that is not started again, with a line that says why. */
static int enough(const struct launch *l, const struct copy *c)
{
	if (c->timeout_ns && monotonic_ns() >= c->timeout_ns) {
		launch_say(l, c, "timeout: the guest still ran after %g s",
			   (double)l->config->timeout_ns / 1e9);
		return QUIRE_STATUS_TIMEOUT;
	}
	if (l->config->no_reboot) {
		launch_say(l, c, "the guest reset itself, which --no-reboot makes its end");
		return 0;
	}
	if (c->reboots < l->config->max_reboots)
		return -1;
	launch_say(l, c, "the guest reset itself %u times; --max-reboots=%u allows no more",
		   c->reboots + 1, l->config->max_reboots);
	return QUIRE_STATUS_CRASH;
}

int copy_restart(struct launch *l, struct copy *c)
{
	int status = enough(l, c);

	if (status >= 0)
		return status;
	c->state = COPY_WAITING;
	c->reboots++;
	c->reset = false;
	c->lost = false;
	c->gone = false;
	c->listed = false;
	c->era = 0;
	l->restarts++;
	return -1;
}

/* The old process's output has to be out, or the new one would write into the middle of it. */
static bool is_ready(const struct copy *c)
{
	return c->state == COPY_WAITING && c->output < 0 && lines_empty(&c->lines);
}

struct copy *launch_waiting(const struct launch *l)
{
	for (unsigned int i = 0; l->restarts && i < l->next; i++)
		if (is_ready(&l->copy[i]))
			return &l->copy[i];
	return l->next < l->nr ? &l->copy[l->next] : NULL;
}

void launch_started(struct launch *l, const struct copy *c)
{
	if (c->reboots)
		l->restarts--;
	else
		l->next++;
}

void launch_stop_waiting(struct launch *l)
{
	for (unsigned int i = 0; i < l->nr; i++)
		if (l->copy[i].state == COPY_WAITING)
			l->copy[i].state = COPY_DONE;
	l->next = l->nr;
	l->restarts = 0;
}
