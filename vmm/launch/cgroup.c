/* SPDX-License-Identifier: MIT */
/*
 * clone3() puts the child into its cgroup at its birth.  To move a process later takes a lock of
 * all processes of the host, and on most kernels a grace period of RCU: milliseconds.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "cgroup.h"
#include "launch.h"

#define VM_PREFIX  "quire-vm-"
#define RUN_PREFIX "quire-run-"

/* ---- files of a cgroup ---- */

static bool get(int dir, const char *name, char *text, size_t bytes)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, bytes - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n >= 0;
}

static bool put(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	ssize_t len = (ssize_t)strlen(text), n;

	if (fd < 0)
		return false;
	n = write(fd, text, (size_t)len);
	close(fd);
	return n == len;
}

static bool put_number(int dir, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return put(dir, name, text);
}

/* Does a list of words have this one? */
static bool lists(int dir, const char *name, const char *word)
{
	char text[512], *rest, *at;

	if (!get(dir, name, text, sizeof(text)))
		return false;
	for (at = strtok_r(text, " \n", &rest); at; at = strtok_r(NULL, " \n", &rest))
		if (!strcmp(at, word))
			return true;
	return false;
}

/* ---- the home ---- */

/* "0::/PATH" is a line of /proc/self/cgroup.  A path with ".." is not below what we see. */
static int open_own(void)
{
	char text[4096], path[4200], *at;
	struct statfs fs;
	int fd;

	if (!get(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text)))
		return -1;
	at = !strncmp(text, "0::/", 4) ? text : strstr(text, "\n0::/");
	if (!at || strstr(at, "/.."))
		return -1;
	at = strchr(at, '/');
	at[strcspn(at, "\n")] = '\0';
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s", at);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (!fstatfs(fd, &fs) && fs.f_type == CGROUP2_SUPER_MAGIC))
		return fd;
	close(fd);
	return -1;
}

static bool is_alone(int dir)
{
	char text[64], own[24];

	snprintf(own, sizeof(own), "%d\n", (int)getpid());
	return get(dir, "cgroup.procs", text, sizeof(text)) && !strcmp(text, own);
}

static bool pass_on(int dir)
{
	if (!lists(dir, "cgroup.subtree_control", "memory") &&
	    !put(dir, "cgroup.subtree_control", "+memory"))
		return false;
	if (!lists(dir, "cgroup.subtree_control", "pids"))
		put(dir, "cgroup.subtree_control", "+pids"); /* it may not be available */
	return true;
}

static void name_child(const struct cgroup_home *h, char *name)
{
	snprintf(name, CGROUP_NAME_MAX, RUN_PREFIX "%s", h->label);
}

static void come_back(struct cgroup_home *h)
{
	char child[CGROUP_NAME_MAX];

	name_child(h, child);
	put(h->fd, "cgroup.subtree_control", "-memory");
	put(h->fd, "cgroup.subtree_control", "-pids");
	put(h->fd, "cgroup.procs", "0");
	unlinkat(h->fd, child, AT_REMOVEDIR);
	h->moved = false;
}

static bool move_into_child(struct cgroup_home *h)
{
	char child[CGROUP_NAME_MAX], procs[CGROUP_NAME_MAX + 16];

	name_child(h, child);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", child);
	if (!is_alone(h->fd) || mkdirat(h->fd, child, 0755))
		return false;
	h->moved = put(h->fd, procs, "0");
	if (h->moved && pass_on(h->fd))
		return true;
	come_back(h);
	return false;
}

/* A cgroup that has processes is not removed. */
static void sweep(int home)
{
	int copy = openat(home, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, VM_PREFIX, strlen(VM_PREFIX)) ||
		    !strncmp(entry->d_name, RUN_PREFIX, strlen(RUN_PREFIX)))
			unlinkat(home, entry->d_name, AT_REMOVEDIR);
	if (dir)
		closedir(dir);
	else if (copy >= 0)
		close(copy);
}

