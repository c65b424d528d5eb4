/* SPDX-License-Identifier: MIT */
/*
 * The table: every system call that a thread of a VM process may make once it is in the
 * sandbox, for which role, under which condition, and why.  Whatever is not here kills the
 * process (SIGSYS).
 *
 * Reading it.  A row is a call, the roles that have it, the condition if there is one, and the
 * reason.  The roles are M main loop, V vCPU, P pager, C machine channel, K keeper, R reclaimer, W
 * swap file, Q device, and as processes of their own I the reader of images, D the disassembler and
 * A the machine, the arbiter; L are those of its rows that are only for a machine under Landlock,
 * and S its thread that sets a size.  A condition sees an argument by value, but not what a pointer
 * points to.  So no thread of a VM has calls that are dangerous by what a pointer points to (open,
 * connect).  None has clone3: a thread is made before the thread that makes it has its filter.
 *
 * What a thread that was taken over can do with all of this: it can use the descriptors that it
 * has, change the memory of its own process (but never make any executable), and end.  It cannot
 * open a file, reach another process, or use anything else that it does not hold already.  sendmsg
 * could name an address, behind a pointer.  But no thread can make a socket, and those that the
 * process has are connected for good: there a name means nothing.  docs/isolation.md has the longer
 * argument.
 *
 * Growing it.  A new call is a row with a reason, in the fewest roles.  A mistake shows as
 * SIGSYS; `--sandbox=off` and strace tell what was missing (docs/isolation.md).
 *
 * Sanitizer builds have a second part.  Their run time needs more calls to do its work, and these
 * are allowed.  It needs others to print a report, and these are refused: then the report lacks
 * symbols, but it is printed.
 */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mmu/base/compat.h"
#include "mmu/base/sanitized.h"
#include "sandbox_rules.h"

#define M   (1u << SANDBOX_MAIN)
#define V   (1u << SANDBOX_VCPU)
#define P   (1u << SANDBOX_PAGER)
#define C   (1u << SANDBOX_CHANNEL)
#define K   (1u << SANDBOX_KEEPER)
#define R   (1u << SANDBOX_RECLAIMER)
#define W   (1u << SANDBOX_SWAP)
#define Q   (1u << SANDBOX_DEVICE)
#define I   (1u << SANDBOX_IMAGE)
#define D   (1u << SANDBOX_CODE)
#define L   (1u << SANDBOX_MACHINE)
#define A   (L | 1u << SANDBOX_MACHINE_BARE)
#define S   (1u << SANDBOX_SHELF)
#define O   (1u << SANDBOX_OBSERVER)
#define ALL (M | V | P | C | K | R | W | Q)
#define U   (M | V | P | K | R | Q) /* whoever makes pages come or go */

#define INT_MASK 0xffffffffu /* the kernel looks at the low half of an int only */

#define CALL(call, roles_, why_) \
	{ \
		.name = #call, .nr = SYS_##call, .roles = (roles_), .why = (why_) \
	}
#define CALL_IF(call, roles_, arg_, mask_, value_, what, why_) \
	{ \
		.name = #call " " what, .nr = SYS_##call, .roles = (roles_), \
		.when = { { .mask = (mask_), .value = (uint32_t)(value_), .arg = (arg_) } }, \
		.why = (why_) \
	}
#define IOCTL(request, roles_, why_) CALL_IF(ioctl, roles_, 1, INT_MASK, request, #request, why_)
#define ADVICE(advice, roles_, why_) CALL_IF(madvise, roles_, 2, INT_MASK, advice, #advice, why_)
#define REFUSE(call)		     REFUSE_TO(ALL | A | O, call)
#define REFUSE_TO(roles_, call) \
	{ \
		.name = #call " (refused)", .nr = SYS_##call, .roles = (roles_), \
		.verdict = SANDBOX_REFUSE, .why = "sanitizer: reporting an error" \
	}

