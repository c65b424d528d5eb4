/* SPDX-License-Identifier: MIT */
/*
 * The balloon device: features, queue numbers, the configuration space, what is asked of the driver
 * and what is published of it.  balloon_serve.c has the queues.
 *
 * Queue numbers.  The specification numbers the queues 0 to 4.  Linux leaves out the queues that
 * were not negotiated and moves the rest up, and so does everybody who was tested with Linux: with
 * REPORTING alone, the reporting queue is number 2.  Here a driver can set up all five numbers.
 * When it says DRIVER_OK, the numbers that it did set up show which way it counts.  A way that
 * gives exactly these numbers is taken, or else one that allows for all of them; Linux's way if
 * both do.
 *
 * Hinting.  A hint says that a page was free when the driver looked.  The guest may use the page
 * right after that, and says nothing.  So a hint is worth something only if every write since is
 * known: the dirty log must be on before the round begins.  That is why the feature is not even
 * offered without it (hint_armed), and why nothing is ever discarded for a hint.  A round has a new
 * command id.  Its hints begin with the buffer in which the driver repeats that id, and end when
 * the driver sends STOP or the round is over here.  Hints under another id are for an older round,
 * and are dropped.
 *
 * Silence.  The device remembers what it asked of the driver, and when, until the driver reacts.
 * The driver reacts to a target by reading it, or with any inflate or deflate buffer; and to a
 * request for statistics by sending them.  Nobody waits for it.  balloon_record() says since when
 * the driver has not answered; the time that a guest is paused does not count.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "balloon_impl.h"

#define DEVICE_ID 5

#define RETRY_NS 10000000ULL /* until another try, when the device or its rings were busy */

#define FEATURE(f) (1ULL << BALLOON_F_##f)

/* ---- the driver comes and goes ---- */

static uint64_t features(void *dev)
{
	const struct balloon_memory *memory = &((struct balloon *)dev)->config.memory;
	bool hint = memory->hint_armed && memory->hint_armed(memory->ctx);

	return FEATURE(MUST_TELL_HOST) | FEATURE(STATS_VQ) | FEATURE(DEFLATE_ON_OOM) |
	       FEATURE(PAGE_POISON) | FEATURE(REPORTING) | (hint ? FEATURE(FREE_PAGE_HINT) : 0);
}

static bool has_queue(uint64_t negotiated, enum balloon_queue role)
{
	static const uint64_t needs[BALLOON_NR_QUEUES] = {
		[BALLOON_Q_STATS] = FEATURE(STATS_VQ),
		[BALLOON_Q_HINT] = FEATURE(FREE_PAGE_HINT),
		[BALLOON_Q_REPORT] = FEATURE(REPORTING),
	};

	return (negotiated & needs[role]) == needs[role];
}

/* Fill role[] in, counting in one way or the other.  Returns the queues that have a role. */
static unsigned int number_queues(uint64_t negotiated, bool moved_up, int role[BALLOON_NR_QUEUES])
{
	unsigned int n = 0, queues = 0;

	for (unsigned int i = 0; i < BALLOON_NR_QUEUES; i++)
		role[i] = -1;
	for (unsigned int i = 0; i < BALLOON_NR_QUEUES; i++) {
		if (!has_queue(negotiated, i))
			continue;
		if (!moved_up)
			n = i;
		role[n] = (int)i;
		queues |= 1u << n++;
	}
	return queues;
}

static void assign_roles(struct balloon *b, unsigned int queues)
{
	int fixed[BALLOON_NR_QUEUES];
	unsigned int as_linux = number_queues(b->features, true, b->role);
	unsigned int as_spec = number_queues(b->features, false, fixed);

	if (queues == as_spec || ((queues & ~as_linux) && !(queues & ~as_spec)))
		memcpy(b->role, fixed, sizeof(fixed));
	for (int n = 0; n < BALLOON_NR_QUEUES; n++)
		if (b->role[n] == BALLOON_Q_STATS && (queues & (1u << n)))
			atomic_store(&b->stats_queue, n);
}

static void start(void *dev, uint64_t negotiated, unsigned int queues)
{
	struct balloon *b = dev;

	b->features = negotiated;
	assign_roles(b, queues);
	lock(&b->state_lock);
	b->record.features = negotiated & ((1u << (BALLOON_F_REPORTING + 1)) - 1);
	if (atomic_load(&b->target))
		b->target_asked_ns = b->config.now_ns(b->config.virtio.ctx);
	unlock(&b->state_lock);
	if (b->config.virtio.wake)
		b->config.virtio.wake(
			b->config.virtio.ctx); /* the main loop has a time to keep now */
}

/* The driver starts anew, and all that the balloon held is the guest's again. */
static void reset(void *dev)
{
	struct balloon *b = dev;

	b->features = 0;
	b->stats_held = false;
	b->unfinished = -1;
	number_queues(0, true, b->role);
	atomic_store(&b->stats_queue, -1);
	atomic_store(&b->refresh, false);
	atomic_store(&b->actual, 0);
	atomic_store(&b->poison, 0);
	atomic_store(&b->cmd_id, BALLOON_HINT_CMD_STOP);
	lock(&b->state_lock);
	b->record.features = 0;
	b->record.hinting = BALLOON_HINT_OFF;
	b->stats_asked_ns = b->target_asked_ns = 0;
	unlock(&b->state_lock);
	b->config.memory.reset(b->config.memory.ctx);
}

