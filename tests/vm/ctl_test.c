/* SPDX-License-Identifier: MIT */
/* The control socket: what a client is told, and what it can make the VM do. */
#include <stdlib.h>
#include "ctl_lab.h"
#include "vmm/look/named.h"

static void test_names(void)
{
	static const char *const bad[] = {
		"",	"a/b",	"a b",
		"a\nb", "\xff", "0123456789012345678901234567890123456789012345678901234567890123"
	};
	struct quire_error err;
	struct ctl *other;
	char near[80];
	int fd;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		ok(ctl_create(bad[i], &other, &err) == -EINVAL, "bad name %u is refused", i);
	ok(ctl_create(name, &other, &err) == -EADDRINUSE, "a name is taken once");
	ok(strstr(err.text, name) != NULL, "... and the message names it: %s", err.text);
	ok(named_connect("no-such-vm", &err) == -ENOENT && !strstr(err.text, name),
	   "a missing VM's message does not list the others: %s", err.text);
	snprintf(near, sizeof(near), "%s2", name);
	ok(named_connect(near, &err) == -ENOENT && strstr(err.text, name),
	   "... but a name that is near: %s", err.text);
	snprintf(err.text, sizeof(err.text), "%d", (int)getpid());
	fd = named_connect(err.text, &err);
	ok(fd >= 0, "the VM's pid names it too");
	close(fd);
	ok(named_connect("1", &err) == -ENOENT, "... and another pid does not");
}

static void test_info(void)
{
	struct quire_error err;
	struct ctl_info info;
	int fd = connect_vm();

	ok(ctl_get_info(fd, &info, &err) == 0, "CTL_INFO is answered");
	ok(strcmp(info.vm.name, name) == 0 && info.vm.pid == (uint32_t)getpid(), "name and pid");
	ok(info.vm.nr_vcpus == 2 && info.nr_ram == 2 && info.ram[1].end == RAM_END,
	   "vCPUs and RAM");
	ok(info.vm.mem.s2.pages[PG_PRIVATE] == 6256 && info.vm.mem.s2.large_leaves == 1 &&
		   info.vm.mem.faults == 77 && info.vm.exits[KVM_NR_EXITS - 1] == 5,
	   "counters");
	close(fd);
}

static void test_commands(void)
{
	ok(state_of_vm() == VM_RUNNING, "a VM runs at first");
	ok(command(CTL_PAUSE) == 0 && state_of_vm() == VM_PAUSED, "CTL_PAUSE pauses it");
	ok(command(CTL_PAUSE) == 0 && state_of_vm() == VM_PAUSED, "... and again");
	ok(command(CTL_RESUME) == 0 && state_of_vm() == VM_RUNNING, "CTL_RESUME resumes it");
	ok(command(CTL_RESUME) == 0 && state_of_vm() == VM_RUNNING, "... and again");
	ok(stops == 0, "nobody has stopped it");
	ok(command(CTL_STOP) == 0 && stops == 1, "CTL_STOP stops it, once");
}

