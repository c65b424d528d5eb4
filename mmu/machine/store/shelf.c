/* SPDX-License-Identifier: MIT */
/*
 * To mount anything takes a mount namespace in which one has CAP_SYS_ADMIN.  A child makes it, with
 * a user namespace around it, and mounts the tmpfs twice.  It shares our memory and all our
 * descriptors, so that what it opens is ours, and we sleep until it has ended.  Its namespaces end
 * with it; the mounts live as long as we have them open.  The user namespace has our own ids only,
 * because files are made with them.
 *
 * The size of a mounted tmpfs is set through a descriptor of its configuration (fsconfig).  The
 * kernel refuses a size that is smaller than what exists, and then that descriptor is of no use any
 * more.  A larger size is never refused.  So one descriptor does nothing but grow, and the child
 * leaves us some others to shrink.  To make one of these fail, somebody must bring SHELF_SLACK
 * pages in between our look and our call.  If all have failed, the room only becomes larger: then
 * the most frames that there were is what can exist.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "shelf.h"

#define SEALS	    (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)
#define MOUNT_POINT "/proc" /* any directory that surely exists: only the child sees it */
#define CHILD_STACK 32768

/* ---- the child ---- */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = (ssize_t)strlen(text), n;

	if (fd < 0)
		return false;
	n = write(fd, text, (size_t)len);
	close(fd);
	return n == len;
}

static bool map_ids(uid_t uid, gid_t gid)
{
	char line[32];

	snprintf(line, sizeof(line), "0 %u 1", uid);
	if (!put("/proc/self/uid_map", line) || !put("/proc/self/setgroups", "deny"))
		return false;
	snprintf(line, sizeof(line), "0 %u 1", gid);
	return put("/proc/self/gid_map", line);
}

static bool set_parameter(int context, const char *name, const char *value)
{
	return !syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, name, value, 0);
}

static bool set_size(int context, uint64_t frames)
{
	char size[24];

	snprintf(size, sizeof(size), "%llu", (unsigned long long)(frames * QUIRE_PAGE_SIZE));
	return set_parameter(context, "size", size);
}

