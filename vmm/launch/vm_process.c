/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <quire/abi.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mmu/base/packet.h"
#include "mmu/base/sanitized.h"
#include "vm_process.h"
#include "vm_record.h"
#include "vmm/vm/message.h"

/* ---- the launcher's side ---- */

/* What the dynamic linker may need to find the libraries again. */
static void choose_environment(char *chosen[2])
{
	static const char path[] = "LD_LIBRARY_PATH=";

	chosen[0] = NULL;
	for (char **e = environ; e && *e; e++)
		if (!strncmp(*e, path, sizeof(path) - 1))
			chosen[0] = *e;
	chosen[1] = NULL;
}

/* First out of the way, because one of them may have the number that another is to get. */
static int place_descriptors(const int *fd, unsigned int nr)
{
	const unsigned int end = VM_FD_LEASH + nr;
	int away[VM_PROCESS_MAX_FDS];

	for (unsigned int i = 0; i < nr; i++) {
		away[i] = fd[i] < 0 ? -1 : fcntl(fd[i], F_DUPFD_CLOEXEC, (int)end);
		if (fd[i] >= 0 && away[i] < 0)
			return errno;
	}
	for (unsigned int i = 0; i < nr; i++)
		if (away[i] < 0)
			close(VM_FD_LEASH + (int)i);
		else if (dup2(away[i], VM_FD_LEASH + (int)i) < 0)
			return errno;
	return close_range(end, ~0u, 0) ? errno : 0;
}

int vm_process_exec(const char *name, const int *fd, unsigned int nr)
{
	char program[] = VM_PROCESS_NAME, own[VM_NAME_MAX + 1];
	char *args[] = { program, own, NULL }, *env[2];
	int error = place_descriptors(fd, nr);

	if (error)
		return error;
	snprintf(own, sizeof(own), "%s", name);
	choose_environment(env);
#if QUIRE_SANITIZED /* their options are there */
	execve("/proc/self/exe", args, environ);
#else
	execve("/proc/self/exe", args, env);
#endif
	return errno;
}

/* ---- the VM's side ---- */

static int take_seat(struct vm_process_seat *seat, struct quire_error *err)
{
	int attached, code = packet_recv(VM_FD_LEASH, seat, sizeof(*seat), &attached);

	if (attached >= 0)
		close(attached);
	if (code == 1)
		return 0;
	return quire_fail(err, -EINVAL, "this is not how a VM process is started: use quire run");
}

static int map_info(struct vm_info **info, struct quire_error *err)
{
	struct stat st;
	void *p;

	if (fstat(VM_FD_INFO, &st) || (uint64_t)st.st_size < sizeof(**info))
		return quire_fail(err, -EINVAL, "there is no room for the counters");
	p = mmap(NULL, sizeof(**info), PROT_READ | PROT_WRITE, MAP_SHARED, VM_FD_INFO, 0);
	if (p == MAP_FAILED)
		return quire_fail(err, -errno, "cannot map the counters: %s", strerror(errno));
	*info = p;
	return 0;
}

static int begin(struct run *run, struct vm_process_seat *seat, struct vm_info **info,
		 struct quire_error *err)
{
	int ret = take_seat(seat, err);

	if (!ret)
		ret = vm_record_take(VM_FD_FILES, run, err);
	if (!ret && seat->has_info)
		ret = map_info(info, err);
	close(VM_FD_INFO);
	return ret;
}

/* The launcher reads these from a descriptor; a VM just stops, and goes on. */
static void heed_stop_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int vm_process(const char *name)
{
	static struct run run;
	struct vm_process_seat packet;
	struct vm_info *info = NULL;
	struct quire_error err;

	heed_stop_signals();
	prctl(PR_SET_NAME, "quire");
	fcntl(VM_FD_LEASH, F_SETFD, FD_CLOEXEC);
	fcntl(VM_FD_CHANNEL, F_SETFD, FD_CLOEXEC);
	if (begin(&run, &packet, &info, &err)) {
		message("%s", err.text);
		return QUIRE_STATUS_USAGE;
	}
	if (!packet.alone)
		message_set_name(name);
	return run_vm(&run, &(struct launch_seat){ .name = name,
						   .alone = packet.alone,
						   .leash = VM_FD_LEASH,
						   .channel = VM_FD_CHANNEL,
						   .credit_pages = packet.credit_pages,
						   .reboots = packet.reboots,
						   .timeout_since_ns = packet.timeout_since_ns,
						   .cgroup = packet.cgroup,
						   .info = info });
}
