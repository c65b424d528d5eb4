/* SPDX-License-Identifier: MIT */
/*
 * The machine, stepped: every promise of mmu/base/machine_protocol.h, kept and broken.  After each
 * step all sums are recomputed; each test ends with the accounts at zero and no descriptor more
 * than before.  What becomes of memory is machine_memory_test.c.
 */
#include "machine_lab_tap.h"

/* 80 GiB asked of a 4 GiB machine, through the socket. */
static void test_admission(void)
{
	static const struct {
		enum overcommit_mode mode;
		uint64_t swap_gib;
		bool admitted;
	} v[] = {
		{ OVERCOMMIT_GUESS, 0, false },	 { OVERCOMMIT_GUESS, 77, true },
		{ OVERCOMMIT_GUESS, 75, false }, { OVERCOMMIT_ALWAYS, 0, true },
		{ OVERCOMMIT_NEVER, 0, false },	 { OVERCOMMIT_NEVER, 78, false },
		{ OVERCOMMIT_NEVER, 79, true },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(v); i++) {
		unsigned int fds = open_fds();
		struct machine_config config;
		struct lab_vm vm;
		struct lab lab;
		int control;

		config = lab_config(&lab, 4 * GIB_PAGES, v[i].swap_gib * GIB_PAGES, v[i].mode);
		lab_open(&lab, &config);
		control = lab_connect(&lab);
		vm = lab_admit(&lab, control, lab_promise(80 * GIB_PAGES, 256));
		is(vm.error, v[i].admitted ? 0 : -ENOMEM,
		   "mode %d, swap %d GiB: 80 GiB of 4 GiB are %s", v[i].mode, (int)v[i].swap_gib,
		   v[i].admitted ? "admitted" : "refused");
		ok(v[i].admitted || !strncmp(vm.text, "refused: mode", 13), "with the sum: %s",
		   vm.text);
		ok(v[i].admitted || (vm.refusal.book == MACHINE_LEDGER &&
				     vm.refusal.mode == (uint32_t)v[i].mode &&
				     vm.refusal.request_pages == 80 * GIB_PAGES + 256 &&
				     vm.refusal.committed_pages == 0 &&
				     vm.refusal.request_pages >= vm.refusal.allowed_pages),
		   "and with its numbers");
		is(lab_state(&lab).committed_pages, v[i].admitted ? 80 * GIB_PAGES + 256 : 0,
		   "and the ledger says so");
		lab_finish_vm(&vm);
		close(control);
		lab_close(&lab, fds);
	}
}

/* Refused for its overhead: the ledger's part is undone. */
static void test_overhead(void)
{
	unsigned int fds = open_fds();
	struct lab_vm vm;
	struct lab lab;
	int control;

	lab_open_plain(&lab, 1000, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	vm = lab_admit(&lab, control, lab_promise(100, 990));
	is(vm.error, -ENOMEM, "overhead that would leave less than min is refused");
	ok(strstr(vm.text, "overhead of 3.9 MiB") != NULL, "which says so: %s", vm.text);
	ok(vm.refusal.book == MACHINE_BUDGET && vm.refusal.request_pages == 990 &&
		   vm.refusal.free_pages == 1000 && vm.refusal.min_pages > 10,
	   "... in numbers");
	is(lab_state(&lab).committed_pages, 0, "and then nothing is committed");
	is(lab_state(&lab).refusals, 1, "a refusal is counted");
	vm = lab_admit(&lab, control, lab_promise(10, 900));
	is(vm.error, 0, "less is admitted");
	is(vm.credits <= 10, true, "with no more credits than RAM");
	is(lab_admit(&lab, control, lab_promise(10, 200)).error, -EAGAIN,
	   "what does not fit just now may try again");
	is(lab_state(&lab).refusals, 1, "and is not refused by overcommit");
	lab_finish_vm(&vm);
	close(control);
	lab_close(&lab, fds);
}

static void test_bad_admissions(void)
{
	unsigned int fds = open_fds();
	struct machine_admit a[] = {
		lab_promise(0, 1),  lab_promise(UINT64_MAX, 1), lab_promise(1, UINT64_MAX),
		lab_promise(10, 1), lab_promise(10, 1),		lab_promise(10, 1),
		lab_promise(10, 1), lab_promise(10, 1),
	};
	struct lab lab;
	int control;

	a[3].oom_score_adj = 1001;
	a[4].oom_score_adj = -1001;
	a[5].credit_pages = 1;
	a[6].readmit = 1, a[6].credit_pages = 11;
	memset(a[7].name, 'x', sizeof(a[7].name));
	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < ARRAY_SIZE(a); i++) {
		struct lab_vm vm = lab_admit(&lab, control, a[i]);

		is(vm.error, -EINVAL, "nonsense %u is refused: %s", i, vm.text);
	}
	close(control);
	lab_close(&lab, fds);
}

