/* SPDX-License-Identifier: MIT */
/*
 * Page credits of one VM.
 *
 * Asking.  At most one CREDIT is under way.  credits_take() asks ahead of time (need 0) when less
 * than half a batch is left.  So the answer is usually here before the rest is spent.  Who waits,
 * in credits_wait() or by credits_seek(), asks for what it needs, at most MACHINE_NEED_MAX pages at
 * a time.
 *
 * If nobody waits any more before the answer is there, because pages were put back or the VM ends,
 * the CREDIT is called off.  Else another VM may be killed for it.
 *
 * Scarcity.  A grant of no more than was needed, or a RECALL, means that memory is *scarce*.  Then
 * this VM asks for nothing ahead of time and keeps nothing spare, until a grant is larger than its
 * need again.
 *
 * Sending never blocks.  If the machine does not read, because it is busy or stopped, the channel
 * is *congested*.  What must be said is remembered (owes_*, to_give), and said when the listener
 * sees room.
 *
 * Only the listener replaces and closes the channel.  Other threads use it under the lock, so that
 * nobody uses a descriptor number that has become another file.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "budget.h"
#include "credits_internal.h"

#define BATCH_MIN 64u

static void poke(struct credits *c)
{
	uint64_t one = 1;
	ssize_t n = write(c->wake, &one, sizeof(one));

	(void)n; /* a full counter is readable too */
}

/* Something has changed that those who wait for credits look at. */
static void tell_waiters(struct credits *c)
{
	assert_held(&c->lock);
	pthread_cond_broadcast(&c->changed);
	if (c->news)
		c->news(c->news_arg);
}

bool credits_say(struct credits *c, const struct machine_msg *msg, int attach)
{
	assert_held(&c->lock);
	if (c->channel < 0 || c->congested)
		return false;
	switch (wire_send(c->channel, msg, attach)) {
	case 0: return true;
	case -EAGAIN: c->congested = true; poke(c);
	}
	return false;
}

static bool give_back(struct credits *c, uint64_t pages)
{
	struct machine_msg msg = wire_msg(MACHINE_RETURN, 0);

	msg.pages = pages;
	if (!credits_say(c, &msg, -1))
		return false;
	c->spare -= pages;
	c->held -= pages;
	return true;
}

static void ask(struct credits *c, uint64_t need, uint64_t want)
{
	struct machine_msg msg = wire_msg(MACHINE_CREDIT, 0);

	if (c->asked)
		return;
	need = min_u64(need, MACHINE_NEED_MAX);
	msg.credit.need_pages = min_u64(need, c->config.promise_pages - c->held);
	msg.credit.want_pages = want;
	c->asked = credits_say(c, &msg, -1);
	c->asked_need = msg.credit.need_pages;
}

static void call_off(struct credits *c)
{
	struct machine_msg msg = wire_msg(MACHINE_CALL_OFF, 0);

	if (c->asked && c->asked_need && !c->waiters && !c->called_off)
		c->called_off = credits_say(c, &msg, -1);
}

/* Send what is owed, as far as the machine reads. */
static void flush(struct credits *c)
{
	if (c->owes_attach) {
		struct machine_msg msg = wire_msg(MACHINE_ATTACH, 0);

		c->owes_attach = !credits_say(c, &msg, c->ram);
	}
	if (c->owes_balloon) {
		struct machine_msg msg = wire_msg(MACHINE_BALLOON, 0);

		msg.balloon = c->balloon;
		c->owes_balloon = !credits_say(c, &msg, -1);
	}
	if (c->owes_reclaim) {
		struct machine_msg msg = wire_msg(MACHINE_RECLAIMED, 0);

		msg.reclaim = c->reclaim;
		c->owes_reclaim = !credits_say(c, &msg, -1);
	}
	credits_swap_flush(c);
	call_off(c);
	c->to_give = c->waiters ? 0 : min_u64(c->to_give, c->spare);
	if (c->to_give && give_back(c, c->to_give))
		c->to_give = 0;
	if (c->owes_return)
		c->owes_return = !give_back(c, c->waiters ? 0 : c->spare);
}

static bool on_grant(struct credits *c, uint64_t pages)
{
	if (!c->asked || pages > c->config.promise_pages - c->held)
		return false;
	c->asked = c->called_off = false;
	c->scarce = pages <= c->asked_need;
	if (!c->scarce)
		c->batch = max_u64(BATCH_MIN, min_u64(pages, BUDGET_BATCH_MAX));
	c->spare += pages;
	c->held += pages;
	return true;
}

