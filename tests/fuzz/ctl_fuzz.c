/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for both ends of the control socket.  The input is cut into packets:
 *
 *   to the client, as answers to what it asks: whatever comes, a call returns, and what it
 *   accepts keeps the promises of ctl_client.h;
 *   to the server, as requests: it answers or hangs up.
 *
 * Packets may carry descriptors of any kind (strange_fds.h).  Neither end takes one, so none may be
 * left.
 *
 * So that inputs get past the header checks, a packet's first byte says whether the header is
 * made right by the harness or comes from the input too.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "strange_fds.h"
#include "vmm/look/ctl_client.h"
#include "vmm/cli/walk_shadow.h"
#include "vmm/vm/ctl.h"
#include "vmm/vm/vm.h"
#include "must.h"
#include "tests/vm/made_up.h"

#define RAM_END 3000 /* of the first range */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- a VM for the server ---- */

static const struct gfn_range ram[] = { { 0, RAM_END }, { 4000, 5000 } };

void vm_info(struct vm *vm, struct vm_info *out)
{
	memset(out, vm != NULL, sizeof(*out));
}

int vm_pause(struct vm *vm, unsigned int timeout_ms)
{
	return vm && timeout_ms ? 0 : -1;
}

void vm_resume(struct vm *vm)
{
	must(vm != NULL, "no VM to resume");
}

void vm_stop(struct vm *vm)
{
	must(vm != NULL, "no VM to stop");
}

void vm_set_merge(struct vm *vm, enum keeper_mode mode)
{
	must(vm && mode < KEEPER_NR_MODES, "a mode that does not exist");
}

uint64_t vm_merge_pass(struct vm *vm)
{
	return vm != NULL;
}

int gmem_frame_of(struct gmem *gm, gfn_t gfn, struct gmem_frame *frame)
{
	*frame = (struct gmem_frame){ 1, gfn };
	return gm && gfn < RAM_END ? 0 : -2;
}

uint64_t gmem_frame_users(struct gmem *gm, const struct gmem_frame *frame, gfn_t *out, uint64_t max)
{
	uint64_t nr = gm ? frame->index * 2 : 0;

	for (uint64_t i = 0; i < nr && i < max; i++)
		out[i] = i;
	return nr;
}

unsigned int gmem_shared_runs(struct gmem *gm, gfn_t gfn, struct gmem_shared_run *out,
			      unsigned int max)
{
	unsigned int nr = 0;

	for (; gm && gfn < RAM_END && nr < max; gfn += 2)
		out[nr++] = (struct gmem_shared_run){ gfn, 1, { 1, gfn } };
	return nr;
}

unsigned int vm_nr_vcpus(const struct vm *vm)
{
	return vm ? 1 : 0;
}

int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state)
{
	memset(state, 0, sizeof(*state));
	return vm && cpu == 0 && timeout_ms ? 0 : -1;
}

void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out)
{
	*out = (struct walk_cpu){ .cr3 = vm ? state->sregs.cr3 : 0 };
}

const struct gfn_range *gmem_ram(const struct gmem *gm, unsigned int *nr)
{
	*nr = gm ? ARRAY_SIZE(ram) : 0;
	return ram;
}

void gmem_states(struct gmem *gm, gfn_t gfn, uint64_t nr, uint8_t *states)
{
	memset(states, gm && gfn < RAM_END ? PG_PRIVATE : PG_NR_STATES, nr);
}

/* Less than the map says, so that an answer is short. */
ssize_t guest_peek(struct gmem *gm, gpa_t gpa, void *buf, size_t len, uint64_t until_ns)
{
	memset(buf, gm != NULL && !until_ns, len);
	return gpa + len <= 100000 ? (ssize_t)len : gpa > 200000 ? -EINPROGRESS : -EFAULT;
}

int gmem_lookup(struct gmem *gm, gfn_t gfn, struct stage2_page *page)
{
	memset(page, gm != NULL, sizeof(*page));
	return gfn < RAM_END ? 0 : -14;
}