void cgroup_home_open(struct cgroup_home *h)
{
	*h = (struct cgroup_home){ .fd = open_own() };
	snprintf(h->label, sizeof(h->label), "%d-%" PRIx64, (int)getpid(), monotonic_ns());
	if (h->fd < 0)
		return;
	if (lists(h->fd, "cgroup.controllers", "memory") &&
	    (pass_on(h->fd) || move_into_child(h))) {
		sweep(h->fd);
		return;
	}
	close(h->fd);
	h->fd = -1;
}

void cgroup_home_close(struct cgroup_home *h)
{
	if (h->fd < 0)
		return;
	if (h->moved)
		come_back(h);
	close(h->fd);
	h->fd = -1;
}

/* ---- a VM's ---- */

struct cgroup_bounds cgroup_bounds_of(uint64_t ram_bytes, unsigned int nr_vcpus)
{
	const uint64_t slack = 48 * MiB, vcpu = MiB, table_share = 256;
	struct sysinfo host = { .mem_unit = 0 };
	uint64_t store;

	sysinfo(&host);
	store = (host.totalram + host.totalswap) * host.mem_unit;
	return (struct cgroup_bounds){
		.memory_bytes = ram_bytes + ram_bytes / 8 +
				launch_overhead_pages(ram_bytes, nr_vcpus) * QUIRE_PAGE_SIZE +
				nr_vcpus * vcpu + store / table_share + slack,
		.swap_bytes = ram_bytes,
		/* Also ours besides the vCPUs, KVM's, and io_uring's workers for disks. */
		.threads = nr_vcpus + 256,
	};
}

bool cgroup_charges(int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || fstatfs(fd, &fs))
		return false;
	return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC ||
	       fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

static void name_vm(const struct cgroup_home *h, unsigned int index, char *name)
{
	snprintf(name, CGROUP_NAME_MAX, VM_PREFIX "%s-%u", h->label, index);
}

/* A host without swap has no limit on swap, and not every host limits threads. */
static bool set_bounds(int cgroup, const struct cgroup_bounds *b)
{
	put_number(cgroup, "memory.swap.max", b->swap_bytes);
	put_number(cgroup, "pids.max", b->threads);
	put(cgroup, "memory.oom.group", "1");
	return put_number(cgroup, "memory.max", b->memory_bytes);
}

int cgroup_make(const struct cgroup_home *h, unsigned int index, const struct cgroup_bounds *b)
{
	char name[CGROUP_NAME_MAX];
	int cgroup;

	name_vm(h, index, name);
	if (mkdirat(h->fd, name, 0755) && errno != EEXIST)
		return -errno;
	cgroup = openat(h->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup < 0)
		return -errno;
	if (set_bounds(cgroup, b))
		return cgroup;
	close(cgroup);
	cgroup_remove(h, index);
	return -EPERM;
}

pid_t cgroup_fork(int cgroup)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP | CLONE_VFORK,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* memory.events.local: a line for each kind of event, with how many there were. */
static uint64_t count_events(const char *text, const char *kind)
{
	size_t len = strlen(kind);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, kind, len) && line[len] == ' ')
			return strtoull(line + len, NULL, 10);
	}
	return 0;
}

/* If a cgroup around it, or the host, is out of memory, it is killed, but "oom" stays 0. */
bool cgroup_was_exceeded(const struct cgroup_home *h, unsigned int index)
{
	char path[CGROUP_NAME_MAX + 32], text[512];
	int n;

	name_vm(h, index, path);
	n = (int)strlen(path);
	snprintf(path + n, sizeof(path) - (size_t)n, "/memory.events.local");
	return get(h->fd, path, text, sizeof(text)) && count_events(text, "oom") &&
	       count_events(text, "oom_kill");
}

void cgroup_remove(const struct cgroup_home *h, unsigned int index)
{
	char name[CGROUP_NAME_MAX];

	name_vm(h, index, name);
	unlinkat(h->fd, name, AT_REMOVEDIR);
}
