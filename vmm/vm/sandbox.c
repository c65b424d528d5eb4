/* SPDX-License-Identifier: MIT */
/*
 * Entering the sandbox; sandbox.h has the order, sandbox_rules.c the table of system calls.
 *
 * The steps are in this order, because:
 *
 *   0. A VM of root has taken a uid of its own before, so that it opens what it has as that user,
 *      and its control socket shows it.
 *   1. Descriptors are closed first, so that nothing below can reach one that was inherited.
 *   2. A process without privileges must set no_new_privs before it may install a filter.
 *   3. The user namespace gives such a process the privileges for the other namespaces, over
 *      nothing but what it then owns.  Only the process's own id is mapped, to 0.  So a peer of the
 *      control socket has id 0 if it is the same user, and the overflow id if it is anybody else.
 *   4. The new root directory needs the mount namespace.  The id map needs /proc, so it comes
 *      before.
 *   5. Capabilities go when nothing needs them any more: those of the user namespace, or root's.
 *   6. The process is made undumpable last, because a change of credentials may change that too.
 *
 * The root directory becomes an empty read-only tmpfs by pivot_root(".", ".").  That stacks the old
 * root on top of the new one, from where it is detached.  So no mount point is needed, and nothing
 * of the host's tree stays reachable.
 *
 * A network namespace takes longer than all the rest together: 0.4 ms here, and a millisecond's
 * work afterwards under a lock of the whole host.  Without socket(2), which the filter does not
 * permit, a network is of no use.  So the namespace is made only for SANDBOX_STRICT, or where there
 * is no filter.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <malloc.h>
#include <quire/abi.h>
#include <quire/types.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mmu/base/sanitized.h"
#include "sandbox.h"
#include "sandbox_bpf.h"
#include "sandbox_limits.h"
#include "sandbox_uid.h"

static unsigned int pieces;
static atomic_uint nr_filtered;	  /* threads that have their filter */
static atomic_bool someone_waits; /* in sandbox_await_threads() */

/* clang-format off */
const char *const sandbox_piece_name[SANDBOX_NR_PIECES] = {
	[SANDBOX_NO_CORE] = "no_core",
	[SANDBOX_LIMITS] = "limits",
	[SANDBOX_CGROUP] = "memory_cgroup",
	[SANDBOX_NO_DESCRIPTORS] = "no_descriptors",
	[SANDBOX_NO_NEW_PRIVS] = "no_new_privs",
	[SANDBOX_OWN_UID] = "own_uid",
	[SANDBOX_USER_NS] = "user_namespace",
	[SANDBOX_IPC_NS] = "ipc_namespace",
	[SANDBOX_UTS_NS] = "uts_namespace",
	[SANDBOX_NET_NS] = "net_namespace",
	[SANDBOX_MOUNT_NS] = "mount_namespace",
	[SANDBOX_EMPTY_ROOT] = "empty_root",
	[SANDBOX_NO_CAPS] = "no_capabilities",
	[SANDBOX_NO_DUMP] = "not_dumpable",
	[SANDBOX_SECCOMP] = "seccomp",
};
/* clang-format on */

static void note(enum sandbox_piece piece, bool on)
{
	if (on)
		pieces |= 1u << piece;
}

static bool has(enum sandbox_piece piece)
{
	return pieces & 1u << piece;
}

unsigned int sandbox_pieces(void)
{
	return pieces;
}

/* ---- descriptors ---- */

void sandbox_keep(struct sandbox_keep *keep, int fd)
{
	if (fd < 0)
		return;
	/* Unreachable: the callers name one for each vCPU, and a few more (vm_keep has the sum). */
	if (keep->nr == SANDBOX_MAX_KEEP)
		abort();
	keep->fd[keep->nr++] = fd;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static bool close_others(struct sandbox_keep *keep)
{
	unsigned int from = STDERR_FILENO + 1;
	bool closed = true;

	qsort(keep->fd, keep->nr, sizeof(keep->fd[0]), by_number);
	for (unsigned int i = 0; i < keep->nr; i++) {
		unsigned int fd = (unsigned int)keep->fd[i];

		if (fd > from && syscall(SYS_close_range, from, fd - 1, 0))
			closed = false;
		if (fd >= from)
			from = fd + 1;
	}
	return !syscall(SYS_close_range, from, ~0u, 0) && closed;
}

/* Can somebody who may call sendmsg() send to any address through fd? */
static bool sends_anywhere(int fd)
{
	int domain, type;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len))
		return false; /* no socket */
	return type != SOCK_STREAM && (domain != AF_UNIX || type == SOCK_DGRAM);
}

