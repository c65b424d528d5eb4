/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include "exact.h"

/* Nobody waits for an event of it, so it needs no privilege: faults in the kernel fail. */
int exact_open(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_SIGBUS,
	};
	int error, fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		return -errno;
	if (!ioctl(fd, UFFDIO_API, &api))
		return fd;
	error = errno;
	close(fd);
	return -error;
}

int exact_map(int exact, void *at, uint64_t bytes)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)at, bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(exact, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

/* It answers with a count of bytes done, which may come with EAGAIN when it stopped half way. */
int exact_copy(int exact, void *to, const void *from, uint64_t bytes)
{
	uint64_t done = 0;

	while (done < bytes) {
		struct uffdio_copy copy = {
			.dst = (uintptr_t)to + done,
			.src = (uintptr_t)from + done,
			.len = bytes - done,
		};

		if (ioctl(exact, UFFDIO_COPY, &copy) && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (copy.copy > 0)
			done += (uint64_t)copy.copy;
	}
	return 0;
}