/* May queue n be served while the driver waits for an interrupt and its vCPU goes on? */
static bool async(void *dev, unsigned int n)
{
	const struct balloon *b = dev;

	return (b->config.async_inflate && b->role[n] == BALLOON_Q_INFLATE) ||
	       (b->config.async_report && b->role[n] == BALLOON_Q_REPORT);
}

/* ---- the configuration space ---- */

/* The word at 4 * i; NULL: there is none.  driver: only words that a driver may write. */
static atomic_uint *config_word(struct balloon *b, uint32_t i, bool driver)
{
	switch (i) {
	case 0: return driver ? NULL : &b->target;
	case 1: return &b->actual;
	case 2: return driver ? NULL : &b->cmd_id;
	case 3: return &b->poison;
	default: return NULL;
	}
}

static void config_read(void *dev, uint32_t offset, void *buf, uint32_t len)
{
	struct balloon *b = dev;
	uint8_t *byte = buf;

	for (uint32_t i = 0; i < len; i++) {
		const atomic_uint *word = config_word(b, (offset + i) / 4, false);

		if (word)
			byte[i] = (uint8_t)(atomic_load(word) >> 8 * ((offset + i) % 4));
	}
	if (offset < 4)
		balloon_answered(b);
}

/* Tell the machine at once?  Yes if the target is reached, or the guest took wanted pages back. */
static bool is_urgent(const struct balloon *b, unsigned int before)
{
	unsigned int actual = atomic_load(&b->actual), target = atomic_load(&b->target);

	return actual != before && (actual == target || (actual < before && actual < target));
}

static void config_write(void *dev, uint32_t offset, const void *buf, uint32_t len)
{
	struct balloon *b = dev;
	unsigned int before = atomic_load(&b->actual);
	const uint8_t *byte = buf;

	lock(&b->state_lock); /* several vCPUs may write bytes of one word */
	for (uint32_t i = 0; i < len; i++) {
		atomic_uint *word = config_word(b, (offset + i) / 4, true);
		unsigned int shift = 8 * ((offset + i) % 4);

		if (word)
			atomic_store(word, (atomic_load(word) & ~(0xffu << shift)) |
						   (unsigned int)byte[i] << shift);
	}
	unlock(&b->state_lock);
	if (is_urgent(b, before) && b->config.virtio.wake)
		b->config.virtio.wake(b->config.virtio.ctx);
}

static const struct virtio_ops ops = {
	.name = "balloon",
	.device_id = DEVICE_ID,
	.nr_queues = BALLOON_NR_QUEUES,
	.features = features,
	.config_read = config_read,
	.config_write = config_write,
	.start = start,
	.serve = balloon_serve,
	.reset = reset,
	.async = async,
};

/* ---- asking ---- */

int balloon_set_target(struct balloon *b, uint64_t pages)
{
	if (pages > b->ram_pages || pages > UINT32_MAX)
		return -EINVAL;
	if (atomic_exchange(&b->target, (unsigned int)pages) == pages)
		return 0;
	lock(&b->state_lock);
	if (virtio_running(b->virtio) && !b->target_asked_ns)
		b->target_asked_ns = b->config.now_ns(b->config.virtio.ctx);
	unlock(&b->state_lock);
	virtio_config_changed(b->virtio);
	if (b->config.virtio.wake)
		b->config.virtio.wake(b->config.virtio.ctx); /* the pace is another */
	return 0;
}

int balloon_refresh(struct balloon *b)
{
	int n = atomic_load(&b->stats_queue);

	if (n < 0 || !virtio_running(b->virtio))
		return -ENOTCONN;
	lock(&b->state_lock);
	if (!b->stats_asked_ns)
		b->stats_asked_ns = b->config.now_ns(b->config.virtio.ctx);
	unlock(&b->state_lock);
	atomic_store(&b->refresh, true);
	virtio_defer(b->virtio, (unsigned int)n);
	return 0;
}

/* Caller holds the state lock. */
static int begin_round(struct balloon *b)
{
	const struct balloon_memory *memory = &b->config.memory;

	if (!(b->record.features & FEATURE(FREE_PAGE_HINT)) || !virtio_running(b->virtio))
		return -ENOTCONN;
	if (!memory->hint_armed(memory->ctx))
		return -EPERM;
	if (++b->hint_round < BALLOON_HINT_CMD_FIRST)
		b->hint_round = BALLOON_HINT_CMD_FIRST;
	atomic_store(&b->cmd_id, b->hint_round);
	b->record.hinting = BALLOON_HINT_ASKED;
	return 0;
}

int balloon_hint_start(struct balloon *b)
{
	int ret;

	lock(&b->state_lock);
	ret = begin_round(b);
	unlock(&b->state_lock);
	if (!ret)
		virtio_config_changed(b->virtio);
	return ret;
}

