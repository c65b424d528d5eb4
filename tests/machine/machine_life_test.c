/* SPDX-License-Identifier: MIT */
/*
 * Life and death with real processes: addresses, machines that start and crash, and a crowd of
 * VMs (forked, with real RAM files, credits and a launcher's connection each) that are killed
 * at random moments.  This process is the machine's; it counts what the kernel counts.
 */
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include "mmu/machine/client.h"
#include "mmu/machine/credits.h"
#include "machine_lab.h"
#include "tests/tap.h"

#define MIB_PAGES (MiB / QUIRE_PAGE_SIZE)
#define VM_PAGES  (16 * MIB_PAGES)
#define OVERHEAD  64
#define NR_VMS	  200
#define AT_ONCE	  40
#define ROUNDS	  2

static struct machine *machine_of(uint64_t memory, enum overcommit_mode mode, uint32_t recall_ms)
{
	struct machine_config config = { .recall_ms = recall_ms };
	struct machine *m;

	ledger_defaults(&config.ledger, memory, memory);
	config.ledger.mode = mode;
	if (machine_create(&config, &m, NULL))
		tap_bail("no machine");
	return m;
}

/* Serve for a while, or until no VM is left. */
static void serve(struct machine *m, int ms)
{
	struct pollfd p = { .fd = machine_fd(m), .events = POLLIN };
	int timeout = machine_timeout_ms(m);

	poll(&p, 1, timeout >= 0 && timeout < ms ? timeout : ms);
	if (machine_serve(m) < 0)
		tap_bail("the machine cannot go on");
}

/* ---- addresses ---- */

static bool exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

/* What a machine that was killed leaves. */
static void leave_stale(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un sun;
	socklen_t len;

	wire_address(path, &sun, &len, NULL);
	if (bind(fd, (struct sockaddr *)&sun, len) || listen(fd, 1))
		tap_bail("no stale socket");
	close(fd);
}

static void test_paths(const char *dir)
{
	struct machine *a = machine_of(10000, OVERCOMMIT_GUESS, 0);
	struct machine *b = machine_of(10000, OVERCOMMIT_GUESS, 0);
	struct quire_error err;
	struct stat st, now;
	char path[256], *words;
	int fd;

	snprintf(path, sizeof(path), "%s/socket", dir);
	is(machine_listen(a, path, &err), 0, "a machine listens at a path");
	is(machine_listen(b, path, &err), -EADDRINUSE, "a second one cannot: %s",
	   strstr(err.text, "already"));
	ok(exists(path), "and does not take the path away");
	machine_destroy(a);
	ok(!exists(path), "which is gone with its machine");
	is(machine_listen(b, path, &err), 0, "and then free for the other");
	machine_destroy(b);

	leave_stale(path);
	ok(exists(path), "a crashed machine leaves its socket");
	a = machine_of(10000, OVERCOMMIT_GUESS, 0);
	is(machine_listen(a, path, &err), 0, "which the next takes over");
	is(stat(path, &st), 0, "(it is there)");
	unlink(path);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	close(fd);
	machine_destroy(a);
	ok(!stat(path, &now) && S_ISREG(now.st_mode),
	   "what is no longer its own it does not unlink");
	b = machine_of(10000, OVERCOMMIT_GUESS, 0);
	is(machine_listen(b, path, &err), -EEXIST, "nor is a file taken for a socket");
	unlink(path);
	words = memset(path, 'x', sizeof(path) - 1);
	path[200] = '\0';
	is(machine_listen(b, words, &err), -ENAMETOOLONG, "a long path is too long: %s",
	   strstr(err.text, "200 bytes"));
	is(machine_listen(b, "", &err), -EINVAL, "an empty one is none");
	is(machine_listen(b, "/nonexistent/socket", &err), -ENOENT, "%s", err.text);
	machine_destroy(b);
}

/* Many machines start on one stale path at once: how many of them get it, how many are told. */
static void race(const char *path, unsigned int *won, unsigned int *rest)
{
	pid_t pid[8];
	int go[2], hold[2], result[2], code;

	leave_stale(path);
	if (pipe(go) || pipe(hold) || pipe(result))
		tap_bail("no pipes");
	for (unsigned int i = 0; i < ARRAY_SIZE(pid); i++) {
		pid[i] = fork();
		if (!pid[i]) {
			struct machine *m = machine_of(1000, OVERCOMMIT_GUESS, 0);
			char c;

			close(go[1]);
			close(hold[1]);
			if (read(go[0], &c, 1) < 0)
				_exit(2);
			code = machine_listen(m, path, NULL);
			if (write(result[1], &code, sizeof(code)) < 0 || read(hold[0], &c, 1) < 0)
				_exit(2);
			_exit(0); /* a crash: leaves the socket behind, if it is ours */
		}
	}
	close(go[1]);
	for (unsigned int i = 0; i < ARRAY_SIZE(pid); i++) {
		if (read(result[0], &code, sizeof(code)) != sizeof(code))
			break;
		*won += code == 0;
		*rest += code == -EADDRINUSE;
	}
	close(hold[1]);
	for (unsigned int i = 0; i < ARRAY_SIZE(pid); i++)
		waitpid(pid[i], NULL, 0);
	close(go[0]);
	close(hold[0]);
	close(result[0]);
	close(result[1]);
	unlink(path);
}