static bool on_denied(struct credits *c)
{
	if (!c->asked)
		return false;
	c->denials += !c->called_off;
	c->asked = c->called_off = false;
	return true;
}

static bool on_recall(struct credits *c)
{
	c->scarce = true;
	c->owes_return = true;
	flush(c);
	return true;
}

/* What goes is to be for others: nothing is kept spare. */
static bool on_reclaim(struct credits *c, uint64_t pages)
{
	c->scarce |= pages != 0;
	return true;
}

static bool on_suspend(struct credits *c, uint64_t on)
{
	c->suspended = on;
	return on <= 1;
}

/* JOINED, with a connection that becomes ours; or -1: the machine has no memory for one now. */
static bool on_joined(struct credits *c, int fd)
{
	if (!c->joining)
		return false;
	c->joining = false;
	c->joined = fd >= 0;
	c->link = fd;
	return true;
}

/* Tell the VM what the machine wants of it. */
static void pass_on(const struct credits_config *config, const struct machine_msg *msg)
{
	if (msg->type == MACHINE_STOP && config->on_stop)
		config->on_stop(config->ctx);
	if (msg->type == MACHINE_BALLOON_TARGET && config->on_balloon)
		config->on_balloon(config->ctx, msg->target.pages, msg->target.manual);
	if (msg->type == MACHINE_RECLAIM && config->on_reclaim)
		config->on_reclaim(config->ctx, msg->pages);
	if (msg->type == MACHINE_SUSPEND && config->on_suspend)
		config->on_suspend(config->ctx, msg->pages);
}

/* Act on a packet, and take *fd over if it is used.  False: a machine would not say that. */
static bool message(struct credits *c, const struct machine_msg *msg, int *fd)
{
	bool fine = true;

	lock(&c->lock);
	switch (msg->type) {
	case MACHINE_GRANT: fine = on_grant(c, msg->pages); break;
	case MACHINE_DENIED: fine = on_denied(c); break;
	case MACHINE_RECALL: fine = on_recall(c); break;
	case MACHINE_STOP: break;
	case MACHINE_BALLOON_TARGET: fine = msg->target.pages <= c->config.promise_pages; break;
	case MACHINE_RECLAIM: fine = on_reclaim(c, msg->pages); break;
	case MACHINE_SUSPEND: fine = on_suspend(c, msg->pages); break;
	case MACHINE_SWAP_GRANT: fine = credits_swap_granted(c, msg->pages); break;
	case MACHINE_JOINED:
		fine = on_joined(c, *fd);
		*fd = fine ? -1 : *fd;
		break;
	default: fine = false;
	}
	tell_waiters(c);
	unlock(&c->lock);
	if (fine)
		pass_on(&c->config, msg);
	return fine;
}

/* The connection about equal pages, if nobody took it, and the JOIN for it. */
static void drop_link(struct credits *c)
{
	if (c->link >= 0)
		close(c->link);
	c->link = -1;
	c->joining = c->joined = false;
}

/* A machine that is lost wants nothing more of the guest. */
static void free_guest(struct credits *c, bool was_suspended)
{
	if (c->config.on_reclaim)
		c->config.on_reclaim(c->config.ctx, 0);
	if (was_suspended && c->config.on_suspend)
		c->config.on_suspend(c->config.ctx, false);
}

static void lose(struct credits *c)
{
	bool was_suspended;

	lock(&c->lock);
	close(c->channel);
	c->channel = -1;
	c->asked = c->called_off = c->congested = c->owes_return = false;
	c->swap_asked = 0;
	was_suspended = c->suspended;
	c->suspended = false;
	drop_link(c);
	pthread_cond_broadcast(&c->changed);
	unlock(&c->lock);
	free_guest(c, was_suspended);
	if (c->config.on_lost)
		c->config.on_lost(c->config.ctx);
}

static void receive(struct credits *c, int channel)
{
	struct machine_msg msg;
	int fd, code;

	while ((code = wire_recv(channel, &msg, &fd)) == 1) {
		bool fine = message(c, &msg, &fd);

		if (fd >= 0)
			close(fd);
		if (fd >= 0 || !fine) {
			code = -EPROTO;
			break;
		}
	}
	if (code < 0)
		lose(c);
}

static void make_room(struct credits *c)
{
	lock(&c->lock);
	c->congested = false;
	flush(c);
	tell_waiters(c);
	unlock(&c->lock);
}