enum walk_outcome gmem_look(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res,
			    struct shadow_look *look)
{
	memset(look, 0, sizeof(*look));
	*res = (struct walk_result){ .gpa = gva,
				     .maddr = gm ? cpu->cr3 : 0,
				     .outcome = access.user ? WALK_OK : WALK_PAGE_FAULT };
	return res->outcome;
}

/* ---- the input as packets ---- */

struct input {
	const uint8_t *data;
	size_t bytes;
};

static void take(struct input *in, void *out, size_t bytes)
{
	size_t n = bytes < in->bytes ? bytes : in->bytes;

	memset(out, 0, bytes);
	if (n)
		memcpy(out, in->data, n);
	in->data += n;
	in->bytes -= n;
}

static uint8_t take_byte(struct input *in)
{
	uint8_t byte;

	take(in, &byte, 1);
	return byte;
}

/* ---- the client ---- */

static void put_reply(int fd, struct input *in, unsigned int op, uint16_t want)
{
	static _Alignas(8) unsigned char packet[sizeof(struct ctl_reply) + 4096];
	struct ctl_reply *reply = (void *)packet;
	uint8_t how = take_byte(in);
	uint16_t bytes = want;

	if (how & 2)
		take(in, &bytes, sizeof(bytes));
	bytes %= 4096;
	take(in, packet, sizeof(*reply));
	if (!(how & 1))
		*reply = (struct ctl_reply){
			.magic = CTL_MAGIC,
			.version = CTL_VERSION,
			.op = (uint16_t)op,
			.tag = op,
			.flags = how & 4 ? 0 : CTL_LAST,
			.bytes = bytes,
		};
	take(in, packet + sizeof(*reply), bytes);
	if (how & 8)
		bytes++;
	strange_send(fd, packet, sizeof(*reply) + bytes, how >> 4 & 3, take_byte(in) * 0x010305U);
}

static void check_map(int fd, uint64_t nr)
{
	uint8_t *states = malloc(nr);
	struct quire_error err;

	memset(states, 0xff, nr);
	if (ctl_get_map(fd, 0, nr, states, &err) == 0)
		for (uint64_t i = 0; i < nr; i++)
			must((states[i] & ~GMEM_STATE_LARGE) < PG_NR_STATES ||
				     states[i] == PG_NR_STATES,
			     "a state that does not exist");
	free(states);
}

static void check_info(int fd)
{
	struct quire_error err;
	struct ctl_info info;

	if (ctl_get_info(fd, &info, &err) < 0)
		return;
	must(strlen(info.vm.name) <= CTL_NAME_MAX, "a name without end");
	for (const char *p = info.vm.name; *p; p++)
		must(*p > ' ' && *p < 127, "a name that upsets terminals");
	must(info.vm.state < VM_NR_STATES, "a state that does not exist");
	must(info.nr_ram > 0 && info.nr_ram <= CTL_MAX_RAM, "RAM ranges out of bounds");
}

static void check_walk(int fd)
{
	struct walk_access access = { .user = true };
	struct quire_error err;
	char *text = NULL;
	size_t bytes;
	FILE *f;
	struct ctl_walked walked;
	const struct walk_result *res = &walked.res;

	if (ctl_get_walk(fd, 0, 0x1000, access, &walked, &err) < 0)
		return;
	f = open_memstream(&text, &bytes);
	walk_shadow_text(f, &walked, access);
	fclose(f);
	free(text);
	must(res->nr_refs <= WALK_MAX_REFS, "too many references");
	for (unsigned int i = 0; i < res->nr_refs; i++)
		must(res->ref[i].name != NULL, "a reference without a name");
}

static void check_users(int fd)
{
	static struct ctl_frame_users users;
	struct quire_error err;

	if (ctl_get_sharers(fd, 5, &users, &err) < 0)
		return;
	for (uint64_t i = 1; i < users.nr && i < CTL_MAX_USERS; i++)
		must(users.gfn[i] > users.gfn[i - 1], "pages out of order");
}