static void test_hello(void)
{
	static const struct {
		uint32_t magic;
		uint16_t version, type;
		const char *what;
	} v[] = {
		{ MACHINE_MAGIC + 1, MACHINE_VERSION, MACHINE_HELLO, "wrong magic" },
		{ MACHINE_MAGIC, MACHINE_VERSION + 1, MACHINE_HELLO, "wrong version" },
		{ MACHINE_MAGIC, MACHINE_VERSION, MACHINE_GET, "a request before the hello" },
		{ MACHINE_MAGIC, MACHINE_VERSION, MACHINE_CREDIT, "a channel's request" },
		{ MACHINE_MAGIC, MACHINE_VERSION, 0xffff, "an unknown type" },
	};
	unsigned int fds = open_fds();
	struct machine_msg msg;
	struct lab lab;
	int fd, other;

	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	other = lab_connect(&lab);
	for (unsigned int i = 0; i < ARRAY_SIZE(v); i++) {
		msg = wire_msg(v[i].type, 0);
		msg.magic = v[i].magic;
		msg.version = v[i].version;
		fd = lab_dial(&lab);
		say_msg(fd, msg, -1);
		lab_step(&lab);
		if (v[i].version != MACHINE_VERSION)
			ok(hear(fd, &msg, NULL) == MACHINE_REFUSED && msg.error == -EPROTONOSUPPORT,
			   "%s: it says which it speaks: %s", v[i].what, msg.text);
		is(hear(fd, NULL, NULL), -ECONNRESET, "%s: it hangs up", v[i].what);
		close(fd);
	}
	fd = lab_connect(&lab);
	say(fd, MACHINE_HELLO, 0, 0, -1);
	lab_step(&lab);
	is(hear(fd, NULL, NULL), -ECONNRESET, "a second hello: it hangs up");
	close(fd);
	fd = lab_dial(&lab);
	msg = wire_msg(MACHINE_HELLO, 0);
	send(fd, &msg, sizeof(msg) / 2, 0);
	lab_step(&lab);
	is(hear(fd, NULL, NULL), -ECONNRESET, "half a packet: it hangs up");
	close(fd);
	fd = lab_dial(&lab);
	lab_pass(&lab, MACHINE_HELLO_SECONDS * 1000 - 1);
	is(hear(fd, NULL, NULL), 0, "a silent client is given time");
	is(machine_timeout_ms(lab.m), 1, "just so much");
	lab_pass(&lab, 1);
	is(hear(fd, NULL, NULL), -ECONNRESET, "and no more");
	close(fd);
	say(other, MACHINE_GET, 0, 0, -1);
	lab_step(&lab);
	is(hear(other, NULL, NULL), MACHINE_STATE, "all that ended no other connection");
	is(machine_timeout_ms(lab.m), -1, "and there is nothing to wait for");
	close(other);
	lab_close(&lab, fds);
}

static void test_flood(void)
{
	unsigned int fds = open_fds(), sent = 0, rounds = 0, answers = 0;
	struct machine_msg msg;
	int flooder, other;
	struct lab lab;

	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	flooder = lab_connect(&lab);
	other = lab_connect(&lab);
	while (!say(flooder, MACHINE_GET, 0, 0, -1))
		sent++;
	ok(sent > 100, "a client may fill its socket (%u packets)", sent);
	machine_serve(lab.m);
	while (hear(flooder, &msg, NULL) == MACHINE_STATE)
		answers++;
	is(answers, 16, "of which a few are served in a turn");
	say(other, MACHINE_GET, 0, 0, -1);
	while (hear(other, &msg, NULL) != MACHINE_STATE && rounds < 10) {
		machine_serve(lab.m);
		rounds++;
	}
	ok(rounds <= 2, "and another is served at the next turn");
	lab_step(&lab);
	for (sent = 0; sent < 10000 && !say(flooder, MACHINE_GET, 0, 0, -1); sent++)
		lab_step(&lab);
	ok(sent < 10000, "who does not read its answers is hung up on");
	ok(strstr(lab.log, "does not read") != NULL, "with the reason: %s", lab.log);
	say(other, MACHINE_GET, 0, 0, -1);
	lab_step(&lab);
	is(hear(other, &msg, NULL), MACHINE_STATE, "which is not felt by others");
	close(flooder);
	close(other);
	lab_close(&lab, fds);
}

