/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <quire/types.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "puppet.h"

/* Each fits into struct puppet's `original`, and ends in a trap. */
static const uint8_t calls[16] = {
	0x4c, 0x89, 0xf0, /* 1: mov rax, r14 */
	0x0f, 0x05,	  /* syscall, which changes rax, rcx and r11 */
	0x49, 0xff, 0xcf, /* dec r15 */
	0x75, 0xf6,	  /* jnz 1b */
	0xcc,		  /* int3 */
};

static const uint8_t writes[16] = {
	0xc6, 0x07, 0x01,			  /* 1: mov byte [rdi], 1 */
	0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, /* add rdi, 4096 */
	0x49, 0xff, 0xcf,			  /* dec r15 */
	0x75, 0xf1,				  /* jnz 1b */
	0xcc,
};

static const uint8_t reads[16] = {
	0x0f, 0xb6, 0x07,			  /* 1: movzx eax, byte [rdi] */
	0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, /* add rdi, 4096 */
	0x49, 0xff, 0xcf,			  /* dec r15 */
	0x75, 0xf1,				  /* jnz 1b */
	0xcc,
};

/* ---- seizing ---- */

static void read_file(pid_t pid, const char *name, void *data, size_t bytes)
{
	char path[64];
	ssize_t n;
	int fd;

	memset(data, 0, bytes);
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, data, bytes - 1);
	if (fd >= 0)
		close(fd);
	(void)n;
}