static void check_frames(int fd)
{
	static struct gmem_shared_run run[CTL_MAX_RUNS];
	struct quire_error err;
	unsigned int nr;

	if (ctl_get_frames(fd, 5, run, &nr, &err) < 0)
		return;
	must(nr <= CTL_MAX_RUNS, "more runs than there is room for");
	for (unsigned int i = 0; i < nr; i++)
		must(run[i].gfn >= (i ? run[i - 1].gfn + run[i - 1].nr : 5), "runs out of order");
}

static void check_read(int fd)
{
	uint8_t buf[5000];
	struct quire_error err;

	must(ctl_read(fd, 0, buf, sizeof(buf), &err) <= 0, "neither done nor failed");
}

static void check_cpu(int fd)
{
	struct vcpu_state state;
	struct quire_error err;

	must(ctl_get_cpu(fd, 0, &state, &err) <= 0, "neither done nor failed");
}

static void check_tail(int fd)
{
	struct quire_error err;
	struct tail tail;
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	if (f && ctl_get_tail(fd, &tail, &err) >= 0)
		tail_print(f, &tail);
	if (f)
		fclose(f);
	free(text);
}

static void check_commands(int fd, unsigned int op)
{
	struct gmem_packed packed;
	struct ctl_story story;
	struct quire_error err;
	uint64_t ticket, bits;

	if (op == CTL_MERGE_NOW)
		must(ctl_merge_now(fd, &ticket, &err) <= 0, "neither done nor failed");
	else if (op == CTL_MERGE_MODE)
		must(ctl_set_merge(fd, KEEPER_ON, &err) <= 0, "neither done nor failed");
	else if (op == CTL_FORGET_TOUCHES)
		must(ctl_forget_touches(fd, 0, 9, &err) <= 0, "neither done nor failed");
	else if (op == CTL_TOUCHED)
		must(ctl_touched(fd, 0, 9, &bits, &err) <= 0, "neither done nor failed");
	else if (op == CTL_STORY && !ctl_get_story(fd, 7, &story, &err))
		must(story.page.state < PG_NR_STATES, "a state that does not exist");
	else if (op == CTL_COMPRESS && !ctl_compress(fd, 0, 9, false, &packed, &err))
		must(packed.compressed <= 9 && packed.kept <= 9, "more than was asked for");
	else
		must(ctl_command(fd, op, &err) <= 0, "neither done nor failed");
}

/* How long a good answer to op would be. */
static uint16_t good_bytes(struct input *in, unsigned int op)
{
	switch (op) {
	case CTL_INFO: return sizeof(struct ctl_info);
	case CTL_WALK: return sizeof(struct ctl_walk);
	case CTL_MAP: return 4 * (take_byte(in) % 64);
	case CTL_MERGE_NOW: return sizeof(uint64_t);
	case CTL_COMPRESS: return sizeof(struct gmem_packed);
	case CTL_SWAP_OUT: return sizeof(uint64_t);
	case CTL_SWAPPED: return sizeof(struct ctl_swapped);
	case CTL_CPU: return sizeof(struct vcpu_state);
	case CTL_READ: return 2500;
	case CTL_TAIL: return sizeof(struct tail);
	case CTL_FRAMES: return sizeof(struct gmem_shared_run) * (take_byte(in) % 64);
	case CTL_FRAME_USERS: return 24 + 8 * (take_byte(in) % 64);
	default: return 0;
	}
}

