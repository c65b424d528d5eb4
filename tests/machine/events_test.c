/* SPDX-License-Identifier: MIT */
/*
 * The log of events: what is in it, who waits for more, and what followers, VMs and machines that
 * mean no good can do with it.
 */
#include "merge_lab.h"
#include "machine_lab_tap.h"
#include "mmu/machine/client.h"

static struct lab lab;
static unsigned int fds;
static int control, follower;

static void begin(void)
{
	fds = open_fds();
	lab_open_plain(&lab, 1000, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	follower = lab_connect(&lab);
}

static void end(void)
{
	close(control);
	close(follower);
	lab_close(&lab, fds);
}

static void ask(int fd, uint64_t from, uint32_t wait_ms)
{
	struct machine_msg msg = wire_msg(MACHINE_EVENTS, 0);

	msg.events.from = from;
	msg.events.wait_ms = wait_ms;
	say_msg(fd, msg, -1);
	lab_step(&lab);
}

/* What the machine has answered. */
struct part {
	unsigned int nr;
	uint64_t next; /* 0: there was no END */
	struct machine_event event[MACHINE_LIST_MAX];
};

static struct part answer(int fd)
{
	static struct part part;
	struct machine_msg msg;
	int type;

	memset(&part, 0, sizeof(part));
	while ((type = hear(fd, &msg, NULL)) == MACHINE_EVENT && part.nr < MACHINE_LIST_MAX)
		part.event[part.nr++] = msg.event;
	part.next = type == MACHINE_END ? msg.pages : 0;
	return part;
}

static struct part look(uint64_t from)
{
	ask(follower, from, 0);
	return answer(follower);
}

static void change_settings(unsigned int times)
{
	struct machine_msg msg = wire_msg(MACHINE_SET, 0);

	msg.set.fields = MACHINE_SET_RATIO;
	for (unsigned int i = 0; i < times; i++) {
		say_msg(control, msg, -1);
		lab_step(&lab);
		while (hear(control, NULL, NULL) > 0)
			;
	}
}

static void test_records(void)
{
	const struct machine_event *e;
	struct lab_vm vm, was;
	struct part part;

	begin();
	part = look(0);
	is(part.nr, 0, "a new machine has no events");
	is(part.next, 1, "... and the first will be number 1");
	vm = lab_admit(&lab, control, lab_promise(100, 10));
	lab_start(&lab, control, &vm);
	is(lab_admit(&lab, control, lab_promise(100, 2000)).error, -ENOMEM, "a VM is refused");
	was = vm;
	lab_finish_vm(&vm);
	ok(lab_await_vms(&lab, 0), "... and the other has ended");
	part = look(0);
	is(part.nr, 5, "that makes five events");
	is(part.next, 6, "... and six is the next");
	e = part.event;
	is(e[0].kind, EVENT_ADMISSION, "an admission");
	is(e[0].vm, was.id, "... with the VM's id");
	ok(!strcmp(e[0].name, "lab"), "... and its name");
	is(e[0].number[0], 110 * 4096, "... what was promised");
	is(e[0].number[3], 110 * 4096, "... and what that came to");
	ok(!strncmp(e[0].text, "admitted", 8), "... and the line of the log: %s", e[0].text);
	is(e[1].kind, EVENT_START, "a start");
	is(e[1].pid, was.pid, "... with the pid");
	is(e[2].kind, EVENT_RECALL, "a recall, for the one that does not fit");
	is(e[2].number[4], 1, "... of one VM");
	is(e[3].kind, EVENT_REFUSAL, "a refusal");
	ok(!strcmp(e[3].reason, "budget") && !strcmp(e[3].name, "lab"), "... by the budget");
	is(e[3].number[0], 2000 * 4096, "... with what was asked");
	is(e[3].number[1], EVENT_UNKNOWN, "... and without what is the ledger's");
	is(e[4].kind, EVENT_STOP, "an end");
	ok(!strcmp(e[4].reason, "ended"), "... which was not the machine's work");
	for (unsigned int i = 0; i < 5; i++)
		ok(e[i].seq == i + 1 && e[i].monotonic_ns >= 1000000000 && e[i].realtime_ns,
		   "number %u, with its times", i + 1);
	is(look(4).nr, 2, "from the fourth on there are two");
	is(look(99).next, 6, "from one that is not there yet there is none");
	end();
}

static void test_waiting(void)
{
	struct part part;

	begin();
	ask(follower, 1, 500);
	is(answer(follower).next, 0, "who waits has no answer");
	lab_pass(&lab, 499);
	is(answer(follower).next, 0, "... for as long as it said");
	lab_pass(&lab, 1);
	is(answer(follower).next, 1, "... and then an empty one");
	ask(follower, 1, 500);
	change_settings(1);
	part = answer(follower);
	is(part.nr, 1, "an event is told at once");
	is(part.event[0].kind, EVENT_SETTINGS, "... whatever it is");
	is(part.next, 2, "... and what comes next");
	change_settings(1);
	is(answer(follower).next, 0, "... which is not told before it is asked for");
	ask(follower, 3, 500);
	say(follower, MACHINE_GET, 0, 0, -1);
	lab_step(&lab);
	is(hear(follower, NULL, NULL), MACHINE_END, "another question ends the wait");
	is(hear(follower, NULL, NULL), MACHINE_STATE, "... and is answered after that");
	ask(follower, 3, 500);
	close(follower);
	lab_step(&lab);
	follower = lab_connect(&lab);
	ask(follower, 3, MACHINE_EVENTS_WAIT_MS + 1);
	is(hear(follower, NULL, NULL), -ECONNRESET, "nobody waits for more than a minute");
	end();
}

static void test_ring(void)
{
	struct part part;

	begin();
	change_settings(1500);
	part = look(1);
	is(part.nr, MACHINE_LIST_MAX, "there are no more events in a part than in one of a list");
	is(part.event[0].seq, 1500 - 1024 + 1, "the oldest of 1500 is gone, and that shows");
	is(part.next, part.event[0].seq + MACHINE_LIST_MAX, "END says where to go on");
	is(look(1490).nr, 11, "the newest is there");
	end();
}

/* It asks, and never reads: it costs what its socket holds, and nobody else anything. */
static void test_deaf_follower(void)
{
	unsigned int parts = 0;
	struct machine_msg msg;
	int type;

	begin();
	ask(follower, 1, 60000);
	change_settings(2000);
	while ((type = hear(follower, &msg, NULL)) > 0)
		parts += type == MACHINE_END;
	is(parts, 1, "2000 events later, who has asked once has one part");
	for (unsigned int i = 0; i < 2000; i++)
		ask(follower, 1, 0);
	while ((type = hear(follower, NULL, NULL)) > 0)
		;
	is(type, -ECONNRESET, "who asks and does not read is hung up on");
	is(look(0).next, 0, "... for good");
	is(lab_state(&lab).refusals, 0, "and the machine serves others");
	end();
}

static void test_private_machine(void)
{
	struct machine_config config;

	fds = open_fds();
	config = lab_config(&lab, 1000, 0, OVERCOMMIT_ALWAYS);
	config.exit_when_idle = true;
	lab_open(&lab, &config);
	control = lab_connect(&lab);
	follower = lab_connect(&lab);
	ask(follower, 1, 60000);
	ok(!lab.done, "a private machine serves its launcher");
	close(control);
	lab_step(&lab);
	ok(lab.done, "... and does not go on for somebody who follows its log");
	close(follower);
	lab_close(&lab, fds);
}

static void say_pass(struct merge_vm *v, uint64_t merged)
{
	merge_begin(v, MERGE_PASS, 0);
	v->msg.pass = (struct merge_pass){ .full_scans = 3, .merged_pages = merged };
	merge_say(&lab, v, NULL);
}

static unsigned int passes(uint64_t *merged)
{
	struct part part = look(0);
	unsigned int nr = 0;

	for (unsigned int i = 0; i < part.nr; i++)
		if (part.event[i].kind == EVENT_MERGE_PASS) {
			*merged = (uint64_t)part.event[i].number[1];
			nr++;
		}
	return nr;
}

static void test_passes(void)
{
	struct merge_vm v;
	uint64_t merged = 0;

	begin();
	merge_vm_open(&lab, control, &v, "d", 64);
	for (unsigned int i = 1; i <= 100; i++)
		say_pass(&v, i);
	is(passes(&merged), 1, "a VM that tells of 100 passes in no time has one event");
	is(merged, 1, "... of the first");
	lab_pass(&lab, 1000);
	say_pass(&v, UINT64_MAX);
	is(passes(&merged), 2, "a second later it has another");
	is(merged, INT64_MAX, "... whatever it says");
	merge_vm_close(&lab, &v);
	end();
}

/* What keeps the observer going says so, says nonsense, and ends. */
static void test_observer(void)
{
	struct machine_news news = { .reason = "signal 9",
				     .text = "it has ended",
				     .number = { 3, 400 } };
	const struct machine_event *e;
	struct part part;
	int pipes[2];

	begin();
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) || machine_adopt_news(lab.m, pipes[0]))
		tap_bail("a pipe: %m");
	ok(write(pipes[1], &news, sizeof(news)) == sizeof(news), "an observer has ended");
	lab_step(&lab);
	part = look(0);
	e = part.event;
	is(part.nr, 1, "... which is an event");
	is(e->kind, EVENT_OBSERVER, "... of its own kind");
	ok(!strcmp(e->reason, "signal 9") && !strcmp(e->text, "it has ended"),
	   "... with the reason");
	ok(e->number[0] == 3 && e->number[1] == 400, "... and the numbers");
	ok(!strcmp(lab.log, "it has ended"), "... and a line in the log: %s", lab.log);
	memset(news.text, 'x', sizeof(news.text));
	ok(write(pipes[1], &news, sizeof(news)) == sizeof(news), "a text without an end");
	lab_step(&lab);
	part = look(2);
	is(strlen(part.event[0].text), EVENT_TEXT_MAX, "... has one");
	close(pipes[1]);
	lab_step(&lab);
	part = look(3);
	is(part.nr, 1, "that nobody starts observers any more is an event");
	ok(strstr(part.event[0].text, "stays so"), "... which says so: %s", part.event[0].text);
	is(look(4).nr, 0, "... one");
	end();
}