static int check_streams(struct quire_error *err)
{
	static const char *const name[] = { "input", "output", "error" };

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (sends_anywhere(fd))
			return quire_fail(err, -EPERM,
					  "standard %s is a datagram socket, through which a guest "
					  "that breaks out could send to others; put a pipe in "
					  "between, or use --sandbox=off",
					  name[fd]);
	return 0;
}

/* ---- namespaces and root ---- */

static bool uid_refused; /* the process is root's, and could have no uid of its own */

void sandbox_take_uid(void)
{
	bool taken = !geteuid() && sandbox_uid_take();

	uid_refused = !geteuid();
	note(SANDBOX_OWN_UID, taken);
}

static bool cgroup_refused;

void sandbox_has_cgroup(bool own, bool refused)
{
	note(SANDBOX_CGROUP, own);
	cgroup_refused = refused;
}

static bool map_own_id(uid_t id)
{
	int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC), len;
	char line[32];
	bool done;

	if (fd < 0)
		return false;
	len = snprintf(line, sizeof(line), "0 %u 1", id);
	done = write(fd, line, (size_t)len) == len;
	close(fd);
	return done;
}

/* Ubuntu's AppArmor lets anybody make a user namespace, but forbids everything in it. */
static bool namespaces_are_void(void)
{
	int fd = open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
		      O_RDONLY | O_CLOEXEC);
	char value = '0';

	if (fd < 0)
		return false;
	if (read(fd, &value, 1) != 1)
		value = '0';
	close(fd);
	return value != '0' && geteuid() != 0 && !has(SANDBOX_OWN_UID);
}

/*
 * False: the process is in a user namespace in which its id has no name.  Then the control socket
 * cannot tell its user from anybody else.
 */
static bool enter_user_namespace(void)
{
	uid_t id = geteuid();

	if (namespaces_are_void() || unshare(CLONE_NEWUSER))
		return true; /* the host does not permit it, and nothing has changed */
	note(SANDBOX_USER_NS, true);
	return map_own_id(id);
}

static void enter_namespaces(enum sandbox_mode mode)
{
	note(SANDBOX_MOUNT_NS, !unshare(CLONE_NEWNS));
	note(SANDBOX_IPC_NS, !unshare(CLONE_NEWIPC));
	note(SANDBOX_UTS_NS, !unshare(CLONE_NEWUTS));
	if (mode == SANDBOX_STRICT || !has(SANDBOX_SECCOMP))
		note(SANDBOX_NET_NS, !unshare(CLONE_NEWNET));
}

/* Any directory that surely exists will do as a mount point: it goes with the old root. */
#define MOUNT_POINT "/proc"

static bool empty_root(void)
{
	const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;

	/* Make it private first: what we change must not change the host's tree. */
	return has(SANDBOX_MOUNT_NS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("none", MOUNT_POINT, "tmpfs", flags, "size=4k,nr_inodes=1") &&
	       !chdir(MOUNT_POINT) && !syscall(SYS_pivot_root, ".", ".") &&
	       !umount2(".", MNT_DETACH) && !chdir("/");
}

/* ---- capabilities ---- */

static bool drop_bounding_set(void)
{
	bool dropped = true;

	for (unsigned long cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) {
			if (errno == EINVAL)
				break; /* the kernel knows no more */
			if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
				dropped = false;
		}
	return dropped;
}

/* Have these capabilities (bits 1 << CAP_..., below 32), of those that there are, and no others. */
static bool keep_capabilities(uint32_t caps)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct set[_LINUX_CAPABILITY_U32S_3] = { 0 };

	(void)prctl(PR_SET_SECUREBITS, SECURE_ALL_BITS | SECURE_ALL_LOCKS, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, set))
		return false;
	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		set[i] = (struct __user_cap_data_struct){
			.effective = i ? 0 : set[i].effective & caps,
			.permitted = i ? 0 : set[i].permitted & caps,
		};
	return !syscall(SYS_capset, &header, set);
}

static bool drop_capabilities(void)
{
	bool bounding = drop_bounding_set();

	return keep_capabilities(0) && bounding;
}

/* ---- system calls ---- */

static bool have_filters(void)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;

	return !syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
}

