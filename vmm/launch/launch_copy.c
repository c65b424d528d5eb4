/* SPDX-License-Identifier: MIT */
/*
 * One copy: a VM process, from its first word to its status.  launch_birth.c starts it.
 *
 * Death.  Only the end of the process counts, which its pidfd shows: a VM that has closed its leash
 * or its pipe is not dead.  If the machine killed it, only the machine knows.  So after a SIGKILL
 * that was not ours we wait a little for the machine to say so (GONE).
 */
#include <inttypes.h>
#include <quire/abi.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "mmu/base/clock.h"
#include "mmu/base/mib.h"
#include "launch_impl.h"
#include "leash.h"
#include "listing.h"
#include "terminal.h"

#define GONE_NS	   NS_PER_S	  /* the machine has so long to say why it killed a VM */
#define STUCK_NS   (5 * NS_PER_S) /* a VM that was told to stop has so long */
#define TIMEOUT_NS (3 * NS_PER_S) /* a VM whose --timeout has passed has so long */

/* ---- life ---- */

void copy_tell_window(struct copy *c)
{
	struct leash_msg msg = { .type = LEASH_WINDOW };

	if (c->leash >= 0 && terminal_size(&msg.columns, &msg.rows))
		leash_send(c->leash, &msg, -1);
}

static void on_lost(struct launch *l, struct copy *c, const struct leash_msg *msg)
{
	uint64_t ram_pages = l->config->ram_bytes / QUIRE_PAGE_SIZE;

	c->lost = true;
	c->held_pages = min_u64(msg->pages, ram_pages);
	c->swap_pages = min_u64(msg->swap_pages, ram_pages);
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

static void on_reset(struct launch *l, struct copy *c, const struct leash_msg *msg)
{
	c->reset = true;
	l->begun_key = l->nr == 1 && msg->begun_key;
}

void copy_leash_ready(struct launch *l, struct copy *c)
{
	struct leash_msg msg;
	int fd, code;

	while (c->leash >= 0 && (code = leash_recv(c->leash, &msg, &fd))) {
		if (code < 0) {
			launch_unwatch(l, c->leash);
			launch_close(&c->leash);
			return;
		}
		if (msg.type == LEASH_RUNNING && l->config->timeout_ns && !c->timeout_ns)
			c->timeout_ns = monotonic_ns() + l->config->timeout_ns;
		else if (msg.type == LEASH_PRINTED)
			c->printed = true;
		else if (msg.type == LEASH_LOST)
			on_lost(l, c, &msg);
		else if (msg.type == LEASH_RESET)
			on_reset(l, c, &msg);
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

struct cgroup_bounds launch_bounds(const struct launch_config *config)
{
	struct cgroup_bounds bounds = cgroup_bounds_of(config->ram_bytes, config->nr_vcpus);

	bounds.memory_bytes += config->file_bytes;
	return bounds;
}

void copy_leave_cgroup(const struct launch *l, struct copy *c)
{
	unsigned int index = (unsigned int)(c - l->copy);

	if (!c->bounded)
		return;
	c->exceeded = c->signal == SIGKILL && cgroup_was_exceeded(&l->home, index);
	cgroup_remove(&l->home, index);
}

void copy_end_helpers(struct copy *c)
{
	for (unsigned int i = 0; i < LAUNCH_MAX_NETS; i++)
		net_source_detach(&c->net_helper[i]);
}

void copy_done(struct launch *l, struct copy *c, int status)
{
	copy_leave_disks(l, c);
	c->state = COPY_DONE;
	c->status = status;
	if (status > l->status)
		l->status = status;
}

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
			   mib_text(launch_bounds(l->config).memory_bytes / QUIRE_PAGE_SIZE));
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
		copy_done(l, c, status);
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
	launch_close(&c->pidfd);
	if (c->leash >= 0)
		launch_unwatch(l, c->leash);
	launch_close(&c->leash);
	copy_end_helpers(c);
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
	copy_leave_cgroup(l, c);
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
	launch_close(&c->output);
	copy_done(l, c, QUIRE_STATUS_HOST);
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
	launch_close(&c->output);
	copy_leave_disks(l, c);
	lines_finish(&c->lines);
	launch_stats_unshare(c);
}