/* ---- a client and a machine that lies ---- */

static unsigned int told;

static void tell(void *ctx, const struct machine_event *event)
{
	(void)ctx;
	told += event->name[sizeof(event->name) - 1] == '\0';
}

/* What machine_client_events() returns if the machine answers so. */
static int client_gets(const struct machine_event *event, unsigned int nr, uint64_t *from)
{
	struct machine_msg msg = wire_msg(MACHINE_HELLO, 0);
	struct machine_client *client;
	int pair[2], code;

	told = 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) || say_msg(pair[0], msg, -1) ||
	    machine_client_create(pair[1], &client, NULL))
		tap_bail("no client");
	for (unsigned int i = 0; i < nr; i++) {
		msg = wire_msg(MACHINE_EVENT, 0);
		msg.event = event[i];
		say_msg(pair[0], msg, -1);
	}
	msg = wire_msg(MACHINE_END, 0);
	msg.pages = 9;
	say_msg(pair[0], msg, -1);
	code = machine_client_events(client, from, 0, tell, NULL, NULL);
	machine_client_destroy(client);
	close(pair[0]);
	return code;
}

static void test_client(void)
{
	struct machine_event e[MACHINE_LIST_MAX + 1];
	uint64_t from = 5;

	memset(e, 'x', sizeof(e));
	for (unsigned int i = 0; i < ARRAY_SIZE(e); i++)
		e[i].seq = 5 + i, e[i].kind = EVENT_OOM;
	is(client_gets(e, 3, &from), 0, "a client gets three events");
	is(told, 3, "... whose texts end");
	is(from, 9, "... and where to go on");
	from = 5;
	is(client_gets(e, ARRAY_SIZE(e), &from), -EPROTO, "more than a part are none");
	from = 6;
	is(client_gets(e, 1, &from), -EPROTO, "an event that was not asked for is none");
	is(from, 6, "... and then it goes on where it was");
	e[2].seq = 5;
	from = 5;
	is(client_gets(e, 3, &from), -EPROTO, "events come in order");
	e[1].kind = EVENT_NR_KINDS;
	is(client_gets(e, 2, &from), -EPROTO, "a kind that there is not makes no sense");
}

static void test_rows(void)
{
	unsigned int bad = 0;

	for (unsigned int i = 0; i < EVENT_NR_KINDS; i++)
		bad += !event_rows[i].name || event_rows[i].number[EVENT_NUMBERS_MAX];
	is(bad, 0, "each kind has a name, and no more numbers than there is room for");
}

int main(void)
{
	test_rows();
	test_records();
	test_waiting();
	test_ring();
	test_deaf_follower();
	test_private_machine();
	test_passes();
	test_observer();
	test_client();
	return tap_done();
}
