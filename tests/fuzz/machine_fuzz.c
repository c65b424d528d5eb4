/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for the machine: the input is a sequence of steps by hostile clients and
 * VMs over socketpairs, against a machine that is served step by step with a clock of its own.
 * After each step the machine's sums are recomputed; at the end all accounts are zero and no
 * descriptor is left.
 *
 * A step is 8 bytes: what, who, which descriptor, then numbers.  Admissions are made possible
 * often enough that channels exist to be abused.  The processes that STARTED names are real:
 * sleepers, forked when one is needed and killed by whatever kills VMs.
 *
 * Some descriptors are of kinds that nobody expects (strange_fds.h), one of them a file whose size
 * changes, and some packets have several.
 *
 * VMs also tell of balloons, and operators set their sizes and ask why.  Some clients follow the
 * log of events, and others ask for any part of it.
 *
 * Connections about equal pages are apart from the other peers: their packets have another size.
 * What is said there is half valid, with few hashes and fewer contents, so that hints, frames and
 * lies meet each other.
 */
#include "tests/machine/machine_lab.h"
#include "tests/tap.h"
#include "strange_fds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define PEERS	  12
#define MERGES	  5
#define MAX_STEPS 200

enum step_kind {
	STEP_DIAL,
	STEP_CLOSE,
	STEP_RECORD,
	STEP_ADMIT,
	STEP_CREDIT,
	STEP_RETURN,
	STEP_ATTACH,
	STEP_STARTED,
	STEP_GARBAGE,
	STEP_TIME,
	STEP_SET,
	STEP_HEAR,
	STEP_STOP,
	STEP_JOIN,
	STEP_MERGE,
	STEP_MERGE_HEAR,
	STEP_BALLOON,
	STEP_CALL_OFF,
	STEP_OPERATE,
	STEP_RESIZE,
	STEP_SEVERAL,
	STEP_JOIN_STRANGE,
	STEP_RECLAIMED,
	STEP_SWAP,
	STEP_EVENTS,
	NR_STEPS
};

struct step {
	uint8_t kind, peer, descriptor, small;
	uint16_t a, b;
};

static int memfd, memfd_readonly, null_fd, pipe_fds[2];
static pid_t sleeper;
static bool is_set_up;

static void set_up(void)
{
	memfd = memfd_create("fuzz", MFD_CLOEXEC);
	if (memfd < 0 || ftruncate(memfd, MiB) || pipe2(pipe_fds, O_CLOEXEC))
		abort();
	for (uint64_t gfn = 0; gfn < MiB / QUIRE_PAGE_SIZE; gfn++)
		if (pwrite(memfd, &(uint64_t){ gfn % 8 }, 8, (off_t)(gfn * QUIRE_PAGE_SIZE)) != 8)
			abort();
	memfd_readonly = reopen_readonly(memfd);
	strange_fd(0);
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	is_set_up = true;
}

static bool is_alive(pid_t pid)
{
	return pid > 0 && waitpid(pid, NULL, WNOHANG) == 0;
}

/* Descriptor to attach; *mine: to be closed afterwards. */
static int descriptor(uint8_t which, bool *mine)
{
	*mine = false;
	switch (which % 8) {
	case 0: return memfd;
	case 1: return memfd_readonly;
	case 2: return null_fd;
	case 3: return pipe_fds[0];
	case 4:
		if (!is_alive(sleeper))
			sleeper = fork_sleeper();
		*mine = true;
		return pidfd_of(sleeper);
	case 5:
	case 6: return strange_fd(which / 8u);
	default: return -1;
	}
}

static void send_packet(int fd, struct machine_msg msg, uint8_t which)
{
	bool mine;
	int attach = descriptor(which, &mine);

	say_msg(fd, msg, attach);
	if (mine)
		close(attach);
}