/* Adopt a new channel if there is one.  Returns what to poll for; *quit: the listener is to end. */
static struct pollfd look(struct credits *c, bool *quit)
{
	struct pollfd p;

	lock(&c->lock);
	if (c->next_channel >= 0) {
		c->channel = c->next_channel;
		c->next_channel = -1;
		c->owes_attach = c->ram >= 0;
		c->owes_balloon = c->has_balloon;
		c->owes_reclaim = c->has_reclaim;
		flush(c);
		tell_waiters(c);
	}
	p = (struct pollfd){ .fd = c->channel, .events = POLLIN | (c->congested ? POLLOUT : 0) };
	*quit = c->quitting;
	unlock(&c->lock);
	return p;
}

static void listen_to_machine(void *arg)
{
	struct credits *c = arg;
	uint64_t count;
	bool quit;

	if (c->config.on_thread_start)
		c->config.on_thread_start(c->config.ctx);
	for (;;) {
		struct pollfd p[2] = { look(c, &quit), { .fd = c->wake, .events = POLLIN } };

		if (quit)
			return;
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents && read(c->wake, &count, sizeof(count)) < 0)
			continue;
		if (p[0].revents & POLLOUT)
			make_room(c);
		if (p[0].revents & ~POLLOUT)
			receive(c, p[0].fd);
	}
}

int credits_create(const struct credits_config *config, struct credits **out,
		   struct quire_error *err)
{
	struct credits *c = calloc(1, sizeof(*c));
	int code = -ENOMEM;

	if (!c)
		goto no_memory;
	c->config = *config;
	c->channel = config->channel;
	c->next_channel = c->ram = c->link = -1;
	c->spare = c->held = config->held_pages;
	c->batch = max_u64(BATCH_MIN, min_u64(config->held_pages, BUDGET_BATCH_MAX));
	c->wake = eventfd(0, EFD_CLOEXEC);
	if (c->wake < 0) {
		code = -errno;
		goto no_eventfd;
	}
	lock_init(&c->lock, LOCK_CREDITS);
	pthread_cond_init(&c->changed, NULL);
	code = thread_start(&c->listener, "channel", listen_to_machine, c);
	if (code)
		goto no_thread;
	*out = c;
	return 0;

no_thread:
	pthread_cond_destroy(&c->changed);
	lock_finish(&c->lock);
	close(c->wake);
no_eventfd:
	free(c);
no_memory:
	close(config->channel);
	return quire_fail(err, code, "cannot listen to the machine: %s", strerror(-code));
}

void credits_destroy(struct credits *c)
{
	if (!c)
		return;
	lock(&c->lock);
	assert(!c->waiters);
	c->quitting = true;
	poke(c);
	unlock(&c->lock);
	thread_join(&c->listener);
	if (c->channel >= 0)
		close(c->channel);
	if (c->next_channel >= 0)
		close(c->next_channel);
	if (c->ram >= 0)
		close(c->ram);
	drop_link(c);
	close(c->wake);
	pthread_cond_destroy(&c->changed);
	lock_finish(&c->lock);
	free(c);
}

