/* SPDX-License-Identifier: MIT */
/* Accesses that wait for a VM's credits: from a machine that dies, and when the VM ends. */
#include <errno.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/base/wire.h"
#include "mmu/machine/credits.h"
#include "waiting_lab.h"

static struct credits *credits;

static bool vm_take(void *ctx, uint64_t pages)
{
	(void)ctx;
	return credits_take(credits, pages);
}

static int vm_wait(void *ctx, uint64_t need, uint64_t want)
{
	(void)ctx;
	return credits_wait(credits, need, want);
}

static int vm_seek(void *ctx, uint64_t need, uint64_t want, void (*news)(void *arg), void *arg)
{
	(void)ctx;
	return credits_seek(credits, need, want, news, arg);
}

static void vm_stop_seeking(void *ctx)
{
	(void)ctx;
	credits_stop_seeking(credits);
}

static void vm_put(void *ctx, uint64_t pages)
{
	(void)ctx;
	credits_put(credits, pages);
}

static const struct gmem_credits vm_hooks = {
	.take = vm_take,
	.wait = vm_wait,
	.seek = vm_seek,
	.stop_seeking = vm_stop_seeking,
	.put = vm_put,
};

static atomic_bool lost;

static void on_lost(void *ctx)
{
	(void)ctx;
	atomic_store(&lost, true);
}

static int open_channel(int *machine)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		tap_bail("no socketpair");
	*machine = pair[0];
	return pair[1];
}

/* The machine hears a CREDIT, after whatever else is said.  False: it does not. */
static bool hears_credit(int machine, uint64_t *need)
{
	struct machine_msg msg = { 0 };

	for (unsigned int i = 0; i < PATIENCE_MS; i++) {
		int fd, code = wire_recv(machine, &msg, &fd);

		if (code < 0)
			return false;
		if (code == 1 && msg.type == MACHINE_CREDIT) {
			*need = msg.credit.need_pages;
			return true;
		}
		usleep(1000);
	}
	return false;
}

static void say_to_vm(int machine, enum machine_type type, uint64_t pages)
{
	struct machine_msg msg = wire_msg(type, 0);

	msg.pages = pages;
	if (wire_send(machine, &msg, -1))
		tap_bail("the VM does not listen");
}

static void test_machine_dies(void)
{
	struct credits_config config = { .promise_pages = NR_PAGES, .on_lost = on_lost };
	struct toucher t[3];
	uint64_t need;
	int machine;

	config.channel = open_channel(&machine);
	if (credits_create(&config, &credits, NULL))
		tap_bail("no credits");
	atomic_store(&failures, 0);
	atomic_store(&lost, false);
	create_with((struct gmem_config){ .hugepages = GMEM_HUGE_NEVER,
					  .credits = &vm_hooks,
					  .on_host_failure = on_failure });
	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++)
		toucher_start(&t[i], 30 * i, true);
	ok(await_waiting(3), "accesses wait for a machine");
	ok(hears_credit(machine, &need) && need == 1, "which is asked for what one needs");
	close(machine);
	while (!atomic_load(&lost))
		sched_yield();
	ok(await_waiting(3), "it dies, and they wait on");
	if (credits_replace_channel(credits, open_channel(&machine)))
		tap_bail("the channel was not lost");
	ok(hears_credit(machine, &need) && need == 1, "another comes, and is asked");
	say_to_vm(machine, MACHINE_GRANT, 1);
	ok(await_waiting(2), "it grants a page: one goes on");
	ok(hears_credit(machine, &need) && need == 1, "and it is asked again");
	say_to_vm(machine, MACHINE_RECALL, 100);
	say_to_vm(machine, MACHINE_GRANT, 600);
	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++)
		toucher_end(&t[i]);
	is(stats().waiting_pages, 0, "with more, all go on");
	is(credits_held(credits), credits_spare(credits) + stats().s2.pages[PG_PRIVATE],
	   "a credit for each page");
	is(atomic_load(&failures), 0, "nothing failed");
	guest_destroy(gm);
	credits_destroy(credits);
	close(machine);
}

static void test_cancelled(void)
{
	struct credits_config config = { .promise_pages = NR_PAGES };
	struct toucher t;
	uint64_t need;
	int machine;

	config.channel = open_channel(&machine);
	if (credits_create(&config, &credits, NULL))
		tap_bail("no credits");
	atomic_store(&failures, 0);
	create_with((struct gmem_config){ .hugepages = GMEM_HUGE_NEVER,
					  .credits = &vm_hooks,
					  .on_host_failure = on_failure });
	toucher_start(&t, 77, true);
	ok(await_waiting(1), "an access waits when its VM ends");
	ok(hears_credit(machine, &need), "its credit was asked for");
	credits_cancel(credits);
	for (unsigned int i = 0; i < PATIENCE_MS && !atomic_load(&failures); i++)
		usleep(1000);
	is(atomic_load(&failed_err), -EDQUOT, "the pager says that there will be no credit");
	say_to_vm(machine, MACHINE_GRANT, 5);
	while (credits_held(credits) < 5)
		sched_yield();
	put_into((volatile uint64_t *)hva(500), 1);
	toucher_end(&t);
	guest_destroy(gm);
	credits_destroy(credits);
	close(machine);
}

int main(int argc, char **argv)
{
	tap_init();
	count_refusals();
	rng = tap_seed(argc, argv);
	make_segment();
	for (unsigned int i = 0; i < 2; i++) {
		guest_on_shadow = i;
		test_machine_dies();
		test_cancelled();
	}
	return tap_done();
}
