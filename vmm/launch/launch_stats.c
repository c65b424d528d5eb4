/* SPDX-License-Identifier: MIT */
/*
 * --stats: the counters of all copies at the end.  Each VM leaves its counters, when it ends, in
 * memory that it shares with the launcher and with no other VM.  A VM that was killed leaves none.
 * Then there is only its last account with the machine.  The machine's own numbers are read when
 * the machine has heard of every VM's end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "mmu/base/wire.h"
#include "vmm/vm/vm_info.h"
#include "launch_impl.h"

/* Its size is sealed: a VM that made it shorter would end us by SIGBUS. */
static int make_file(void)
{
	int fd = memfd_create("quire-info", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, sizeof(struct vm_info)) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	close(fd);
	return -EIO;
}

int launch_stats_share(struct copy *c)
{
	int fd = make_file();
	void *p;

	launch_stats_unshare(c); /* those before its guest reset itself */
	if (fd < 0)
		return fd;
	p = mmap(NULL, sizeof(*c->info), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		close(fd);
		return -ENOMEM;
	}
	c->info = p;
	c->info_fd = fd;
	return 0;
}

void launch_stats_handed_over(struct copy *c)
{
	if (c->info_fd >= 0)
		close(c->info_fd);
	c->info_fd = -1;
}

void launch_stats_unshare(struct copy *c)
{
	if (c->info)
		munmap(c->info, sizeof(*c->info));
	c->info = NULL;
}

/* The address at which others find our machine. */
static const char *machine_address(const struct launch *l, char *buf, size_t bytes)
{
	if (l->machine_pid <= 0)
		return wire_address_name(l->config->machine, buf, bytes);
	snprintf(buf, bytes, LAUNCH_MACHINE_ADDRESS, geteuid(), l->machine_pid);
	return buf;
}

static enum launch_how how(const struct copy *c)
{
	if (c->refused)
		return LAUNCH_REFUSED;
	if (c->pid <= 0)
		return LAUNCH_NOT_STARTED;
	return c->signal ? LAUNCH_KILLED : LAUNCH_ENDED;
}

/* A VM may have left anything.  What the launcher knows itself it does not take from the VM. */
static const struct vm_info *counters(const struct launch *l, struct copy *c)
{
	struct vm_info *info = c->info;

	if (!info || !info->ram_bytes)
		return NULL;
	snprintf(info->name, sizeof(info->name), "%s", c->name);
	snprintf(info->domain, sizeof(info->domain), "%s", l->config->domain);
	info->pid = (uint32_t)c->pid;
	info->nr_vcpus = l->config->nr_vcpus;
	info->ram_bytes = l->config->ram_bytes;
	return info;
}

static struct launch_end end_of(const struct launch *l, struct copy *c, const char *machine)
{
	struct launch_end end = {
		.name = c->name,
		.how = how(c),
		.status = c->status,
		.pid = c->pid,
		.signal = c->signal,
		.overdue = c->killed,
		.info = counters(l, c),
	};

	if (c->gone) {
		end.machine = machine;
		end.id = c->vm;
		end.gone = &c->why;
	}
	if (c->refused) {
		end.refusal = &c->refusal;
		end.text = c->refused_text.text;
	}
	return end;
}

int launch_stats_write(struct launch *l)
{
	struct launch_end *end = calloc(l->nr, sizeof(*end));
	struct machine_state state;
	bool have_state = l->machine && !machine_client_get(l->machine, &state, NULL);
	char address[64];
	int ret;

	if (!end)
		return -ENOMEM;
	for (unsigned int i = 0; i < l->nr; i++)
		end[i] = end_of(l, &l->copy[i], machine_address(l, address, sizeof(address)));
	ret = l->config->write_stats(l->config->ctx, have_state ? &state : NULL, end, l->nr);
	free(end);
	return ret;
}
