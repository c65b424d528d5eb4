/* SPDX-License-Identifier: MIT */
/*
 * Equal pages, between VMs that keep to mmu/base/merge_protocol.h: which get a frame, who hears
 * of it, who pays; and the calls with which VM and operator ask.  After each step the machine
 * recomputes all of its sums: references, frames, hints, blocks, budget.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "mmu/machine/client.h"
#include "mmu/machine/credits.h"
#include "merge_scene.h"

static bool frame_is(struct scene *s, struct merge_vm *v, uint32_t frame, uint64_t gfn)
{
	uint8_t got[QUIRE_PAGE_SIZE], want[QUIRE_PAGE_SIZE];
	bool same;
	int fd = -1;

	merge_begin(v, MERGE_SEGMENT, frame >> MERGE_SEGMENT_SHIFT);
	if (merge_say(&s->lab, v, &fd) != MERGE_SEGMENT || fd < 0)
		return false;
	same = pread(fd, got, sizeof(got),
		     (off_t)(frame % MERGE_SEGMENT_FRAMES) * (off_t)QUIRE_PAGE_SIZE) ==
		       sizeof(got) &&
	       pread(v->vm.ram, want, sizeof(want), (off_t)(gfn * QUIRE_PAGE_SIZE)) ==
		       sizeof(want) &&
	       !memcmp(got, want, sizeof(got));
	close(fd);
	return same;
}

static void test_equal_pages(void)
{
	uint64_t free_before;
	struct scene s;
	uint32_t frame;

	begin_pair(&s);
	free_before = lab_state(&s.lab).free_pages;
	merge_fill(&a, 5, 77);
	merge_fill(&b, 9, 77);
	is(merge_look(&s.lab, &a, 5, 77), MERGE_UNIQUE, "the first page with a hash is unique");
	is(merge_get_news(&s.lab, &a), 0, "and there are no news of it");
	frame = merge_look(&s.lab, &b, 9, 77);
	ok(MERGE_IS_FRAME(frame), "an equal page of another VM gets a frame");
	is(b.msg.frame[0].gfn, 9, "with its gfn");
	is(merge_get_news(&s.lab, &a), 1, "and the first hears of it");
	ok(a.msg.frame[0].gfn == 5 && a.msg.frame[0].frame == frame && !a.msg.arg,
	   "which page, which frame, and that this is all");
	is(merge_get_news(&s.lab, &a), 0, "once");
	ok(frame_is(&s, &a, frame, 5), "the frame has the bytes");
	is(store_pages(&s), 1, "it is one frame");
	is(lab_state(&s.lab).store_references, 2, "with two references");
	is(lab_state(&s.lab).free_pages, free_before - 1, "which the budget pays for");
	merge_fill(&b, 10, 77);
	is(merge_look(&s.lab, &b, 10, 77), frame, "a third page gets the same frame");
	merge_drop(&s.lab, &b, frame);
	merge_drop(&s.lab, &b, frame);
	is(store_pages(&s), 1, "it lives while anybody holds it");
	merge_drop(&s.lab, &a, frame);
	is(store_pages(&s), 0, "and no longer");
	is(lab_state(&s.lab).free_pages, free_before, "then the budget has it back");
	is(merge_look(&s.lab, &a, 5, 77), MERGE_UNIQUE, "and the hash is nobody's");
	merge_begin(&a, MERGE_SEGMENT, 1);
	is(merge_say(&s.lab, &a, NULL), MERGE_FRAMES, "a segment that is not there");
	is(a.msg.nr, 0, "is no segment");
	end_pair(&s);
}

static void test_one_vm(void)
{
	struct scene s;
	uint32_t frame;

	begin_pair(&s);
	for (uint64_t gfn = 0; gfn < 4; gfn++)
		merge_fill(&a, gfn, 3);
	is(merge_look(&s.lab, &a, 0, 3), MERGE_UNIQUE, "a page alone");
	is(merge_look(&s.lab, &a, 0, 3), MERGE_UNIQUE, "is not its own partner");
	frame = merge_look(&s.lab, &a, 2, 3);
	ok(MERGE_IS_FRAME(frame), "two equal pages of one VM become one frame");
	is(merge_get_news(&s.lab, &a), 1, "of which it hears");
	is(a.msg.frame[0].frame, frame, "for the first");
	merge_fill(&a, 10, 4);
	merge_fill(&a, 11, 4);
	merge_fill(&a, 12, 4);
	merge_begin(&a, MERGE_LOOKUP, 3);
	for (uint64_t gfn = 10; gfn < 13; gfn++)
		merge_add(&a, gfn, 4);
	is(merge_say(&s.lab, &a, NULL), MERGE_FRAMES, "three equal pages in one packet");
	frame = a.msg.frame[1].frame;
	ok(MERGE_IS_FRAME(frame) && a.msg.frame[0].frame == frame && a.msg.frame[2].frame == frame,
	   "are answered with one frame, the first too");
	is(merge_get_news(&s.lab, &a), 0, "without news");
	is(lab_state(&s.lab).store_references, 5, "and each is a reference");
	merge_fill(&a, 20, 5);
	merge_fill(&a, 21, 5);
	merge_look(&s.lab, &a, 21, 5);
	merge_begin(&a, MERGE_LOOKUP, 2);
	merge_add(&a, 20, 5);
	merge_add(&a, 21, 5);
	merge_say(&s.lab, &a, NULL);
	ok(MERGE_IS_FRAME(a.msg.frame[0].frame) && a.msg.frame[0].frame == a.msg.frame[1].frame,
	   "also if the later one was known before");
	is(merge_get_news(&s.lab, &a), 0, "again without news");
	is(lab_state(&s.lab).store_references, 7, "and one reference for each");
	end_pair(&s);
}

static void test_stale_hints(void)
{
	struct scene s;
	uint32_t frame;

	begin_pair(&s);
	merge_look(&s.lab, &a, 8, 6);
	merge_look(&s.lab, &a, 8, 60);
	is(merge_look(&s.lab, &b, 8, 6), MERGE_UNIQUE, "a page has one hash, the last");
	merge_look(&s.lab, &a, 1, 1);
	merge_look(&s.lab, &a, 1, 2);
	is(merge_look(&s.lab, &b, 1, 1), MERGE_UNIQUE, "what was looked up again is no hint");
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &b, 2, 2)), "but under its new hash");
	is(merge_get_news(&s.lab, &a), 1, "one of the two is news");
	frame = a.msg.frame[0].frame;
	merge_look(&s.lab, &b, 3, 9);
	merge_fill(&b, 3, 80);
	is(merge_look(&s.lab, &a, 4, 9), MERGE_UNIQUE,
	   "a page that was written since is no partner");
	is(merge_get_news(&s.lab, &b), 0, "and there are no news of it");
	is(store_pages(&s), 1, "nor is there a frame");
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &b, 3, 9)), "the other has become the hint");
	is(merge_get_news(&s.lab, &a), 1, "and hears of the next");
	is(merge_look(&s.lab, &b, 30, 2), frame, "a page with a frame's hash gets the frame");
	merge_look(&s.lab, &a, 50, 555);
	merge_vm_close(&s.lab, &a);
	is(merge_look(&s.lab, &b, 51, 555), MERGE_UNIQUE, "a dead VM's page is no hint");
	merge_vm_open(&s.lab, s.control, &a, "d", PAGES);
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &a, 52, 555)), "a living one's is");
	end_pair(&s);
}

static void test_truncated(void)
{
	struct scene s;

	begin_pair(&s);
	merge_look(&s.lab, &a, 1000, 6);
	merge_look(&s.lab, &b, 1001, 7);
	if (ftruncate(a.vm.ram, 4096))
		abort();
	is(merge_lie(&s.lab, &a, 1001, 7), MERGE_UNIQUE,
	   "of a RAM file that was truncated no frames are made");
	is(merge_look(&s.lab, &b, 1000, 6), MERGE_UNIQUE, "and its hints find no partner any more");
	merge_begin(&a, MERGE_LOOKUP, 0);
	merge_claim(&a, 900 | MERGE_PUBLISH, 8);
	merge_say(&s.lab, &a, NULL);
	ok(!MERGE_IS_FRAME(a.msg.frame[0].frame), "nor can they be published");
	is(lab_state(&s.lab).nr_vms, 2, "and nobody is killed for it");
	end_pair(&s);
}

static void test_few(void)
{
	struct scene s;

	begin_pair(&s);
	for (uint64_t gfn = 0; gfn < 10; gfn++) {
		merge_fill(&a, gfn, 50 + gfn);
		merge_fill(&b, gfn, gfn < 4 ? 50 + gfn : 90 + gfn);
		merge_look(&s.lab, &a, gfn, 50 + gfn);
	}
	for (unsigned int arg = 5; arg >= 4; arg--) {
		unsigned int few = 0, frames = 0, unique = 0;

		merge_begin(&b, MERGE_LOOKUP, arg);
		for (uint64_t gfn = 0; gfn < 10; gfn++)
			merge_add(&b, gfn, gfn < 4 ? 50 + gfn : 90 + gfn);
		merge_say(&s.lab, &b, NULL);
		for (unsigned int i = 0; i < 10; i++) {
			few += b.msg.frame[i].frame == MERGE_FEW;
			unique += b.msg.frame[i].frame == MERGE_UNIQUE;
			frames += MERGE_IS_FRAME(b.msg.frame[i].frame);
		}
		is(few, arg == 5 ? 4 : 0, "four of ten, and %u or none: too few", arg);
		is(frames, arg == 5 ? 0 : 4, "frames");
		is(unique, 6, "the rest is unique");
		is(store_pages(&s), frames, "in the store");
		is(merge_get_news(&s.lab, &a), frames, "and news");
	}
	merge_fill(&a, 20, 95);
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &a, 20, 95)),
	   "what was unique is a hint all the same");
	end_pair(&s);
}

static void test_publish(void)
{
	struct scene s;
	uint32_t frame;

	begin_pair(&s);
	merge_fill(&a, 3, 1);
	frame = merge_look(&s.lab, &a, 3 | MERGE_PUBLISH, 1);
	ok(MERGE_IS_FRAME(frame), "a page is published without a partner");
	is(a.msg.frame[0].gfn, 3, "and answered by its gfn");
	is(lab_state(&s.lab).store_references, 1, "one reference");
	is(merge_look(&s.lab, &a, 4 | MERGE_PUBLISH, 1), frame, "the same hash again: the frame");
	merge_fill(&b, 3, 1);
	is(merge_look(&s.lab, &b, 3, 1), frame, "which others find");
	merge_look(&s.lab, &b, 10, 30);
	merge_fill(&b, 10, 20);
	frame = merge_look(&s.lab, &a, 10 | MERGE_PUBLISH, 30);
	ok(MERGE_IS_FRAME(frame) && frame_is(&s, &a, frame, 10),
	   "published also if a hint is wrong, with its own bytes");
	is(merge_get_news(&s.lab, &b), 0, "of which the hint's VM does not hear");
	merge_begin(&a, MERGE_LOOKUP, 2);
	merge_add(&a, 700 | MERGE_PUBLISH, 1234);
	merge_say(&s.lab, &a, NULL);
	is(a.msg.frame[0].frame, MERGE_FEW, "fewer than worth it are not published either");
	end_pair(&s);
}

/* Whole blocks, with gaps: contiguous pages have contiguous frames. */
static void test_runs(void)
{
	unsigned int wrong = 0, matched = 0;
	uint32_t frame[MERGE_BATCH];
	struct scene s;

	begin_pair(&s);
	for (uint64_t gfn = 0; gfn < MERGE_BATCH; gfn++) {
		merge_fill(&a, gfn, 5000 + gfn);
		merge_fill(&b, 300 + gfn, 5000 + gfn);
	}
	merge_begin(&a, MERGE_LOOKUP, 0);
	for (uint64_t gfn = 0; gfn < MERGE_BATCH; gfn++)
		merge_add(&a, gfn, gfn % 100 == 99 ? gfn : 5000 + gfn);
	merge_say(&s.lab, &a, NULL);
	merge_begin(&b, MERGE_LOOKUP, 0);
	for (uint64_t gfn = 0; gfn < MERGE_BATCH; gfn++)
		merge_add(&b, 300 + gfn, 5000 + gfn);
	merge_say(&s.lab, &b, NULL);
	for (unsigned int i = 0; i < MERGE_BATCH; i++) {
		bool unique = i % 100 == 99, first = i % 100 == 0;

		frame[i] = b.msg.frame[i].frame;
		matched += !unique;
		wrong += unique ? frame[i] != MERGE_UNIQUE :
			 first	? !MERGE_IS_FRAME(frame[i]) :
				  frame[i] != frame[i - 1] + 1;
	}
	is(wrong, 0, "512 consecutive pages have consecutive frames, but for 5 that are unique");
	is(store_pages(&s), matched, "those take none");
	is(merge_get_news(&s.lab, &a), matched, "and make no news");
	is(a.msg.frame[3].frame, frame[3], "the same frames for the other");
	ok(frame_is(&s, &a, frame[3], 3), "the bytes are right");
	merge_begin(&a, MERGE_DROP, 0);
	for (unsigned int i = 0; i < MERGE_BATCH; i++)
		if (i % 100 != 99)
			a.msg.drop[a.msg.nr++] = frame[i];
	wire_send_merge(a.merge, &a.msg, -1);
	lab_step(&s.lab);
	is(lab_state(&s.lab).store_references, matched, "given back in one packet");
	merge_vm_close(&s.lab, &b);
	is(store_pages(&s), 0, "the last holder's end frees all");
	end_pair(&s);
}

