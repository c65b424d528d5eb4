/* SPDX-License-Identifier: MIT */
/*
 * The birth of a copy: from its promise to its process.
 *
 * The machine admits the copy before anything is allocated.  Then its process is executed
 * (vm_process.h): it shall have nothing of ours or of other copies in its memory.  It dies with us
 * (PR_SET_PDEATHSIG; it also checks that its parent is not gone already).  It has three or four
 * descriptors of ours.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <quire/abi.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/swap/swap_file.h"
#include "mmu/base/clock.h"
#include "mmu/base/packet.h"
#include "launch_impl.h"
#include "leash.h"
#include "vm_process.h"

#define NO_ROOM_NS (2 * NS_PER_S)  /* other VMs have so long to give back what they can spare */
#define ASK_NS	   (NS_PER_S / 20) /* meanwhile the machine is asked so often */

#define CGROUP_TRIES 3

uint64_t launch_overhead_pages(uint64_t ram_bytes, unsigned int nr_vcpus)
{
	const uint64_t process = (MiB + MiB / 4) / QUIRE_PAGE_SIZE, vcpu = 16, sets = 4;
	/* For each page of RAM: what merging notes, and what is known of pages that may leave. */
	uint64_t tables = 0,
		 notes = ram_bytes / QUIRE_PAGE_SIZE * (9 + 8 * 18) / 8 / QUIRE_PAGE_SIZE;

	for (uint64_t n = ram_bytes / QUIRE_PAGE_SIZE; n > 1;) {
		n = n / 512 + (n % 512 != 0);
		tables += n;
	}
	return process + vcpu * nr_vcpus + sets * tables + notes;
}

/* The descriptors of a copy that is being made: both ends of its leash and of its pipe. */
struct ends {
	int leash[2];
	int pipe[2];
	int net[LAUNCH_MAX_NETS]; /* the VM's only */
	int swap;		  /* its swap file; -1: none */
};

static void close_links(struct ends *e)
{
	for (unsigned int i = 0; i < LAUNCH_MAX_NETS; i++)
		launch_close(&e->net[i]);
}

/* Open a link of each network.  0 or -errno; either way close_links() and copy_end_helpers(). */
static int open_links(const struct launch *l, struct copy *c, struct ends *e)
{
	for (unsigned int i = 0; i < LAUNCH_MAX_NETS; i++)
		e->net[i] = -1;
	for (unsigned int i = 0; i < l->config->nr_nets; i++) {
		e->net[i] = net_source_attach(&l->config->net[i], &c->net_helper[i]);
		if (e->net[i] < 0)
			return e->net[i];
	}
	return 0;
}

static int open_swap(const struct launch *l, const struct copy *c, struct ends *e)
{
	struct quire_error err;
	uint32_t unit;

	if (!l->config->swap_dir)
		return 0;
	e->swap = swap_file_make(l->config->swap_dir, l->config->swap_file_bytes, &unit, &err);
	if (e->swap < 0)
		launch_say(l, c, "%s", err.text);
	return e->swap < 0 ? e->swap : 0;
}

static int make_ends(const struct launch *l, struct ends *e)
{
	int ret = leash_create(e->leash);

	e->pipe[0] = e->pipe[1] = e->swap = -1;
	if (ret || l->nr == 1)
		return ret;
	if (pipe2(e->pipe, O_CLOEXEC)) {
		ret = -errno;
		close(e->leash[0]);
		close(e->leash[1]);
		return ret;
	}
	fcntl(e->pipe[0], F_SETFL, O_NONBLOCK);
	return 0;
}

/* One of several VMs writes to its pipe, has no input, and does not obey the terminal's signals. */
static void leave_terminal(int output)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