const char *const sandbox_role_name[SANDBOX_NR_ROLES] = {
	[SANDBOX_MAIN] = "main",
	[SANDBOX_VCPU] = "vcpu",
	[SANDBOX_PAGER] = "pager",
	[SANDBOX_CHANNEL] = "channel",
	[SANDBOX_KEEPER] = "keeper",
	[SANDBOX_RECLAIMER] = "reclaimer",
	[SANDBOX_SWAP] = "swap",
	[SANDBOX_DEVICE] = "device",
	[SANDBOX_IMAGE] = "image",
	[SANDBOX_CODE] = "code",
	[SANDBOX_MACHINE] = "machine",
	[SANDBOX_SHELF] = "shelf",
	[SANDBOX_MACHINE_BARE] = "machine_bare",
	[SANDBOX_OBSERVER] = "observer",
};

/* clang-format off */
const struct sandbox_rule sandbox_rules[] = {
	/* ---- the guest ---- */
	IOCTL(KVM_RUN,			    V,	   "enter the guest"),
	IOCTL(KVM_IRQ_LINE,		    M | V, "interrupts of the UART"),
	IOCTL(KVM_GET_MP_STATE,		    V,	   "has it halted?"),
	IOCTL(KVM_GET_VCPU_EVENTS,	    V,	   "... and can anything wake it?"),
	IOCTL(KVM_GET_XSAVE,		    V,	   "an instruction that KVM does not know: SSE"),
	IOCTL(KVM_SET_XSAVE,		    V,	   "... its result"),
	IOCTL(KVM_GET_DEBUGREGS,	    V,	   "... it is single-stepped"),
	IOCTL(KVM_SET_DEBUGREGS,	    V,	   "... the same"),
	IOCTL(KVM_SET_VCPU_EVENTS,	    V,	   "shadow tables: an exception that is ours"),
	IOCTL(KVM_SET_XCRS,		    V,	   "... XSETBV"),
	IOCTL(KVM_SET_GUEST_DEBUG,	    V,	   "... code in real mode, step by step"),
	IOCTL(KVM_GET_LAPIC,		    V,	   "... its timer, a pending interrupt"),
	IOCTL(KVM_GET_IRQCHIP,		    M,	   "... a device"),
	IOCTL(KVM_GET_PIT2,		    M,	   "... the timer"),
	IOCTL(KVM_IOEVENTFD,		    V,	   "a balloon driver starts: its notifications"),

	/* ---- its memory; the main loop: a balloon that inflates while its vCPU goes on ---- */
	IOCTL(UFFDIO_ZEROPAGE,		    U, "bring pages in"),
	IOCTL(UFFDIO_COPY,		    U,	   "... where write() would bring huge pages in"),
	IOCTL(UFFDIO_WAKE,		    U,	   "a late event; a page is its guest's own again"),
	IOCTL(UFFDIO_UNREGISTER,	    U, "manage a block as one"),
	IOCTL(UFFDIO_REGISTER,		    U,	   "... and singly; what is mapped anew"),
	IOCTL(UFFDIO_WRITEPROTECT,	    U,	   "no writes while a page changes its state"),
	IOCTL(PAGEMAP_SCAN,		    U, "did the host give a huge page?"),
	ADVICE(MADV_POPULATE_WRITE,	    U,	   "bring a block in"),
	ADVICE(MADV_POPULATE_READ,	    U,	   "map what was un-shared before it is touched"),
	ADVICE(MADV_HUGEPAGE,		    U, "... as a huge page"),
	ADVICE(MADV_NOHUGEPAGE,		    K,	   "... but not in a segment of the store"),
	ADVICE(MADV_COLLAPSE,		    K,	   "... put together again"),
	CALL_IF(lseek, U, 2, INT_MASK, SEEK_DATA, "SEEK_DATA",
		"what of a block the host could give"),
	CALL_IF(fallocate, U, 1, INT_MASK, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch",
		"give pages back"),
	ADVICE(MADV_DONTNEED,		    M,	   "which pages does the guest touch from now on?"),
	ADVICE(MADV_DONTDUMP,		    U,	   "what is mapped anew: not for core files"),
	CALL(pread64,			    U,	   "pagemap: what was written as it was shared"),
	CALL(pwrite64,			    U,	   "un-share: a page's bytes into guest memory"),
	CALL_IF(mprotect, U, 2, PROT_EXEC, 0, "without PROT_EXEC",
		"what is shared can be written again, and then raises an event"),

	/* ---- what the guest writes, for the keeper ---- */
	IOCTL(KVM_SET_USER_MEMORY_REGION,   K | V, "watch a slot; shadow tables: see one go"),
	IOCTL(KVM_GET_DIRTY_LOG,	    K,	   "what was written in it"),
	CALL(fstat,			    K,	   "which segment of the store is this?"),
	CALL_IF(newfstatat, K, 3, INT_MASK, AT_EMPTY_PATH, "AT_EMPTY_PATH",
		"... as some C libraries ask; of files it could tell only the empty root"),
	CALL(fstatfs,			    K,	   "... and who can write it?"),
	CALL_IF(fcntl, K, 1, INT_MASK, F_GETFL, "F_GETFL", "... was it opened for reading?"),
	CALL_IF(fcntl, K, 1, INT_MASK, F_GET_SEALS, "F_GET_SEALS", "... is its size sealed?"),
	CALL(sched_yield,		    U,	   "a page to be given back is in use: a moment"),

	/* ---- descriptors at hand ---- */
	CALL(read,			    M | P | C | R | W | Q, "signals, input, faults"),
	CALL(write,			    ALL | I | D, "output, messages, wake-ups; an outline"),
	CALL(poll,			    ALL,   "wait; a vCPU: for the reader of its output"),
	CALL(close,			    M | C | K, "clients that leave; the end"),
	CALL(recvmsg,			    M | C | K, "the machine; the launcher: a new channel"),
	CALL(sendmsg,			    ALL,   "the machine, for credits; the launcher"),

	/* ---- devices; what the ring of a disk does, and no more, is in file_io.h ---- */
	CALL(getrandom,			    M | V, "random numbers for the guest's virtio-rng"),
	CALL(io_uring_enter,		    W | Q, "reads and writes"),
	CALL(pread64,			    W,	   "... where there is no ring"),
	CALL(pwrite64,			    W,	   "... the same"),
	CALL_IF(fallocate, W, 1, INT_MASK, 0, "of space", "... the same, and of what is swapped"),
	CALL_IF(fallocate, W, 1, INT_MASK, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch",
		"... the same, and it is not used any more"),
	CALL(fdatasync,			    Q,	   "... where there is no ring: a flush"),
	CALL_IF(fcntl, M, 1, INT_MASK, F_OFD_SETLK, "F_OFD_SETLK", "the end: others may have them"),

	/* ---- control socket ---- */
	CALL(epoll_wait,		    M,	   "who wants something?"),
	CALL(epoll_ctl,			    M,	   "clients come and change sides"),
	CALL(accept4,			    M,	   "a client"),
	CALL(accept,			    M,	   "one too many, to turn it away"),
	CALL_IF(fcntl, M, 1, INT_MASK, F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC",
		"hold a descriptor ready for turning away"),
	CALL_IF(getsockopt, M, 2, INT_MASK, SO_PEERCRED, "SO_PEERCRED", "may this client ask?"),
	CALL(geteuid,			    M,	   "... is it us?"),
	CALL_IF(setsockopt, M, 2, INT_MASK, SO_SNDBUF, "SO_SNDBUF", "room for an answer"),
	CALL_IF(recvfrom, M, 4, UINT64_MAX, 0, "without address", "a request"),
	CALL_IF(sendto,	  M, 4, UINT64_MAX, 0, "without address", "an answer"),

	/* ---- signals ---- */
	CALL(rt_sigreturn,		    ALL,   "a kick"),
	CALL(rt_sigaction,		    ALL,   "C library: abort"),
	CALL(rt_sigprocmask,		    ALL,   "... raise, end of a thread"),
	CALL_IF(tgkill, ALL, 0, INT_MASK, SANDBOX_SELF, "this process", "kick a vCPU; abort"),
	CALL(getpid,			    ALL,   "... its arguments; who we are, for clients"),
	CALL(gettid,			    ALL,   "... and of a thread"),

	/* ---- threads and time ---- */
	CALL(futex,			    ALL,   "locks"),
	CALL(clock_gettime,		    ALL,   "where the vDSO cannot tell the time"),
	CALL(clock_nanosleep,		    U,	   "guest memory is being changed; a pace"),
	CALL(restart_syscall,		    ALL,   "the kernel's own, after SIGSTOP and SIGCONT"),
	ADVICE(MADV_DONTNEED,		    ALL,   "C library: stack of a thread that ends, free"),
	CALL(exit,			    V | P | C | K | R | W | Q, "end of a thread"),
	CALL(exit_group,		    M | I | D, "end of all"),

	/* ---- memory of this process ---- */
	CALL_IF(mmap, ALL | D, 2, PROT_EXEC, 0, "without PROT_EXEC",
		"malloc; a block of guest memory"),
	CALL(munmap,			    ALL | D,   "malloc; the end"),
	CALL(mremap,			    M | K, "realloc of something large"),
	CALL(brk,			    ALL | D,   "malloc"),
	CALL(sysinfo,			    K | D, "C library: qsort, to merge; to disassemble"),
	CALL(writev,			    ALL,   "C library: the message of an abort"),

	/* ---- the machine: who is there, and what they say ---- */
	CALL(epoll_wait,		    A,	   "who wants something?"),
	CALL(epoll_ctl,			    A,	   "clients and VMs come and go"),
	CALL(poll,			    A,	   "wait; may this be written to?"),
	CALL(accept4,			    A,	   "a client"),
	CALL(recvmsg,			    A,	   "what it says"),
	CALL(sendmsg,			    A,	   "an answer"),
	CALL(read,			    A,	   "a signal; a process's number"),
	CALL(write,			    A,	   "the log"),
	CALL(close,			    A,	   "who leaves"),
	{ .name = "socketpair AF_UNIX SOCK_SEQPACKET", .nr = SYS_socketpair, .roles = A,
	  .when = { { .arg = 0, .mask = INT_MASK, .value = AF_UNIX },
		    { .arg = 1, .mask = INT_MASK & ~(uint32_t)(SOCK_CLOEXEC | SOCK_NONBLOCK),
		      .value = SOCK_SEQPACKET } },
	  .why = "a VM's channel, and one about equal pages" },
	CALL_IF(getsockopt, A, 2, INT_MASK, SO_PEERCRED, "SO_PEERCRED", "may this client ask?"),
	CALL(geteuid,			    A,	   "... is it us?"),
	CALL_IF(setsockopt, A, 2, INT_MASK, SO_SNDBUF, "SO_SNDBUF", "room for an answer"),
	CALL(pidfd_send_signal,		    A,	   "end a VM"),
	CALL_IF(openat, A, 2, INT_MASK, O_RDONLY | O_CLOEXEC, "to read",
		"of /proc (sandbox_places()): a process's number; a segment, for a VM"),

	/* ---- ... VMs' memory, and the store ---- */
	CALL_IF(fcntl, A, 1, INT_MASK, F_GETFL, "F_GETFL", "is this RAM file for reading only?"),
	CALL_IF(fcntl, A, 1, INT_MASK, F_GET_SEALS, "F_GET_SEALS", "... and sealed?"),
	CALL(fstat,			    A,	   "... how much of it exists?"),
	CALL(newfstatat,		    A,	   "... as some C libraries ask"),
	CALL(fstatfs,			    A,	   "... is it on a tmpfs?"),
	CALL(pread64,			    A,	   "a page that a VM says is equal"),
	CALL_IF(openat, L, 2, INT_MASK, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, "a new file",
		"a segment of the store, on the shelf (sandbox_places())"),
	CALL_IF(unlinkat, L, 2, INT_MASK, 0, "a file", "... which goes"),
	CALL(fsconfig,			    S,	   "... how much may exist of all of them"),
	CALL(read,			    S,	   "... asked by the machine"),
	CALL(write,			    S,	   "... and answered"),
	CALL(exit,			    S,	   "... the end"),
	CALL(memfd_create,		    A,	   "a segment where there is no shelf"),
	CALL(ftruncate,			    A,	   "... its size"),
	CALL(fchmod,			    A,	   "... only we may open it"),
	CALL_IF(fcntl, A, 1, INT_MASK, F_ADD_SEALS, "F_ADD_SEALS", "... its size stays"),
	CALL(userfaultfd,		    A,	   "... it is copied to page by page:"),
	IOCTL(UFFDIO_API,		    A,	   "... the beginning"),
	IOCTL(UFFDIO_REGISTER,		    A,	   "... where"),
	IOCTL(UFFDIO_COPY,		    A,	   "... a run of pages"),
	CALL_IF(fallocate, A, 1, INT_MASK, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch",
		"frames that nobody has"),
	ADVICE(MADV_DONTNEED,		    A,	   "... out of our tables; free"),
	ADVICE(MADV_NOHUGEPAGE,		    A,	   "... and nobody collapses them"),
	CALL(getrandom,			    A,	   "a domain's secret; malloc"),

	/* ---- ... itself ---- */
	CALL_IF(mmap, A, 2, PROT_EXEC, 0, "without PROT_EXEC", "malloc; a segment, and its tables"),
	CALL(munmap,			    A,	   "... the end of that"),
	CALL(mremap,			    A,	   "realloc of something large"),
	CALL(brk,			    A,	   "malloc"),
	CALL(sysinfo,			    A,	   "C library: qsort"),
	CALL(clock_gettime,		    A,	   "where the vDSO cannot tell the time"),
	CALL(restart_syscall,		    A,	   "the kernel's own, after SIGSTOP and SIGCONT"),
	CALL(futex,			    A,	   "C library: locks"),
	CALL(rt_sigreturn,		    A,	   "C library: abort"),
	CALL(rt_sigaction,		    A,	   "... the same"),
	CALL(rt_sigprocmask,		    A,	   "... the same"),
	CALL_IF(tgkill, A, 0, INT_MASK, SANDBOX_SELF, "this process", "... the same"),
	CALL(getpid,			    A,	   "... the same"),
	CALL(gettid,			    A,	   "... the same"),
	CALL(writev,			    A,	   "... the same: its message"),
	CALL_IF(openat, A, 2, INT_MASK, O_RDONLY | O_DIRECTORY | O_CLOEXEC, "a directory",
		"the one of our socket's path (sandbox_places()), to lock it"),
	CALL(flock,			    A,	   "... while we remove the path"),
	CALL(clock_nanosleep,		    A,	   "... when others have locked it"),
	CALL(unlink,			    A,	   "... if it still is ours"),
	CALL(lseek,			    A,	   "C library: exit"),
	CALL(exit_group,		    A,	   "the end"),

	/* ---- the observer: connections of HTTP ---- */
	CALL(epoll_wait,		    O,	   "who wants something?"),
	CALL(epoll_ctl,			    O,	   "clients come and go"),
	CALL(poll,			    O,	   "... and the other thread, the machine?"),
	CALL(accept4,			    O,	   "a client"),
	CALL(recvfrom,			    O,	   "what it asks; what a VM answers"),
	CALL(sendto,			    O,	   "an answer; a question to a VM"),
	CALL(sendmsg,			    O,	   "... in pieces; a question to a machine"),
	CALL(setsockopt,		    O,	   "C library of HTTP: no delay; patience"),
	CALL(shutdown,			    O,	   "hang up on whoever is too slow"),
	CALL(close,			    O,	   "who leaves"),
	CALL(read,			    O,	   "the other thread is done"),
	CALL(write,			    O,	   "... and says so"),

	/* ---- ... what it asks machines and VMs ---- */
	CALL_IF(socket, O, 0, INT_MASK, AF_UNIX, "AF_UNIX", "to ask a machine or a VM"),
	CALL(connect,			    O,	   "... the same"),
	CALL(recvmsg,			    O,	   "what a machine answers"),
	CALL_IF(getsockopt, O, 1, INT_MASK, SOL_SOCKET, "SOL_SOCKET", "who listens there?"),
	CALL(geteuid,			    O,	   "... is it us?"),
	CALL(getuid,			    O,	   "... whose machine is the default one?"),
	CALL(setresuid,			    O,	   "... to root's VMs as the user that they are"),
	CALL_IF(openat, O, 2, INT_MASK, O_RDONLY | O_CLOEXEC, "to read",
		"of /proc (sandbox_places()): who listens, whose process it is"),
	CALL_IF(newfstatat, O, 3, INT_MASK, AT_EMPTY_PATH, "AT_EMPTY_PATH", "C library: fopen"),
	CALL(fstat,			    O,	   "... as others ask"),
	CALL(pidfd_open,		    O,	   "has this VM ended?"),

	/* ---- ... itself ---- */
	CALL_IF(mmap, O, 2, PROT_EXEC, 0, "without PROT_EXEC", "malloc"),
	CALL_IF(mprotect, O, 2, PROT_EXEC, 0, "without PROT_EXEC", "malloc of a second thread"),
	CALL(munmap,			    O,	   "malloc"),
	CALL(mremap,			    O,	   "realloc of something large"),
	CALL(brk,			    O,	   "malloc"),
	ADVICE(MADV_DONTNEED,		    O,	   "free"),
	CALL(sysinfo,			    O,	   "C library: qsort"),
	CALL(getrandom,			    O,	   "malloc"),
	CALL(futex,			    O,	   "locks"),
	CALL(clock_gettime,		    O,	   "what did this cost?"),
	CALL(clock_nanosleep,		    O,	   "between two looks"),
	CALL(restart_syscall,		    O,	   "the kernel's own, after SIGSTOP and SIGCONT"),
	CALL(rt_sigreturn,		    O,	   "C library: a user for all threads; abort"),
	CALL(rt_sigaction,		    O,	   "... the same"),
	CALL(rt_sigprocmask,		    O,	   "... the same"),
	CALL_IF(tgkill, O, 0, INT_MASK, SANDBOX_SELF, "this process", "... the same"),
	CALL(getpid,			    O,	   "... the same"),
	CALL(gettid,			    O,	   "... the same"),
	CALL(writev,			    O,	   "... the same: its message"),
	CALL(exit_group,		    O,	   "the end"),

#if QUIRE_SANITIZED
	CALL(sigaltstack,		    ALL | A | D | O, "sanitizer: an end"),
	CALL(madvise,			    ALL | A | O, "sanitizer: shadow memory"),
	CALL_IF(mprotect, C | A, 2, PROT_EXEC, 0, "without PROT_EXEC", "sanitizer: shadow memory"),
	CALL(sched_yield,		    C | A | O,	   "sanitizer: locks"),
	CALL(clock_nanosleep,		    C,	   "sanitizer: locks"),
	CALL(exit_group,		    ALL & ~M,	   "sanitizer: the end after a report"),
	CALL(getrlimit,			    ALL | A | O, "sanitizer: stack bounds"),
	CALL_IF(prlimit64, ALL | A | O, 2, UINT64_MAX, 0, "to read", "sanitizer: stack bounds"),
	CALL(sched_getaffinity,		    ALL | A | O, "sanitizer: stack bounds"),
	REFUSE(open),
	REFUSE_TO(ALL, openat),
	REFUSE(access),
	REFUSE(stat),
	CALL(fstat,			    M,	   "sanitized builds: the audit (vm_pause.c)"),
	CALL_IF(newfstatat, M, 3, INT_MASK, AT_EMPTY_PATH, "AT_EMPTY_PATH",
		"... as some C libraries ask"),
	REFUSE_TO(V | P | C | R | W | Q, fstat),
	REFUSE_TO(V | P | C | R | W | Q, newfstatat),
	REFUSE(readlink),
	REFUSE(pipe),
	REFUSE(pipe2),
	REFUSE(clone),
	REFUSE(fork),
	REFUSE(wait4),
	REFUSE(prctl),
	REFUSE_TO(ALL | A, getuid),
#endif
};
/* clang-format on */

const unsigned int sandbox_nr_rules = sizeof(sandbox_rules) / sizeof(sandbox_rules[0]);
