/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "listen.h"
#include "mmu/base/wire.h"

#define BACKLOG	   128
#define LOCK_TRIES 200 /* 10 ms apart; others hold the lock for microseconds */

/* Lock the directory of `path`.  Returns a descriptor that holds the lock, or -errno. */
static int lock_directory(const char *path)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	char *copy = strdup(path);
	int fd;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return fd;
		nanosleep(&pause, NULL);
	}
	close(fd);
	return -EBUSY;
}

/* Does anybody listen there?  If the backlog is full (EAGAIN), somebody does. */
static bool answers(const struct sockaddr_un *sun, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool refused;

	if (fd < 0)
		return true;
	refused = connect(fd, (const struct sockaddr *)sun, len) &&
		  (errno == ECONNREFUSED || errno == ENOENT);
	close(fd);
	return !refused;
}

static int in_use(const char *name, struct quire_error *err)
{
	return quire_fail(err, -EADDRINUSE,
			  "%s: a machine listens there already; join it, or choose "
			  "another address with --machine",
			  name);
}

/* Remove what is at the path if it is a socket on which nobody listens. */
static int clear_stale(const struct sockaddr_un *sun, socklen_t len, struct quire_error *err)
{
	struct stat st;

	if (lstat(sun->sun_path, &st))
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return quire_fail(err, -EEXIST,
				  "%s exists and is not a socket; choose another "
				  "path with --machine",
				  sun->sun_path);
	if (answers(sun, len))
		return in_use(sun->sun_path, err);
	unlink(sun->sun_path);
	return 0;
}

static int bind_and_listen(struct listener *l, const struct sockaddr_un *sun, socklen_t len,
			   const char *name, struct quire_error *err)
{
	l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return quire_fail(err, -errno, "cannot create a socket: %s", strerror(errno));
	if (!bind(l->fd, (const struct sockaddr *)sun, len) && !listen(l->fd, BACKLOG))
		return 0;
	if (errno == EADDRINUSE)
		return in_use(name, err);
	return quire_fail(err, -errno, "cannot listen at %s: %s", name, strerror(errno));
}

static int listen_at_path(struct listener *l, const struct sockaddr_un *sun, socklen_t len,
			  struct quire_error *err)
{
	int code, dir = lock_directory(sun->sun_path);
	struct stat st;

	if (dir < 0)
		return quire_fail(err, dir, "cannot open and lock the directory of %s: %s",
				  sun->sun_path, strerror(-dir));
	code = clear_stale(sun, len, err);
	if (!code)
		code = bind_and_listen(l, sun, len, sun->sun_path, err);
	if (!code && !lstat(sun->sun_path, &st)) {
		l->path = strdup(sun->sun_path);
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	close(dir);
	return code;
}

int listener_open(struct listener *l, const char *address, struct quire_error *err)
{
	struct sockaddr_un sun;
	char name[64];
	socklen_t len;
	int code;

	*l = (struct listener){ .fd = -1 };
	code = wire_address(address, &sun, &len, err);
	if (!code && sun.sun_path[0])
		code = listen_at_path(l, &sun, len, err);
	else if (!code)
		code = bind_and_listen(l, &sun, len, wire_address_name(address, name, sizeof(name)),
				       err);
	if (code)
		listener_close(l);
	return code;
}

bool listener_place(const struct listener *l, struct place *place)
{
	if (!l->path)
		return false;
	*place = (struct place){ .use = PLACE_TIDY };
	snprintf(place->path, sizeof(place->path), "%s", l->path);
	dirname(place->path); /* which shortens it in its place, */
	if (!strchr(l->path, '/'))
		strcpy(place->path, "."); /* or not at all */
	return true;
}

static void unlink_ours(const struct listener *l)
{
	int dir = lock_directory(l->path);
	struct stat st;

	if (dir < 0)
		return;
	if (!lstat(l->path, &st) && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	close(dir);
}

void listener_close(struct listener *l)
{
	if (l->path)
		unlink_ours(l);
	free(l->path);
	if (l->fd >= 0)
		close(l->fd);
	*l = (struct listener){ .fd = -1 };
}
