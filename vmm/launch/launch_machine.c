/* SPDX-License-Identifier: MIT */
/*
 * The launcher and its machine.
 *
 * Which machine.  It is the one that --machine names, or else the one at the default address.  If
 * nobody is there, or for --machine=own, the launcher starts its own: a child process that serves
 * the other end of a socket pair.  That machine also listens at an abstract address made of its
 * pid, where others find it.  It ends by itself when its last client and its last VM are gone.  So
 * it ends with us, whatever ends us, but no sooner than others who joined it.
 *
 * Losing it.  If our control connection hangs up, the machine has died.  Its VMs go on with the
 * credits that they hold.  When a VM's channel has hung up, it says on its leash what it holds
 * (LOST); from then on that does not change.
 *
 * Finding another.  Machines are counted in eras.  Once there is a machine of a new era, each VM
 * whose LOST has come is readmitted with what it holds.  These things may happen in any order.  The
 * new channel goes down the leash.  If the new machine dies meanwhile, that is another loss, and
 * nothing of its era counts: a VM that got a channel of that era says LOST again.
 *
 * A machine that stops in order hangs up too, after its last VM has ended.  So the launcher looks
 * at all copies before it calls a hang-up a loss.
 */
#include <errno.h>
#include <poll.h>
#include <quire/abi.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mmu/base/packet.h"
#include "mmu/base/clock.h"
#include "launch_impl.h"
#include "leash.h"
#include "machine_process.h"
#include "self_exec.h"
#include "vmm/vm/message.h"

#define RETRY_NS    (NS_PER_S / 2) /* the launcher looks for a new machine so often */
#define FAREWELL_MS 100		   /* our own machine has so long to end, if nobody else uses it */

/* ---- our own ---- */

/* Returns its process's id or -errno. */
static pid_t execute(const struct launch_config *config, const int pair[2])
{
	char program[] = MACHINE_PROCESS_NAME, *args[] = { program, NULL };
	const struct self_exec what = { .args = args, .fd = &pair[1], .nr_fds = 1, .cgroup = -1 };
	int ret = packet_send(pair[0], &config->ledger, sizeof(config->ledger), -1);

	return ret ? ret : self_exec(&what);
}

/* Once.  A machine of our own takes two milliseconds to start, in which this is done. */
static int complete(const struct launch *l, struct quire_error *err)
{
	return l->era ? 0 : l->config->complete(l->config->ctx, err);
}

static int start_own(struct launch *l, struct quire_error *err)
{
	int pair[2], ret;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return quire_fail(err, -errno, "cannot start a machine: %s", strerror(errno));
	fflush(NULL);
	pid = execute(l->config, pair);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return quire_fail(err, pid, "cannot start a machine: %s", strerror(-pid));
	}
	l->machine_pid = pid;
	ret = complete(l, err);
	if (!ret)
		return machine_client_create(pair[0], &l->machine, err);
	close(pair[0]);
	return ret;
}

/* Kill our own machine.  It is lost to us, and of no use even if it still runs. */
static void bury_own(struct launch *l)
{
	if (l->machine_pid <= 0)
		return;
	kill(l->machine_pid, SIGKILL);
	waitpid(l->machine_pid, NULL, 0);
	l->machine_pid = 0;
}

/* ---- found ---- */

static void connected(struct launch *l)
{
	l->era++;
	l->retry_ns = 0;
	launch_watch(l, machine_client_fd(l->machine), LAUNCH_SOURCE_MACHINE, 0);
}

static int cannot_set(const struct launch_config *config, struct quire_error *err)
{
	return quire_fail(err, QUIRE_STATUS_USAGE,
			  "%s is for a machine of its own, and one is running; add "
			  "--machine=own, or change that one with quire machine set",
			  config->own_option);
}

/* Is nobody at the default address? */
static bool nobody_there(const struct launch_config *config, int code)
{
	return !config->machine && (code == -ECONNREFUSED || code == -ENOENT);
}

static int join_or_start(struct launch *l, struct quire_error *err)
{
	const struct launch_config *config = l->config;
	int code;

	if (config->own_machine)
		return start_own(l, err);
	code = machine_client_connect(config->machine, &l->machine, err);
	if (!code && config->own_option) {
		machine_client_destroy(l->machine);
		l->machine = NULL;
		return cannot_set(config, err);
	}
	if (nobody_there(config, code))
		return start_own(l, err);
	return code ? code : complete(l, err);
}

/* Is it only the machine who can write shared frames?  The store is the machine's (shelf.h). */
static int check_store(const struct launch *l, struct quire_error *err)
{
	struct machine_state state;
	int code = l->config->strict ? machine_client_get(l->machine, &state, err) : 0;

	if (code || !l->config->strict || state.store_read_only)
		return code;
	return quire_fail(
		err, -EPERM,
		"--sandbox=strict: the machine has no read-only store, for which its host "
		"must permit user namespaces and have Landlock; use --sandbox=on to run "
		"without it");
}

int launch_machine_find(struct launch *l, struct quire_error *err)
{
	int code = join_or_start(l, err);

	if (!code)
		code = check_store(l, err);
	if (code)
		return code > 0 ? code : QUIRE_STATUS_HOST;
	connected(l);
	return 0;
}

