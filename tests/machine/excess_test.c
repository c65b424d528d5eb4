/* SPDX-License-Identifier: MIT */
/*
 * VMs that hold more than their due: what counts as such, that they die before others when memory
 * is out, and that who occupies more than it was charged is found by a look at the kernel's counts.
 */
#include "mmu/base/sanitized.h"
#include "merge_scene.h"

#define LOOK_MS 1000

/* ---- one VM ---- */

static void test_sums(void)
{
	const uint64_t slack = OOM_SLACK_PAGES, spare = OOM_SPARE_PAGES;
	struct machine_holding h = { .ram_pages = 100000,
				     .resident_pages = 50000,
				     .credit_pages = 50000 + spare,
				     .overhead_pages = 400 };

	is(oom_excess(&h), 0, "credits for a few blocks more than there are is no excess");
	h.credit_pages += 7;
	is(oom_excess(&h), 7, "more is");
	h.credit_pages = 50000;
	h.anon_pages = 400 + slack;
	is(oom_unpaid(&h), 0, "memory of the process is charged as overhead, with some slack");
	h.anon_pages += 11;
	is(oom_unpaid(&h), 11, "more is not paid for");
	is(oom_excess(&h), 11, "and more than its due");
	h.resident_pages += OOM_TOUCH_PAGES;
	is(oom_unpaid(&h), 11, "a page that was just touched may lack its credit");
	h.resident_pages += 30;
	is(oom_unpaid(&h), 41, "many pages may not");
	h.anon_pages = 0;
	h.resident_pages = h.credit_pages = 60000;
	h.alone_pages = 30000;
	h.share_pages = 10000 + spare;
	is(oom_excess(&h), 0, "RAM and store together have as many pages as it promised");
	h.share_pages += 13;
	is(oom_excess(&h), 13, "and not more");
	h = (struct machine_holding){ .resident_pages = 1, .credit_pages = MACHINE_PAGES_MAX };
	is(oom_excess(&h), MACHINE_PAGES_MAX - 1 - spare, "large numbers do not overflow");
}

/* ---- when memory is out ---- */

static void hold(struct scene *s, struct lab_vm *vm, uint64_t credits)
{
	say(vm->channel, MACHINE_RETURN, 0, vm->credits, -1);
	vm->credits = lab_take(&s->lab, vm->channel, credits);
	if (vm->credits != credits)
		tap_bail("%lu credits, not %lu", vm->credits, credits);
}

/* A VM in domain "d", with a process, of which so much is resident and charged. */
static void open_vm(struct scene *s, struct merge_vm *v, uint64_t ram, uint64_t resident,
		    uint64_t credits)
{
	struct machine_admit admit = lab_promise(ram, 5);

	admit.domain[0] = 'd';
	*v = (struct merge_vm){ .vm = merge_admit(&s->lab, s->control, admit), .merge = -1 };
	lab_start(&s->lab, s->control, &v->vm);
	hold(s, &v->vm, credits);
	lab_attach(&s->lab, &v->vm, ram, resident);
}

/* A VM that has no process to kill takes what is left, and one page more. */
static void run_out(struct scene *s, struct lab_vm *needy)
{
	struct machine_state state;

	*needy = merge_admit(&s->lab, s->control, lab_promise(GIB_PAGES, 1));
	hold(s, needy, 0);
	state = lab_state(&s->lab);
	hold(s, needy, state.free_pages - state.min_pages);
	say_credit(needy->channel, 1, 0);
	lab_step(&s->lab);
}

/* Time passes, but a VM that is killed is not yet seen to end. */
static void wait_ms(struct scene *s, uint64_t ms)
{
	s->lab.now_ns += ms * LAB_MS;
	machine_serve(s->lab.m);
}

static void close_all(struct scene *s, struct lab_vm *needy)
{
	merge_vm_close(&s->lab, &a);
	merge_vm_close(&s->lab, &b);
	lab_finish_vm(needy);
	end(s);
}

/* `a` is honest and the largest.  `b` dies for what it holds, and `why` is what that is. */
static void dies(struct scene *s, struct lab_vm *needy, const char *why)
{
	ok(lab_await_vms(&s->lab, 2), "%s: somebody is killed", why);
	is(lab_reap(&b.vm, false), SIGKILL, "%s: it is who does so", why);
	is(lab_reap(&a.vm, false), 0, "%s: a larger VM that keeps to the rules lives", why);
	is(hear(needy->channel, NULL, NULL), MACHINE_GRANT, "%s: who waited has its page", why);
	b.vm.pid = 0;
	close_all(s, needy);
}