static pid_t find_thread(pid_t pid, const char *name)
{
	char path[64], comm[32];
	struct dirent *entry;
	pid_t found = 0;
	DIR *dir;

	if (!strcmp(name, "main"))
		return pid;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "task/%.16s/comm", entry->d_name);
		read_file(pid, path, comm, sizeof(comm));
		comm[strcspn(comm, "\n")] = '\0';
		if (!strcmp(comm, name))
			found = atoi(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Where the program began. */
static uint64_t entry_point(pid_t pid)
{
	uint64_t auxv[2 * 64 + 1];

	read_file(pid, "auxv", auxv, sizeof(auxv));
	for (unsigned int i = 0; i < 2 * 64 && auxv[i]; i += 2)
		if (auxv[i] == AT_ENTRY)
			return auxv[i + 1];
	return 0;
}

static bool poke(struct puppet *p, const uint64_t words[2])
{
	return !ptrace(PTRACE_POKETEXT, p->tid, p->code, words[0]) &&
	       !ptrace(PTRACE_POKETEXT, p->tid, p->code + 8, words[1]);
}

/* Wait until the thread stops.  False: the process has ended. */
static bool await_stop(struct puppet *p)
{
	int status;

	for (;;) {
		if (waitpid(p->tid, &status, __WALL) < 0) {
			p->dead = true;
			return false;
		}
		if (WIFSTOPPED(status))
			return true;
		p->dead = true;
		return false;
	}
}

/*
 * The thread is no longer stopped, so it was killed.  Its process is gone only when its tracer has
 * heard of that.
 */
static void mourn(struct puppet *p)
{
	int status;

	p->dead = true;
	while (waitpid(p->tid, &status, __WALL) == p->tid && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, p->tid, 0, 0);
}

static void detach(struct puppet *p)
{
	if (ptrace(PTRACE_DETACH, p->tid, 0, 0))
		mourn(p);
}

bool puppet_seize(struct puppet *p, pid_t pid, const char *thread)
{
	int64_t scratch;

	*p = (struct puppet){ .pid = pid, .tid = find_thread(pid, thread) };
	p->code = entry_point(pid);
	if (!p->tid || !p->code || ptrace(PTRACE_SEIZE, p->tid, 0, 0))
		return false;
	if (ptrace(PTRACE_INTERRUPT, p->tid, 0, 0) || !await_stop(p) ||
	    ptrace(PTRACE_GETREGS, p->tid, 0, &p->before))
		return false;
	errno = 0;
	for (unsigned int i = 0; i < 2; i++)
		p->original[i] = (uint64_t)ptrace(PTRACE_PEEKTEXT, p->tid, p->code + 8 * i, 0);
	if (errno)
		return false;
	scratch = puppet_call(p, SYS_mmap, 0, PUPPET_SCRATCH, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX, 0);
	p->scratch = (uint64_t)scratch;
	return scratch > 0;
}

void puppet_let_go(struct puppet *p)
{
	if (p->dead)
		return;
	puppet_call(p, SYS_munmap, p->scratch, PUPPET_SCRATCH, 0, 0, 0, 0);
	if (p->dead)
		return;
	poke(p, p->original);
	ptrace(PTRACE_SETREGS, p->tid, 0, &p->before);
	detach(p);
}

/* A process is gone only when whoever holds one of its threads has heard of its end. */
bool puppet_has_died(struct puppet *p)
{
	int status;

	if (!p->dead && waitpid(p->tid, &status, __WALL | WNOHANG) == p->tid && !WIFSTOPPED(status))
		p->dead = true;
	return kill(p->pid, 0) != 0;
}

/* ---- acting ---- */

/* Execute one of the pieces of code until its trap.  False: it died. */
static bool execute(struct puppet *p, const uint8_t code[16], struct user_regs_struct *regs)
{
	uint64_t words[2];
	siginfo_t info;

	if (p->dead)
		return false;
	memcpy(words, code, sizeof(words));
	regs->rip = p->code;
	regs->orig_rax = UINT64_MAX; /* no system call is to be restarted */
	if (!poke(p, words) || ptrace(PTRACE_SETREGS, p->tid, 0, regs)) {
		mourn(p);
		return false;
	}
	for (;;) {
		if (ptrace(PTRACE_CONT, p->tid, 0, 0)) {
			mourn(p);
			return false;
		}
		if (!await_stop(p))
			return false;
		if (ptrace(PTRACE_GETSIGINFO, p->tid, 0, &info))
			continue; /* it stopped for no signal */
		if (info.si_signo == SIGTRAP)
			break;
		if (info.si_signo != SIGSEGV && info.si_signo != SIGBUS)
			continue; /* a kick: it does not come to the thread */
		/* It would die of that: let it. */
		ptrace(PTRACE_CONT, p->tid, 0, info.si_signo);
		while (await_stop(p))
			ptrace(PTRACE_CONT, p->tid, 0, info.si_signo);
		return false;
	}
	return !ptrace(PTRACE_GETREGS, p->tid, 0, regs);
}

int64_t puppet_repeat(struct puppet *p, uint64_t times, long nr, uint64_t a, uint64_t b, uint64_t c,
		      uint64_t d, uint64_t e, uint64_t f)
{
	struct user_regs_struct regs = p->before;

	regs.r14 = (uint64_t)nr;
	regs.r15 = times;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.r10 = d;
	regs.r8 = e;
	regs.r9 = f;
	return execute(p, calls, &regs) ? (int64_t)regs.rax : PUPPET_DIED;
}

int64_t puppet_call(struct puppet *p, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
		    uint64_t e, uint64_t f)
{
	return puppet_repeat(p, 1, nr, a, b, c, d, e, f);
}

void puppet_park(struct puppet *p)
{
	struct user_regs_struct regs = p->before;
	uint64_t words[2];

	memcpy(words, calls, sizeof(words));
	regs.r14 = SYS_poll;
	regs.r15 = UINT64_MAX;
	regs.rdi = regs.rsi = 0;
	regs.rdx = UINT64_MAX;
	regs.rip = p->code;
	regs.orig_rax = UINT64_MAX;
	if (p->dead || !poke(p, words))
		return;
	ptrace(PTRACE_SETREGS, p->tid, 0, &regs);
	detach(p);
	p->dead = true;
}

bool puppet_touch(struct puppet *p, uint64_t address, uint64_t bytes, bool write)
{
	struct user_regs_struct regs = p->before;

	regs.rdi = address;
	regs.r15 = bytes / QUIRE_PAGE_SIZE;
	return execute(p, write ? writes : reads, &regs);
}

static bool copy(struct puppet *p, uint64_t address, void *data, size_t bytes, bool put)
{
	struct iovec here = { data, bytes }, there = { (void *)address, bytes };
	ssize_t n = put ? process_vm_writev(p->pid, &here, 1, &there, 1, 0) :
			  process_vm_readv(p->pid, &here, 1, &there, 1, 0);

	return n == (ssize_t)bytes;
}

bool puppet_put(struct puppet *p, uint64_t address, const void *data, size_t bytes)
{
	return copy(p, address, (void *)(uintptr_t)data, bytes, true);
}

bool puppet_get(struct puppet *p, uint64_t address, void *data, size_t bytes)
{
	return copy(p, address, data, bytes, false);
}

uint64_t puppet_push(struct puppet *p, const void *data, size_t bytes)
{
	uint64_t at = p->scratch + p->used;

	p->used += (bytes + 15) & ~15UL;
	if (p->used > PUPPET_SCRATCH || !puppet_put(p, at, data, bytes))
		return 0;
	return at;
}

void puppet_clear(struct puppet *p)
{
	p->used = 0;
}

uint64_t puppet_message(struct puppet *p, const void *packet, size_t bytes, int attach,
			const struct sockaddr *name, socklen_t name_bytes)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { (void *)puppet_push(p, packet, bytes), bytes };
	struct msghdr msg = { .msg_iovlen = 1 };

	memcpy(CMSG_DATA(&control.header), &attach, sizeof(attach));
	msg.msg_iov = (struct iovec *)puppet_push(p, &iov, sizeof(iov));
	if (attach >= 0) {
		msg.msg_control = (void *)puppet_push(p, &control, sizeof(control));
		msg.msg_controllen = sizeof(control.bytes);
	}
	if (name) {
		msg.msg_name = (void *)puppet_push(p, name, name_bytes);
		msg.msg_namelen = name_bytes;
	}
	return puppet_push(p, &msg, sizeof(msg));
}

