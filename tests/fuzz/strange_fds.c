/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "mmu/base/compat.h"
#include "strange_fds.h"

static int resized; /* writable */

static int reopen(int fd, int flags)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static int memory(unsigned int flags)
{
	int fd = memfd_create("strange", MFD_CLOEXEC | flags);

	return fd < 0 || ftruncate(fd, STRANGE_BYTES) ? -1 : fd;
}

static int sealed(int seals, int mode)
{
	int fd = memory(MFD_ALLOW_SEALING), other;

	if (fcntl(fd, F_ADD_SEALS, seals) || mode == O_RDWR)
		return fd;
	other = reopen(fd, mode);
	close(fd);
	return other;
}

static int end_of_pair(int type, bool hung_up)
{
	int pair[2];

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -1;
	if (hung_up)
		close(pair[0]);
	return pair[1];
}

static int listener(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ||
			       bind(fd, &(struct sockaddr){ .sa_family = AF_UNIX },
				    sizeof(sa_family_t)) ||
			       listen(fd, 1) ?
		       -1 :
		       fd;
}

static int end_of_pipe(int which)
{
	int pipes[2];

	return pipe2(pipes, O_CLOEXEC | O_NONBLOCK) ? -1 : pipes[which];
}

static int signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	return signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int make(unsigned int which)
{
	switch (which) {
	case 0: return sealed(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL, O_RDONLY);
	case 1: return sealed(F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, O_RDWR);
	case 2: return sealed(F_SEAL_SHRINK, O_RDONLY);
	case 3: return memory(0);
	case 4: return memfd_create("empty", MFD_CLOEXEC);
	case 5: return memory(MFD_HUGETLB);
	case 6: resized = memory(0); return reopen(resized, O_RDONLY);
	case 7: return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 8: return open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 9: return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	case 10: return open("/proc/self/exe", O_PATH | O_CLOEXEC);
	case 11: return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	case 12: return open("/dev/zero", O_RDONLY | O_CLOEXEC);
	case 13: return open("/dev/full", O_RDWR | O_CLOEXEC);
	case 14: return end_of_pair(SOCK_STREAM, false);
	case 15: return end_of_pair(SOCK_DGRAM, false);
	case 16: return end_of_pair(SOCK_SEQPACKET, false);
	case 17: return end_of_pair(SOCK_SEQPACKET, true);
	case 18: return listener();
	case 19: return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	case 20: return eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	case 21: return end_of_pipe(0);
	case 22: return end_of_pipe(1);
	case 23: return epoll_create1(EPOLL_CLOEXEC);
	case 24: return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	case 25: return inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	case 26: return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	case 27: return signals();
	default: return -1;
	}
}

#define KINDS 28

int strange_fd(unsigned int which)
{
	static int fds[KINDS];
	static bool are_open;

	for (unsigned int i = 0; i < KINDS && !are_open; i++)
		fds[i] = make(i);
	are_open = true;
	return fds[which % KINDS];
}

void strange_resize(uint64_t bytes)
{
	if (ftruncate(resized, (off_t)(bytes % (2 * STRANGE_BYTES))))
		return;
}

void strange_send(int fd, const void *packet, size_t bytes, unsigned int nr, uint64_t kinds)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr header;
	} control;
	struct iovec iov = { (void *)(uintptr_t)packet, bytes };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[8], have = 0;

	for (unsigned int i = 0; i < nr && i < 8; i++) {
		fds[have] = strange_fd((unsigned int)(kinds >> 8 * i & 255));
		have += fds[have] >= 0;
	}
	if (have) {
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN((size_t)have * sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.header), fds, (size_t)have * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE((size_t)have * sizeof(int));
	}
	if (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

unsigned int strange_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int nr = 0;

	while (dir && readdir(dir))
		nr++;
	if (dir)
		closedir(dir);
	return nr;
}