static void test_compress(void)
{
	struct ctl_swapped swapped;
	struct gmem_packed out;
	struct quire_error err;
	int fd = connect_vm();

	is(ctl_forget_touches(fd, 0, CTL_MOST_FORGET, &err), 0, "CTL_FORGET_TOUCHES is done");
	is(ctl_forget_touches(fd, RAM_END, 1, &err), -EFAULT, "... but not of what is no RAM");
	is(ctl_compress(fd, 0, 100, false, &out, &err), 0, "CTL_COMPRESS is done");
	ok(out.compressed == 25 && out.touched == 25 && out.refused == 25 && out.kept == 25 &&
		   out.pool_pages == 3,
	   "... and says what became of the pages");
	is(ctl_compress(fd, 0, 100, true, &out, &err), 0, "CTL_COMPRESS of all is done");
	is(out.compressed, 50, "... also of pages that were touched");
	is(ctl_compress(fd, RAM_END, 1, true, &out, &err), -EFAULT,
	   "... but not of what is no RAM");
	is(ctl_swap_out(fd, 0, 40, false, &swapped, &err), 0, "CTL_SWAP_OUT is done");
	is(swapped.pages.swapped + swapped.pages.clean, 30, "... the answer is the VM's");
	is(ctl_swap_out(fd, 0, 41, true, &swapped, &err), 0,
	   "CTL_SWAP_OUT where there is no space");
	is(swapped.code, -ENOSPC, "... which the answer says");
	is(ctl_swap_out(fd, RAM_END, 1, true, &swapped, &err), -ENODEV,
	   "CTL_SWAP_OUT where there is no file");
	close(fd);
	is(status_of_request(request(CTL_SWAP_OUT, 0, 40, 0)), 0,
	   "CTL_SWAP_OUT is answered at once");
	is(status_of_request(request(CTL_SWAPPED, 41, 0, 0)), -EINPROGRESS,
	   "... and CTL_SWAPPED before it is done");
	is(status_of_request(request(CTL_SWAP_OUT, 0, CTL_MOST_SWAP + 1, 0)), -EINVAL,
	   "too many pages at once are refused");
	is(status_of_request(request(CTL_COMPRESS, 0, CTL_MOST_COMPRESS + 1, 0)), -EINVAL,
	   "more pages than a request may have are refused");
	is(status_of_request(request(CTL_COMPRESS, 0, 0, 0)), -EINVAL, "... and none");
	is(status_of_request(request(CTL_COMPRESS, 0, 1, 2)), -EINVAL,
	   "... and what is neither 0 nor 1");
	is(status_of_request(request(CTL_FORGET_TOUCHES, 0, CTL_MOST_FORGET + 1, 0)), -EINVAL,
	   "... and too many to forget");
}

static void test_touched(void)
{
	static uint64_t bits[CTL_MOST_FORGET / 64];
	struct quire_error err;
	int fd = connect_vm(), other = connect_vm(), code, tries = 10000;

	is(ctl_touched(fd, 0, CTL_MOST_FORGET, bits, &err), 0, "CTL_TOUCHED is done");
	is_hex(bits[0], 0x9249249249249249, "... it has a bit for each page");
	is_hex(bits[CTL_MOST_FORGET / 64 - 1], 0x4924924924924924, "... up to the last");
	is(ctl_touched(fd, 512, 3, bits, &err), 0, "few pages are fine");
	is_hex(bits[0], 2, "... and have a bit each");
	is(ctl_touched(fd, align_up(RAM_END, 512), 1, bits, &err), -EFAULT,
	   "what is no RAM is not touched");
	is(ctl_touched(other, 0, 512, bits, &err), -EBUSY, "another client may not ask");
	ok(strstr(err.text, "another quire trace"), "... and hears why: %s", err.text);
	is(ctl_touched(fd, 0, 512, bits, &err), 0, "... the first still may");
	close(fd);
	do /* the VM may see the request before it sees who has gone */
		code = ctl_touched(other, 0, 512, bits, &err);
	while (code == -EBUSY && tries-- && !usleep(1000));
	is(code, 0, "... and when it has gone, the other may");
	close(other);
	is(status_of_request(request(CTL_TOUCHED, 0, CTL_MOST_FORGET + 1, 0)), -EINVAL,
	   "more pages than a request may have are refused");
	is(status_of_request(request(CTL_TOUCHED, 0, 0, 0)), -EINVAL, "... and none");
	is(status_of_request(request(CTL_TOUCHED, 64, 1, 0)), -EINVAL,
	   "... and a beginning in the middle of a block");
}

static void test_story(void)
{
	struct ctl_story story;
	struct quire_error err;
	int fd = connect_vm();

	is(ctl_get_story(fd, PG_NR_STATES + 2, &story, &err), 0, "CTL_STORY is answered");
	ok(story.page.gfn == PG_NR_STATES + 2 && story.page.state == 2 &&
		   story.reclaim.unused_s == PG_NR_STATES + 2,
	   "... for the page that is meant");
	is(ctl_get_story(fd, RAM_END, &story, &err), -EFAULT, "what is no RAM has no story");
	close(fd);
}