static void test_domains(void)
{
	struct machine_msg msg;
	struct scene s;
	int type;

	begin(&s, GIB_PAGES);
	merge_vm_open(&s.lab, s.control, &a, "red", PAGES);
	merge_vm_open(&s.lab, s.control, &b, "blue", PAGES);
	merge_vm_open(&s.lab, s.control, &c, "", PAGES);
	merge_look(&s.lab, &a, 1, 11);
	merge_look(&s.lab, &a, 2, 12);
	merge_look(&s.lab, &a, 3, 13);
	is(merge_look(&s.lab, &b, 1, 11), MERGE_UNIQUE, "domains do not mix");
	is(merge_look(&s.lab, &c, 1, 11), MERGE_UNIQUE, "nor does a VM without one");
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &b, 2 | MERGE_PUBLISH, 12)), "a frame of blue");
	is(merge_look(&s.lab, &c, 2, 12), MERGE_UNIQUE, "is blue's");
	ok(MERGE_IS_FRAME(merge_look(&s.lab, &c, 3, 12)), "though it shares with itself");
	say(s.control, MACHINE_DOMAINS, 0, 0, -1);
	lab_step(&s.lab);
	type = hear(s.control, &msg, NULL);
	ok(type == MACHINE_DOMAIN && !strcmp(msg.domain_record.name, "red") &&
		   msg.domain_record.hints == 3 && msg.domain_record.members == 1 &&
		   msg.domain_record.lookups == 3,
	   "the operator sees them: red");
	type = hear(s.control, &msg, NULL);
	ok(type == MACHINE_DOMAIN && !strcmp(msg.domain_record.name, "blue") &&
		   msg.domain_record.pages_shared == 1 && msg.domain_record.promotions == 1 &&
		   !msg.domain_record.pages_sharing,
	   "blue");
	type = hear(s.control, &msg, NULL);
	ok(type == MACHINE_DOMAIN && !*msg.domain_record.name && msg.domain_record.vm == c.vm.id &&
		   msg.domain_record.pages_sharing == 1,
	   "and the one without a name, whose it is");
	is(hear(s.control, &msg, NULL), MACHINE_END, "and that this is all");
	say(s.control, MACHINE_ELSEWHERE, a.vm.id, 0, -1);
	lab_step(&s.lab);
	is(hear(s.control, &msg, NULL), MACHINE_PAGES, "asked what red's VM would share elsewhere");
	is(msg.pages, 2, "a hint and a frame of others, each once");
	say(s.control, MACHINE_ELSEWHERE, 999, 0, -1);
	lab_step(&s.lab);
	is(hear(s.control, &msg, NULL), MACHINE_REFUSED, "a VM that is not there is refused");
	say(s.control, MACHINE_LIST, c.vm.id, 0, -1);
	lab_step(&s.lab);
	hear(s.control, &msg, NULL);
	is(msg.vm_record.shared_refs, 2, "its references are in its record");
	hear(s.control, &msg, NULL);
	is(lab_state(&s.lab).nr_domains, 3, "three domains");
	merge_vm_close(&s.lab, &a);
	merge_vm_close(&s.lab, &b);
	is(lab_state(&s.lab).nr_domains, 1, "that end with their last member");
	merge_vm_close(&s.lab, &c);
	end(&s);
}

