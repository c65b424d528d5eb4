/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <quire/abi.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mmu/base/packet.h"
#include "leash.h"
#include "vm_process.h"
#include "vm_record.h"
#include "vmm/vm/message.h"

/* The input that the launcher sent behind the seat.  False: it is not all there. */
static bool take_input(char input[VM_INPUT_BYTES], size_t bytes)
{
	struct leash_msg msg;
	int attached;

	for (size_t got = 0, before; got < bytes;) {
		before = got;
		if (bytes > VM_INPUT_BYTES || leash_recv(VM_FD_LEASH, &msg, &attached) != 1)
			return false;
		if (attached >= 0)
			close(attached);
		if (msg.type == LEASH_INPUT)
			leash_take_input(&msg, input, &got, bytes);
		if (got == before)
			return false;
	}
	return true;
}

static int take_seat(struct vm_process_seat *seat, char input[VM_INPUT_BYTES],
		     struct quire_error *err)
{
	int attached, code = packet_recv(VM_FD_LEASH, seat, sizeof(*seat), &attached);

	if (attached >= 0)
		close(attached);
	if (code == 1 && take_input(input, seat->input_bytes))
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

static int begin(struct run *run, struct vm_process_seat *seat, char input[VM_INPUT_BYTES],
		 struct vm_info **info, struct quire_error *err)
{
	int ret = take_seat(seat, input, err);

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

/*
 * Some structures of a VM are large, for what its guest may do one day.  If malloc() maps them,
 * nothing has to be cleared, and what is never used takes no memory.
 */
#define MAPPED_BYTES 32768

int vm_process(const char *name)
{
	static char input[VM_INPUT_BYTES];
	static struct run run;
	struct vm_process_seat packet;
	struct vm_info *info = NULL;
	struct quire_error err;

	mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
	heed_stop_signals();
	prctl(PR_SET_NAME, "quire");
	fcntl(VM_FD_LEASH, F_SETFD, FD_CLOEXEC);
	fcntl(VM_FD_CHANNEL, F_SETFD, FD_CLOEXEC);
	if (begin(&run, &packet, input, &info, &err)) {
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
						   .input = input,
						   .input_bytes = packet.input_bytes,
						   .begun_key = packet.begun_key,
						   .cgroup = packet.cgroup,
						   .info = info });
}