/* What the copy's process reads first. */
static int send_seat(const struct launch *l, const struct copy *c, int leash,
		     const struct machine_admitted *admitted)
{
	const struct vm_process_seat seat = {
		.alone = l->nr == 1,
		.has_info = c->info_fd >= 0,
		.cgroup = l->home.fd < 0 ? LAUNCH_CGROUP_NONE :
			  c->bounded	 ? LAUNCH_CGROUP_OWN :
					   LAUNCH_CGROUP_REFUSED,
		.credit_pages = admitted->credit_pages,
		.reboots = c->reboots,
		.input_bytes = l->input_bytes,
		.begun_key = l->begun_key,
		.timeout_since_ns = c->timeout_ns ? c->timeout_ns - l->config->timeout_ns : 0,
	};

	int ret = packet_send(leash, &seat, sizeof(seat), -1);

	return ret ? ret : leash_send_input(leash, l->input, l->input_bytes);
}

struct birth {
	const struct launch *l;
	const struct copy *c;
	const struct ends *e;
	const struct machine_admitted *admitted;
};

/* In the child, which may have our memory. */
static int prepare_child(void *ctx)
{
	const struct birth *b = ctx;
	int ret = send_seat(b->l, b->c, b->e->leash[0], b->admitted);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ret)
		return -ret;
	if (getppid() != b->l->pid)
		return ESRCH;
	if (b->l->nr > 1)
		leave_terminal(b->e->pipe[1]);
	return 0;
}

/* In this cgroup, or ours if it is -1.  Returns the process's id or -errno. */
static pid_t execute(const struct launch *l, struct copy *c, const struct ends *e,
		     const struct machine_admitted *admitted, int cgroup)
{
	char program[] = VM_PROCESS_NAME, *args[] = { program, c->name, NULL };
	int fd[SELF_EXEC_MAX_FDS] = { e->leash[1], admitted->channel, c->info_fd };
	struct birth birth = { l, c, e, admitted };
	struct self_exec what = {
		.args = args,
		.fd = fd,
		.nr_fds = VM_FD_FILES - VM_FD_LEASH,
		.cgroup = cgroup,
		.prepare = prepare_child,
		.ctx = &birth,
	};

	static_assert(VM_FD_FILES - VM_FD_LEASH + LAUNCH_MAX_FILES + LAUNCH_MAX_NETS +
				      2 * DISK_MOST + 1 <=
			      SELF_EXEC_MAX_FDS,
		      "there is room for all files and links");
	for (unsigned int i = 0; i < l->config->nr_vm_files; i++)
		fd[what.nr_fds++] = l->config->vm_file[i];
	for (unsigned int i = 0; i < l->config->nr_nets; i++)
		fd[what.nr_fds++] = e->net[i];
	for (unsigned int i = 0; i < l->config->nr_disks; i++)
		fd[what.nr_fds++] = l->config->disk[i].image;
	for (unsigned int i = 0; i < l->config->nr_disks; i++)
		if (c->delta_fd[i] >= 0)
			fd[what.nr_fds++] = c->delta_fd[i];
	if (e->swap >= 0)
		fd[what.nr_fds++] = e->swap;
	return self_exec(&what);
}

/* The same, in a cgroup of its own if there may be one. */
static pid_t execute_bounded(const struct launch *l, struct copy *c, const struct ends *e,
			     const struct machine_admitted *admitted)
{
	struct cgroup_bounds bounds = launch_bounds(l->config);
	unsigned int index = (unsigned int)(c - l->copy);
	pid_t pid = -1;

	/* Before it has a process, another launcher may take the cgroup for one left behind. */
	for (unsigned int i = 0; l->home.fd >= 0 && pid < 0 && i < CGROUP_TRIES; i++) {
		int cgroup = cgroup_make(&l->home, index, &bounds);

		if (cgroup < 0)
			break;
		c->bounded = true;
		pid = execute(l, c, e, admitted, cgroup);
		close(cgroup);
	}
	if (pid >= 0)
		return pid;
	if (c->bounded)
		cgroup_remove(&l->home, index);
	c->bounded = false;
	return execute(l, c, e, admitted, -1);
}