static void test_descriptors(void)
{
	enum { PIPE, DIRECTORY, DEVNULL, WRITABLE, PLAIN_FILE, SMALL, NONE, NR };
	static const char *const names[NR] = {
		"a pipe",	    "a directory",	   "/dev/null",
		"a writable memfd", "a file not on tmpfs", "a memfd too small",
		"no descriptor"
	};
	unsigned int fds = open_fds();
	struct machine_msg last;
	int control, pipes[2], fd[NR];
	struct lab_vm vm;
	struct lab lab;

	if (pipe2(pipes, O_CLOEXEC))
		tap_bail("no pipe");
	fd[PIPE] = pipes[0];
	fd[DIRECTORY] = open("/dev/shm", O_RDONLY | O_CLOEXEC);
	fd[DEVNULL] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd[WRITABLE] = memfd_create("w", MFD_CLOEXEC);
	fd[PLAIN_FILE] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fd[SMALL] = reopen_readonly(fd[WRITABLE]);
	fd[NONE] = -1;
	if (ftruncate(fd[WRITABLE], 99 * QUIRE_PAGE_SIZE))
		tap_bail("no memfd");
	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < NR; i++) {
		struct machine_msg msg;

		vm = lab_admit(&lab, control, lab_promise(i == SMALL ? 100 : 1, 1));
		say(vm.channel, MACHINE_ATTACH, 0, 0, fd[i]);
		lab_step(&lab);
		ok(hear(control, &msg, NULL) == MACHINE_GONE && msg.vm == vm.id &&
			   msg.gone.reason == MACHINE_MISBEHAVED,
		   "RAM that is %s ends the VM", names[i]);
		lab_finish_vm(&vm);
	}
	vm = lab_admit(&lab, control, lab_promise(100, 1));
	lab_attach(&lab, &vm, 100, 7);
	is(lab_state(&lab).resident_pages, 7, "of a proper RAM file the pages are counted");
	close(vm.ram);
	lab_attach(&lab, &vm, 100, 7);
	is(lab_state(&lab).nr_vms, 0, "a second one ends the VM");
	ok(hear(control, &last, NULL) == MACHINE_GONE && last.gone.last.resident_pages == 7 &&
		   last.gone.last.ram_pages == 100 && last.gone.last.overhead_pages == 1 &&
		   last.gone.last.credit_pages == vm.credits,
	   "the account that it had goes with the word of its end");
	lab_finish_vm(&vm);
	for (unsigned int i = 0; i < NR; i++) {
		int other = lab_connect(&lab);

		vm = lab_admit(&lab, other, lab_promise(100, 1));
		say(other, MACHINE_STARTED, vm.id, 0, fd[i]);
		lab_step(&lab);
		is(hear(other, NULL, NULL), -ECONNRESET, "a process that is %s ends the connection",
		   names[i]);
		is(lab_state(&lab).nr_vms, 1, "but not the VM");
		lab_finish_vm(&vm);
		lab_step(&lab);
		close(other);
	}
	for (unsigned int i = 0; i < NR - 1; i++)
		close(fd[i]);
	close(pipes[1]);
	close(control);
	lab_close(&lab, fds);
}

static void test_started(void)
{
	unsigned int fds = open_fds();
	struct machine_msg msg;
	int pidfd, control, other;
	struct lab_vm vm, early;
	uint32_t early_id;
	struct lab lab;

	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	other = lab_connect(&lab);
	early = lab_admit(&lab, control, lab_promise(100, 1));
	early_id = early.id;
	vm = lab_admit(&lab, control, lab_promise(100, 1));
	lab_start(&lab, control, &vm);
	pidfd = pidfd_of(vm.pid);
	say(other, MACHINE_STARTED, early_id, 0, pidfd);
	lab_step(&lab);
	is(hear(other, NULL, NULL), -ECONNRESET, "nobody starts another's VM");
	lab_finish_vm(&early);
	lab_step(&lab);
	is(hear(control, &msg, NULL), MACHINE_GONE, "a VM that hangs up before it started is gone");
	say(control, MACHINE_STARTED, early_id, 0, pidfd);
	lab_step(&lab);
	is(hear(control, &msg, NULL), 0, "to start it all the same is no offence: they crossed");
	close(vm.channel);
	vm.channel = -1;
	lab_step(&lab);
	is(lab_state(&lab).committed_pages, 101,
	   "one that hangs up and lives on keeps its account");
	say(control, MACHINE_STARTED, vm.id, 0, pidfd);
	lab_step(&lab);
	is(hear(control, &msg, NULL), -ECONNRESET, "to start one twice is an offence");
	is(lab_state(&lab).nr_vms, 1, "of the launcher, not of the VM");
	lab_finish_vm(&vm);
	ok(lab_await_vms(&lab, 0), "until its process ends");
	close(pidfd);
	close(control);
	close(other);
	lab_close(&lab, fds);
}

