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
#include "vm_process.h"
#include "vm_record.h"
#include "vmm/vm/message.h"

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