static bool mount_ours(struct shelf *s)
{
	s->grow = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	if (s->grow < 0 || !set_parameter(s->grow, "huge", "never") ||
	    !set_size(s->grow, s->room) ||
	    syscall(SYS_fsconfig, s->grow, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return false;
	s->ours = (int)syscall(SYS_fsmount, s->grow, FSMOUNT_CLOEXEC, 0);
	return s->ours >= 0 && !syscall(SYS_move_mount, s->ours, "", AT_FDCWD, MOUNT_POINT,
					MOVE_MOUNT_F_EMPTY_PATH);
}

/* Closing the descriptor that open_tree() gave takes the mount out of its namespace. */
static bool mount_theirs(struct shelf *s)
{
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
	int tree = (int)syscall(SYS_open_tree, s->ours, "",
				OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (tree < 0)
		return false;
	if (!syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)))
		s->theirs = openat(tree, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	close(tree);
	return s->theirs >= 0;
}

static bool pick_shrinkers(struct shelf *s)
{
	for (unsigned int i = 0; i < SHELF_SHRINKERS; i++) {
		s->shrink[i] =
			(int)syscall(SYS_fspick, s->ours, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
		if (s->shrink[i] < 0)
			return false;
	}
	return true;
}

/* What the child is told and tells. */
struct birth {
	struct shelf *shelf;
	uid_t uid;
	gid_t gid;
	bool done;
};

static int child(void *arg)
{
	struct birth *b = arg;

	b->done = map_ids(b->uid, b->gid) && mount_ours(b->shelf) && mount_theirs(b->shelf) &&
		  pick_shrinkers(b->shelf);
	return 0;
}

/* ---- ours ---- */

static void close_all(struct shelf *s)
{
	int *fd[] = { &s->ours, &s->theirs, &s->grow, &s->setter };

	for (unsigned int i = 0; i < ARRAY_SIZE(fd); i++) {
		if (*fd[i] >= 0)
			close(*fd[i]);
		*fd[i] = -1;
	}
	for (unsigned int i = 0; i < SHELF_SHRINKERS; i++) {
		if (s->shrink[i] >= 0)
			close(s->shrink[i]);
		s->shrink[i] = -1;
	}
}

/* To copy our memory for the child would take as long as all that it does. */
static void bear(struct birth *b)
{
	const int flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_FILES | CLONE_VM | CLONE_VFORK |
			  SIGCHLD;
	_Alignas(16) char stack[CHILD_STACK];
	pid_t pid = clone(child, stack + sizeof(stack), flags, b);

	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void shelf_open(struct shelf *s)
{
	struct birth b = { .shelf = s, .uid = geteuid(), .gid = getegid() };

	*s = (struct shelf){
		.ours = -1, .theirs = -1, .grow = -1, .setter = -1, .room = SHELF_SLACK
	};
	for (unsigned int i = 0; i < SHELF_SHRINKERS; i++)
		s->shrink[i] = -1;
	TAILQ_INIT(&s->stores);
	bear(&b);
	if (!b.done)
		close_all(s);
}

void shelf_close(struct shelf *s)
{
	bool served = s->setter >= 0;

	close_all(s);
	thread_join(&s->thread);
	if (served)
		close(s->serving);
}

/* ---- the setter ---- */

struct request {
	int context; /* -1: hold yourself */
	uint64_t frames;
};

static bool change_size(int context, uint64_t frames)
{
	return set_size(context, frames) &&
	       !syscall(SYS_fsconfig, context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}

/* When it is held, the end of a thread as the C library does it would be a call too many. */
static void serve(void *arg)
{
	const struct shelf *s = arg;
	struct request r;

	while (syscall(SYS_read, s->serving, &r, sizeof(r)) == sizeof(r)) {
		bool done = true;

		if (r.context < 0)
			s->hold();
		else
			done = change_size(r.context, r.frames);
		syscall(SYS_write, s->serving, &done, sizeof(done));
	}
	syscall(SYS_exit, 0);
}

static bool ask_setter(const struct shelf *s, struct request r)
{
	bool done = false;
	ssize_t n;

	if (write(s->setter, &r, sizeof(r)) != sizeof(r))
		return false;
	do
		n = read(s->setter, &done, sizeof(done));
	while (n < 0 && errno == EINTR);
	return n == sizeof(done) && done;
}

void shelf_start_setter(struct shelf *s, void (*hold)(void))
{
	int pair[2];

	if (s->ours < 0)
		return;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		close_all(s);
		return;
	}
	s->setter = pair[0];
	s->serving = pair[1];
	s->hold = hold;
	if (!thread_start(&s->thread, "shelf", serve, s))
		return;
	close(s->serving);
	close_all(s);
}

void shelf_hold_setter(struct shelf *s)
{
	if (s->setter >= 0)
		ask_setter(s, (struct request){ .context = -1 });
}

/* ---- files ---- */

static int make_memfd(uint64_t bytes)
{
	int fd = memfd_create("quire-store", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!fchmod(fd, 0400) && !ftruncate(fd, (off_t)bytes) && !fcntl(fd, F_ADD_SEALS, SEALS))
		return fd;
	close(fd);
	return -EIO;
}

struct file_name {
	char text[32];
};

static struct file_name name_of(unsigned int name)
{
	struct file_name n;

	snprintf(n.text, sizeof(n.text), "quire-store-%u", name);
	return n;
}

int shelf_make(struct shelf *s, uint64_t bytes, unsigned int *name)
{
	int fd;

	*name = s->nr_made++;
	if (s->ours < 0)
		return make_memfd(bytes);
	fd = openat(s->ours, name_of(*name).text, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0400);
	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, (off_t)bytes))
		return fd;
	close(fd);
	shelf_remove(s, *name);
	return -EIO;
}

int shelf_read(const struct shelf *s, unsigned int name, int fd)
{
	char path[48];

	if (s->theirs >= 0) {
		fd = openat(s->theirs, name_of(name).text, O_RDONLY | O_CLOEXEC);
	} else {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

void shelf_remove(struct shelf *s, unsigned int name)
{
	if (s->ours >= 0)
		unlinkat(s->ours, name_of(name).text, 0);
}

/* ---- room ---- */

static bool set_room(struct shelf *s, int context, uint64_t frames)
{
	bool done = s->setter < 0 ? change_size(context, frames) :
				    ask_setter(s, (struct request){ context, frames });

	if (done)
		s->room = frames;
	return done;
}

static uint64_t room_for(uint64_t frames)
{
	return align_up(frames, SHELF_SLACK) + SHELF_SLACK;
}

void shelf_take(struct shelf *s, uint32_t frames)
{
	s->used += frames;
	if (s->ours >= 0 && s->used > s->room)
		set_room(s, s->grow, room_for(s->used));
}

void shelf_fit(struct shelf *s)
{
	struct statfs fs;
	uint64_t room;

	if (s->ours < 0 || s->room <= s->used + 2 * SHELF_SLACK || fstatfs(s->ours, &fs))
		return;
	room = room_for(max_u64(s->used, fs.f_blocks - fs.f_bfree));
	for (unsigned int i = 0; i < SHELF_SHRINKERS && room < s->room; i++) {
		if (s->shrink[i] < 0 || set_room(s, s->shrink[i], room))
			continue;
		close(s->shrink[i]);
		s->shrink[i] = -1;
		return;
	}
}

void shelf_give(struct shelf *s, uint32_t frames)
{
	s->used -= frames;
	shelf_fit(s);
}
