/* SPDX-License-Identifier: MIT */
/*
 * What quire merge shows of machines and their domains: two machines, one of which is not found by
 * itself, with domains of known content.  The VMs' answers are made up; their merging is not.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include "mmu/merge/merge_client.h"
#include "mmu/base/clock.h"
#include "mmu/base/packet.h"
#include "mmu/base/wire.h"
#include "observe_names.h"

#define PAGES 64u

static char usual[64], empty[64], hidden[64]; /* addresses */
static char *name[3]; /* VMs: two of the usual machine, one of the hidden one */

/* ---- members ---- */

static void say(int channel, enum machine_type type, int fd)
{
	struct machine_msg msg = wire_msg(type, 0);

	if (wire_send(channel, &msg, fd))
		tap_bail("the machine hung up");
	if (fd >= 0)
		close(fd);
}

/* The bytes of a page of RAM; gfns from 32 on like those from 0 on. */
static void fill(uint8_t *page, gfn_t gfn)
{
	memset(page, 1 + (int)gfn % 32, QUIRE_PAGE_SIZE);
}

static int make_ram(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC), readonly;
	uint8_t page[QUIRE_PAGE_SIZE];
	char path[64];

	for (unsigned int n = 0; n < PAGES; n++) {
		fill(page, n);
		if (write(fd, page, sizeof(page)) != sizeof(page))
			tap_bail("no RAM");
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	readonly = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return readonly;
}

/* A VM in a domain: the connection over which its keeper asks. */
static int member_of(struct machine_client *client, const char *vm, pid_t pid, const char *domain)
{
	struct machine_admit admit = { .ram_pages = PAGES };
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), merge;
	struct machine_admitted admitted;
	struct machine_msg msg;
	struct quire_error err;

	snprintf(admit.name, sizeof(admit.name), "%s", vm);
	snprintf(admit.domain, sizeof(admit.domain), "%s", domain);
	if (machine_client_admit(client, &admit, &admitted, &err) ||
	    machine_client_started(client, admitted.vm, pidfd, &err))
		tap_bail("not admitted: %s", err.text);
	close(pidfd);
	say(admitted.channel, MACHINE_ATTACH, make_ram());
	say(admitted.channel, MACHINE_JOIN, -1);
	if (packet_wait(admitted.channel, POLLIN, monotonic_ns() + 60 * NS_PER_S) ||
	    wire_recv(admitted.channel, &msg, &merge) != 1 || msg.type != MACHINE_JOINED)
		tap_bail("not joined");
	return merge;
}

/* Look [gfn, gfn + nr) up.  How many got a frame. */
static unsigned int look_up(int merge, gfn_t gfn, uint32_t nr)
{
	struct merge_msg msg = { .type = MERGE_SECRET };
	unsigned int frames = 0;
	uint8_t page[QUIRE_PAGE_SIZE];
	struct hash_secret secret;

	if (merge_ask(merge, &msg, NULL))
		tap_bail("no secret");
	secret = msg.secret;
	msg.type = MERGE_LOOKUP;
	msg.nr = nr;
	for (uint32_t i = 0; i < nr; i++) {
		fill(page, gfn + i);
		msg.lookup[i] = (struct merge_lookup){ page_hash(&secret, page), gfn + i };
	}
	if (merge_ask(merge, &msg, NULL))
		tap_bail("no answer");
	for (uint32_t i = 0; i < nr; i++)
		frames += MERGE_IS_FRAME(msg.frame[i].frame);
	return frames;
}

/* ---- what is shown ---- */

/* The value of a member of the n-th object of "domains" in lab_out. */
static uint64_t of_domain(unsigned int n, const char *member)
{
	const char *at = strstr(lab_out, "\"domains\"");
	unsigned long long value = UINT64_MAX;
	char key[64];

	snprintf(key, sizeof(key), "\"%s\": ", member);
	for (unsigned int i = 0; at && i <= n; i++)
		at = strstr(at + 1, "\"machine\": ");
	at = at ? strstr(at, key) : NULL;
	if (at)
		sscanf(at + strlen(key), "%llu", &value);
	return value;
}

static void check_domain(unsigned int n, uint64_t vms, uint64_t shared, uint64_t sharing,
			 uint64_t waiting, uint64_t lookups)
{
	is(of_domain(n, "vms"), vms, "domain %u: VMs", n);
	is(of_domain(n, "pages_shared"), shared, "domain %u: frames", n);
	is(of_domain(n, "pages_sharing"), sharing, "domain %u: pages that share them", n);
	is(of_domain(n, "saved_bytes"), sharing * QUIRE_PAGE_SIZE, "domain %u: bytes saved", n);
	is(of_domain(n, "waiting_pages"), waiting, "domain %u: pages that wait", n);
	is(of_domain(n, "lookup_pages"), lookups, "domain %u: pages looked up", n);
	is(of_domain(n, "promoted_pages"), shared, "domain %u: became a frame", n);
	is(of_domain(n, "no_memory_pages"), 0, "domain %u: nothing was in the way", n);
}