/* A packet of the channel, or of a control connection, with descriptors of any kind and number. */
static void send_several(int fd, const struct step *s)
{
	static const enum machine_type type[] = { MACHINE_ATTACH, MACHINE_JOIN, MACHINE_STARTED,
						  MACHINE_HELLO, MACHINE_CREDIT };
	struct machine_msg msg = wire_msg(type[s->small % ARRAY_SIZE(type)], 1 + s->small % 4);
	uint64_t kinds = s->a;

	strange_send(fd, &msg, sizeof(msg) - (s->small >> 7), s->descriptor % 9,
		     tap_random(&kinds));
}

static void dial(struct lab *lab, int *peer, bool hello)
{
	if (*peer >= 0)
		close(*peer);
	*peer = lab_dial(lab);
	if (hello)
		say(*peer, MACHINE_HELLO, 0, 0, -1);
}

/* Read all there is; the channel of an admission becomes another peer. */
static void hear_all(int *peers, int *peer, uint8_t which)
{
	struct machine_msg msg;
	int fd, type;

	while ((type = hear(*peer, &msg, &fd)) > 0) {
		int *target = &peers[which % PEERS];

		if (fd < 0)
			continue;
		if (type != MACHINE_ADMITTED)
			abort();
		if (target == peer) {
			close(fd);
			continue;
		}
		if (*target >= 0)
			close(*target);
		*target = fd;
	}
	if (type < 0) {
		close(*peer);
		*peer = -1;
	}
}

/* What a VM says of its balloon, half of it possible. */
static struct balloon_record balloon_said(const struct step *s, uint64_t now)
{
	bool wild = s->small & 64;

	return (struct balloon_record){
		.mode = s->b, .driver = s->small & 1 ? s->b % 4 : BALLOON_DRIVER,
		.asks = s->small >> 1 & 1, .manual = s->small >> 2 & 1,
		.target = wild ? UINT64_MAX : s->a % 512,
		.actual = wild ? s->a * 0x0001000100010001ULL : s->a % 512,
		.touches = s->small & 8 ? UINT64_MAX : s->b % 4,
		.silent_since_ns = s->small & 16 ? now : 0,
		.stats_ns = s->small & 32 ? UINT64_MAX : now,
		.stats_actual = wild ? UINT64_MAX : s->a % 512,
		.nr_stats = wild && s->b & 1 ? UINT32_MAX : 4,
		.stat = {
			{ BALLOON_TAG_AVAILABLE,
			  (wild ? ~(uint64_t)s->b : s->b % 512) * QUIRE_PAGE_SIZE },
			{ BALLOON_TAG_FREE, s->b % 512 * QUIRE_PAGE_SIZE },
			{ BALLOON_TAG_TOTAL, 512 * QUIRE_PAGE_SIZE },
			{ s->small & 128 ? BALLOON_TAG_OOM_KILLS : s->b % 12, s->b },
		},
	};
}

/* What a VM says of its reclaim, half of it possible. */
static struct reclaim_record reclaim_said(const struct step *s, uint64_t now)
{
	bool wild = s->small & 64;

	return (struct reclaim_record){
		.on = !(s->small & 32) || s->b,
		.more = s->small & 1,
		.suspended = s->small >> 1 & 1,
		.still_asked = wild ? UINT64_MAX : s->a % 512,
		.working_set = wild ? UINT64_MAX - s->b : s->b % 512,
		.freed = s->a,
		.refaults = wild ? UINT64_MAX : s->b,
		.some_ns = wild ? UINT64_MAX : now / (1 + s->a % 8),
		.full_ns = s->small & 128 ? UINT64_MAX : now / (1 + s->b % 8),
	};
}

/* An operator's wish, often for a VM that exists. */
static struct machine_msg operator_record(const struct step *s)
{
	static const enum machine_type type[] = { MACHINE_BALLOON_GET, MACHINE_BALLOON_SET,
						  MACHINE_BALLOON_SET, MACHINE_BALLOON_WHY };
	struct machine_msg msg = wire_msg(type[s->small % 4], s->b % 8);