static void fuzz_client(struct input *in)
{
	unsigned int op = CTL_INFO + take_byte(in) % (CTL_NR_OPS - CTL_INFO);
	uint16_t want = good_bytes(in, op);
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		return;
	for (unsigned int i = 0; i < 8 && in->bytes; i++)
		put_reply(pair[1], in, op, want);
	shutdown(pair[1], SHUT_WR);
	if (op == CTL_MAP)
		check_map(pair[0], 1 + take_byte(in) * 20);
	else if (op == CTL_INFO)
		check_info(pair[0]);
	else if (op == CTL_WALK)
		check_walk(pair[0]);
	else if (op == CTL_FRAME_USERS)
		check_users(pair[0]);
	else if (op == CTL_FRAMES)
		check_frames(pair[0]);
	else if (op == CTL_READ)
		check_read(pair[0]);
	else if (op == CTL_TAIL)
		check_tail(pair[0]);
	else if (op == CTL_CPU)
		check_cpu(pair[0]);
	else
		check_commands(pair[0], op);
	close(pair[0]);
	close(pair[1]);
}

/* ---- the server ---- */

static struct ctl *server(void)
{
	static struct ctl *ctl;
	struct quire_error err;
	char name[32];

	snprintf(name, sizeof(name), "ctl_fuzz.%d", (int)getpid());
	if (!ctl)
		must(ctl_create(name, &ctl, &err) == 0, err.text);
	return ctl;
}

static void put_request(int fd, struct input *in)
{
	_Alignas(8) unsigned char packet[sizeof(struct ctl_request) + 256];
	struct ctl_request *req = (void *)packet;
	uint8_t how = take_byte(in);
	size_t bytes = sizeof(*req);

	take(in, packet, bytes);
	if (!(how & 1)) {
		req->magic = CTL_MAGIC;
		req->zero = 0;
	}
	if (!(how & 2)) {
		req->version = CTL_VERSION;
		req->op = CTL_INFO + req->op % (CTL_NR_OPS + 1);
	}
	if (how & 4)
		bytes = take_byte(in) + 1u;
	strange_send(fd, packet, bytes, how >> 4 & 3, take_byte(in) * 0x010305U);
}

static void fuzz_server(struct input *in)
{
	static _Alignas(8) unsigned char packet[sizeof(struct ctl_reply) + CTL_MAX_PAYLOAD];
	struct ctl *ctl = server();
	struct pollfd pfd = { .fd = ctl_fd(ctl), .events = POLLIN };
	struct ctl_reply *reply = (void *)packet;
	char name[32];
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "ctl_fuzz.%d", (int)getpid());
	fd = ctl_open(name, CTL_PATIENCE_S);
	must(fd >= 0, "no connection");
	for (unsigned int i = 0; i < 16 && in->bytes; i++)
		put_request(fd, in);
	if (take_byte(in) & 1)
		shutdown(fd, SHUT_WR);
	for (unsigned int turn = 0; turn < 1000 && poll(&pfd, 1, 0) == 1; turn++) {
		ctl_serve(ctl, (struct vm *)ctl);
		while ((n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT)) > 0) {
			must(n >= (ssize_t)sizeof(*reply) && reply->magic == CTL_MAGIC &&
				     reply->bytes == (size_t)n - sizeof(*reply),
			     "a malformed reply");
		}
	}
	must(poll(&pfd, 1, 0) == 0, "the server does not come to rest");
	close(fd);
	while (poll(&pfd, 1, 0) == 1)
		ctl_serve(ctl, (struct vm *)ctl);
}

/* libFuzzer's own thread opens a file now and then, for a moment. */
static void check_descriptors(unsigned int before)
{
	for (unsigned int i = 0; strange_count() > before; i++) {
		must(i < 1000, "a descriptor is left");
		usleep(1000);
	}
}

/* Here nobody else asks our server: to `quire ps` it is a VM, and each client has a descriptor. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	made_up_set_end(RAM_END);
	if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET))
		fprintf(stderr, "no network namespace: others may ask our server\n");
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = { data, bytes };
	unsigned int before;

	strange_fd(0);
	server();
	before = strange_count();
	if (take_byte(&in) & 1)
		fuzz_server(&in);
	else
		fuzz_client(&in);
	check_descriptors(before);
	return 0;
}