static void test_usual(bool isolated)
{
	char text[160];

	ok(lab_quire("merge --json") == 0, "merge --json of all that is found");
	ok(!strstr(lab_out, hidden), "a machine at an address of its own is not");
	if (isolated) {
		ok(strstr(lab_out, "\"vms_elsewhere\": 1,") != NULL,
		   "but its VM is, and is said to be");
		ok(strstr(lab_out, "\"pages_shared\": 14,") &&
			   strstr(lab_out, "\"pages_sharing\": 14,"),
		   "the totals are of what was found");
		check_domain(0, 2, 10, 10, 10, 30);
		check_domain(1, 1, 4, 4, 0, 8);
	}
	ok(lab_quire("merge") == 0 && strstr(lab_said(), "merge"), "merge");
	if (!isolated)
		return;
	ok(strstr(lab_out, "\nof 1 the machine is not found here"), "it says so, too");
	snprintf(text, sizeof(text), "\n%s  red  ", strrchr(usual, '/') + 1);
	ok(strstr(lab_out, "\nMACHINE  ") && strstr(lab_out, text),
	   "of several machines a domain's line says which");
}

static void test_one_machine(void)
{
	struct names doc = documented("domains in quire.merge/1"), printed;
	char text[96];
	const char *row;

	ok(lab_quire("merge --json --machine=%s", usual) == 0, "merge --json of one machine");
	check_domain(0, 2, 10, 10, 10, 30);
	check_domain(1, 1, 4, 4, 0, 8);
	printed = members(6);
	same_names(&doc, &printed, "members of domains");
	ok(strstr(lab_out, "\"name\": \"red\"") != NULL, "a domain has its name");
	snprintf(text, sizeof(text), "\"vm\": \"%s\"", name[1]);
	ok(strstr(lab_out, text) != NULL, "... or its VM's");
	ok(strstr(lab_out, "\"vms_on\": 2,") && strstr(lab_out, "\"vms_elsewhere\": 0,"),
	   "only its VMs are counted");
	ok(lab_quire("merge --machine=%s", usual) == 0, "merge of one machine");
	row = strstr(lab_out, "\nred ");
	ok(row && strstr(row,
			 "   2      10       10  40 KiB       10       30        10          0"),
	   "a line for each domain");
	snprintf(text, sizeof(text), "\n(%s)", name[1]);
	ok(strstr(lab_out, text) != NULL, "one without a name is shown by its VM");
	ok(!strstr(lab_out, "MACHINE"), "of one machine there is no column for it");
}

static void test_hidden(void)
{
	ok(lab_quire("merge --json --machine=%s", hidden) == 0, "a machine can be named");
	check_domain(0, 1, 1, 1, 0, 2);
	ok(strstr(lab_out, "\"name\": \"red\"") && strstr(lab_out, "\"vms_on\": 1,") &&
		   strstr(lab_out, "\"vms_elsewhere\": 0,"),
	   "with its domain and its VM");
	ok(lab_quire("merge --machine=@quire-test/nobody-%d", (int)getpid()) == 121 &&
		   lab_lines() == 1,
	   "no machine there");
	tap_note("%s", lab_said());
	ok(lab_quire("merge --machine=%s now", hidden) == 2 && lab_lines() == 1,
	   "with a word it makes no sense");
	tap_note("%s", lab_said());
}

static struct machine_client *start_machine(const char *address, pid_t *pid)
{
	struct machine_config config = { .max_clients = 8 };
	struct machine_client *client;
	struct quire_error err;

	ledger_defaults(&config.ledger, GiB / QUIRE_PAGE_SIZE, 0);
	*pid = lab_start_machine(&config, address);
	if (machine_client_connect(address, &client, &err))
		tap_bail("%s", err.text);
	return client;
}

int main(void)
{
	struct machine_client *client[3];
	pid_t machine[3], vm[3];
	bool isolated;
	int merge[4];

	tap_init();
	isolated = lab_isolate();
	snprintf(usual, sizeof(usual), "@quire/machine/merge_show.%d", (int)getpid());
	snprintf(hidden, sizeof(hidden), "@quire-test/merge-show-%d", (int)getpid());
	snprintf(empty, sizeof(empty), "@quire/machine/merge_show.%d-2", (int)getpid());
	client[0] = start_machine(usual, &machine[0]);
	client[2] = start_machine(empty, &machine[2]);
	client[1] = start_machine(hidden, &machine[1]);
	for (unsigned int i = 0; i < 3; i++) {
		if (asprintf(&name[i], "merge_show.%d-%u", (int)getpid(), i) < 0)
			tap_bail("no memory");
		vm[i] = lab_start_vm(name[i], VM_RUNNING);
	}
	merge[0] = member_of(client[0], name[0], vm[0], "red");
	merge[1] = member_of(client[0], name[1], vm[1], "");
	merge[2] = member_of(client[1], name[2], vm[2], "red");
	/* A second member of red: a process may be several of a machine's VMs. */
	merge[3] = member_of(client[0], name[0], vm[0], "red");
	is(look_up(merge[0], 0, 20), 0, "20 pages are new");
	is(look_up(merge[3], 10, 10), 10, "10 of them are another VM's, too");
	is(look_up(merge[1], 0, 4) + look_up(merge[1], 32, 4), 4, "a VM shares with itself");
	is(look_up(merge[2], 0, 1) + look_up(merge[2], 32, 1), 1, "and one elsewhere");
	test_usual(isolated);
	test_one_machine();
	test_hidden();
	for (unsigned int i = 0; i < 4; i++)
		close(merge[i]);
	for (unsigned int i = 0; i < 3; i++) {
		lab_end(vm[i], SIGKILL);
		free(name[i]);
	}
	for (unsigned int i = 0; i < 3; i++) {
		machine_client_destroy(client[i]);
		lab_end(machine[i], SIGKILL);
	}
	return tap_done();
}