int64_t puppet_send(struct puppet *p, int fd, const void *packet, size_t bytes, int attach)
{
	uint64_t used = p->used, msg = puppet_message(p, packet, bytes, attach, NULL, 0);
	int64_t sent = puppet_call(p, SYS_sendmsg, (uint64_t)fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL,
				   0, 0, 0);

	p->used = used;
	return sent;
}

/* ---- descriptors ---- */

int puppet_dup(pid_t vm, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, vm, 0), mine;

	if (pidfd < 0)
		return -1;
	mine = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	close(pidfd);
	return mine;
}

/* Who made the other end of a packet socket; 0: it is none. */
static pid_t maker_of(int fd)
{
	struct ucred cred = { 0 };
	socklen_t bytes = sizeof(cred), int_bytes = sizeof(int);
	int type = 0, listens = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_bytes) || type != SOCK_SEQPACKET ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_bytes) || listens ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes))
		return 0;
	return cred.pid;
}

/* A file on tmpfs: guest memory can be written, and a segment of the store is another file. */
static bool is_memory(int fd, bool writable)
{
	struct statfs fs;
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) && !fstatfs(fd, &fs) &&
	       fs.f_type == TMPFS_MAGIC &&
	       (fcntl(fd, F_GETFL) & O_ACCMODE) == (writable ? O_RDWR : O_RDONLY);
}

static bool is_segment(pid_t vm, int fd)
{
	int ram = puppet_find(vm, PUPPET_RAM, 0, 0), mine = puppet_dup(vm, ram);
	struct stat a, b;
	bool other = is_memory(fd, false) && mine >= 0 && !fstat(fd, &a) && !fstat(mine, &b) &&
		     (a.st_dev != b.st_dev || a.st_ino != b.st_ino);

	if (mine >= 0)
		close(mine);
	return other;
}

static bool is_it(pid_t vm, int fd, enum puppet_file what, pid_t launcher, pid_t machine)
{
	switch (what) {
	case PUPPET_LEASH: return maker_of(fd) == launcher;
	case PUPPET_CHANNEL: return maker_of(fd) == machine;
	case PUPPET_MERGE: return maker_of(fd) == vm;
	case PUPPET_RAM: return is_memory(fd, true);
	case PUPPET_SEGMENT: return is_segment(vm, fd);
	}
	return false;
}

int puppet_find(pid_t vm, enum puppet_file what, pid_t launcher, pid_t machine)
{
	char path[64];
	struct dirent *entry;
	int found = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)vm);
	dir = opendir(path);
	while (dir && found < 0 && (entry = readdir(dir))) {
		int number = atoi(entry->d_name), mine;

		if (number <= STDERR_FILENO)
			continue;
		mine = puppet_dup(vm, number);
		if (mine >= 0 && is_it(vm, mine, what, launcher, machine))
			found = number;
		if (mine >= 0)
			close(mine);
	}
	if (dir)
		closedir(dir);
	return found;
}