static void test_killed(void)
{
	unsigned int fds = open_fds();
	struct machine_msg msg;
	struct lab_vm vm;
	struct lab lab;
	int control;

	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	vm = lab_admit(&lab, control, lab_promise(5000, 200));
	lab_start(&lab, control, &vm);
	kill(vm.pid, SIGKILL);
	ok(lab_await_vms(&lab, 0), "kill -9 is noticed although its channel is still open here");
	ok(hear(control, &msg, NULL) == MACHINE_GONE && msg.vm == vm.id &&
		   msg.gone.reason == MACHINE_ENDED,
	   "and told");
	lab_finish_vm(&vm);
	vm = lab_admit(&lab, control, lab_promise(5000, 200));
	lab_start(&lab, control, &vm);
	say(vm.channel, MACHINE_GET, 0, 0, -1);
	lab_step(&lab);
	is(lab_reap(&vm, true), SIGKILL, "a VM whose channel breaks the rules is killed");
	ok(lab_await_vms(&lab, 0) && hear(control, &msg, NULL) == MACHINE_GONE &&
		   msg.gone.reason == MACHINE_MISBEHAVED,
	   "and its launcher told why");
	vm.pid = 0;
	lab_finish_vm(&vm);
	close(control);
	lab_close(&lab, fds);
}

static void test_kill(void)
{
	unsigned int fds = open_fds();
	struct lab_vm vm, other;
	struct machine_msg msg;
	struct lab lab;
	int control;

	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	vm = lab_admit(&lab, control, lab_promise(5000, 200));
	other = lab_admit(&lab, control, lab_promise(5000, 200));
	say(control, MACHINE_KILL, vm.id, 0, -1);
	lab_step(&lab);
	ok(hear(control, &msg, NULL) == MACHINE_REFUSED && msg.error == -EPERM,
	   "a VM whose process is not known cannot be killed");
	lab_start(&lab, control, &vm);
	lab_start(&lab, control, &other);
	say(control, MACHINE_KILL, vm.id, 0, -1);
	lab_step(&lab);
	ok(hear(control, &msg, NULL) == MACHINE_END && msg.vm == vm.id, "KILL is answered");
	is(lab_reap(&vm, true), SIGKILL, "... and the VM's process has SIGKILL");
	ok(lab_await_vms(&lab, 1) && hear(control, &msg, NULL) == MACHINE_GONE && msg.vm == vm.id &&
		   msg.gone.reason == MACHINE_ENDED,
	   "... which was not the machine's wish");
	is(lab_reap(&other, false), 0, "... and no other has");
	say(control, MACHINE_KILL, vm.id, 0, -1);
	lab_step(&lab);
	ok(hear(control, &msg, NULL) == MACHINE_REFUSED && msg.error == -ESRCH,
	   "one that has ended is not there");
	vm.pid = 0;
	lab_finish_vm(&vm);
	lab_finish_vm(&other);
	close(control);
	lab_close(&lab, fds);
}

static struct machine_msg set(struct lab *lab, int control, struct machine_settings s)
{
	struct machine_msg msg = wire_msg(MACHINE_SET, 0);

	msg.set = s;
	say_msg(control, msg, -1);
	lab_step(lab);
	if (hear(control, &msg, NULL) <= 0)
		msg.type = 0;
	return msg;
}