static void test_race(const char *dir)
{
	unsigned int won = 0, rest = 0;
	char path[256];

	snprintf(path, sizeof(path), "%s/race", dir);
	for (unsigned int i = 0; i < 20; i++)
		race(path, &won, &rest);
	is(won, 20, "of eight machines that start on one stale path one listens there, each time");
	is(rest, 7 * 20, "and the others are told so");
}

/* Connect as somebody else, in a child: 0 if that worked. */
static int connect_as(const char *address, uid_t uid)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct machine_client *client;

		if (setresuid(uid, uid, uid))
			_exit(2);
		_exit(machine_client_connect(address, &client, NULL) ? 1 : 0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_strangers(void)
{
	char address[64];
	pid_t server;
	int ready[2];
	char c;

	if (geteuid()) {
		tap_skip("only root can be somebody else");
		return;
	}
	snprintf(address, sizeof(address), "@quire/test/%d/strangers", (int)getpid());
	if (pipe(ready))
		tap_bail("no pipe");
	server = fork();
	if (!server) {
		struct machine *m = machine_of(10000, OVERCOMMIT_GUESS, 0);

		if (machine_listen(m, address, NULL) || write(ready[1], "x", 1) < 0)
			_exit(1);
		_exit(machine_run(m, -1) ? 1 : 0);
	}
	if (read(ready[0], &c, 1) != 1)
		tap_bail("no server");
	is_hex(connect_as(address, 0), 0, "root may connect to root's machine");
	is_hex(connect_as(address, 65534), 1, "and nobody else");
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

/* ---- a VM process ---- */

static void touch_pages(int ram, uint64_t from, uint64_t nr)
{
	if (nr && fallocate(ram, 0, from * QUIRE_PAGE_SIZE, nr * QUIRE_PAGE_SIZE))
		_exit(3);
}

static void drop_pages(int ram, uint64_t from, uint64_t nr)
{
	if (nr && fallocate(ram, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from * QUIRE_PAGE_SIZE,
			    nr * QUIRE_PAGE_SIZE))
		_exit(3);
}

/* Grow and shrink for ever: pages [0, used) are there. */
static _Noreturn void churn(struct credits *c, int ram, uint64_t rng)
{
	uint64_t used = 0;

	for (;;) {
		uint64_t n = tap_random(&rng) % 128 + 1;

		if (tap_random(&rng) % 3) {
			n = min_u64(n, VM_PAGES - used);
			while (!credits_take(c, n))
				if (credits_wait(c, n, 4 * n))
					_exit(4);
			touch_pages(ram, used, n);
			used += n;
		} else {
			n = min_u64(4 * n, used);
			used -= n;
			drop_pages(ram, used, n);
			credits_put(c, n);
		}
	}
}

/* The launcher and the VM in one process, as quire run is. */
static _Noreturn void vm_main(const char *address, uint64_t seed)
{
	struct machine_admit admit = lab_promise(VM_PAGES, OVERHEAD);
	struct credits_config config = { .promise_pages = VM_PAGES };
	struct machine_admitted vm;
	struct machine_client *client;
	struct credits *c;
	int ram, pidfd = pidfd_of(getpid());

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ram = memfd_create("vm-ram", MFD_CLOEXEC);
	if (ftruncate(ram, VM_PAGES * QUIRE_PAGE_SIZE) ||
	    machine_client_connect(address, &client, NULL))
		_exit(2);
	/* Memory may be too short for its overhead just now. */
	while (machine_client_admit(client, &admit, &vm, NULL))
		usleep(1000);
	if (machine_client_started(client, vm.vm, pidfd, NULL))
		_exit(2);
	config.channel = vm.channel;
	config.held_pages = vm.credit_pages;
	if (credits_create(&config, &c, NULL) || credits_attach(c, reopen_readonly(ram)))
		_exit(2);
	churn(c, ram, seed);
}

/* ---- the crowd ---- */

struct crowd {
	struct machine *m;
	char address[64];
	pid_t pid[AT_ONCE]; /* 0: none */
	unsigned int started, ended, broken, by_oom_or_us;
	uint64_t peak_resident;
	uint64_t rng;
};

static void check(struct crowd *w)
{
	struct machine_state s;

	machine_get_state(w->m, &s);
	w->broken += machine_audit(w->m, lab_complain, NULL);
	if (s.resident_pages > s.credit_pages ||
	    s.resident_pages + s.overhead_pages > s.settings.memory_pages) {
		tap_note("resident %u, credits %u", (unsigned int)s.resident_pages,
			 (unsigned int)s.credit_pages);
		w->broken++;
	}
	w->peak_resident = max_u64(w->peak_resident, s.resident_pages);
}

static void reap(struct crowd *w)
{
	for (unsigned int i = 0; i < AT_ONCE; i++) {
		int status;

		if (!w->pid[i] || waitpid(w->pid[i], &status, WNOHANG) != w->pid[i])
			continue;
		w->pid[i] = 0;
		w->ended++;
		w->by_oom_or_us += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		if (!WIFSIGNALED(status))
			tap_note("a VM exited with %d", WEXITSTATUS(status));
	}
}

static void start_some(struct crowd *w)
{
	for (unsigned int i = 0; i < AT_ONCE && w->started < NR_VMS; i++) {
		uint64_t seed;

		if (w->pid[i])
			continue;
		seed = tap_random(&w->rng);
		w->pid[i] = fork();
		if (!w->pid[i])
			vm_main(w->address, seed);
		w->started++;
	}
}

static void kill_one(struct crowd *w)
{
	unsigned int i = tap_random(&w->rng) % AT_ONCE;

	if (w->pid[i])
		kill(w->pid[i], SIGKILL);
}

static void test_crowd(uint64_t seed, unsigned int round)
{
	struct crowd w = { .rng = seed + round };
	struct machine_state s;

	w.m = machine_of(40 * MIB_PAGES, OVERCOMMIT_ALWAYS, 5);
	snprintf(w.address, sizeof(w.address), "@quire/test/%d/crowd", (int)getpid());
	if (machine_listen(w.m, w.address, NULL))
		tap_bail("cannot listen");
	while (w.ended < NR_VMS) {
		start_some(&w);
		for (unsigned int i = tap_random(&w.rng) % 10; i; i--)
			serve(w.m, 2);
		check(&w);
		for (unsigned int i = tap_random(&w.rng) % 4; i; i--)
			kill_one(&w);
		reap(&w);
	}
	do {
		serve(w.m, 100);
		machine_get_state(w.m, &s);
	} while (s.nr_vms);
	is(w.broken, 0, "round %u: in every moment resident <= credits, and all sums were right",
	   round);
	is(w.by_oom_or_us, NR_VMS, "every one of %d VMs was killed", NR_VMS);
	is(s.committed_pages + s.credit_pages + s.overhead_pages + s.resident_pages, 0,
	   "ledger and budget are zero at the end");
	tap_note("%u MiB resident at most, %u killed by OOM",
		 (unsigned int)(w.peak_resident / MIB_PAGES), (unsigned int)s.oom_kills);
	machine_destroy(w.m);
}

/* ---- a machine that is killed ---- */

static pid_t machine_process(const char *address, int *alive)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe2(ready, O_CLOEXEC))
		tap_bail("no pipe");
	pid = fork();
	if (!pid) {
		struct machine *m;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		m = machine_of(96 * MIB_PAGES, OVERCOMMIT_NEVER, 20);
		if (machine_listen(m, address, NULL) || write(ready[1], "x", 1) < 0)
			_exit(1);
		close(ready[0]);
		close(ready[1]);
		_exit(machine_run(m, -1) ? 1 : 0);
	}
	close(ready[1]);
	*alive = read(ready[0], &c, 1) == 1;
	close(ready[0]);
	return pid;
}