static void adopt(struct launch *l, struct copy *c, struct ends *e)
{
	unsigned int index = (unsigned int)(c - l->copy);

	c->leash = e->leash[0];
	c->output = e->pipe[0];
	c->state = COPY_RUNNING;
	lines_finish(&c->lines); /* a restart finds the buffer of the process before */
	c->lines = (struct lines){ .name = c->name };
	copy_tell_window(c);
	l->running++;
	launch_watch(l, c->pidfd, LAUNCH_SOURCE_PROCESS, index);
	launch_watch(l, c->leash, LAUNCH_SOURCE_LEASH, index);
	if (c->output >= 0)
		c->output_watched = !launch_watch(l, c->output, LAUNCH_SOURCE_OUTPUT, index);
}

/* 0; -errno: the process is there no more. */
static int open_pidfd(const struct launch *l, struct copy *c)
{
	int ret;

	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->pidfd >= 0)
		return 0;
	ret = -errno;
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	copy_leave_cgroup(l, c);
	return ret;
}

/* Start the copy's process.  Returns 0; -errno: nothing is left of it. */
static int spawn(struct launch *l, struct copy *c, const struct machine_admitted *admitted)
{
	struct ends e;
	int ret = l->config->write_stats ? launch_stats_share(c) : 0;

	if (!ret)
		ret = make_ends(l, &e);
	if (ret)
		return ret;
	fflush(NULL);
	ret = open_links(l, c, &e);
	if (!ret)
		ret = copy_open_deltas(l, c);
	if (!ret)
		ret = open_swap(l, c, &e);
	c->pid = ret ? ret : execute_bounded(l, c, &e, admitted);
	if (c->pid < 0)
		ret = c->pid;
	launch_stats_handed_over(c);
	close(e.leash[1]);
	launch_close(&e.pipe[1]);
	close_links(&e);
	launch_close(&e.swap);
	if (!ret)
		ret = open_pidfd(l, c);
	if (ret) {
		c->pid = 0;
		copy_end_helpers(c);
		close(e.leash[0]);
		launch_close(&e.pipe[0]);
		return ret;
	}
	l->input_bytes = 0;
	l->begun_key = false;
	adopt(l, c, &e);
	return 0;
}

/*
 * The machine has no room just now, and has asked other VMs for what they can spare: ask again
 * later.  False: it was asked for long enough.
 */
static bool ask_again(struct launch *l)
{
	uint64_t now = monotonic_ns();

	if (!l->admit_until_ns)
		l->admit_until_ns = now + NO_ROOM_NS;
	l->admit_ns = now + ASK_NS;
	return now < l->admit_until_ns;
}

void copy_start(struct launch *l, struct copy *c)
{
	struct machine_admitted admitted;
	struct machine_admit admit;
	struct quire_error err;
	int code;

	launch_machine_admit_of(l, c, &admit);
	code = machine_client_admit(l->machine, &admit, &admitted, &err);
	if (launch_machine_is_lost(code)) {
		launch_machine_lost(l);
		return; /* the copy waits for another machine */
	}
	if (code == -EAGAIN && ask_again(l))
		return;
	l->admit_ns = l->admit_until_ns = 0;
	launch_started(l, c);
	if (code) {
		c->refused = admitted.refused;
		c->refusal = admitted.refusal;
		c->refused_text = err;
		launch_say(l, c, "%s", err.text);
		copy_done(l, c,
			  code == -ENOMEM || code == -EAGAIN ? QUIRE_STATUS_REFUSED :
							       QUIRE_STATUS_HOST);
		return;
	}
	c->vm = admitted.vm;
	c->era = l->era;
	code = spawn(l, c, &admitted);
	close(admitted.channel);
	if (code) {
		launch_say(l, c, "cannot start a process for it: %s", strerror(-code));
		copy_done(l, c, QUIRE_STATUS_HOST);
	} else if (machine_client_started(l->machine, c->vm, c->pidfd, NULL)) {
		launch_machine_lost(l);
	}
}