static void test_set(void)
{
	unsigned int fds = open_fds();
	struct machine_settings s = { .fields = MACHINE_SET_MODE, .mode = OVERCOMMIT_NEVER };
	struct machine_msg msg;
	struct lab_vm vm, next;
	struct lab lab;
	int control;

	lab_open_plain(&lab, 256 * MIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	vm = lab_admit(&lab, control, lab_promise(1000 * MIB_PAGES, 0));
	msg = set(&lab, control, s);
	ok(msg.type == MACHINE_STATE && msg.state.commit_limit_pages == 128 * MIB_PAGES &&
		   msg.state.committed_pages == 1000 * MIB_PAGES,
	   "the limit may go below what is promised");
	next = lab_admit(&lab, control, lab_promise(1, 0));
	is(next.error, -ENOMEM, "and stops new promises: %s", next.text);
	s = (struct machine_settings){ .fields = MACHINE_SET_LIMIT,
				       .limit_pages = 2000 * MIB_PAGES };
	msg = set(&lab, control, s);
	is(msg.state.commit_limit_pages, 2000 * MIB_PAGES, "a limit in bytes replaces the ratio");
	next = lab_admit(&lab, control, lab_promise(1, 0));
	is(next.error, 0, "under which promises are made again");
	s = (struct machine_settings){ .fields = MACHINE_SET_RATIO | MACHINE_SET_SWAP,
				       .ratio = 100,
				       .swap_pages = 5 };
	msg = set(&lab, control, s);
	is(msg.state.commit_limit_pages, 256 * MIB_PAGES + 5, "and a ratio the limit");
	while (hear(vm.channel, &msg, NULL) > 0)
		;
	s = (struct machine_settings){ .fields = MACHINE_SET_MEMORY, .memory_pages = 100 };
	msg = set(&lab, control, s);
	is(msg.state.free_pages, 0, "memory may go below what is in use");
	is(hear(vm.channel, &msg, NULL), MACHINE_RECALL, "which recalls what can be spared");
	s.memory_pages = 0;
	msg = set(&lab, control, s);
	ok(msg.type == MACHINE_REFUSED && msg.error == -EINVAL, "no memory at all is refused");
	s = (struct machine_settings){ .fields = MACHINE_SET_MODE, .mode = 3 };
	msg = set(&lab, control, s);
	ok(msg.type == MACHINE_REFUSED && msg.error == -EINVAL, "as is mode 3: %s", msg.text);
	is(lab_state(&lab).settings.mode, OVERCOMMIT_NEVER, "and changes nothing");
	s.fields = 0;
	msg = set(&lab, control, s);
	is(msg.type, 0, "to set nothing ends the connection");
	lab_finish_vm(&vm);
	lab_finish_vm(&next);
	close(control);
	lab_close(&lab, fds);
}

static void test_list(void)
{
	unsigned int fds = open_fds(), nr = 0, parts = 0;
	struct machine_msg msg;
	struct lab_vm vm[150];
	uint32_t from = 0, last = 0;
	bool sorted = true;
	struct lab lab;
	int control;

	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < ARRAY_SIZE(vm); i++)
		vm[i] = lab_admit(&lab, control, lab_promise(100 + i, 1));
	do {
		int type;

		say(control, MACHINE_LIST, from, 0, -1);
		lab_step(&lab);
		while ((type = hear(control, &msg, NULL)) == MACHINE_VM) {
			sorted &= msg.vm > last && msg.vm_record.ram_pages == 99 + msg.vm;
			last = msg.vm;
			nr++;
		}
		from = type == MACHINE_END ? msg.vm : 0;
		parts++;
	} while (from);
	is(nr, ARRAY_SIZE(vm), "a list names every VM once");
	ok(sorted, "in order, with its numbers");
	is(parts, 3, "in parts that fit a socket");
	for (unsigned int i = 0; i < ARRAY_SIZE(vm); i++)
		lab_finish_vm(&vm[i]);
	close(control);
	lab_close(&lab, fds);
}