static void end_round(struct balloon *b, uint32_t cmd)
{
	lock(&b->state_lock);
	b->record.hinting = BALLOON_HINT_OFF;
	unlock(&b->state_lock);
	if (atomic_exchange(&b->cmd_id, cmd) != cmd)
		virtio_config_changed(b->virtio);
}

void balloon_hint_stop(struct balloon *b)
{
	end_round(b, BALLOON_HINT_CMD_STOP);
}

void balloon_hint_done(struct balloon *b)
{
	end_round(b, BALLOON_HINT_CMD_DONE);
}

void balloon_notify(struct balloon *b, unsigned int n)
{
	virtio_defer(b->virtio, n);
}

/* Keep the time of the statistics while there is a driver. */
static void keep_time(struct balloon *b, uint64_t now)
{
	struct balloon_pace *p = &b->pace;
	bool stirred = b->dozing && b->config.doze(b->config.virtio.ctx);
	struct balloon_record record;

	balloon_record(b, &record);
	if (balloon_pace_look(p, &record, stirred, now) && atomic_load(&b->stats_queue) >= 0)
		balloon_refresh(b);
	if (!b->dozing && b->config.doze && p->period_ns > p->shortest_ns)
		b->config.doze(b->config.virtio.ctx);
	b->dozing = b->config.doze && p->period_ns > p->shortest_ns;
}

uint64_t balloon_tick(struct balloon *b)
{
	uint64_t now = b->config.now_ns(b->config.virtio.ctx);
	bool timed = b->config.stats_period_ns && virtio_running(b->virtio);

	if (timed)
		keep_time(b, now);
	else
		balloon_pace_stop(&b->pace);
	if (virtio_poll(b->virtio))
		return now + RETRY_NS;
	return timed ? b->pace.next_ns : UINT64_MAX;
}

uint64_t balloon_period_ns(const struct balloon *b)
{
	return max_u64(b->pace.period_ns, b->pace.shortest_ns);
}

/* ---- what it said ---- */

/* Since when the driver is silent; 0: it is not.  While the guest is paused, no time goes by. */
static uint64_t silent_since(const struct balloon *b, uint64_t now)
{
	uint64_t stats = b->stats_asked_ns, target = b->target_asked_ns;
	uint64_t since = stats && target ? min_u64(stats, target) : stats + target;

	now = b->paused_ns ? max_u64(b->paused_ns, since) : now;
	return since && now - since >= BALLOON_SILENT_NS ? since : 0;
}

static void move_asked(uint64_t *asked_ns, uint64_t from, uint64_t now)
{
	if (*asked_ns)
		*asked_ns += now - max_u64(*asked_ns, from);
}

void balloon_pause(struct balloon *b, bool on)
{
	uint64_t now = b->config.now_ns(b->config.virtio.ctx);

	lock(&b->state_lock);
	if (!on && b->paused_ns) {
		move_asked(&b->stats_asked_ns, b->paused_ns, now);
		move_asked(&b->target_asked_ns, b->paused_ns, now);
	}
	if (!on || !b->paused_ns)
		b->paused_ns = on ? now : 0;
	unlock(&b->state_lock);
}

const char *balloon_error(struct balloon *b)
{
	return virtio_error(b->virtio);
}

void balloon_record(struct balloon *b, struct balloon_record *out)
{
	uint64_t now = b->config.now_ns(b->config.virtio.ctx);
	bool running = virtio_running(b->virtio);

	lock(&b->state_lock);
	*out = b->record;
	out->silent_since_ns = running ? silent_since(b, now) : 0;
	unlock(&b->state_lock);
	out->driver = running	       ? BALLOON_DRIVER :
		      balloon_error(b) ? BALLOON_DRIVER_BROKEN :
					 BALLOON_NO_DRIVER;
	out->target = atomic_load(&b->target);
	out->actual = atomic_load(&b->actual);
	out->poison = atomic_load(&b->poison);
}

/* ---- life ---- */

int balloon_create(const struct balloon_config *config, struct bus *mmio, struct balloon **out)
{
	struct balloon *b = calloc(1, sizeof(*b));
	int ret;

	if (!b)
		return -ENOMEM;
	b->config = *config;
	for (unsigned int i = 0; i < config->virtio.mem.nr_ram; i++)
		b->ram_pages += config->virtio.mem.ram[i].end - config->virtio.mem.ram[i].start;
	b->pace.shortest_ns = config->stats_period_ns;
	b->pace.longest_ns = max_u64(config->stats_period_ns, config->stats_longest_ns);
	b->pace.ram_pages = b->ram_pages;
	lock_init(&b->state_lock, LOCK_VIRTIO_STATE);
	reset(b);
	ret = virtio_create(&ops, b, &config->virtio, mmio, &b->virtio);
	if (ret) {
		balloon_destroy(b);
		return ret;
	}
	*out = b;
	return 0;
}

void balloon_destroy(struct balloon *b)
{
	if (!b)
		return;
	virtio_destroy(b->virtio);
	lock_finish(&b->state_lock);
	free(b);
}
