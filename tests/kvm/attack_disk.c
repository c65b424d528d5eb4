/* SPDX-License-Identifier: MIT */
/*
 * A disk's thread that was taken over, and its io_uring.  What is asked through a ring passes no
 * filter of system calls, so all depends on the restrictions of the ring.
 *
 * The attacker writes entries into the ring by hand.  Where things are in a ring depends on the
 * kernel and on how many entries it has; the test makes one like it, and asks that.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <quire/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "attacks.h"
#include "tests/tap.h"
#include "mmu/base/file_io.h"

static char image[] = "/tmp/quire-attack-XXXXXX";
static char option[64];

void disk_attacks_begin(void)
{
	int fd = mkstemp(image);

	if (fd < 0 || ftruncate(fd, MiB))
		tap_bail("cannot make an image: %s", strerror(errno));
	close(fd);
	snprintf(option, sizeof(option), "--disk=%s", image);
}

void disk_attacks_end(void)
{
	unlink(image);
}

/* ---- the ring ---- */

struct ring {
	int fd;
	struct io_uring_params like;
	uint64_t rings, sqes; /* where the attacker has mapped it */
};

static int ring_of(pid_t pid)
{
	char path[64], to[64] = "";
	struct dirent *entry;
	int fd = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && fd < 0 && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, to, sizeof(to) - 1);

		to[n > 0 ? n : 0] = '\0';
		if (!strcmp(to, "anon_inode:[io_uring]"))
			fd = atoi(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static uint64_t map(struct attacker *a, int fd, uint64_t bytes, uint64_t offset)
{
	int64_t at = puppet_call(&a->thread, SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
				 (uint64_t)fd, offset);

	return at > 0 ? (uint64_t)at : 0;
}

static bool find_ring(struct attacker *a, struct ring *r)
{
	int like;

	*r = (struct ring){ .fd = ring_of(a->vm.pid) };
	like = (int)syscall(SYS_io_uring_setup, FILE_MAX_IN_FLIGHT, &r->like);
	if (r->fd < 0 || like < 0)
		return false;
	close(like);
	r->rings =
		map(a, r->fd, r->like.cq_off.cqes + r->like.cq_entries * 16ULL, IORING_OFF_SQ_RING);
	r->sqes = map(a, r->fd, r->like.sq_entries * 64ULL, IORING_OFF_SQES);
	return r->rings && r->sqes;
}

static uint32_t get(struct attacker *a, uint64_t at)
{
	uint32_t word = 0;

	puppet_get(&a->thread, at, &word, sizeof(word));
	return word;
}

static void put(struct attacker *a, uint64_t at, uint32_t word)
{
	puppet_put(&a->thread, at, &word, sizeof(word));
}

/* Ask the ring for this.  Its answer; 0: there was none. */
static int ask(struct attacker *a, const struct ring *r, const struct io_uring_sqe *sqe)
{
	const struct io_sqring_offsets *sq = &r->like.sq_off;
	const struct io_cqring_offsets *cq = &r->like.cq_off;
	uint32_t tail = get(a, r->rings + sq->tail), done = get(a, r->rings + cq->tail);
	uint32_t slot = tail % r->like.sq_entries;

	puppet_put(&a->thread, r->sqes + slot * sizeof(*sqe), sqe, sizeof(*sqe));
	put(a, r->rings + sq->array + slot * 4, slot);
	put(a, r->rings + sq->tail, tail + 1);
	if (puppet_call(&a->thread, SYS_io_uring_enter, (uint64_t)r->fd, 1, 1,
			IORING_ENTER_GETEVENTS, 0, 0) < 0 ||
	    get(a, r->rings + cq->tail) == done)
		return 0;
	return (int)get(a, r->rings + cq->cqes + done % r->like.cq_entries * 16 + 8);
}

static const char *more_than_its_disk(struct attacker *a)
{
	const struct {
		const char *won;
		struct io_uring_sqe sqe;
	} tries[] = {
		{ "its ring opens files",
		  { .opcode = IORING_OP_OPENAT,
		    .fd = AT_FDCWD,
		    .addr = puppet_push(&a->thread, "/proc/self/mem", 15) } },
		{ "its ring makes sockets", { .opcode = IORING_OP_SOCKET, .fd = 1, .off = 1 } },
		{ "its ring connects sockets",
		  { .opcode = IORING_OP_CONNECT, .fd = 1, .addr = a->thread.scratch } },
		{ "its ring sends", { .opcode = IORING_OP_SENDMSG, .addr = a->thread.scratch } },
		{ "its ring reads other descriptors",
		  { .opcode = IORING_OP_READ, .fd = 3, .addr = a->thread.scratch, .len = 1 } },
		{ "its ring writes other descriptors",
		  { .opcode = IORING_OP_WRITE, .fd = 1, .addr = a->thread.scratch, .len = 1 } },
		{ "its ring gets files",
		  { .opcode = IORING_OP_FILES_UPDATE, .addr = a->thread.scratch, .len = 1 } },
		{ "its ring does nothing", { .opcode = IORING_OP_NOP } },
	};
	struct io_uring_sqe own = { .opcode = IORING_OP_READ,
				    .flags = IOSQE_FIXED_FILE,
				    .addr = a->thread.scratch & ~511ULL,
				    .len = 512 };
	struct ring ring;

	if (!find_ring(a, &ring))
		return NULL; /* a host without rings */
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++)
		if (ask(a, &ring, &tries[i].sqe) != -EACCES)
			return tries[i].won;
	return ask(a, &ring, &own) == 512 ? NULL : "nothing yet: the ring does not read its disk";
}

static const char *change_ring(struct attacker *a)
{
	int fd = ring_of(a->vm.pid);

	if (fd < 0)
		return NULL;
	return puppet_call(&a->thread, SYS_io_uring_register, (uint64_t)fd,
			   IORING_REGISTER_FILES_UPDATE, a->thread.scratch, 1, 0, 0) >= 0 ?
		       "it has given its ring a file" :
		       NULL;
}

const struct attack disk_attacks[] = {
	{ .name = "more than its disk by its ring",
	  .thread = "disk",
	  .run = more_than_its_disk,
	  .options = option },
	{ .name = "change its ring", .thread = "disk", .run = change_ring, .options = option },
	{ .name = "change the ring of a disk",
	  .thread = "vcpu 0",
	  .run = change_ring,
	  .options = option },
};
const unsigned int nr_disk_attacks = ARRAY_SIZE(disk_attacks);