static struct hash_secret ask_secret(struct scene *s, struct merge_vm *v)
{
	merge_begin(v, MERGE_SECRET, 0);
	if (merge_say(&s->lab, v, NULL) != MERGE_SECRET)
		tap_bail("no secret");
	return v->msg.secret;
}

/* The secret is of a domain and of a machine, and of nothing else. */
static void test_secrets(void)
{
	struct hash_secret red, again;
	struct scene s;

	begin_pair(&s);
	red = ask_secret(&s, &a);
	again = ask_secret(&s, &b);
	ok(!memcmp(&red, &again, sizeof(red)), "two members of a domain hear the same secret");
	merge_vm_open(&s.lab, s.control, &c, "", PAGES);
	again = ask_secret(&s, &c);
	ok(memcmp(&red, &again, sizeof(red)), "another domain has another");
	merge_vm_close(&s.lab, &c);
	end_pair(&s);
	begin_pair(&s);
	again = ask_secret(&s, &a);
	ok(memcmp(&red, &again, sizeof(red)), "and so has the same domain of the next machine");
	end_pair(&s);
}

struct served {
	struct lab *lab;
	atomic_bool stop;
};

static void *serve(void *arg)
{
	struct served *served = arg;

	while (!served->stop) {
		struct pollfd p = { .fd = machine_fd(served->lab->m), .events = POLLIN };

		poll(&p, 1, 10);
		machine_serve(served->lab->m);
	}
	return NULL;
}

