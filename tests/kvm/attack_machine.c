/* SPDX-License-Identifier: MIT */
/* Attacks on the machine, and through it on others: what a VM can say, and how often. */
#include <errno.h>
#include <quire/types.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "attacks.h"
#include "mmu/base/wire.h"
#include "tests/tap.h"
#include "vmm/launch/leash.h"

#define DONT_WAIT (MSG_DONTWAIT | MSG_NOSIGNAL)
#define AT_ONCE	  250 /* descriptors in a packet; the kernel takes 253 */

/* ---- other sockets than its own ---- */

/* A pair of sockets of this type in the attacker; false: it has none. */
static bool make_pair(struct puppet *p, int type, int pair[2])
{
	uint64_t at = puppet_push(p, pair, 2 * sizeof(int));

	return !puppet_call(p, SYS_socketpair, AF_UNIX, (uint64_t)type, 0, at, 0, 0) &&
	       puppet_get(p, at, pair, 2 * sizeof(int));
}

static const char *send_to_others(struct attacker *a, int type)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int outside = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
	    pair[2] = { 0 };
	socklen_t bytes;
	char got;
	const char *won = NULL;

	bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			    (size_t)sprintf(name.sun_path + 1, "attacked-%d", (int)getpid()));
	if (outside < 0 || bind(outside, (struct sockaddr *)&name, bytes))
		tap_bail("no socket to be attacked");
	if (make_pair(&a->thread, type, pair))
		puppet_call(&a->thread, SYS_sendmsg, (uint64_t)pair[0],
			    puppet_message(&a->thread, "secret", 6, pair[1],
					   (struct sockaddr *)&name, bytes),
			    DONT_WAIT, 0, 0, 0);
	if (recv(outside, &got, 1, 0) > 0)
		won = "it has sent bytes to a socket of somebody else";
	close(outside);
	return won;
}

static const char *send_datagram(struct attacker *a)
{
	return send_to_others(a, SOCK_DGRAM);
}