/* ---- lost ---- */

bool launch_machine_is_lost(int code)
{
	return code == -ECONNRESET || code == -ETIMEDOUT || code == -EPROTO;
}

static void readmit_all(struct launch *l)
{
	for (unsigned int i = 0; i < l->nr && l->machine; i++)
		launch_machine_readmit(l, &l->copy[i]);
}

void launch_machine_retry(struct launch *l, uint64_t now)
{
	int code;

	if (l->machine || !l->retry_ns || now < l->retry_ns)
		return;
	l->retry_ns = now + RETRY_NS;
	if (l->machine_pid) {
		bury_own(l);
		code = start_own(l, NULL);
		l->machine_pid = code && !l->machine_pid ? -1 : l->machine_pid;
	} else {
		code = machine_client_connect(l->config->machine, &l->machine, NULL);
	}
	if (!code && check_store(l, NULL)) {
		machine_client_destroy(l->machine);
		l->machine = NULL;
	}
	if (!l->machine)
		return;
	connected(l);
	readmit_all(l);
}

void launch_machine_lost(struct launch *l)
{
	if (!l->machine)
		return;
	launch_unwatch(l, machine_client_fd(l->machine));
	machine_client_destroy(l->machine);
	l->machine = NULL;
	for (unsigned int i = 0; i < l->nr; i++)
		copy_reap(l, &l->copy[i]);
	if (!l->running && !l->restarts && l->next == l->nr)
		return;
	if (l->config->stop_when_lost) {
		message("the machine is gone, stopping as --machine-lost=stop says");
		launch_stop(l, QUIRE_STATUS_HOST);
		return;
	}
	message("the machine is gone; guests go on with the memory they have "
		"until there is another");
	l->retry_ns = monotonic_ns(); /* now */
	launch_machine_retry(l, l->retry_ns);
}

void launch_machine_admit_of(const struct launch *l, const struct copy *c,
			     struct machine_admit *admit)
{
	const struct launch_config *config = l->config;

	*admit = (struct machine_admit){
		.ram_pages = config->ram_bytes / QUIRE_PAGE_SIZE,
		.overhead_pages = launch_overhead_pages(config->ram_bytes, config->nr_vcpus) +
				  config->device_bytes / QUIRE_PAGE_SIZE,
		.oom_score_adj = config->oom_score_adj,
		.balloon = config->balloon,
		.shares = config->shares,
		.balloon_min_pages = config->balloon_min_pages,
	};
	memcpy(admit->name, c->name, sizeof(admit->name));
	snprintf(admit->domain, sizeof(admit->domain), "%s", config->domain);
}

static void hand_over(struct launch *l, struct copy *c, const struct machine_admitted *admitted)
{
	struct leash_msg msg = { .type = LEASH_CHANNEL };

	c->vm = admitted->vm;
	c->era = l->era;
	c->lost = c->gone = false;
	leash_send(c->leash, &msg, admitted->channel);
	close(admitted->channel);
	if (machine_client_started(l->machine, c->vm, c->pidfd, NULL))
		launch_machine_lost(l);
}

void launch_machine_readmit(struct launch *l, struct copy *c)
{
	struct machine_admitted admitted;
	struct machine_admit admit;
	struct quire_error err;
	int code;

	if (!l->machine || c->state != COPY_RUNNING || !c->lost || c->era == l->era)
		return;
	launch_machine_admit_of(l, c, &admit);
	admit.readmit = 1;
	admit.credit_pages = c->held_pages;
	admit.swap_pages = c->swap_pages;
	code = machine_client_admit(l->machine, &admit, &admitted, &err);
	if (!code) {
		hand_over(l, c, &admitted);
		return;
	}
	if (launch_machine_is_lost(code)) {
		launch_machine_lost(l);
		return;
	}
	launch_say(l, c, "the new machine does not take it: %s", err.text);
	c->era = l->era; /* it goes on alone */
}

/* ---- heard ---- */

static struct copy *find(struct launch *l, uint32_t vm)
{
	for (unsigned int i = 0; i < l->nr; i++)
		if (l->copy[i].vm == vm && l->copy[i].era == l->era)
			return &l->copy[i];
	return NULL;
}

void launch_machine_ready(struct launch *l)
{
	struct machine_gone why;
	uint32_t vm;
	int code = 0;

	while (l->machine && (code = machine_client_gone(l->machine, &vm, &why)) == 1) {
		struct copy *c = find(l, vm);

		if (!c)
			continue;
		c->gone = true;
		c->why = why;
		if (c->state == COPY_ENDED)
			copy_conclude(l, c);
	}
	if (code < 0)
		launch_machine_lost(l);
}

/* ---- left ---- */

void launch_machine_leave(struct launch *l)
{
	struct pollfd p;

	machine_client_destroy(l->machine);
	l->machine = NULL;
	if (l->machine_pid <= 0)
		return;
	p = (struct pollfd){ .fd = (int)syscall(SYS_pidfd_open, l->machine_pid, 0),
			     .events = POLLIN };
	if (p.fd < 0)
		return;
	if (poll(&p, 1, FAREWELL_MS) > 0)
		waitpid(l->machine_pid, NULL, 0);
	close(p.fd);
}
