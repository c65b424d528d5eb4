/* SPDX-License-Identifier: MIT */
/*
 * The table of privileges, and how each is read from the kernel: see privileges.h.
 *
 * A new one is a row.  If a piece of the sandbox takes the privilege away, the row names the piece
 * and the text that it leaves.  A piece may have several rows, and all of them have to agree.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <quire/types.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "privileges.h"
#include "vmm/look/process.h"

#define FILE_TEXT 16384

static void put(char *text, const char *value)
{
	snprintf(text, PRIVILEGE_TEXT, "%s", value);
}

static const char *status_of(pid_t pid)
{
	static char status[FILE_TEXT];

	process_file(pid, "status", status, sizeof(status));
	return status;
}

/* ---- who it is ---- */

/* Four ids: real, effective, saved, of the file system.  One, if they are the same. */
static void read_ids(pid_t pid, const char *label, char *text)
{
	char value[PRIVILEGE_TEXT], id[4][16];

	process_field(status_of(pid), label, value, sizeof(value));
	if (sscanf(value, "%15s %15s %15s %15s", id[0], id[1], id[2], id[3]) != 4)
		return;
	for (unsigned int i = 1; i < 4; i++)
		if (strcmp(id[0], id[i]) != 0) {
			snprintf(text, PRIVILEGE_TEXT, "%s/%s/%s/%s", id[0], id[1], id[2], id[3]);
			return;
		}
	put(text, id[0]);
}

static void read_field(pid_t pid, const char *label, char *text)
{
	char value[PRIVILEGE_TEXT];

	if (process_field(status_of(pid), label, value, sizeof(value)))
		put(text, value[0] ? value : "none");
}

static void read_flag(pid_t pid, const char *label, char *text)
{
	char value[PRIVILEGE_TEXT];

	if (process_field(status_of(pid), label, value, sizeof(value)))
		put(text, strcmp(value, "0") ? "yes" : "no");
}

/* Which ids its user namespace has: "0 is 1000", or all of them. */
static void read_id_map(pid_t pid, const char *name, char *text)
{
	char map[FILE_TEXT];
	unsigned int inside, outside, nr;

	if (!process_file(pid, name, map, sizeof(map)))
		return;
	if (sscanf(map, "%u %u %u", &inside, &outside, &nr) != 3)
		put(text, "none");
	else if (nr == UINT32_MAX)
		put(text, "all");
	else if (nr == 1 && strchr(map, '\n') == strrchr(map, '\n'))
		snprintf(text, PRIVILEGE_TEXT, "%u is %u", inside, outside);
	else
		put(text, "several");
}

/* ---- what it may do ---- */

static uint64_t all_capabilities(void)
{
	static uint64_t all;
	char last[16] = "";
	FILE *f = all ? NULL : fopen("/proc/sys/kernel/cap_last_cap", "re");

	if (f) {
		if (fgets(last, sizeof(last), f))
			all = (2ULL << atoi(last)) - 1;
		fclose(f);
	}
	return all;
}

static bool add_set(pid_t pid, const char *label, uint64_t *set)
{
	char value[PRIVILEGE_TEXT];

	if (!process_field(status_of(pid), label, value, sizeof(value)))
		return false;
	*set |= strtoull(value, NULL, 16);
	return true;
}

static void put_set(char *text, uint64_t set)
{
	if (!set)
		put(text, "none");
	else if (set == all_capabilities())
		put(text, "all");
	else
		snprintf(text, PRIVILEGE_TEXT, "%d: 0x%" PRIx64, __builtin_popcountll(set), set);
}

/* Those in any set, but for the bounding set, which is no privilege by itself. */
static void read_capabilities(pid_t pid, const char *arg, char *text)
{
	uint64_t set = 0;

	(void)arg;
	if (add_set(pid, "CapEff:", &set) && add_set(pid, "CapPrm:", &set) &&
	    add_set(pid, "CapInh:", &set) && add_set(pid, "CapAmb:", &set))
		put_set(text, set);
}

static void read_bounding_set(pid_t pid, const char *label, char *text)
{
	uint64_t set = 0;

	if (add_set(pid, label, &set))
		put_set(text, set);
}

/* A thread of the kernel's own, as KVM makes them in a VM process, has PF_USER_WORKER. */
static bool is_kernels(const char *stat)
{
	const char *rest = strrchr(stat, ')');
	unsigned long flags;

	return rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %lu", &flags) == 1 && flags & 0x4000;
}

static int by_tid(const void *a, const void *b)
{
	return ((const struct privileged_thread *)a)->tid -
	       ((const struct privileged_thread *)b)->tid;
}

static bool read_thread(pid_t pid, pid_t tid, struct privileged_thread *thread)
{
	char name[64], text[FILE_TEXT], value[32];

	*thread = (struct privileged_thread){ .tid = tid };
	snprintf(name, sizeof(name), "task/%d/stat", (int)tid);
	if (!process_file(pid, name, text, sizeof(text)))
		return false;
	thread->is_kernels = is_kernels(text);
	snprintf(name, sizeof(name), "task/%d/status", (int)tid);
	if (!process_file(pid, name, text, sizeof(text)))
		return false;
	process_field(text, "Name:", thread->name, sizeof(thread->name));
	process_field(text, "Seccomp:", value, sizeof(value));
	thread->filtered = !strcmp(value, "2");
	process_field(text, "Seccomp_filters:", value, sizeof(value));
	thread->nr_filters = (unsigned int)atoi(value);
	return true;
}