/* Put our process id into the programs, which were made when nobody knew it. */
static void complete_filters(void)
{
	uint32_t self = (uint32_t)getpid();

	for (unsigned int role = 0; role < SANDBOX_NR_ROLES; role++)
		for (unsigned int i = 0; i < bpf_programs[role].len; i++)
			if (bpf_programs[role].filter[i].k == SANDBOX_SELF)
				bpf_programs[role].filter[i].k = self;
}

void sandbox_await_threads(unsigned int nr)
{
	unsigned int have;

	atomic_store(&someone_waits, true);
	while (has(SANDBOX_SECCOMP) && (have = atomic_load(&nr_filtered)) < nr)
		syscall(SYS_futex, &nr_filtered, FUTEX_WAIT_PRIVATE, have, NULL, NULL, 0);
}

void sandbox_thread(enum sandbox_role role)
{
	if (!has(SANDBOX_SECCOMP))
		return;
	if (!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &bpf_programs[role])) {
		atomic_fetch_add(&nr_filtered, 1);
		if (atomic_load(&someone_waits))
			syscall(SYS_futex, &nr_filtered, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		return;
	}
	fprintf(stderr, "quire: cannot install the %s thread's filter of system calls: %s\n",
		sandbox_role_name[role], strerror(errno));
	_exit(QUIRE_STATUS_HOST);
}

/* ---- all of it ---- */

/*
 * Whoever started us may keep secrets there, and we have read what is for us.  The strings are
 * where the kernel put them, so /proc/PID/environ is empty too.
 */
static void wipe_environment(void)
{
	for (char **e = environ; e && *e; e++)
		explicit_bzero(*e, strlen(*e));
}

/* Some hosts have no place for it, and nothing was refused. */
static bool is_optional(unsigned int piece)
{
	return (piece == SANDBOX_OWN_UID && !uid_refused) ||
	       (piece == SANDBOX_CGROUP && !cgroup_refused);
}

static int missing(struct quire_error *err)
{
	for (unsigned int piece = 0; piece < SANDBOX_NR_PIECES; piece++)
		if (!has(piece) && !is_optional(piece))
			return quire_fail(err, -EPERM,
					  "--sandbox=strict: this host does not permit "
					  "%s, use --sandbox=on to run without it",
					  sandbox_piece_name[piece]);
	return 0;
}

int sandbox_enter(enum sandbox_mode mode, struct sandbox_keep *keep, struct quire_error *err)
{
	const struct rlimit no_core = { 0, 0 };
	bool limited;

	if (check_streams(err))
		return -EPERM;
	/*
	 * The C library trims a second arena, for which it reads a file of /proc: so have only one.
	 */
	mallopt(M_ARENA_MAX, 1);
	wipe_environment();
	note(SANDBOX_NO_CORE, !setrlimit(RLIMIT_CORE, &no_core));
	limited = sandbox_limit(keep);
	note(SANDBOX_NO_DESCRIPTORS, close_others(keep));
	note(SANDBOX_NO_NEW_PRIVS, !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	note(SANDBOX_SECCOMP, has(SANDBOX_NO_NEW_PRIVS) && have_filters());
	if (!enter_user_namespace())
		return quire_fail(err, -EPERM,
				  "cannot map our user id into the sandbox: %s; is "
				  "/proc there?  --sandbox=off runs without",
				  strerror(errno));
	note(SANDBOX_LIMITS, sandbox_limit_signals() && limited);
	enter_namespaces(mode);
	note(SANDBOX_EMPTY_ROOT, empty_root());
	note(SANDBOX_NO_CAPS, drop_capabilities());
	note(SANDBOX_NO_DUMP, !prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	complete_filters();
	return mode == SANDBOX_STRICT ? missing(err) : 0;
}

/* Nothing is executed after this, so the bounding set has no meaning and stays. */
void sandbox_helper(enum sandbox_role role, uint32_t caps)
{
	const struct rlimit no_core = { 0, 0 };

	wipe_environment();
	note(SANDBOX_NO_CORE, !setrlimit(RLIMIT_CORE, &no_core));
	note(SANDBOX_NO_NEW_PRIVS, !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	note(SANDBOX_SECCOMP, has(SANDBOX_NO_NEW_PRIVS) && have_filters());
	note(SANDBOX_NO_CAPS, keep_capabilities(caps));
	note(SANDBOX_NO_DUMP, !prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	complete_filters();
	sandbox_thread(role);
}

#if QUIRE_SANITIZED
/* To look for leaks takes a second process and ptrace. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return pieces != 0;
}
#endif