static void test_stop(void)
{
	unsigned int fds = open_fds();
	struct machine_msg msg;
	struct lab_vm polite, stubborn, refused;
	struct lab lab;
	int control;

	lab_open_plain(&lab, GIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	polite = lab_admit(&lab, control, lab_promise(100, 1));
	stubborn = lab_admit(&lab, control, lab_promise(100, 1));
	lab_start(&lab, control, &stubborn);
	machine_stop_all(lab.m);
	is(hear(polite.channel, &msg, NULL), MACHINE_STOP, "all are told to stop");
	refused = lab_admit(&lab, control, lab_promise(100, 1));
	is(refused.error, -ESHUTDOWN, "and none is admitted: %s", refused.text);
	lab_finish_vm(&polite);
	lab_step(&lab);
	ok(!lab.done, "it is not done while one runs");
	lab_pass(&lab, 10000);
	is(lab_reap(&stubborn, true), SIGKILL, "one that does not stop is killed in the end");
	stubborn.pid = 0;
	lab_await_vms(&lab, 0);
	lab_step(&lab);
	ok(lab.done, "and then it is done");
	lab_finish_vm(&stubborn);
	close(control);
	lab_close(&lab, fds);
}

static void test_idle(void)
{
	unsigned int fds = open_fds();
	struct machine_config config;
	struct lab_vm vm;
	struct lab lab;
	int control;

	config = lab_config(&lab, GIB_PAGES, 0, OVERCOMMIT_ALWAYS);
	config.exit_when_idle = true;
	lab_open(&lab, &config);
	lab_step(&lab);
	ok(!lab.done, "a private machine waits for its first client");
	control = lab_connect(&lab);
	vm = lab_admit(&lab, control, lab_promise(100, 1));
	close(control);
	lab_step(&lab);
	ok(!lab.done, "goes on for a VM whose launcher is gone");
	lab_finish_vm(&vm);
	lab_step(&lab);
	ok(lab.done, "and is done with the last");
	lab_close(&lab, fds);
}

/* A second machine takes over what the first knew. */
static void test_readmission(void)
{
	unsigned int fds = open_fds();
	struct machine_state before, after;
	struct machine_admit a[20];
	struct lab_vm vm[20];
	struct lab lab;
	int control;

	lab_open_plain(&lab, 64 * MIB_PAGES, OVERCOMMIT_GUESS);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < 20; i++) {
		a[i] = lab_promise(16 * MIB_PAGES, 10 + i);
		vm[i] = lab_admit(&lab, control, a[i]);
		a[i].credit_pages = vm[i].credits;
		a[i].readmit = 1;
	}
	before = lab_state(&lab);
	machine_destroy(lab.m);
	is(hear(control, NULL, NULL), -ECONNRESET, "a machine lost is a connection lost");
	is(hear(vm[0].channel, NULL, NULL), -ECONNRESET, "and all channels");
	close(control);
	lab_open_plain(&lab, 64 * MIB_PAGES, OVERCOMMIT_NEVER);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < 20; i++) {
		close(vm[i].channel);
		vm[i] = lab_admit(&lab, control, a[i]);
	}
	after = lab_state(&lab);
	is(after.committed_pages, before.committed_pages,
	   "a new one has all promises, also those it would not make");
	is(after.free_pages, before.free_pages, "and all accounts");
	is(vm[7].credits, a[7].credit_pages, "with just the credits claimed");
	for (unsigned int i = 0; i < 20; i++)
		lab_finish_vm(&vm[i]);
	close(control);
	lab_close(&lab, fds);
}

/* The launcher's own reserve grows with what its VMs were promised. */
static void test_user_reserve(void)
{
	unsigned int fds = open_fds();
	struct machine_config config;
	struct lab_vm vm, next;
	struct lab lab;
	int control;

	config = lab_config(&lab, 1000 * MIB_PAGES, 0, OVERCOMMIT_NEVER);
	config.ledger.ratio = 100;
	config.ledger.admin_reserve_pages = 0;
	config.ledger.user_reserve_pages = 10 * MIB_PAGES;
	lab_open(&lab, &config);
	control = lab_connect(&lab);
	vm = lab_admit(&lab, control, lab_promise(964 * MIB_PAGES, 0));
	next = lab_admit(&lab, control, lab_promise(30 * MIB_PAGES, 0));
	is(next.error, -ENOMEM, "a client leaves its own reserve free: %s", next.text);
	close(control);
	control = lab_connect(&lab);
	next = lab_admit(&lab, control, lab_promise(30 * MIB_PAGES, 0));
	is(next.error, 0, "which another client may use");
	lab_finish_vm(&vm);
	lab_finish_vm(&next);
	close(control);
	lab_close(&lab, fds);
}

int main(void)
{
	tap_init();
	test_admission();
	test_overhead();
	test_bad_admissions();
	test_user_reserve();
	test_hello();
	test_flood();
	test_descriptors();
	test_started();
	test_killed();
	test_kill();
	test_set();
	test_list();
	test_stop();
	test_idle();
	test_readmission();
	return tap_done();
}
