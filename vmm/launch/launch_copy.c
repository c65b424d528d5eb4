/* SPDX-License-Identifier: MIT */
/*
 * One copy: a VM process, from its promise to its status.
 *
 * Birth.  The machine admits the copy before anything is allocated.  Then its process is executed
 * (vm_process.h): it shall have nothing of ours or of other copies in its memory.  It dies with us
 * (PR_SET_PDEATHSIG; it also checks that its parent is not gone already).  It has three or four
 * descriptors of ours.
 *
 * Death.  Only the end of the process counts, which its pidfd shows: a VM that has closed its leash
 * or its pipe is not dead.  If the machine killed it, only the machine knows.  So after a SIGKILL
 * that was not ours we wait a little for the machine to say so (GONE).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <quire/abi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/base/mib.h"
#include "mmu/base/packet.h"
#include "launch_impl.h"
#include "leash.h"
#include "listing.h"
#include "terminal.h"
#include "vm_process.h"
#include "vmm/vm/message.h"

#define GONE_NS	   NS_PER_S	   /* the machine has so long to say why it killed a VM */
#define STUCK_NS   (5 * NS_PER_S)  /* a VM that was told to stop has so long */
#define TIMEOUT_NS (3 * NS_PER_S)  /* a VM whose --timeout has passed has so long */
#define NO_ROOM_NS (2 * NS_PER_S)  /* other VMs have so long to give back what they can spare */
#define ASK_NS	   (NS_PER_S / 20) /* meanwhile the machine is asked so often */

#define CGROUP_TRIES 3

uint64_t launch_overhead_pages(uint64_t ram_bytes, unsigned int nr_vcpus)
{
	const uint64_t process = (MiB + MiB / 4) / QUIRE_PAGE_SIZE, vcpu = 16, sets = 4;
	uint64_t tables = 0, notes = ram_bytes / QUIRE_PAGE_SIZE * 9 / 8 / QUIRE_PAGE_SIZE;

	for (uint64_t n = ram_bytes / QUIRE_PAGE_SIZE; n > 1;) {
		n = n / 512 + (n % 512 != 0);
		tables += n;
	}
	return process + vcpu * nr_vcpus + sets * tables + notes;
}

/* ---- birth ---- */

/* The descriptors of a copy that is being made: both ends of its leash and of its pipe. */
struct ends {
	int leash[2];
	int pipe[2];
	int net[LAUNCH_MAX_NETS]; /* the VM's only */
};

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_links(struct ends *e)
{
	for (unsigned int i = 0; i < LAUNCH_MAX_NETS; i++)
		close_one(&e->net[i]);
}

static void end_helpers(struct copy *c)
{
	for (unsigned int i = 0; i < LAUNCH_MAX_NETS; i++)
		net_source_detach(&c->net_helper[i]);
}

/* Open a link of each network.  0 or -errno; either way close_links() and end_helpers(). */
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

static int make_ends(const struct launch *l, struct ends *e)
{
	int ret = leash_create(e->leash);

	e->pipe[0] = e->pipe[1] = -1;
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

	static_assert(VM_FD_FILES - VM_FD_LEASH + LAUNCH_MAX_FILES + LAUNCH_MAX_NETS + DISK_MOST <=
			      SELF_EXEC_MAX_FDS,
		      "there is room for all files and links");
	for (unsigned int i = 0; i < l->config->nr_vm_files; i++)
		fd[what.nr_fds++] = l->config->vm_file[i];
	for (unsigned int i = 0; i < l->config->nr_nets; i++)
		fd[what.nr_fds++] = e->net[i];
	for (unsigned int i = 0; i < l->config->nr_disks; i++)
		if (copy_disk_file(l, c, i) >= 0)
			fd[what.nr_fds++] = copy_disk_file(l, c, i);
	return self_exec(&what);
}

static struct cgroup_bounds bounds_of(const struct launch_config *config)
{
	struct cgroup_bounds bounds = cgroup_bounds_of(config->ram_bytes, config->nr_vcpus);

	bounds.memory_bytes += config->file_bytes;
	return bounds;
}