static void test_merge(void)
{
	struct quire_error err;
	struct ctl_info info;
	uint64_t ticket = 0;
	int fd = connect_vm();

	ok(ctl_set_merge(fd, KEEPER_ZERO, &err) == 0 && ctl_get_info(fd, &info, &err) == 0 &&
		   info.vm.merge.mode == KEEPER_ZERO,
	   "CTL_MERGE_MODE sets the mode");
	ok(!strcmp(info.vm.domain, "here") && info.vm.merge.reason_pages[NOTE_UNIQUE] == 6000,
	   "CTL_INFO has domain and reasons");
	ok(ctl_merge_now(fd, &ticket, &err) == 0 && ticket == 1, "CTL_MERGE_NOW gives a ticket");
	ok(ctl_get_info(fd, &info, &err) == 0 && info.vm.merge_passes >= ticket,
	   "... which CTL_INFO honours");
	close(fd);
	ok(status_of_request(request(CTL_MERGE_MODE, KEEPER_NR_MODES, 0, 0)) == -EINVAL,
	   "a mode that does not exist is refused");
	ok(status_of_request(request(CTL_MERGE_MODE, 1ULL << 32, 0, 0)) == -EINVAL,
	   "... and a number is not cut off");
}

static void test_sharers(void)
{
	static struct ctl_frame_users users;
	struct gmem_frame all = { 7, 99 }, none = { 8, 0 };
	struct quire_error err;
	int fd = connect_vm();

	ok(ctl_get_sharers(fd, 33, &users, &err) == 0 && users.frame.segment == 7 &&
		   users.frame.index == 3,
	   "the frame that a page shares");
	ok(users.nr == 1667 && users.gfn[0] == 3 && users.gfn[1] == 33 && users.gfn[1666] == 49983,
	   "... and all pages that do");
	ok(ctl_get_sharers(fd, 34, &users, &err) == -ENOENT, "a page that shares none: %s",
	   err.text);
	ok(ctl_get_sharers(fd, RAM_END, &users, &err) == -EFAULT, "no RAM: %s", err.text);
	ok(ctl_get_sharers(fd, UINT64_MAX, &users, &err) == -EFAULT, "nor is the last gfn of all");
	ok(ctl_get_users(fd, &none, &users, &err) == 0 && users.nr == 0, "a frame of nobody here");
	ok(ctl_get_users(fd, &all, &users, &err) == 0 && users.nr == 16667 &&
		   users.gfn[CTL_MAX_USERS - 1] == 3 * (CTL_MAX_USERS - 1),
	   "more users than a packet holds are counted");
	close(fd);
}

static void test_frames(void)
{
	static struct gmem_shared_run run[CTL_MAX_RUNS];
	struct quire_error err;
	int fd = connect_vm();
	unsigned int nr = 0;

	ok(ctl_get_frames(fd, 31, run, &nr, &err) == 0 && nr == CTL_MAX_RUNS && run[0].gfn == 33 &&
		   run[0].frame.segment == 7 && run[0].frame.index == 3 &&
		   run[CTL_MAX_RUNS - 1].gfn == 33 + 3 * (CTL_MAX_RUNS - 1),
	   "the frames of shared pages, as many as a packet holds");
	ok(ctl_get_frames(fd, RAM_END - 7, run, &nr, &err) == 0 && nr == 2, "... up to the last");
	ok(ctl_get_frames(fd, UINT64_MAX, run, &nr, &err) == 0 && nr == 0, "none behind it");
	close(fd);
}

static bool map_is_right(int fd, gfn_t gfn, uint64_t nr)
{
	uint8_t *states = malloc(nr);
	struct quire_error err;
	bool right = states && ctl_get_map(fd, gfn, nr, states, &err) == 0;

	for (uint64_t i = 0; right && i < nr; i++)
		right = states[i] == fake_state(gfn + i);
	free(states);
	return right;
}

