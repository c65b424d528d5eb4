/* SPDX-License-Identifier: MIT */
/* Numbers on disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "spool.h"

#define BUFFER_NUMBERS (1u << 16)

static const char *folder(void)
{
	const char *named = getenv("TMPDIR");

	return named && *named ? named : "/var/tmp";
}

/* An open file without a name, or -errno. */
static int open_unnamed(void)
{
	int fd = open(folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[4096];

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd < 0 ? -errno : fd;
	if (snprintf(path, sizeof(path), "%s/quire.XXXXXX", folder()) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

static int fail(int code, struct quire_error *err)
{
	return quire_fail(err, code, "cannot keep the trace in %s: %s; TMPDIR names another folder",
			  folder(), strerror(-code));
}

static int make(struct spool *s, struct quire_error *err)
{
	*s = (struct spool){ .fd = open_unnamed() };
	if (s->fd < 0)
		return fail(s->fd, err);
	s->made = true;
	return 0;
}

int spool_init(struct spool *s, struct quire_error *err)
{
	int code = make(s, err);

	if (code)
		return code;
	s->buffer = malloc(BUFFER_NUMBERS * sizeof(*s->buffer));
	return s->buffer ? 0 : fail(-ENOMEM, err);
}

static int flush(struct spool *s, struct quire_error *err)
{
	const char *at = (const char *)s->buffer;
	size_t left = s->buffered * sizeof(*s->buffer);

	while (left) {
		ssize_t n = write(s->fd, at, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(n ? -errno : -EIO, err);
		at += n;
		left -= (size_t)n;
	}
	s->buffered = 0;
	return 0;
}

int spool_add(struct spool *s, uint32_t number, struct quire_error *err)
{
	s->buffer[s->buffered++] = number;
	s->nr++;
	return s->buffered == BUFFER_NUMBERS ? flush(s, err) : 0;
}

static int map(struct spool *s, int protection, struct quire_error *err)
{
	if (!s->nr)
		return 0;
	s->number = mmap(NULL, s->nr * sizeof(*s->number), protection, MAP_SHARED, s->fd, 0);
	if (s->number != MAP_FAILED)
		return 0;
	s->number = NULL;
	return fail(-errno, err);
}

int spool_seal(struct spool *s, struct quire_error *err)
{
	int code = flush(s, err);

	free(s->buffer);
	s->buffer = NULL;
	return code ? code : map(s, PROT_READ, err);
}

int spool_init_zeroes(struct spool *s, uint64_t nr, struct quire_error *err)
{
	int code = make(s, err);

	if (code)
		return code;
	/* Not a hole: to write there on a full disk would be SIGBUS. */
	code = posix_fallocate(s->fd, 0, (off_t)(nr * sizeof(*s->number)));
	if (code)
		return fail(-code, err);
	s->nr = nr;
	return map(s, PROT_READ | PROT_WRITE, err);
}

void spool_finish(struct spool *s)
{
	if (s->number)
		munmap(s->number, s->nr * sizeof(*s->number));
	if (s->made)
		close(s->fd);
	free(s->buffer);
	*s = (struct spool){ 0 };
}
