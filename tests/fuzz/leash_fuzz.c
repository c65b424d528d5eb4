/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for a launcher that hears VMs which were taken over: two copies, each of which
 * says what the input wants on its leash, in any order, and hangs up when it likes.  Packets have
 * any length, any content, and descriptors of any kind and number (strange_fds.h).
 *
 * Whatever they say: what a copy claims to hold is bounded by its RAM, the launcher's deadlines
 * stay where they were, no copy changes another, and no descriptor is left.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "strange_fds.h"
#include "vmm/launch/launch_impl.h"
#include "vmm/launch/leash.h"
#include "vmm/launch/listing.h"
#include "must.h"

#define COPIES	  2
#define RAM_PAGES 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct step {
	uint8_t copy, how, descriptors, kinds;
	uint32_t type;
	uint64_t pages;
};

/* The listing of code is a child's work, which is not what this is about. */
static unsigned int nr_listings;

void listing_print(FILE *f, const struct code *code)
{
	must(f && code, "no code to list");
	nr_listings++;
}

/* As a VM says it, and as it could say it. */
static void say(int fd, const struct step *s)
{
	static struct {
		struct leash_msg msg;
		char more[64];
	} packet;
	size_t bytes = s->how & 2 ? s->pages % sizeof(packet) : sizeof(packet.msg);

	memset(&packet, s->how, sizeof(packet));
	packet.msg.type = s->how & 1 ? s->type : LEASH_RUNNING + s->type % 9;
	packet.msg.status = (int32_t)s->pages;
	packet.msg.pages = s->pages;
	strange_send(fd, &packet, bytes, s->descriptors % 4, s->kinds * 0x010305U);
}

static void check(const struct launch *l, unsigned int speaker, const struct copy *before)
{
	must(l->input_bytes <= (l->nr == 1 ? sizeof(l->input) : 0), "too much input is kept");
	for (unsigned int i = 0; i < l->nr; i++) {
		const struct copy *c = &l->copy[i];

		must(c->held_pages <= RAM_PAGES, "a copy holds more than its RAM");
		must(c->state == COPY_RUNNING, "a copy has ended by what it said");
		must(!c->kill_ns && !c->timeout_ns, "a deadline has come of what it said");
		must(i == speaker || !memcmp(c, &before[i], sizeof(*c)),
		     "a copy was changed by another");
	}
}

static void begin(struct launch *l, struct copy *copies, int *ends)
{
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned int i = 0; i < COPIES; i++) {
		int pair[2];

		must(!leash_create(pair), "no leash");
		copies[i] = (struct copy){
			.state = COPY_RUNNING, .leash = pair[0], .pidfd = -1, .output = -1
		};
		snprintf(copies[i].name, sizeof(copies[i].name), "copy-%u", i);
		ends[i] = pair[1];
		launch_watch(l, copies[i].leash, LAUNCH_SOURCE_LEASH, i);
	}
}

static void end(struct launch *l, struct copy *copies, const int *ends)
{
	for (unsigned int i = 0; i < COPIES; i++) {
		if (ends[i] >= 0)
			close(ends[i]);
		copy_leash_ready(l, &copies[i]);
		must(copies[i].leash < 0, "a leash that hung up is still held");
	}
	close(l->epoll);
}

static void perform(struct launch *l, struct copy *copies, int *ends, const struct step *s)
{
	unsigned int i = s->copy % COPIES;
	struct copy before[COPIES];

	memcpy(before, copies, sizeof(before));
	if (ends[i] >= 0 && s->copy == 255) {
		close(ends[i]);
		ends[i] = -1;
	} else if (ends[i] >= 0) {
		say(ends[i], s);
	}
	if (s->how & 4) /* else several packets wait */
		copy_leash_ready(l, &copies[i]);
	check(l, i, before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const struct launch_config config = { .ram_bytes = RAM_PAGES * QUIRE_PAGE_SIZE };
	struct copy copies[COPIES];
	struct launch l = { .config = &config, .copy = copies, .caller = -1 };
	unsigned int before;
	int ends[COPIES];

	l.nr = 1 + bytes % COPIES; /* input is a lone copy's */
	strange_fd(0);
	before = strange_count();
	begin(&l, copies, ends);
	for (size_t at = 0; at + sizeof(struct step) <= bytes; at += sizeof(struct step)) {
		struct step s;

		memcpy(&s, data + at, sizeof(s));
		perform(&l, copies, ends, &s);
	}
	end(&l, copies, ends);
	must(nr_listings <= COPIES * LAUNCH_MAX_LISTED, "a copy has too many listings");
	nr_listings = 0;
	for (unsigned int i = 0; strange_count() > before; i++) {
		must(i < 1000, "a descriptor is left"); /* libFuzzer has one now and then */
		usleep(1000);
	}
	return 0;
}