/* The same, in a cgroup of its own if there may be one. */
static pid_t execute_bounded(const struct launch *l, struct copy *c, const struct ends *e,
			     const struct machine_admitted *admitted)
{
	struct cgroup_bounds bounds = bounds_of(l->config);
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

void copy_tell_window(struct copy *c)
{
	struct leash_msg msg = { .type = LEASH_WINDOW };

	if (c->leash >= 0 && terminal_size(&msg.columns, &msg.rows))
		leash_send(c->leash, &msg, -1);
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

static void leave_cgroup(const struct launch *l, struct copy *c)
{
	unsigned int index = (unsigned int)(c - l->copy);

	if (!c->bounded)
		return;
	c->exceeded = c->signal == SIGKILL && cgroup_was_exceeded(&l->home, index);
	cgroup_remove(&l->home, index);
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
	c->pid = ret ? ret : execute_bounded(l, c, &e, admitted);
	if (c->pid < 0)
		ret = c->pid;
	launch_stats_handed_over(c);
	close(e.leash[1]);
	close_one(&e.pipe[1]);
	close_links(&e);
	if (!ret) {
		c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
		ret = c->pidfd < 0 ? -errno : 0;
		if (ret) {
			kill(c->pid, SIGKILL);
			waitpid(c->pid, NULL, 0);
			leave_cgroup(l, c);
		}
	}
	if (ret) {
		c->pid = 0;
		end_helpers(c);
		close(e.leash[0]);
		close_one(&e.pipe[0]);
		return ret;
	}
	l->input_bytes = 0;
	adopt(l, c, &e);
	return 0;
}

static void done(struct launch *l, struct copy *c, int status)
{
	copy_leave_disks(l, c);
	c->state = COPY_DONE;
	c->status = status;
	if (status > l->status)
		l->status = status;
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
		done(l, c,
		     code == -ENOMEM || code == -EAGAIN ? QUIRE_STATUS_REFUSED : QUIRE_STATUS_HOST);
		return;
	}
	c->vm = admitted.vm;
	c->era = l->era;
	code = spawn(l, c, &admitted);
	close(admitted.channel);
	if (code) {
		launch_say(l, c, "cannot start a process for it: %s", strerror(-code));
		done(l, c, QUIRE_STATUS_HOST);
	} else if (machine_client_started(l->machine, c->vm, c->pidfd, NULL)) {
		launch_machine_lost(l);
	}
}

/* ---- life ---- */

static void on_lost(struct launch *l, struct copy *c, uint64_t pages)
{
	uint64_t ram_pages = l->config->ram_bytes / QUIRE_PAGE_SIZE;

	c->lost = true;
	c->held_pages = pages < ram_pages ? pages : ram_pages;
	launch_machine_readmit(l, c);
}

static void on_code(struct copy *c, const struct code *code)
{
	if (c->listed++ < LAUNCH_MAX_LISTED)
		listing_print(stderr, code);
}

/* Of several copies, none has input. */
static void on_input(struct launch *l, const struct leash_msg *msg)
{
	if (l->nr == 1)
		leash_take_input(msg, l->input, &l->input_bytes, sizeof(l->input));
}

void copy_leash_ready(struct launch *l, struct copy *c)
{
	struct leash_msg msg;
	int fd, code;

	while (c->leash >= 0 && (code = leash_recv(c->leash, &msg, &fd))) {
		if (code < 0) {
			launch_unwatch(l, c->leash);
			close_one(&c->leash);
			return;
		}
		if (msg.type == LEASH_RUNNING && l->config->timeout_ns && !c->timeout_ns)
			c->timeout_ns = monotonic_ns() + l->config->timeout_ns;
		else if (msg.type == LEASH_PRINTED)
			c->printed = true;
		else if (msg.type == LEASH_LOST)
			on_lost(l, c, msg.pages);
		else if (msg.type == LEASH_RESET)
			c->reset = true;
		else if (msg.type == LEASH_INPUT)
			on_input(l, &msg);
		else if (msg.type == LEASH_CODE)
			on_code(c, &msg.code);
		if (fd >= 0)
			close(fd);
	}
}

void copy_overdue(struct copy *c, int status)
{
	if (c->kill_ns)
		return;
	c->kill_ns = monotonic_ns() + STUCK_NS;
	c->kill_status = status;
}

void copy_stop(struct copy *c, int status)
{
	struct leash_msg msg = { .type = LEASH_STOP, .status = status };

	if (c->state != COPY_RUNNING)
		return;
	leash_send(c->leash, &msg, -1);
	copy_overdue(c, status);
}

/* ---- death ---- */

static int killed_by_machine(const struct launch *l, const struct copy *c)
{
	const struct machine_gone *why = &c->why;

	if (why->reason == MACHINE_EXCEEDED) {
		launch_say(l, c,
			   "killed by the machine: it occupied %s of RAM and %s of its process, "
			   "with %s of credits and %s of overhead",
			   mib_text(why->had.resident_pages), mib_text(why->had.anon_pages),
			   mib_text(why->had.credit_pages), mib_text(why->had.overhead_pages));
		return QUIRE_STATUS_INTERNAL;
	}
	if (why->reason != MACHINE_OOM) {
		launch_say(l, c, "killed by the machine: it broke the rules of its channel");
		return QUIRE_STATUS_INTERNAL;
	}
	launch_say(l, c,
		   "killed, the machine is out of memory: %" PRIu64 " KiB were needed, %s free, "
		   "min is %s; it held %s, %s of the store and %s of overhead, with "
		   "oom_score_adj %d: badness %" PRId64,
		   why->need_pages * (QUIRE_PAGE_SIZE / KiB), mib_text(why->free_pages),
		   mib_text(why->min_pages),
		   mib_text(max_u64(why->had.resident_pages, why->had.credit_pages)),
		   mib_text(why->had.alone_pages + why->had.share_pages),
		   mib_text(why->had.overhead_pages), why->had.oom_score_adj, why->badness);
	return QUIRE_STATUS_OOM;
}

/* Is the signal the mark of a fault of our own, or of a call that the sandbox forbids? */
static bool is_internal(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE ||
	       sig == SIGABRT || sig == SIGSYS || sig == SIGTRAP;
}

static int status_of_signal(const struct launch *l, const struct copy *c)
{
	if (c->gone && c->why.reason != MACHINE_ENDED)
		return killed_by_machine(l, c);
	if (c->killed) {
		launch_say(l, c, "did not end in time, killed");
		return c->kill_status;
	}
	if (c->exceeded) {
		launch_say(l, c,
			   "killed by the kernel: it took more memory than its cgroup permits, %s, "
			   "which is more than a guest of its size can need",
			   mib_text(bounds_of(l->config).memory_bytes / QUIRE_PAGE_SIZE));
		return QUIRE_STATUS_INTERNAL;
	}
	if (c->signal == SIGKILL) {
		launch_say(l, c,
			   "killed by SIGKILL: by somebody, or because the host is out of memory; "
			   "see dmesg, and memory.events of its cgroup");
		return QUIRE_STATUS_HOST;
	}
	if (c->signal == SIGSYS) {
		launch_say(l, c,
			   "killed by SIGSYS: it made a system call that its sandbox forbids");
		return QUIRE_STATUS_INTERNAL;
	}
	launch_say(l, c, "killed by SIG%s", sigabbrev_np(c->signal));
	return is_internal(c->signal) ? QUIRE_STATUS_INTERNAL : QUIRE_STATUS_HOST;
}

void copy_conclude(struct launch *l, struct copy *c)
{
	int status = copy_wants_restart(l, c) ? copy_restart(l, c) :
		     c->signal		      ? status_of_signal(l, c) :
						c->status;

	if (status >= 0)
		done(l, c, status);
}

/*
 * Wait for the machine to say that the VM has ended?  Yes if the machine may have killed it; and
 * for --stats, because the machine's numbers are to be those after every end; and before a restart,
 * so that nothing is promised twice.
 */
static bool should_wait(const struct launch *l, const struct copy *c)
{
	bool matters = l->config->write_stats || (c->signal == SIGKILL && !c->killed) ||
		       copy_wants_restart(l, c);

	return matters && !c->gone && l->machine && c->era == l->era;
}

static void let_go(struct launch *l, struct copy *c)
{
	copy_leash_ready(l, c); /* it may have said something last */
	launch_unwatch(l, c->pidfd);
	close_one(&c->pidfd);
	if (c->leash >= 0)
		launch_unwatch(l, c->leash);
	close_one(&c->leash);
	end_helpers(c);
	l->running--;
	c->state = COPY_ENDED;
}

void copy_reap(struct launch *l, struct copy *c)
{
	siginfo_t info = { .si_pid = 0 };

	if (c->state != COPY_RUNNING || waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG) ||
	    !info.si_pid)
		return;
	let_go(l, c);
	if (info.si_code == CLD_EXITED)
		c->status = info.si_status;
	else
		c->signal = info.si_status;
	leave_cgroup(l, c);
	if (should_wait(l, c))
		c->gone_until_ns = monotonic_ns() + GONE_NS;
	else
		copy_conclude(l, c);
}