static void test_keeps_credits(void)
{
	struct lab_vm needy;
	struct scene s;

	begin(&s, 16 * PAGES);
	open_vm(&s, &a, 16 * PAGES, 6000, 6000);
	open_vm(&s, &b, 16 * PAGES, 10, 4000);
	run_out(&s, &needy);
	say(a.vm.channel, MACHINE_RETURN, 0, 0, -1);
	say(b.vm.channel, MACHINE_RETURN, 0, 0, -1);
	wait_ms(&s, 200);
	dies(&s, &needy, "keeps credits through a RECALL");
}

static void test_ignores(void)
{
	struct lab_vm needy;
	struct scene s;

	begin(&s, 16 * PAGES);
	open_vm(&s, &a, 16 * PAGES, 6000, 6000);
	open_vm(&s, &b, 16 * PAGES, 10, 4000);
	run_out(&s, &needy);
	say(a.vm.channel, MACHINE_RETURN, 0, 0, -1);
	wait_ms(&s, 200);
	wait_ms(&s, 799);
	is(lab_state(&s.lab).oom_kills, 0, "ignores a RECALL: for a while nobody dies for it");
	wait_ms(&s, 1);
	dies(&s, &needy, "ignores a RECALL");
}

/* One that answers late, but answers, helps without a death. */
static void test_late(void)
{
	struct lab_vm needy;
	struct scene s;

	begin(&s, 16 * PAGES);
	open_vm(&s, &a, 16 * PAGES, 6000, 6000);
	open_vm(&s, &b, 16 * PAGES, 10, 4000);
	run_out(&s, &needy);
	wait_ms(&s, 900);
	say(b.vm.channel, MACHINE_RETURN, 0, 3990, -1);
	lab_step(&s.lab);
	is(lab_state(&s.lab).oom_kills, 0, "answers late: nobody is killed");
	is(hear(needy.channel, NULL, NULL), MACHINE_GRANT, "answers late: who waited has its page");
	close_all(&s, &needy);
}

static void test_has_pages_twice(void)
{
	struct lab_vm needy;
	struct scene s;

	begin(&s, 16 * PAGES);
	open_vm(&s, &a, 16 * PAGES, 6000, 6000);
	open_vm(&s, &b, 2000, 2000, 2000);
	merge_join_lab(&s.lab, &b);
	for (uint64_t gfn = 0; gfn < 2500; gfn += MERGE_BATCH) {
		merge_begin(&b, MERGE_LOOKUP, 0);
		for (uint64_t i = 0; i < min_u64(MERGE_BATCH, 2000); i++)
			merge_add(&b, (i + gfn % 1400) | MERGE_PUBLISH, gfn + i + 1);
		if (merge_say(&s.lab, &b, NULL) != MERGE_FRAMES)
			tap_bail("no frames");
	}
	is(store_pages(&s), 2512, "has its pages twice: (in the store)");
	run_out(&s, &needy);
	wait_ms(&s, 200);
	dies(&s, &needy, "has its pages twice");
}

static void test_pays_nothing(void)
{
	struct lab_vm needy;
	struct scene s;

	begin(&s, 16 * PAGES);
	open_vm(&s, &a, 16 * PAGES, 6000, 6000);
	open_vm(&s, &b, 16 * PAGES, 5000, 0);
	run_out(&s, &needy);
	wait_ms(&s, 200);
	dies(&s, &needy, "has pages without credits");
}

/* ---- when it is looked at ---- */

/* A process that touches 1 MiB of its own memory for each byte that it is sent. */
static pid_t fork_toucher(int *to)
{
	int pipes[2];
	char byte, *memory;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC))
		tap_bail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		memory = mmap(NULL, 64 * MiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);
		for (; read(pipes[0], &byte, 1) == 1; memory += MiB)
			memset(memory, 1, MiB);
		for (;;)
			pause();
	}
	close(pipes[0]);
	*to = pipes[1];
	return pid;
}

static void begin_looks(struct scene *s)
{
	struct machine_config config = lab_config(&s->lab, 64 * PAGES, 0, OVERCOMMIT_ALWAYS);

	config.measure_ms = LOOK_MS;
	s->fds = open_fds();
	lab_open(&s->lab, &config);
	s->control = lab_connect(&s->lab);
}

static void put_pages(const struct lab_vm *vm, uint64_t gfn, uint64_t pages)
{
	if (fallocate(vm->ram, 0, (off_t)(gfn * QUIRE_PAGE_SIZE), (off_t)(pages * QUIRE_PAGE_SIZE)))
		tap_bail("fallocate: %s", strerror(errno));
}

static void drop_pages(const struct lab_vm *vm, uint64_t gfn, uint64_t pages)
{
	if (fallocate(vm->ram, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(gfn * QUIRE_PAGE_SIZE), (off_t)(pages * QUIRE_PAGE_SIZE)))
		tap_bail("fallocate: %s", strerror(errno));
}

static struct machine_gone why(struct scene *s, uint32_t id)
{
	struct machine_msg msg;