	if (msg.type == MACHINE_BALLOON_SET) {
		msg.target.pages = s->small & 128 ? UINT64_MAX - s->a : s->a % 512;
		msg.target.manual = s->small >> 4 & 1;
	} else {
		msg.pages = s->a % 20;
	}
	return msg;
}

static struct machine_msg packet(const struct step *s, uint64_t now)
{
	static const enum machine_type type[NR_STEPS] = {
		[STEP_ADMIT] = MACHINE_ADMIT,	      [STEP_CREDIT] = MACHINE_CREDIT,
		[STEP_RETURN] = MACHINE_RETURN,	      [STEP_ATTACH] = MACHINE_ATTACH,
		[STEP_STARTED] = MACHINE_STARTED,     [STEP_SET] = MACHINE_SET,
		[STEP_BALLOON] = MACHINE_BALLOON,     [STEP_CALL_OFF] = MACHINE_CALL_OFF,
		[STEP_RECLAIMED] = MACHINE_RECLAIMED, [STEP_SWAP] = MACHINE_SWAP_CREDIT,
	};
	struct machine_msg msg = wire_msg(type[s->kind], s->small % 16);

	switch (s->kind) {
	case STEP_ADMIT:
		msg.admit.ram_pages = s->a % 512;
		msg.admit.overhead_pages = s->b % 64;
		msg.admit.readmit = s->small & 1;
		msg.admit.credit_pages = s->small & 1 ? s->b % 300 : 0;
		msg.admit.swap_pages = s->small & 1 ? s->b % 260 : 0;
		msg.admit.oom_score_adj = s->small & 2 ? -1000 : s->small * 10;
		msg.admit.domain[0] = s->small & 4 ? 'd' : s->small & 8 ? 'e' : '\0';
		msg.admit.balloon = s->small >> 4 & 3;
		msg.admit.shares = s->small & 64 ? s->a : 1000;
		msg.admit.balloon_min_pages = s->small & 128 ? s->b : msg.admit.ram_pages / 4;
		break;
	case STEP_BALLOON: msg.balloon = balloon_said(s, now); break;
	case STEP_RECLAIMED: msg.reclaim = reclaim_said(s, now); break;
	case STEP_SWAP:
		msg.type = s->small & 16 ? MACHINE_SWAP_RETURN : MACHINE_SWAP_CREDIT;
		msg.pages = s->a % 600;
		break;
	case STEP_OPERATE: return operator_record(s);
	case STEP_EVENTS:
		msg.type = MACHINE_EVENTS;
		msg.events.from = s->small & 128 ? UINT64_MAX - s->a : s->a % 2048;
		msg.events.wait_ms = s->small & 64 ? 0 : s->b;
		break;
	case STEP_CREDIT:
		msg.credit.need_pages = s->a % 300;
		msg.credit.want_pages = s->b;
		break;
	case STEP_SET:
		msg.set = (struct machine_settings){
			.fields = s->small,
			.mode = s->a % 4,
			.guess = s->b % 3,
			.ratio = s->a,
			.memory_pages = s->b % 4096,
			.swap_pages = s->a,
			.limit_pages = s->b,
		};
		break;
	case STEP_RECORD:
		memset(&msg.admit, (uint8_t)s->b, sizeof(msg.admit));
		msg.type = s->a % 160;
		break;
	default: msg.pages = s->a % 300;
	}
	return msg;
}

/* Ask for a connection about equal pages, over whatever the peer is.  What came before is lost. */
static void join(struct lab *lab, int channel, int *merge)
{
	struct machine_msg msg;
	int got, type;

	say(channel, MACHINE_JOIN, 0, 0, -1);
	machine_serve(lab->m);
	while ((type = hear(channel, &msg, &got)) > 0) {
		if (type == MACHINE_JOINED && got >= 0) {
			if (*merge >= 0)
				close(*merge);
			*merge = got;
			return;
		}
		if (got >= 0)
			close(got);
	}
}