static void count_domain(void *ctx, uint32_t id, const struct machine_domain_record *r)
{
	*(uint64_t *)ctx += id * r->pages_shared;
}

/* The calls of VM and operator, against a machine in a thread. */
static void test_client(void)
{
	struct credits_config config = { .promise_pages = PAGES };
	struct machine_client *client;
	struct machine_state state;
	struct served served = { 0 };
	struct credits *credits;
	uint64_t pages = 0;
	pthread_t thread;
	int fd, link, code;
	struct scene s;

	begin(&s, GIB_PAGES);
	a.vm = lab_admit(&s.lab, s.control, lab_promise(PAGES, 1));
	config.channel = a.vm.channel;
	config.held_pages = a.vm.credits;
	a.vm.channel = -1;
	a.vm.ram = memfd_create("ram", MFD_CLOEXEC);
	if (ftruncate(a.vm.ram, PAGES * QUIRE_PAGE_SIZE) || credits_create(&config, &credits, NULL))
		abort();
	is(credits_join(credits), -EAGAIN, "JOIN waits for ATTACH");
	fd = reopen_readonly(a.vm.ram);
	credits_attach(credits, fd);
	close(fd);
	fd = lab_dial(&s.lab);
	served.lab = &s.lab;
	pthread_create(&thread, NULL, serve, &served);
	link = credits_join(credits);
	ok(link >= 0, "credits_join gets a connection");
	is(credits_join(credits), -EALREADY, "one");
	code = machine_client_create(fd, &client, NULL);
	is(code, 0, "the machine answers");
	merge_begin(&a, MERGE_LOOKUP, 0);
	merge_add(&a, 2 | MERGE_PUBLISH, 1);
	merge_add(&a, 4, 9);
	is(merge_ask(link, &a.msg, NULL), 0, "merge_ask looks up");
	ok(MERGE_IS_FRAME(a.msg.frame[0].frame) && a.msg.frame[1].frame == MERGE_UNIQUE,
	   "two pages");
	b.msg = a.msg;
	merge_begin(&a, MERGE_SEGMENT, 0);
	is(merge_ask(link, &a.msg, &fd), 0, "and for a segment");
	ok(fd >= 0, "which is a descriptor");
	close(fd);
	merge_begin(&a, MERGE_SEGMENT, 5);
	is(merge_ask(link, &a.msg, &fd), 0, "or for one that is not there");
	is(fd, -1, "which is none");
	merge_begin(&a, MERGE_NEWS, 0);
	is(merge_ask(link, &a.msg, NULL), 0, "and for news");
	is(machine_client_domains(client, count_domain, &pages, NULL), 0, "domains are listed");
	is(pages, 1, "the one there is, with its frame");
	is(machine_client_elsewhere(client, a.vm.id, &pages, NULL), 0, "ELSEWHERE");
	is(pages, 0, "is nowhere");
	is(machine_client_elsewhere(client, 77, &pages, NULL), -ESRCH, "no such VM");
	merge_begin(&a, MERGE_DROP, 0);
	a.msg.drop[0] = b.msg.frame[0].frame;
	a.msg.nr = 1;
	is(merge_tell(link, &a.msg), 0, "merge_tell gives back");
	merge_begin(&a, MERGE_NEWS, 0);
	is(merge_ask(link, &a.msg, NULL), 0, "and the connection goes on");
	machine_client_get(client, &state, NULL);
	is(state.store_pages, 0, "without the frame");
	merge_begin(&a, MERGE_FRAMES, 0);
	is(merge_ask(link, &a.msg, NULL), -ECONNRESET, "nonsense is hung up on");
	machine_client_destroy(client);
	credits_destroy(credits);
	served.stop = true;
	pthread_join(thread, NULL);
	close(link);
	close(a.vm.ram);
	lab_step(&s.lab);
	end(&s);
}

