/* SPDX-License-Identifier: MIT */
/*
 * Which descriptors a VM takes for a segment.  A machine that plays foul, or a mistake of
 * ours, hands out files that others can write or make shorter: the VM maps none of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "files.h"
#include "mmu/machine/store/shelf.h"
#include "mmu/memory/store_view.h"
#include "tests/tap.h"

#define BYTES	    ((uint64_t)MERGE_SEGMENT_FRAMES << QUIRE_PAGE_SHIFT)
#define SIZE_SEALED (F_SEAL_GROW | F_SEAL_SHRINK)

static int memfd(unsigned int seals, mode_t mode)
{
	int fd = memfd_create("false-store", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	if (ftruncate(fd, (off_t)BYTES) || fchmod(fd, mode) || fcntl(fd, F_ADD_SEALS, seals))
		tap_bail("no memfd");
	return fd;
}

/* The same file, opened anew.  Closes fd. */
static int reopened(int fd, int flags)
{
	char path[48];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	close(fd);
	return again;
}

static int offer(int fd)
{
	struct store_view v;
	int err;

	store_view_init(&v);
	err = store_view_add(&v, 0, fd);
	is(fcntl(fd, F_GETFD) < 0, err != 0, "%s", err ? "it is closed" : "it is kept");
	store_view_finish(&v);
	return err;
}

static void test_good(void)
{
	struct shelf shelf;
	unsigned int name;
	int fd;

	shelf_open(&shelf);
	fd = shelf_make(&shelf, BYTES, &name);
	is(offer(shelf_read(&shelf, name, fd)), 0, "a segment of a shelf is taken");
	if (shelf.ours >= 0)
		is(offer(dup(fd)), -EPERM, "the machine's own descriptor of it is not");
	close(fd);
	shelf_close(&shelf);
	is(offer(reopened(memfd(SIZE_SEALED | F_SEAL_SEAL, 0400), O_RDONLY)), 0,
	   "a sealed memfd is taken, opened for reading");
}

static void test_false(void)
{
	int file = tmpfs_file("never", 0, BYTES), pair[2];

	is(offer(reopened(memfd(0, 0400), O_RDONLY)), -EPERM, "a memfd without seals is not");
	is(offer(reopened(memfd(SIZE_SEALED, 0400), O_RDONLY)), -EPERM,
	   "... nor one to which seals can be added");
	is(offer(reopened(memfd(F_SEAL_GROW | F_SEAL_SEAL, 0400), O_RDONLY)), -EPERM,
	   "... nor one that can be made shorter");
	is(offer(memfd(SIZE_SEALED | F_SEAL_SEAL, 0400)), -EPERM,
	   "... nor one that we could write");
	is(offer(reopened(memfd(SIZE_SEALED | F_SEAL_SEAL, 0600), O_RDONLY)), -EPERM,
	   "... nor one that its owner may open for writing");
	is(offer(reopened(memfd(SIZE_SEALED | F_SEAL_SEAL, 0400), O_PATH)), -EPERM,
	   "... nor a mere path");
	if (file >= 0)
		is(offer(reopened(file, O_RDONLY)), -EPERM,
		   "a file on a mount that can be written");
	else
		tap_skip("no privilege to mount a tmpfs of its own");
	is(offer(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), -EPERM, "a file on another system");
	is(offer(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), -EPERM, "a directory");
	is(offer(eventfd(0, EFD_CLOEXEC)), -EPERM, "an eventfd");
	socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
	is(offer(pair[0]), -EPERM, "a socket");
	close(pair[1]);
}

int main(void)
{
	tap_init();
	test_good();
	test_false();
	return tap_done();
}