int credits_attach(struct credits *c, int ram_readonly)
{
	int fd = fcntl(ram_readonly, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	lock(&c->lock);
	assert(c->ram < 0);
	c->ram = fd;
	c->owes_attach = true;
	flush(c);
	unlock(&c->lock);
	return 0;
}

/* Send JOIN, which must come after ATTACH. */
static int ask_to_join(struct credits *c)
{
	struct machine_msg msg = wire_msg(MACHINE_JOIN, 0);

	if (c->channel < 0)
		return -ENOTCONN;
	if (c->joining || c->joined)
		return -EALREADY;
	if (c->ram < 0 || c->owes_attach)
		return -EAGAIN;
	c->joining = credits_say(c, &msg, -1);
	return c->joining ? 0 : c->congested ? -EAGAIN : -ENOTCONN;
}

int credits_join(struct credits *c)
{
	int code;

	assert(!locks_held);
	lock(&c->lock);
	code = ask_to_join(c);
	while (!code && c->joining && !c->cancelled)
		pthread_cond_wait(&c->changed, &c->lock.mutex);
	if (!code) {
		code = c->link >= 0 ? c->link : c->cancelled ? -ECANCELED : -ENOTCONN;
		c->link = -1;
	}
	unlock(&c->lock);
	return code;
}

void credits_ask(struct credits *c)
{
	lock(&c->lock);
	if (c->held < c->config.promise_pages)
		ask(c, 0, UINT64_MAX);
	unlock(&c->lock);
}

bool credits_take(struct credits *c, uint64_t pages)
{
	bool enough;

	lock(&c->lock);
	enough = pages <= c->spare;
	if (enough)
		c->spare -= pages;
	if (enough && !c->scarce && c->spare < c->batch / 2 && c->held < c->config.promise_pages)
		ask(c, 0, UINT64_MAX);
	unlock(&c->lock);
	return enough;
}

/* What credits_wait() returns now; 1: it has to wait on, and the machine was asked. */
static int verdict(struct credits *c, uint64_t need, uint64_t want, uint64_t denials)
{
	if (c->cancelled)
		return -ECANCELED;
	if (c->denials != denials)
		return -ENOMEM;
	if (c->spare >= need || c->held == c->config.promise_pages)
		return 0;
	ask(c, need - c->spare, max_u64(need, want));
	return 1;
}

int credits_wait(struct credits *c, uint64_t need, uint64_t want)
{
	uint64_t denials;
	int code;

	/* A vCPU may wait inside a device: in the text port, or while it makes a queue ready. */
	assert(!(locks_held & ~(1u << LOCK_TEXT | 1u << LOCK_VIRTIO)));
	lock(&c->lock);
	denials = c->denials;
	c->waiters++;
	while ((code = verdict(c, need, want, denials)) == 1)
		pthread_cond_wait(&c->changed, &c->lock.mutex);
	c->waiters--;
	flush(c);
	unlock(&c->lock);
	return code;
}

int credits_seek(struct credits *c, uint64_t need, uint64_t want, void (*news)(void *arg),
		 void *arg)
{
	int code;

	lock(&c->lock);
	if (!c->news) {
		c->news = news;
		c->news_arg = arg;
		c->denials_before = c->denials;
		c->waiters++;
	}
	code = verdict(c, need, want, c->denials_before);
	if (!code && c->spare < need)
		code = 1;
	unlock(&c->lock);
	return code == 1 ? -EAGAIN : code;
}

void credits_stop_seeking(struct credits *c)
{
	lock(&c->lock);
	if (c->news)
		c->waiters--;
	c->news = NULL;
	flush(c);
	unlock(&c->lock);
}

void credits_put(struct credits *c, uint64_t pages)
{
	uint64_t keep, limit;

	lock(&c->lock);
	c->spare += pages;
	assert(c->spare <= c->held);
	keep = c->scarce ? 0 : c->batch;
	limit = c->scarce ? 0 : 2 * c->batch;
	if (c->waiters)
		tell_waiters(c);
	else if (c->spare > limit)
		give_back(c, c->spare - keep);
	unlock(&c->lock);
}

void credits_give(struct credits *c, uint64_t pages)
{
	lock(&c->lock);
	c->spare += pages;
	assert(c->spare <= c->held);
	c->to_give += pages;
	flush(c);
	if (c->waiters)
		tell_waiters(c);
	unlock(&c->lock);
}

void credits_tell_balloon(struct credits *c, const struct balloon_record *balloon)
{
	lock(&c->lock);
	c->balloon = *balloon;
	c->has_balloon = c->owes_balloon = true;
	flush(c);
	unlock(&c->lock);
}

void credits_tell_reclaim(struct credits *c, const struct reclaim_record *reclaim)
{
	lock(&c->lock);
	c->reclaim = *reclaim;
	c->has_reclaim = c->owes_reclaim = true;
	flush(c);
	unlock(&c->lock);
}

void credits_cancel(struct credits *c)
{
	lock(&c->lock);
	c->cancelled = true;
	tell_waiters(c);
	unlock(&c->lock);
}

int credits_replace_channel(struct credits *c, int fd)
{
	bool lost;

	lock(&c->lock);
	lost = c->channel < 0 && c->next_channel < 0;
	if (lost)
		c->next_channel = fd;
	poke(c);
	unlock(&c->lock);
	if (!lost)
		close(fd);
	return lost ? 0 : -EBUSY;
}

uint64_t credits_held(struct credits *c)
{
	uint64_t pages;

	lock(&c->lock);
	pages = c->held;
	unlock(&c->lock);
	return pages;
}

uint64_t credits_spare(struct credits *c)
{
	uint64_t pages;

	lock(&c->lock);
	pages = c->spare;
	unlock(&c->lock);
	return pages;
}