/* Not even SIGKILL ends the process: the kernel is at fault, and will end it when it can. */
static void abandon(struct launch *l, struct copy *c)
{
	launch_say(l, c, "process %d does not end, left behind", (int)c->pid);
	let_go(l, c);
	close_one(&c->output);
	done(l, c, QUIRE_STATUS_HOST);
}

/* A timeout leads to a kill in two steps, so that a launcher that slept does not kill at once. */
void copy_expire(struct launch *l, struct copy *c, uint64_t now)
{
	if (c->state == COPY_ENDED && now >= c->gone_until_ns)
		copy_conclude(l, c);
	if (c->state != COPY_RUNNING)
		return;
	if (c->timeout_ns && now >= c->timeout_ns && !c->kill_ns) {
		c->kill_ns = now + TIMEOUT_NS;
		c->kill_status = QUIRE_STATUS_TIMEOUT;
	}
	if (!c->kill_ns || now < c->kill_ns)
		return;
	if (c->killed) {
		abandon(l, c);
		return;
	}
	c->killed = true;
	c->kill_ns = now + STUCK_NS;
	syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
}

uint64_t copy_deadline(const struct copy *c)
{
	if (c->state == COPY_ENDED)
		return c->gone_until_ns;
	if (c->state != COPY_RUNNING)
		return 0;
	return c->kill_ns ? c->kill_ns : c->timeout_ns;
}

void copy_finish(const struct launch *l, struct copy *c)
{
	close_one(&c->output);
	copy_leave_disks(l, c);
	lines_finish(&c->lines);
	launch_stats_unshare(c);
}
