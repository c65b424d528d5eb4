/* SPDX-License-Identifier: MIT */
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <quire/types.h>
#include "mmu/base/sanitized.h"
#include "vmm/vm/sandbox.h"
#include "tests/tap.h"
#include "sandbox_attempts.h"

struct attempt {
	const char *what;
	long nr, arg[6];
};

#define PAGE	 4096L
#define ANYWHERE MAP_PRIVATE | MAP_ANONYMOUS

static char buf[4096];
static struct iovec local = { buf, 64 }, remote = { buf, 64 };
static char *no_args[] = { NULL };

/* X(description, call, arguments...); `it` is another process, `fd` a descriptor to try on. */
/* clang-format off */
#define ATTEMPTS(X)									\
	X("open a file", open, (long)"/etc/passwd", O_RDONLY)				\
	X("openat a file", openat, AT_FDCWD, (long)"/etc/passwd", O_RDONLY)		\
	X("openat2", 437, AT_FDCWD, (long)"/", (long)buf, 24)				\
	X("creat", creat, (long)"/tmp/x", 0600)						\
	X("unlink", unlink, (long)"/tmp/x")						\
	X("stat", stat, (long)"/etc/passwd", (long)buf)					\
	X("execve", execve, (long)"/bin/true", (long)no_args, (long)no_args)		\
	X("memfd_create", memfd_create, (long)"x", 0)					\
	X("open_by_handle_at", open_by_handle_at, fd, (long)buf, O_RDONLY)		\
	X("truncate a descriptor", ftruncate, fd, 0)					\
	X("read another's memory", process_vm_readv, it, (long)&local, 1, (long)&remote, 1, 0) \
	X("write another's memory", process_vm_writev, it, (long)&local, 1, (long)&remote, 1, 0) \
	X("ptrace", ptrace, 16 /* PTRACE_ATTACH */, it, 0, 0)				\
	X("kcmp", kcmp, it, it, 0, 0, 0)						\
	X("kill", kill, it, SIGTERM)							\
	X("kill itself", kill, getpid(), SIGURG)					\
	X("tgkill another", tgkill, it, it, SIGTERM)					\
	X("tkill", tkill, it, SIGTERM)							\
	X("rt_sigqueueinfo", rt_sigqueueinfo, it, SIGTERM, (long)buf)			\
	X("pidfd_open", 434, it, 0)							\
	X("pidfd_send_signal", 424, fd, SIGTERM, 0, 0)					\
	X("pidfd_getfd", 438, fd, 0, 0)							\
	X("socket", socket, AF_UNIX, SOCK_STREAM, 0)					\
	X("socketpair", socketpair, AF_UNIX, SOCK_STREAM, 0, (long)buf)			\
	X("connect", connect, fd, (long)buf, 16)					\
	X("bind", bind, fd, (long)buf, 16)						\
	X("listen", listen, fd, 1)							\
	X("sendto an address", sendto, fd, (long)buf, 1, 0, (long)buf, 16)		\
	X("attach a socket filter", setsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, (long)buf, 16) \
	X("fork", fork)									\
	X("vfork", vfork)								\
	X("clone", clone, SIGCHLD, 0, 0, 0, 0)						\
	X("clone3", 435, (long)buf, 64)							\
	X("make memory executable", mprotect, (long)buf & -PAGE, PAGE, PROT_READ | PROT_EXEC) \
	X("map executable memory", mmap, 0, PAGE, PROT_READ | PROT_EXEC, ANYWHERE, -1, 0) \
	X("pkey_mprotect", pkey_mprotect, (long)buf & -PAGE, PAGE, PROT_EXEC, 0)		\
	X("remap_file_pages", remap_file_pages, (long)buf & -PAGE, PAGE, 0, 0, 0)	\
	X("other advice", madvise, (long)buf & -PAGE, PAGE, 100 /* MADV_HWPOISON */)	\
	X("process_madvise", 440, fd, (long)&local, 1, 0, 0)				\
	X("mount", mount, (long)"none", (long)"/", (long)"tmpfs", 0, 0)			\
	X("umount2", umount2, (long)"/", MNT_DETACH_)					\
	X("pivot_root", pivot_root, (long)".", (long)".")				\
	X("chroot", chroot, (long)"/")							\
	X("unshare", unshare, 0x10000000 /* CLONE_NEWUSER */)				\
	X("setns", setns, fd, 0)							\
	X("fsopen", 430, (long)"tmpfs", 0)						\
	X("open_tree", 428, AT_FDCWD, (long)"/", 0)					\
	X("bpf", bpf, 0, (long)buf, 64)							\
	X("perf_event_open", perf_event_open, (long)buf, 0, -1, -1, 0)			\
	X("keyctl", keyctl, 0, -1, 0, 0, 0)						\
	X("add_key", add_key, (long)"user", (long)"x", (long)buf, 1, -1)		\
	X("userfaultfd", userfaultfd, 0)						\
	X("io_uring_setup", 425, 1, (long)buf)						\
	X("seccomp", seccomp, 1, 0, (long)buf)						\
	X("prctl", prctl, PR_SET_DUMPABLE, 1, 0, 0, 0)					\
	X("personality", personality, 0x0400000 /* READ_IMPLIES_EXEC */)		\
	X("setuid", setuid, 0)								\
	X("capset", capset, (long)buf, (long)buf)					\
	X("raise a limit", prlimit64, 0, RLIMIT_CORE, (long)buf, 0)			\
	X("reboot", reboot, 0, 0, 0, 0)							\
	X("init_module", init_module, (long)buf, 1, (long)"")				\
	X("mq_open", mq_open, (long)"x", O_RDONLY, 0, 0)					\
	X("shmget", shmget, 0, PAGE, 0600)						\
	X("semget", semget, 0, 1, 0600)							\
	X("inotify_init1", inotify_init1, 0)						\
	X("timer_create", timer_create, 0, 0, (long)buf)				\
	X("signalfd, a new one", signalfd4, -1, (long)buf, 8, 0)				\
	X("fcntl F_SETOWN", fcntl, fd, F_SETOWN, it)					\
	X("fcntl F_SETFL", fcntl, fd, F_SETFL, O_ASYNC)					\
	X("dup3", dup3, fd, 900, 0)							\
	X("vmsplice", vmsplice, fd, (long)&local, 1, 0)					\
	X("sendfile", sendfile, fd, fd, 0, 1)						\
	X("KVM_CREATE_VM", ioctl, fd, KVM_CREATE_VM, 0)					\
	X("KVM_CREATE_VCPU", ioctl, fd, KVM_CREATE_VCPU, 1)				\
	X("KVM_SET_USER_MEMORY_REGION", ioctl, fd, KVM_SET_USER_MEMORY_REGION, (long)buf) \
	X("KVM_IRQFD", ioctl, fd, KVM_IRQFD, (long)buf)					\
	X("UFFDIO_CONTINUE", ioctl, fd, UFFDIO_CONTINUE, (long)buf)				\
	X("TIOCSTI", ioctl, fd, TIOCSTI, (long)"x")					\
	X("TIOCLINUX", ioctl, fd, TIOCLINUX, (long)buf)					\
	X("FIOASYNC", ioctl, fd, FIOASYNC, (long)buf)					\
	X("a call of the x32 ABI", x32_getpid)