	if (!lab_await_vms(&s->lab, 1))
		tap_bail("nobody ended");
	while (hear(s->control, &msg, NULL) > 0)
		if (msg.type == MACHINE_GONE && msg.vm == id)
			return msg.gone;
	tap_bail("no GONE of VM %u", id);
}

static void test_ram_is_found(void)
{
	struct machine_gone gone;
	struct scene s;

	begin_looks(&s);
	open_vm(&s, &a, 16 * PAGES, 3000, 3000);
	open_vm(&s, &b, 16 * PAGES, 100, 100);
	put_pages(&b.vm, 100, OOM_TOUCH_PAGES / 2);
	for (unsigned int i = 0; i < 10; i++)
		lab_pass(&s.lab, LOOK_MS);
	is(lab_state(&s.lab).nr_vms, 2, "a page or two too many at a wrong moment is no reason");
	put_pages(&b.vm, 100, OOM_TOUCH_PAGES + 100);
	lab_pass(&s.lab, LOOK_MS);
	drop_pages(&b.vm, 100, OOM_TOUCH_PAGES + 100);
	lab_pass(&s.lab, LOOK_MS);
	is(lab_reap(&b.vm, false), 0, "nor are many, once");
	put_pages(&b.vm, 100, OOM_TOUCH_PAGES + 100);
	lab_pass(&s.lab, LOOK_MS);
	lab_pass(&s.lab, LOOK_MS);
	gone = why(&s, b.vm.id);
	is(lab_reap(&b.vm, false), SIGKILL, "a RAM file that grew without credits is found");
	is(gone.reason, MACHINE_EXCEEDED, "its launcher hears of that");
	is(gone.had.resident_pages, OOM_TOUCH_PAGES + 200, "with its pages");
	is(gone.had.credit_pages, 100, "... and its credits");
	is(lab_reap(&a.vm, false), 0, "nobody else is touched");
	b.vm.pid = 0;
	merge_vm_close(&s.lab, &a);
	merge_vm_close(&s.lab, &b);
	end(&s);
}

/* It keeps too much at every other look only. */
static void test_flicker(void)
{
	unsigned int looks = 0;
	struct scene s;

	begin_looks(&s);
	open_vm(&s, &a, 16 * PAGES, 3000, 3000);
	open_vm(&s, &b, 16 * PAGES, 0, 0);
	while (looks < 20 && !lab_reap(&b.vm, false)) {
		if (looks++ % 2)
			drop_pages(&b.vm, 0, 8000);
		else
			put_pages(&b.vm, 0, 8000);
		lab_pass(&s.lab, LOOK_MS);
		lab_await_vms(&s.lab, looks % 2 && looks > 4 ? 1 : 2);
	}
	ok(looks < 10, "one that has too much at every other look is found at look %u", looks);
	b.vm.pid = 0;
	merge_vm_close(&s.lab, &a);
	merge_vm_close(&s.lab, &b);
	end(&s);
}

static void test_memory_is_found(void)
{
	static const char bytes[64];
	struct machine_gone gone;
	int to, pidfd;
	struct scene s;

	begin_looks(&s);
	open_vm(&s, &a, 16 * PAGES, 3000, 3000);
	b.vm = merge_admit(&s.lab, s.control, lab_promise(16 * PAGES, 5));
	b.vm.pid = fork_toucher(&to);
	pidfd = pidfd_of(b.vm.pid);
	say(s.control, MACHINE_STARTED, b.vm.id, 0, pidfd);
	close(pidfd);
	lab_step(&s.lab);
	hold(&s, &b.vm, 0);
	lab_attach(&s.lab, &b.vm, 16 * PAGES, 0);
	if (write(to, bytes, sizeof(bytes)) != sizeof(bytes))
		tap_bail("write: %s", strerror(errno));
	close(to);
	for (unsigned int i = 0; i < 200 && lab_state(&s.lab).nr_vms > 1; i++) {
		usleep(10000);
		lab_pass(&s.lab, LOOK_MS);
	}
	gone = why(&s, b.vm.id);
	is(lab_reap(&b.vm, false), SIGKILL, "memory of the process without a charge is found");
	ok(gone.reason == MACHINE_EXCEEDED && gone.had.anon_pages > OOM_SLACK_PAGES,
	   "and told: %lu pages", gone.had.anon_pages);
	is(lab_reap(&a.vm, false), 0, "nobody else is touched by it");
	b.vm.pid = 0;
	merge_vm_close(&s.lab, &a);
	merge_vm_close(&s.lab, &b);
	end(&s);
}

int main(void)
{
	tap_init();
	test_sums();
	test_keeps_credits();
	test_ignores();
	test_late();
	test_has_pages_twice();
	test_pays_nothing();
	test_ram_is_found();
	test_flicker();
#if QUIRE_SANITIZED
	tap_skip("a sanitizer's own memory is not counted");
	(void)test_memory_is_found;
#else
	test_memory_is_found();
#endif
	return tap_done();
}