static void merge_entries(struct merge_msg *msg, const struct step *s)
{
	uint64_t seed = (uint64_t)s->a << 16 | s->b, gfn = s->b % 64;

	for (uint32_t i = 0; i < msg->nr && i < MERGE_BATCH; i++) {
		uint64_t random = tap_random(&seed);

		if (msg->type == MERGE_DROP) {
			msg->drop[i] = (uint32_t)(random % 16 ? random % 80 : random);
			continue;
		}
		msg->lookup[i].gfn = gfn | (random % 8 ? 0 : MERGE_PUBLISH);
		msg->lookup[i].hash = random % 3 ? gfn % 8 : random >> 8 & 15;
		gfn += s->small & 1 || random >> 20 & 1 ? 1 : random >> 24 & 3;
	}
}

/* A packet about equal pages, more often valid than not. */
static void say_merge(int fd, const struct step *s)
{
	static struct merge_msg msg;
	static const enum merge_type type[8] = { MERGE_LOOKUP,	MERGE_LOOKUP, MERGE_LOOKUP,
						 MERGE_NEWS,	MERGE_DROP,   MERGE_PASS,
						 MERGE_SEGMENT, MERGE_LOOKUP };

	memset(&msg, (uint8_t)s->b & 1 ? 0xff : 0, sizeof(msg));
	wire_merge_header(&msg, s->small == 255 ? s->a : type[s->small / 2 % 8]);
	msg.nr = s->small == 254 ? s->a : s->a % (msg.type == MERGE_DROP ? 4 : 100);
	msg.arg = s->small & 64 ? s->b % 8 : 0;
	msg.magic += s->small == 253;
	merge_entries(&msg, s);
	if (s->small == 252)
		send(fd, &msg, s->a % sizeof(msg), MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		wire_send_merge(fd, &msg, s->small == 251 ? memfd : -1);
}

static void hear_merges(int *fd)
{
	static struct merge_msg msg;
	int attached, code;

	while ((code = wire_recv_merge(*fd, &msg, &attached)) == 1)
		if (attached >= 0)
			close(attached);
	if (!code)
		return;
	if (code != -ECONNRESET)
		abort();
	close(*fd);
	*fd = -1;
}

static void perform_merge(struct lab *lab, int *peers, int *merges, const struct step *s)
{
	int *merge = &merges[s->descriptor % MERGES];

	if (s->kind == STEP_JOIN && peers[s->peer % PEERS] >= 0)
		join(lab, peers[s->peer % PEERS], merge);
	else if (s->kind == STEP_MERGE && *merge >= 0)
		say_merge(*merge, s);
	else if (s->kind == STEP_MERGE_HEAR && *merge >= 0)
		hear_merges(merge);
}

static void perform(struct lab *lab, int *peers, int *merges, const struct step *s)
{
	int *peer = &peers[s->peer % PEERS];
	char garbage[512];

	switch (s->kind) {
	case STEP_DIAL: dial(lab, peer, s->small & 1); break;
	case STEP_TIME: lab->now_ns += s->a * LAB_MS; break;
	case STEP_JOIN:
	case STEP_MERGE:
	case STEP_MERGE_HEAR: perform_merge(lab, peers, merges, s); break;
	case STEP_RESIZE: strange_resize((uint64_t)s->a * 512); break;
	case STEP_STOP:
		if (s->small == 77)
			machine_stop_all(lab->m);
		break;
	default:
		if (*peer < 0)
			dial(lab, peer, true);
		if (s->kind == STEP_CLOSE) {
			close(*peer);
			*peer = -1;
		} else if (s->kind == STEP_HEAR) {
			hear_all(peers, peer, s->small);
		} else if (s->kind == STEP_GARBAGE) {
			memset(garbage, s->small, sizeof(garbage));
			send(*peer, garbage, s->a % sizeof(garbage), MSG_DONTWAIT | MSG_NOSIGNAL);
		} else if (s->kind == STEP_SEVERAL) {
			send_several(*peer, s);
		} else if (s->kind == STEP_JOIN_STRANGE) {
			say(*peer, MACHINE_JOIN, 0, 0, strange_fd(s->descriptor));
		} else {
			send_packet(*peer, packet(s, lab->now_ns), s->descriptor);
		}
	}
}

/* Three VMs that can share pages, two of them with each other: a long way to come by chance. */
static void begin_merging(struct lab *lab, int *peers, int *merges)
{
	dial(lab, &peers[0], true);
	for (int i = 0; i < 3; i++) {
		struct step admit = { .kind = STEP_ADMIT, .small = i < 2 ? 4 : 8, .a = 100 };
		struct machine_msg msg = packet(&admit, 0);

		say_msg(peers[0], msg, -1);
		lab_step(lab);
		hear_all(peers, &peers[0], (uint8_t)(i + 1));
		if (peers[i + 1] < 0)
			return;
		say(peers[i + 1], MACHINE_ATTACH, 0, 0, memfd_readonly);
		join(lab, peers[i + 1], &merges[i]);
		lab_step(lab);
	}
}

/* Three VMs with balloons on a machine that they fill: the policy has something to decide. */
static void begin_ballooning(struct lab *lab, int *peers)
{
	dial(lab, &peers[0], true);
	for (int i = 0; i < 3; i++) {
		struct step admit = { .kind = STEP_ADMIT, .small = 2 << 4, .a = 511 };
		struct step balloon = { .kind = STEP_BALLOON, .b = 400 };

		say_msg(peers[0], packet(&admit, 0), -1);
		lab_step(lab);
		hear_all(peers, &peers[0], (uint8_t)(i + 1));
		if (peers[i + 1] < 0)
			return;
		say_credit(peers[i + 1], 450, 511);
		say_msg(peers[i + 1], packet(&balloon, lab->now_ns), -1);
		lab_step(lab);
	}
}

static void finish(struct lab *lab, int *peers, int *merges)
{
	for (unsigned int i = 0; i < MERGES; i++)
		if (merges[i] >= 0)
			close(merges[i]);
	for (unsigned int i = 0; i < PEERS; i++)
		if (peers[i] >= 0)
			close(peers[i]);
	lab_step(lab);
	if (sleeper > 0 && !kill(sleeper, SIGKILL))
		waitpid(sleeper, NULL, 0);
	sleeper = 0;
	if (!lab_await_vms(lab, 0))
		abort();
}

/* libFuzzer's own thread opens a file now and then, for a moment. */
static void check_descriptors(unsigned int before)
{
	for (unsigned int i = 0; i < 1000; i++) {
		if (open_fds() == before)
			return;
		usleep(1000);
	}
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct machine_config config;
	int peers[PEERS], merges[MERGES];
	unsigned int fds;
	struct lab lab;

	if (!is_set_up)
		set_up();
	fds = open_fds();
	memset(peers, -1, sizeof(peers));
	memset(merges, -1, sizeof(merges));
	config = lab_config(&lab, 2048, 100, OVERCOMMIT_GUESS);
	config.ledger.mode = bytes ? data[0] % 3 : 0;
	config.max_vms = 20;
	lab_open(&lab, &config);
	if (bytes && data[0] & 64)
		begin_merging(&lab, peers, merges);
	else if (bytes && data[0] & 128)
		begin_ballooning(&lab, peers);
	for (size_t at = 1;
	     at + sizeof(struct step) <= bytes && at < MAX_STEPS * sizeof(struct step);
	     at += sizeof(struct step)) {
		struct step s;

		memcpy(&s, data + at, sizeof(s));
		s.kind %= NR_STEPS;
		perform(&lab, peers, merges, &s);
		lab_step(&lab);
		if (lab.faults)
			abort();
	}
	finish(&lab, peers, merges);
	machine_destroy(lab.m);
	check_descriptors(fds);
	return 0;
}