/* The kernel looks at the low bits: with these it is SOCK_DGRAM all the same. */
static const char *send_datagram_with_flags(struct attacker *a)
{
	return send_to_others(a, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* SOCK_RAW is SOCK_DGRAM for a unix socket. */
static const char *send_raw_datagram(struct attacker *a)
{
	return send_to_others(a, SOCK_RAW);
}

/* ---- descriptors ---- */

/* A packet with AT_ONCE descriptors, as sendmsg() wants it; the address in the attacker. */
static uint64_t full_packet(struct puppet *p, int fd)
{
	union {
		char bytes[CMSG_SPACE(AT_ONCE * sizeof(int))];
		struct cmsghdr header;
	} control = { .header = { .cmsg_len = CMSG_LEN(AT_ONCE * sizeof(int)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { (void *)puppet_push(p, "", 1), 1 };
	struct msghdr msg = { .msg_iovlen = 1, .msg_controllen = sizeof(control.bytes) };
	int fds[AT_ONCE];

	for (unsigned int i = 0; i < AT_ONCE; i++)
		fds[i] = fd;
	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	msg.msg_iov = (struct iovec *)puppet_push(p, &iov, sizeof(iov));
	msg.msg_control = (void *)puppet_push(p, &control, sizeof(control));
	return puppet_push(p, &msg, sizeof(msg));
}

/* Can the victim still send a descriptor?  Its launcher is told one thing that means nothing. */
static bool victim_can_send(const struct scene *s)
{
	int leash = puppet_find(s->victim.pid, PUPPET_LEASH, s->victim.launcher, s->machine);
	struct leash_msg msg = { .type = 0 };
	struct puppet p;
	int64_t sent;

	if (!puppet_seize(&p, s->victim.pid, "pager"))
		tap_bail("the victim is not held");
	sent = puppet_send(&p, leash, &msg, sizeof(msg), STDERR_FILENO);
	puppet_let_go(&p);
	return sent == (int64_t)sizeof(msg);
}

/* On each of its sockets, as many as go; the channel is last, because that is the end. */
static const char *park_descriptors(struct attacker *a)
{
	static const enum puppet_file sockets[] = { PUPPET_LEASH, PUPPET_MERGE, PUPPET_CHANNEL };
	uint64_t packet = full_packet(&a->thread, STDERR_FILENO);

	for (size_t i = 0; i < ARRAY_SIZE(sockets); i++)
		puppet_repeat(&a->thread, 300, SYS_sendmsg, (uint64_t)attacker_fd(a, sockets[i]),
			      packet, DONT_WAIT, 0, 0, 0);
	return victim_can_send(a->scene) ? NULL : "its neighbour can send no descriptor any more";
}

/* Each has a descriptor, which the machine must close. */
static const char *fill_machine_with_descriptors(struct attacker *a)
{
	struct machine_msg msg = wire_msg(MACHINE_ATTACH, 0);
	int channel = attacker_fd(a, PUPPET_CHANNEL), ram = attacker_fd(a, PUPPET_RAM);
	uint64_t packet = puppet_message(&a->thread, &msg, sizeof(msg), ram, NULL, 0);

	puppet_repeat(&a->thread, 5000, SYS_sendmsg, (uint64_t)channel, packet, DONT_WAIT, 0, 0, 0);
	return NULL; /* the scene counts the machine's descriptors */
}

/* ---- much ---- */

/* Say it so often that the machine has something else to do than to serve the victim. */
static void flood(struct attacker *a, enum puppet_file where, const void *packet, size_t bytes,
		  uint64_t times)
{
	uint64_t msg = puppet_message(&a->thread, packet, bytes, -1, NULL, 0);
	int fd = attacker_fd(a, where);

	for (uint64_t i = 0; i < times && !a->thread.dead; i += 1000) {
		puppet_repeat(&a->thread, 1000, SYS_sendmsg, (uint64_t)fd, msg, DONT_WAIT, 0, 0, 0);
		(void)scene_books(a->scene);
	}
}

static const char *flood_with_balloons(struct attacker *a)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON, 0);

	msg.balloon.driver = BALLOON_DRIVER;
	msg.balloon.touches = UINT64_MAX;
	msg.balloon.asks = 1;
	flood(a, PUPPET_CHANNEL, &msg, sizeof(msg), 20000);
	return NULL;
}

/* Its answers stay unread, since nobody else listens. */
static const char *flood_with_credits(struct attacker *a)
{
	struct machine_msg msg = wire_msg(MACHINE_CREDIT, 0);

	flood(a, PUPPET_CHANNEL, &msg, sizeof(msg), 20000);
	return NULL;
}

static const char *flood_with_returns(struct attacker *a)
{
	struct machine_msg msg = wire_msg(MACHINE_RETURN, 0);

	flood(a, PUPPET_CHANNEL, &msg, sizeof(msg), 20000);
	return NULL;
}

static const char *flood_with_lookups(struct attacker *a)
{
	static struct merge_msg msg;

	wire_merge_header(&msg, MERGE_LOOKUP);
	msg.nr = MERGE_BATCH;
	for (unsigned int i = 0; i < MERGE_BATCH; i++)
		msg.lookup[i] = (struct merge_lookup){ .hash = i, .gfn = 256 + i };
	flood(a, PUPPET_MERGE, &msg, sizeof(msg), 5000);
	return NULL;
}

/* Records of any type and content. */
static const char *random_records(struct attacker *a)
{
	int fd = attacker_fd(a, PUPPET_CHANNEL);
	struct machine_msg msg;
	uint64_t seed = (uint64_t)a->vm.pid;

	for (unsigned int i = 0; i < 300 && !a->thread.dead; i++) {
		for (size_t n = 0; n < sizeof(msg) / 8; n++)
			((uint64_t *)&msg)[n] = i % 2 ? tap_random(&seed) % 4 : tap_random(&seed);
		msg.magic = MACHINE_MAGIC;
		msg.version = MACHINE_VERSION;
		msg.type = i < 200 ? MACHINE_CREDIT + i % 5 : (uint16_t)tap_random(&seed);
		if (msg.type == MACHINE_JOIN || msg.type == MACHINE_ATTACH)
			continue;
		puppet_send(&a->thread, fd, &msg, sizeof(msg), -1);
	}
	return NULL;
}

/* ---- more than its part ---- */

/* Take all credits, listen to no RECALL, and see who dies for the next who needs some. */
static const char *hoard_credits(struct attacker *a)
{
	struct machine_msg msg = wire_msg(MACHINE_CREDIT, 0);
	int channel = attacker_fd(a, PUPPET_CHANNEL);
	struct machine_state m = scene_books(a->scene);
	const char *won = NULL;
	struct scene_vm needy;

	msg.credit.need_pages = msg.credit.want_pages = MACHINE_NEED_MAX;
	for (unsigned int i = 0; i < 200 && m.free_pages > m.min_pages + 4 * MACHINE_NEED_MAX;
	     i++) {
		if (puppet_send(&a->thread, channel, &msg, sizeof(msg), -1) < 0)
			break;
		m = scene_books(a->scene);
	}
	puppet_park(&a->thread);
	if (!scene_start(a->scene, &needy, 64, "", "hold 9 11000 own=11000 seconds=90"))
		won = "another died for the credits that it hoards";
	else if (!attacker_is_killed(a))
		won = "it keeps what it hoards, while others need it";
	scene_kill(&needy);
	return won;
}

/* Say a packet about equal pages, and take the answer; false: it was the last. */
static bool ask(struct attacker *a, int fd, const struct merge_msg *msg, struct merge_msg *answer)
{
	struct puppet *p = &a->thread;
	uint64_t there;

	puppet_clear(p);
	if (puppet_send(p, fd, msg, sizeof(*msg), -1) != (int64_t)sizeof(*msg))
		return false;
	there = puppet_message(p, answer, sizeof(*answer), -1, NULL, 0);
	if (puppet_call(p, SYS_recvmsg, (uint64_t)fd, there, 0, 0, 0, 0) <= 0)
		return false;
	return puppet_get(p, p->scratch, answer, sizeof(*answer));
}

/* Look all pages up under hashes of its own invention. */
static void look_all_up(struct attacker *a, uint64_t pages, uint64_t flags, uint64_t salt)
{
	static struct merge_msg msg, answer;
	int fd = attacker_fd(a, PUPPET_MERGE);

	for (uint64_t gfn = 0; gfn + MERGE_BATCH <= pages; gfn += MERGE_BATCH) {
		wire_merge_header(&msg, MERGE_LOOKUP);
		msg.nr = MERGE_BATCH;
		for (unsigned int i = 0; i < MERGE_BATCH; i++) {
			uint64_t seed = salt << 32 | (gfn + i);

			msg.lookup[i] = (struct merge_lookup){ .hash = tap_random(&seed),
							       .gfn = (gfn + i) | flags };
		}
		if (!ask(a, fd, &msg, &answer))
			return;
	}
}

static const char *fill_the_store(struct attacker *a)
{
	const uint64_t pages = 48 * MiB / QUIRE_PAGE_SIZE;
	uint64_t before = scene_books(a->scene).store_pages, after;

	for (unsigned int round = 1; round <= 3; round++)
		look_all_up(a, pages, MERGE_PUBLISH, round);
	after = scene_books(a->scene).store_pages;
	return after > before + pages + 2 * MERGE_BATCH ? "it has filled the store" : NULL;
}

static const char *invent_hashes_of_holes(struct attacker *a)
{
	uint64_t before = scene_books(a->scene).merge_metadata_bytes;

	look_all_up(a, 2 * GiB / QUIRE_PAGE_SIZE, 0, 1);
	return scene_books(a->scene).merge_metadata_bytes > before + 4 * MiB ?
		       "the machine has megabytes of notes that nobody pays for" :
		       NULL;
}

#define PLAIN(name_, thread_, run_) \
	{ \
		.name = (name_), .thread = (thread_), .run = (run_) \
	}
#define SIZED(name_, thread_, run_, mib_, workload_) \
	{ \
		.name = (name_), .thread = (thread_), .run = (run_), .merge = true, \
		.ram_mib = (mib_), .workload = (workload_) \
	}
#define HOLDS "hold 1 6000 own=3000 zero=500 dup=2 seconds=90"

const struct attack machine_attacks[] = {
	PLAIN("a datagram to somebody's socket", "keeper", send_datagram),
	PLAIN("the same with flags", "keeper", send_datagram_with_flags),
	PLAIN("a raw datagram", "keeper", send_raw_datagram),
	PLAIN("descriptors in flight", "vcpu 0", park_descriptors),
	PLAIN("many descriptors for the machine", "vcpu 0", fill_machine_with_descriptors),
	PLAIN("a flood of balloon records", "channel", flood_with_balloons),
	PLAIN("a flood of requests without reading answers", "channel", flood_with_credits),
	PLAIN("a flood of returns", "channel", flood_with_returns),
	SIZED("a flood of lookups without reading answers", "keeper", flood_with_lookups, 16,
	      "hold 1 1000 seconds=90"),
	PLAIN("random records", "channel", random_records),
	SIZED("hoarding credits", "channel", hoard_credits, 224, HOLDS),
	SIZED("filling the store", "keeper", fill_the_store, 48, HOLDS),
	SIZED("hashes of holes", "keeper", invent_hashes_of_holes, 2048, HOLDS),
};

const unsigned int nr_machine_attacks = ARRAY_SIZE(machine_attacks);