unsigned int privileged_threads(pid_t pid, struct privileged_thread *threads, unsigned int max)
{
	char path[32];
	struct dirent *entry;
	unsigned int nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && nr < max && (entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			nr += read_thread(pid, atoi(entry->d_name), &threads[nr]);
	if (dir)
		closedir(dir);
	qsort(threads, nr, sizeof(*threads), by_tid);
	return nr;
}

static void read_filter(pid_t pid, const char *arg, char *text)
{
	static struct privileged_thread threads[PRIVILEGED_MAX_THREADS];
	unsigned int nr = privileged_threads(pid, threads, PRIVILEGED_MAX_THREADS);
	unsigned int filtered = 0, own = 0;

	(void)arg;
	for (unsigned int i = 0; i < nr; i++) {
		own += !threads[i].is_kernels;
		filtered += !threads[i].is_kernels && threads[i].filtered;
	}
	if (!own)
		return;
	if (filtered && filtered < own)
		snprintf(text, PRIVILEGE_TEXT, "%u of %u threads", filtered, own);
	else
		put(text, filtered ? "every thread" : "none");
}

/*
 * What a process that is not dumpable has in /proc belongs to root.  That cannot be told for a
 * process that is root.
 */
static void read_dumpable(pid_t pid, const char *name, char *text)
{
	struct stat folder, file;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (stat(path, &folder))
		return;
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	if (!stat(path, &file) && folder.st_uid)
		put(text, file.st_uid == folder.st_uid ? "yes" : "no");
}

/* ---- what it can reach ---- */

/* Its own namespace, or that of whoever asks? */
static void read_namespace(pid_t pid, const char *name, char *text)
{
	char path[64], theirs[64] = "", ours[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	if (readlink(path, theirs, sizeof(theirs) - 1) <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/%s", name);
	if (readlink(path, ours, sizeof(ours) - 1) > 0)
		put(text, strcmp(theirs, ours) ? "own" : "the host's");
}

/* Files and folders in a folder of /proc/PID; -1: it may not be read. */
static int count_entries(pid_t pid, const char *name)
{
	char path[64];
	struct dirent *entry;
	int nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		nr += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
	closedir(dir);
	return nr;
}

static bool is_same_folder(pid_t pid, const char *name, const char *ours)
{
	struct stat a, b;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return !stat(path, &a) && !stat(ours, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* A line of mountinfo: number, parent, device, root, mount point, options. */
static void read_root(pid_t pid, const char *name, char *text)
{
	char mounts[FILE_TEXT], point[64], options[64];
	int entries = count_entries(pid, name);
	bool one;

	if (entries < 0 || !process_file(pid, "mountinfo", mounts, sizeof(mounts)) ||
	    sscanf(mounts, "%*s %*s %*s %*s %63s %63s", point, options) != 2)
		return;
	one = strchr(mounts, '\n') == strrchr(mounts, '\n');
	if (one && !entries && !strcmp(point, "/") && !strncmp(options, "ro", 2))
		put(text, "empty, read-only");
	else
		put(text, is_same_folder(pid, name, "/") ? "the host's" : "another");
}

static void read_count(pid_t pid, const char *name, char *text)
{
	int nr = count_entries(pid, name);

	if (nr >= 0)
		snprintf(text, PRIVILEGE_TEXT, "%d", nr);
}

/* What it was executed with, less what it has wiped since. */
static void read_environment(pid_t pid, const char *name, char *text)
{
	char environment[FILE_TEXT];
	unsigned int nr = 0;

	if (!process_file(pid, name, environment, sizeof(environment)))
		return;
	for (const char *p = environment; *p; p++)
		nr += *p == '\n' && p > environment && p[-1] != '\n';
	if (nr)
		snprintf(text, PRIVILEGE_TEXT, "%u variables", nr);
	else
		put(text, "none");
}

/* ---- how much it may use ---- */

/* Soft and hard, or one if they are the same. */
static void read_limit(pid_t pid, const char *label, char *text)
{
	char limits[FILE_TEXT], value[PRIVILEGE_TEXT], soft[32], hard[32];

	process_file(pid, "limits", limits, sizeof(limits));
	process_field(limits, label, value, sizeof(value));
	if (sscanf(value, "%31s %31s", soft, hard) != 2)
		return;
	if (strcmp(soft, hard) != 0)
		snprintf(text, PRIVILEGE_TEXT, "%s/%s", soft, hard);
	else
		put(text, soft);
}

/* The cgroup that has the memory controller: of version 1 if it is there, else of version 2. */
static bool memory_cgroup(pid_t pid, const char **root, char *path, size_t bytes)
{
	char groups[FILE_TEXT], *line;

	process_file(pid, "cgroup", groups, sizeof(groups));
	line = strstr(groups, ":memory:");
	*root = line ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
	return process_field(line ? line : groups, line ? ":memory:" : "0::", path, bytes);
}

static void read_cgroup(pid_t pid, const char *arg, char *text)
{
	char path[PRIVILEGE_TEXT];
	const char *root;

	(void)arg;
	if (memory_cgroup(pid, &root, path, sizeof(path)))
		put(text, path);
}

static void read_cgroup_limit(pid_t pid, const char *name, char *text)
{
	char cgroup[PRIVILEGE_TEXT], path[2 * PRIVILEGE_TEXT], value[32] = "";
	const char *root;
	FILE *f;

	if (!memory_cgroup(pid, &root, cgroup, sizeof(cgroup)))
		return;
	snprintf(path, sizeof(path), "%s%s/%s", root, cgroup,
		 strcmp(root, "/sys/fs/cgroup") ? "memory.limit_in_bytes" : name);
	f = fopen(path, "re");
	if (f && fgets(value, sizeof(value), f))
		value[strcspn(value, "\n")] = '\0';
	if (f)
		fclose(f);
	/* The root of version 2 has no such file, and version 1 calls no limit a large number. */
	put(text, strlen(value) && strcmp(value, "max") && strlen(value) < 19 ? value : "none");
}

/* ---- the table ---- */

#define SHOWN(key_, read_, arg_) \
	{ \
		.key = (key_), .read = (read_), .arg = (arg_) \
	}
#define TAKEN(key_, read_, arg_, given_up_, piece_) \
	{ \
		.key = (key_), .read = (read_), .arg = (arg_), .given_up = (given_up_), \
		.piece = (piece_) \
	}

/* clang-format off */
const struct privilege privileges[] = {
	SHOWN("uid",		     read_ids,		"Uid:"),
	SHOWN("gid",		     read_ids,		"Gid:"),
	SHOWN("groups",		     read_field,	"Groups:"),
	SHOWN("uid_map",	     read_id_map,	"uid_map"),
	SHOWN("environment",	     read_environment,	"environ"),
	SHOWN("descriptors",	     read_count,	"fd"),
	TAKEN("capabilities",	     read_capabilities,	NULL,	      "none", SANDBOX_NO_CAPS),
	TAKEN("bounding_set",	     read_bounding_set,	"CapBnd:",    "none", SANDBOX_NO_CAPS),
	TAKEN("no_new_privileges",   read_flag,		"NoNewPrivs:", "yes", SANDBOX_NO_NEW_PRIVS),
	TAKEN("dumpable",	     read_dumpable,	"status",     "no",   SANDBOX_NO_DUMP),
	TAKEN("user_namespace",	     read_namespace,	"ns/user",    "own",  SANDBOX_USER_NS),
	TAKEN("mount_namespace",     read_namespace,	"ns/mnt",     "own",  SANDBOX_MOUNT_NS),
	TAKEN("ipc_namespace",	     read_namespace,	"ns/ipc",     "own",  SANDBOX_IPC_NS),
	TAKEN("uts_namespace",	     read_namespace,	"ns/uts",     "own",  SANDBOX_UTS_NS),
	TAKEN("net_namespace",	     read_namespace,	"ns/net",     "own",  SANDBOX_NET_NS),
	SHOWN("pid_namespace",	     read_namespace,	"ns/pid"),
	TAKEN("root",		     read_root,		"root/", "empty, read-only",
	      SANDBOX_EMPTY_ROOT),
	TAKEN("filter",		     read_filter,	NULL, "every thread", SANDBOX_SECCOMP),
	TAKEN("core_limit",	     read_limit, "Max core file size",	"0",  SANDBOX_NO_CORE),
	SHOWN("descriptor_limit",    read_limit,	"Max open files"),
	SHOWN("file_size_limit",     read_limit,	"Max file size"),
	TAKEN("data_limit",	     read_limit, "Max data size",     "!unlimited", SANDBOX_LIMITS),
	TAKEN("address_space_limit", read_limit, "Max address space", "!unlimited", SANDBOX_LIMITS),
	SHOWN("locked_limit",	     read_limit,	"Max locked memory"),
	SHOWN("process_limit",	     read_limit,	"Max processes"),
	SHOWN("cgroup",		     read_cgroup,	NULL),
	TAKEN("cgroup_memory_limit", read_cgroup_limit, "memory.max",	  "!none", SANDBOX_CGROUP),
};
/* clang-format on */

const unsigned int nr_privileges = ARRAY_SIZE(privileges);

enum privilege_verdict privilege_check(const struct privilege *p, const struct vm_info *vm,
				       const char *text)
{
	if (!(vm->sandbox >> p->piece & 1))
		return PRIVILEGE_OFF;
	if (!text[0])
		return PRIVILEGE_CLAIMED;
	if (p->given_up[0] == '!')
		return strcmp(text, p->given_up + 1) ? PRIVILEGE_CONFIRMED : PRIVILEGE_DENIED;
	return strcmp(text, p->given_up) ? PRIVILEGE_DENIED : PRIVILEGE_CONFIRMED;
}