static void test_map(void)
{
	static const struct {
		gfn_t gfn;
		uint64_t nr;
		const char *what;
	} range[] = {
		{ 0, RAM_END, "all of RAM" },
		{ 0, 1, "the first page" },
		{ RAM_END - 1, 1, "the last page" },
		{ 511, 514, "a 2 MiB leaf and its edges" },
		{ 19999, 10002, "the hole and its edges" },
		{ 40000, 20000, "past the end" },
		{ 90000, 10, "nothing but what is beyond RAM" },
		{ 0, CTL_MAP_PAGES, "exactly one packet" },
		{ 7, CTL_MAP_PAGES + 1, "one page more than a packet" },
		{ 1ULL << 60, 3, "an absurd gfn" },
	};
	int fd = connect_vm();

	for (unsigned int i = 0; i < ARRAY_SIZE(range); i++)
		ok(map_is_right(fd, range[i].gfn, range[i].nr), "map: %s", range[i].what);
	close(fd);
}

static bool read_is_right(int fd, gpa_t gpa, size_t bytes)
{
	uint8_t *buf = malloc(bytes + 1);
	struct quire_error err;
	bool right = buf && ctl_read(fd, gpa, buf, bytes, &err) == 0;

	for (size_t i = 0; right && i < bytes; i++)
		right = buf[i] == fake_byte(gpa + i);
	free(buf);
	return right;
}

static void test_read(void)
{
	static const size_t bytes[] = { 0, 1, 4096, CTL_MAX_PAYLOAD, CTL_MAX_PAYLOAD + 1, 1000000 };
	const gpa_t hole = 20000 << QUIRE_PAGE_SHIFT;
	uint8_t buf[64];
	struct quire_error err;
	int fd = connect_vm();

	for (unsigned int i = 0; i < ARRAY_SIZE(bytes); i++)
		ok(read_is_right(fd, 0x12345, bytes[i]), "read: %zu bytes", bytes[i]);
	ok(read_is_right(fd, hole - 64, 64), "read: up to the hole");
	ok(ctl_read(fd, hole - 63, buf, 64, &err) == -EFAULT, "a byte further is no RAM: %s",
	   err.text);
	ok(read_is_right(fd, hole - 3 * CTL_MAX_PAYLOAD, 3 * CTL_MAX_PAYLOAD),
	   "... and the connection goes on");
	ok(ctl_read(fd, UINT64_MAX - 9, buf, 64, &err) == -EFAULT, "no address wraps around");
	close(fd);
}

static bool send_read(int fd, gpa_t gpa, size_t bytes)
{
	struct ctl_request req = request(CTL_READ, gpa, bytes, 0);

	return send(fd, &req, sizeof(req), MSG_NOSIGNAL) == sizeof(req);
}

/* The disk has read so many pages more. */
static void disk_reads(long pages)
{
	atomic_store(&disk_pages, pages);
	atomic_store(&disk_news, true);
}

/* Take the answer to send_read(): how many packets; -1: the server hung up, or a byte is wrong. */
static int take_read(int fd, gpa_t gpa, size_t bytes)
{
	static _Alignas(8) unsigned char packet[sizeof(struct ctl_reply) + CTL_MAX_PAYLOAD];
	const struct ctl_reply *reply = (void *)packet;
	size_t done = 0;
	int nr = 0;

	do {
		if (recv(fd, packet, sizeof(packet), 0) < (ssize_t)sizeof(*reply) || reply->status)
			return -1;
		for (size_t i = 0; i < reply->bytes; i++)
			if (packet[sizeof(*reply) + i] != fake_byte(gpa + done + i))
				return -1;
		done += reply->bytes;
		nr++;
	} while (!(reply->flags & CTL_LAST));
	return done == bytes ? nr : -1;
}

