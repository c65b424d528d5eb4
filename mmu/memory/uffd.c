/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include <quire/types.h>
#include "mmu/base/compat.h"
#include "uffd.h"

#define WANT_FEATURES \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP | \
	 UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/* The system call needs a privilege; /dev/userfaultfd only needs permission to open it. */
static int open_uffd(struct quire_error *err)
{
	int dev, fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int error = errno;

	if (fd >= 0)
		return fd;
	if (error == ENOSYS)
		return quire_fail(err, -ENOSYS,
				  "this kernel has no userfaultfd; it needs "
				  "CONFIG_USERFAULTFD");
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		error = errno;
		close(dev);
		if (fd >= 0)
			return fd;
	}
	if (error != EPERM && error != EACCES)
		return quire_fail(err, -error,
				  "userfaultfd: %s; a limit binds, such as that on open "
				  "files (ulimit -n)",
				  strerror(error));
	return quire_fail(err, -error,
			  "userfaultfd for faults taken inside KVM: %s; run as root, or get access "
			  "to /dev/userfaultfd, or set the sysctl vm.unprivileged_userfaultfd=1",
			  strerror(error));
}

/* A descriptor takes UFFDIO_API once, so each set of features is tried on a new one. */
static int create_uffd(uint64_t features, struct quire_error *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = open_uffd(err);

	if (fd < 0 || !ioctl(fd, UFFDIO_API, &api))
		return fd;
	close(fd);
	return quire_fail(err, -ENOSYS,
			  "this kernel's userfaultfd cannot write-protect shared memory; it needs "
			  "Linux 5.19 or newer");
}

int uffd_open(struct quire_error *err)
{
	int fd = create_uffd(WANT_FEATURES | UFFD_FEATURE_WP_UNPOPULATED, err);

	return fd == -ENOSYS ? create_uffd(WANT_FEATURES, err) : fd;
}