/* clang-format on */
#define MNT_DETACH_    2
#define SYS_x32_getpid (0x40000000L + SYS_getpid)
#define SYS_434	       434
#define SYS_424	       424
#define SYS_438	       438
#define SYS_437	       437
#define SYS_435	       435
#define SYS_440	       440
#define SYS_430	       430
#define SYS_428	       428
#define SYS_425	       425

long attempt_make(size_t index, pid_t it, int fd)
{
	const struct attempt attempts[] = {
#define X(what_, call, ...) { .what = what_, .nr = SYS_##call, .arg = { __VA_ARGS__ } },
		ATTEMPTS(X)
#undef X
	};
	const struct attempt *a = &attempts[index];

	return syscall(a->nr, a->arg[0], a->arg[1], a->arg[2], a->arg[3], a->arg[4], a->arg[5]);
}

static const char *const names[] = {
#define X(what_, ...) what_,
	ATTEMPTS(X)
#undef X
};

const size_t nr_attempts = ARRAY_SIZE(names);

const char *attempt_name(size_t index)
{
	return names[index];
}

pid_t bystander(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

int attempt_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			tap_bail("waitpid: %s", strerror(errno));
	return status;
}

bool attempt_was_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

bool attempt_was_denied(int status)
{
#if QUIRE_SANITIZED
	if (WIFEXITED(status) && WEXITSTATUS(status) != ATTEMPT_SUCCEEDED)
		return true;
#endif
	return attempt_was_killed(status);
}

void attempts_need_filters(void)
{
	struct sandbox_keep keep = { .nr = 0 };
	struct quire_error err;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		if (sandbox_enter(SANDBOX_ON, &keep, &err))
			_exit(ATTEMPT_NONE);
		_exit(sandbox_pieces() & 1u << SANDBOX_SECCOMP ? 0 : 1);
	}
	status = attempt_wait(pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
		tap_skip_all("this kernel has no seccomp filters");
	is(status, 0, "this host has a sandbox");
}