/* Pages are in a swap file, whose disk takes its time. */
static void test_read_swapped(void)
{
	int fd = connect_vm(), gone = connect_vm(), others[CTL_MAX_CLIENTS];
	unsigned long before;

	disk_reads(0);
	ok(send_read(fd, 0x12345, 10000), "a page is read that the disk does not give");
	still_serves("that");
	ok(send_read(gone, 0x12345, 10000), "another client reads it");
	still_serves("that");
	before = turns;
	usleep(200000);
	ok(turns - before < 5, "the main loop sleeps meanwhile (%lu turns)", turns - before);
	close(gone);
	still_serves("the end of a client that waits");
	disk_reads(1);
	for (unsigned int i = 0; i < 100 && disk_pages; i++)
		usleep(10000);
	is(disk_pages, 0, "a part of it comes");
	still_serves("that");
	disk_reads(1000);
	is(take_read(fd, 0x12345, 10000), 3, "all of it comes, a page at a time");
	disk_reads(0);
	ok(send_read(fd, 0, 1), "the next one is read");
	for (unsigned int i = 0; i < CTL_MAX_CLIENTS; i++)
		others[i] = connect_vm();
	still_serves("the loss of the place of a client that waits");
	for (unsigned int i = 0; i < CTL_MAX_CLIENTS; i++)
		close(others[i]);
	disk_reads(-1);
	close(fd);
	still_serves("all of that");
}

static void test_cpu(void)
{
	struct vcpu_state state;
	struct quire_error err;
	int fd = connect_vm();

	ok(ctl_get_cpu(fd, 1, &state, &err) == 0 && state.sregs.cr3 == 0x2000,
	   "the registers of the vCPU asked for");
	ok(ctl_get_cpu(fd, 2, &state, &err) == -ENOENT, "no such vCPU: %s", err.text);
	close(fd);
}

static void test_walk(void)
{
	struct walk_access access = { .write = true, .user = true };
	struct quire_error err;
	struct ctl_walked walked;
	const struct walk_result *res = &walked.res;
	int fd = connect_vm();

	ok(ctl_get_walk(fd, 1, 0x7fff1234, access, &walked, &err) == 0, "a walk is answered");
	ok(res->outcome == WALK_OK && res->gpa == 600 * 4096 + 0x234 && res->maddr == 0x5000,
	   "outcome and addresses");
	ok(res->error_code == (PF_W | PF_U), "the access asked for is the access walked");
	ok(res->format1 == &x86_4level_format && res->level1 == 2 && res->level2 == 1, "levels");
	ok(res->nr_refs == 2 && res->ref[0].input == 0x2000 && res->ref[1].entry == 0x87,
	   "references, of the vCPU asked for");
	ok(!strcmp(res->ref[0].name, "EPT PML4E") && !strcmp(res->ref[1].name, "PDPTE"),
	   "their names: %s, %s", res->ref[0].name, res->ref[1].name);
	is(walked.state, PG_PRIVATE | GMEM_STATE_LARGE, "state of the page reached");
	ok(ctl_get_walk(fd, 2, 0, access, &walked, &err) == -ENOENT, "no such vCPU");
	ok(ctl_get_walk(fd, 0, 0, access, &walked, &err) == 0, "... and the next is fine");
	ok(ctl_get_walk(fd, 0, BUSY_GVA, access, &walked, &err) == 0 &&
		   res->outcome == WALK_AGAIN && res->gpa == 600 * 4096 &&
		   walked.state == PG_NR_STATES,
	   "tables that keep changing are an answer, which reaches no page");
	ok(walked.shadow.found == SHADOW_NO_ENTRY && walked.shadow.nr_refs == 1 &&
		   walked.shadow.ref[0].entry == 0x1234,
	   "what a processor walks comes with it");
	close(fd);
	ok(status_of_request(request(CTL_WALK, 0, CTL_ACCESS_WRITE | CTL_ACCESS_FETCH, 0)) ==
		   -EINVAL,
	   "a write that fetches is no access");
	ok(status_of_request(request(CTL_WALK, 0, 8, 0)) == -EINVAL, "unknown access bits");
	ok(status_of_request(request(CTL_WALK, 0, 0, 1ULL << 32)) == -ENOENT,
	   "a vCPU number of more than 32 bits is not cut off");
}

int main(void)
{
	struct quire_error err;

	tap_init();
	begin("ctl_test");
	test_names();
	test_info();
	test_commands();
	test_compress();
	test_touched();
	test_story();
	test_merge();
	test_sharers();
	test_frames();
	test_map();
	test_walk();
	test_read();
	test_read_swapped();
	test_cpu();
	end();
	ctl_destroy(NULL);
	ok(named_connect(name, &err) == -ENOENT, "a VM that has gone is no longer there");
	return tap_done();
}