/* A machine that answers what it should not. */
static void test_bad_answers(void)
{
	static struct merge_msg bad;
	int pair[2];

	for (unsigned int i = 0; i < 6; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			abort();
		memset(&bad, 0, sizeof(bad));
		wire_merge_header(&bad, i == 0 ? MERGE_SEGMENT : MERGE_FRAMES);
		bad.nr = i == 1 ? 2 : 1;
		bad.frame[0] = (struct merge_frame){ .gfn = i == 2 ? 8 : 7,
						     .frame = i == 3 ? MERGE_MAX_FRAMES :
							      i == 4 ? MERGE_LATER + 1u :
								       0 };
		wire_send_merge(pair[1], &bad, i == 5 ? pair[1] : -1);
		merge_begin(&a, MERGE_LOOKUP, 0);
		merge_claim(&a, 7, 1);
		is(merge_ask(pair[0], &a.msg, NULL), -EPROTO, "nonsense %u is found out", i);
		close(pair[0]);
		close(pair[1]);
	}
}

int main(void)
{
	tap_init();
	test_equal_pages();
	test_one_vm();
	test_stale_hints();
	test_truncated();
	test_few();
	test_publish();
	test_runs();
	test_domains();
	test_secrets();
	test_client();
	test_bad_answers();
	return tap_done();
}