static void set_flag(void *ctx)
{
	__atomic_store_n((bool *)ctx, true, __ATOMIC_RELEASE);
}

static void test_restart(const char *dir)
{
	struct machine_admit admit = lab_promise(VM_PAGES, OVERHEAD);
	struct credits_config config = { .promise_pages = VM_PAGES, .on_lost = set_flag };
	struct machine_admitted vm;
	struct machine_client *client;
	struct machine_state before, after;
	struct machine_gone gone;
	bool lost = false;
	struct credits *c;
	char path[256];
	uint32_t id;
	int alive, code, ram;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/restart", dir);
	pid = machine_process(path, &alive);
	ok(alive && !machine_client_connect(path, &client, NULL) &&
		   !machine_client_admit(client, &admit, &vm, NULL),
	   "a VM on a machine");
	config.channel = vm.channel;
	config.held_pages = vm.credit_pages;
	config.ctx = &lost;
	credits_create(&config, &c, NULL);
	ram = memfd_create("vm-ram", MFD_CLOEXEC);
	if (ftruncate(ram, VM_PAGES * QUIRE_PAGE_SIZE))
		tap_bail("no RAM");
	alive = reopen_readonly(ram);
	credits_attach(c, alive);
	close(alive);
	is(credits_wait(c, 700, 700), 0, "which grows");
	ok(credits_take(c, 700), "by 700 pages");
	touch_pages(ram, 0, 700);
	while (!credits_take_swap(c, 20))
		usleep(1000);
	machine_client_get(client, &before, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	while (!__atomic_load_n(&lost, __ATOMIC_ACQUIRE))
		usleep(1000);
	while (!(code = machine_client_gone(client, &id, &gone)))
		usleep(1000);
	is(code, -ECONNRESET, "the machine is killed, as VM and launcher see");
	is(machine_client_get(client, &after, NULL), -ECONNRESET, "and cannot be asked");
	machine_client_destroy(client);
	pid = machine_process(path, &alive);
	admit.readmit = 1;
	admit.credit_pages = credits_held(c);
	admit.swap_pages = credits_swap_held(c);
	ok(alive && !machine_client_connect(path, &client, NULL) &&
		   !machine_client_admit(client, &admit, &vm, NULL) &&
		   !credits_replace_channel(c, vm.channel),
	   "a new one takes the VM in");
	do
		machine_client_get(client, &after, NULL);
	while (after.resident_pages != 700);
	ok(true, "and counts its pages again");
	is(after.committed_pages, before.committed_pages, "its ledger came out right");
	is(after.credit_pages, credits_held(c), "and its budget");
	ok(after.swap_held_pages == before.swap_held_pages && after.swap_held_pages >= 20,
	   "and the quota of its swap area");
	is(credits_wait(c, 900, 900), 0, "the VM grows on");
	credits_destroy(c);
	close(ram);
	while (!(code = machine_client_gone(client, &id, &gone)))
		usleep(1000);
	ok(code == 1 && id == vm.vm && gone.reason == MACHINE_ENDED, "until it ends, as is told");
	machine_client_get(client, &after, NULL);
	is(after.committed_pages + after.credit_pages + after.overhead_pages +
		   after.swap_held_pages,
	   0, "to the last page");
	machine_client_destroy(client);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
}

/* What a client is told, in its own words. */
static void count(void *ctx, uint32_t vm, const struct machine_vm_record *r)
{
	*(unsigned int *)ctx += vm && r->ram_pages == 1 ? 1 : 0;
}

static void test_client(void)
{
	struct machine_settings set = { .fields = MACHINE_SET_MODE, .mode = OVERCOMMIT_NEVER };
	struct machine_admit admit = lab_promise(1, 0);
	struct machine_admitted vm[100];
	struct machine_client *client;
	struct machine_state state;
	struct quire_error err;
	unsigned int nr = 0;
	char address[64];
	int alive;
	pid_t pid;

	snprintf(address, sizeof(address), "@quire/test/%d/client", (int)getpid());
	is(machine_client_connect(address, &client, &err), -ECONNREFUSED, "%s", err.text);
	pid = machine_process(address, &alive);
	is_hex(machine_client_connect(address, &client, &err), 0, "a client connects");
	for (unsigned int i = 0; i < ARRAY_SIZE(vm); i++)
		machine_client_admit(client, &admit, &vm[i], NULL);
	is(machine_client_list(client, count, &nr, &err), 0, "lists");
	is(nr, ARRAY_SIZE(vm), "all VMs");
	is(machine_client_set(client, &set, &state, &err), 0, "and sets");
	admit.ram_pages = 80 * GiB / QUIRE_PAGE_SIZE;
	is(machine_client_admit(client, &admit, &vm[0], &err), -ENOMEM, "%s", err.text);
	set.mode = 7;
	is(machine_client_set(client, &set, &state, &err), -EINVAL, "%s", err.text);
	for (unsigned int i = 0; i < ARRAY_SIZE(vm); i++)
		close(vm[i].channel);
	for (nr = 0; nr < ARRAY_SIZE(vm); nr++) {
		struct machine_gone gone;
		uint32_t id;

		while (!machine_client_gone(client, &id, &gone))
			machine_client_get(client, &state, NULL);
	}
	is(machine_client_get(client, &state, &err) | state.nr_vms, 0,
	   "every end is told, also between a question and its answer");
	machine_client_destroy(client);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	char dir[] = "/tmp/quire-machine-XXXXXX";
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	if (!mkdtemp(dir))
		tap_bail("no directory");
	test_paths(dir);
	test_race(dir);
	test_strangers();
	test_restart(dir);
	test_client();
	for (unsigned int i = 0; i < ROUNDS; i++)
		test_crowd(seed, i);
	is(rmdir(dir), 0, "no file is left");
	return tap_done();
}
