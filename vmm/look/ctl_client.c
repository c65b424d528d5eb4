/* SPDX-License-Identifier: MIT */
/* The client's end of the control socket: see ctl_client.h, and ctl_protocol.h for the protocol. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/base/merge_protocol.h"
#include "ctl_client.h"
#include "process.h"

#define MAX_PAGES (1ULL << 40) /* more than any VM has */
#define PAUSED_S  2
#define OWNER_S	  1 /* patience with a VM that is not asked anything */

struct packet {
	struct ctl_reply reply;
	unsigned char payload[CTL_MAX_PAYLOAD];
};

/* ---- connecting ---- */

static int connect_once(const char *name, unsigned int patience_s)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = patience_s };
	size_t prefix = strlen(CTL_PREFIX), len = strlen(name);
	int fd, code;

	if (len > CTL_NAME_MAX)
		return -ECONNREFUSED;
	memcpy(addr.sun_path + 1, CTL_PREFIX, prefix);
	memcpy(addr.sun_path + 1 + prefix, name, len);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + prefix + len)) < 0) {
		code = -errno;
		close(fd);
		return code;
	}
	return fd;
}

int ctl_peer(int fd, struct ucred *cred)
{
	socklen_t len = sizeof(*cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, cred, &len) < 0 ? -errno : 0;
}

/*
 * A VM in its sandbox knows its own uid only, and takes root for a stranger.  So root connects with
 * the uid of the process that listens.
 */
int ctl_open(const char *name, unsigned int patience_s)
{
	struct ucred cred = { .uid = (uid_t)-1 };
	int fd = connect_once(name, patience_s);

	if (fd < 0)
		return fd;
	if (!ctl_peer(fd, &cred) && cred.uid == geteuid())
		return fd;
	close(fd);
	if (!ctl_is_ours(&cred))
		return -EPERM;
	if (seteuid(cred.uid))
		return -errno;
	fd = connect_once(name, patience_s);
	return seteuid(0) ? -errno : fd;
}

/* A number of the kernel's ABI, younger than some C libraries. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int ctl_peer_process(int fd)
{
	struct ucred cred;
	int process, code = ctl_peer(fd, &cred);
	socklen_t len = sizeof(process);

	if (code)
		return code;
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &process, &len))
		return process;
	if (errno != ENOPROTOOPT)
		return -ESRCH;
	process = (int)syscall(SYS_pidfd_open, cred.pid, 0);
	if (process < 0)
		return -errno;
	if (process_uid(cred.pid) == cred.uid)
		return process;
	close(process);
	return -ESRCH;
}

int ctl_owner(const char *name, struct ucred *cred)
{
	int fd = connect_once(name, OWNER_S), code;

	if (fd < 0)
		return fd;
	code = ctl_peer(fd, cred);
	close(fd);
	return code;
}

bool ctl_is_ours(const struct ucred *cred)
{
	return geteuid() == 0 || cred->uid == geteuid();
}

/* ---- one question, and the packets of its answer ---- */

static int no_answer(int code, struct quire_error *err)
{
	if (code == -EAGAIN)
		return quire_fail(err, -ETIMEDOUT, "the VM does not answer (waited %d s)",
				  CTL_PATIENCE_S);
	if (code == -ECONNRESET || code == -EPIPE)
		return quire_fail(err, -ECONNRESET,
				  "the VM hung up: it has just ended, or belongs to "
				  "another user");
	return quire_fail(err, code, "asking the VM: %s", strerror(-code));
}

static int ask(int fd, unsigned int op, const uint64_t arg[4], struct quire_error *err)
{
	struct ctl_request req = {
		.magic = CTL_MAGIC,
		.version = CTL_VERSION,
		.op = (uint16_t)op,
		.tag = op,
		.arg = { arg[0], arg[1], arg[2], arg[3] },
	};

	return send(fd, &req, sizeof(req), MSG_NOSIGNAL) < 0 ? no_answer(-errno, err) : 0;
}

static int refusal(unsigned int op, int status, struct quire_error *err)
{
	switch (status) {
	case -EPROTONOSUPPORT:
	case -EOPNOTSUPP:
		return quire_fail(err, status,
				  "the VM was started by another version of quire; "
				  "use that version");
	case -EFAULT: return quire_fail(err, status, "the VM has no RAM there");
	case -EBUSY:
		return quire_fail(err, status,
				  op == CTL_TOUCHED ? "another quire trace records this VM" :
						      "the VM is busy with such a request");
	case -ENOENT:
		return quire_fail(err, status,
				  op == CTL_FRAME_USERS ? "the page is not shared" :
							  "the VM has no such vCPU");
	case -ETIMEDOUT:
		if (op == CTL_PAUSE)
			return quire_fail(
				err, status,
				"a vCPU has not left the guest yet: it waits "
				"for memory, or for the reader of the guest's output; the "
				"VM is paused when that comes");
		return quire_fail(err, status,
				  "the vCPU does not stop for a look at its "
				  "registers: it is stuck in one instruction; try again");
	case -EIO: return quire_fail(err, status, "the VM cannot read a page of its swap file");
	case -EBADMSG:
		return quire_fail(err, status,
				  "a page in the VM's swap file is not what was written");
	default:
		return quire_fail(err, status, "the VM refused request %u: %s", op,
				  strerror(-status));
	}
}

static bool is_reply(const struct packet *p, ssize_t n, unsigned int op)
{
	return n >= (ssize_t)sizeof(p->reply) && p->reply.magic == CTL_MAGIC && p->reply.op == op &&
	       p->reply.tag == op && p->reply.status <= 0 &&
	       p->reply.bytes == (size_t)n - sizeof(p->reply);
}

/* Receive a packet of the answer to op. */
static int receive(int fd, unsigned int op, struct packet *p, struct quire_error *err)
{
	ssize_t n;

	do
		n = recv(fd, p, sizeof(*p), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return no_answer(-errno, err);
	if (n == 0)
		return no_answer(-ECONNRESET, err);
	if (!is_reply(p, n, op))
		return quire_fail(err, -EPROTO, "the VM's answer makes no sense");
	if (p->reply.status < 0)
		return refusal(op, p->reply.status, err);
	if (p->reply.version != CTL_VERSION)
		return refusal(op, -EPROTONOSUPPORT, err);
	return 0;
}

/* An answer that is one packet of exactly `bytes`. */
static int take_one(int fd, unsigned int op, void *answer, size_t bytes, struct quire_error *err)
{
	struct packet p;
	int code = receive(fd, op, &p, err);

	if (code < 0)
		return code;
	if (p.reply.bytes != bytes)
		return refusal(op, -EPROTONOSUPPORT, err);
	if (bytes)
		memcpy(answer, p.payload, bytes);
	return 0;
}

static int ask_one(int fd, unsigned int op, const uint64_t arg[4], void *answer, size_t bytes,
		   struct quire_error *err)
{
	int code = ask(fd, op, arg, err);

	return code < 0 ? code : take_one(fd, op, answer, bytes, err);
}

static const uint64_t no_arg[4];

int ctl_command(int fd, unsigned int op, struct quire_error *err)
{
	return ask_one(fd, op, no_arg, NULL, 0, err);
}

/* The VM's main loop waits for its vCPUs a moment only: on a busy host they may need longer. */
static bool comes_to_pause(int fd)
{
	uint64_t deadline_ns = monotonic_ns() + PAUSED_S * NS_PER_S;
	struct ctl_info info = { .vm.state = VM_PAUSING };

	while (!ctl_get_info(fd, &info, NULL) && info.vm.state == VM_PAUSING) {
		if (monotonic_ns() > deadline_ns)
			return false;
		usleep(10000);
	}
	return info.vm.state == VM_PAUSED;
}

int ctl_pause(int fd, struct quire_error *err)
{
	int code = ctl_command(fd, CTL_PAUSE, err);

	return code == -ETIMEDOUT && comes_to_pause(fd) ? 0 : code;
}

int ctl_ask_info(int fd, struct quire_error *err)
{
	return ask(fd, CTL_INFO, no_arg, err);
}

/* The sum of counts of pages, up to the first count that is impossible. */
static uint64_t sum_pages(const uint64_t *count, unsigned int nr)
{
	uint64_t pages = 0;

	for (unsigned int i = 0; i < nr && count[i] <= MAX_PAGES; i++)
		pages += count[i];
	return pages;
}

static bool merge_is_good(struct vm_info *info)
{
	info->domain[VM_DOMAIN_MAX] = '\0';
	return (!info->domain[0] || ctl_name_is_good(info->domain)) &&
	       info->merge.mode < KEEPER_NR_MODES &&
	       sum_pages(info->merge.reason_pages, NOTE_NR_REASONS) ==
		       info->mem.s2.pages[PG_PRIVATE];
}

static bool balloon_is_good(const struct balloon_record *b)
{
	return b->mode < BALLOON_NR_MODES && b->nr_stats <= BALLOON_MAX_STATS &&
	       b->target <= MAX_PAGES;
}

/* Can it be what the VM says of itself?  Its name and its domain go to terminals. */
static bool info_is_good(struct vm_info *info)
{
	uint64_t pages = sum_pages(info->mem.s2.pages, PG_NR_STATES);

	info->name[VM_NAME_MAX] = '\0';
	return ctl_name_is_good(info->name) && info->state < VM_NR_STATES && info->nr_vcpus > 0 &&
	       info->nr_vcpus <= VM_MAX_VCPUS && pages == info->mem.s2.ram_pages &&
	       pages <= MAX_PAGES && merge_is_good(info) && balloon_is_good(&info->balloon) &&
	       info->reclaim_policy <= RECLAIM_NR_POLICIES && info->tendency < TENDENCY_NR_RULES;
}

int ctl_take_info(int fd, struct ctl_info *info, struct quire_error *err)
{
	int code = take_one(fd, CTL_INFO, info, sizeof(*info), err);

	if (code < 0)
		return code;
	if (!info_is_good(&info->vm))
		return quire_fail(err, -EPROTO, "what the VM says of itself makes no sense");
	if (info->nr_ram == 0 || info->nr_ram > CTL_MAX_RAM)
		return quire_fail(err, -EPROTO, "the VM says it has %" PRIu64 " ranges of RAM",
				  info->nr_ram);
	for (unsigned int i = 0; i < info->nr_ram; i++)
		if (info->ram[i].start >= info->ram[i].end || info->ram[i].end > MAX_PAGES ||
		    (i > 0 && info->ram[i].start < info->ram[i - 1].end))
			return quire_fail(err, -EPROTO, "the VM's RAM ranges make no sense");
	return 0;
}

int ctl_get_info(int fd, struct ctl_info *info, struct quire_error *err)
{
	int code = ctl_ask_info(fd, err);

	return code < 0 ? code : ctl_take_info(fd, info, err);
}

int ctl_set_merge(int fd, enum keeper_mode mode, struct quire_error *err)
{
	const uint64_t arg[4] = { mode };

	return ask_one(fd, CTL_MERGE_MODE, arg, NULL, 0, err);
}

int ctl_merge_now(int fd, uint64_t *ticket, struct quire_error *err)
{
	return ask_one(fd, CTL_MERGE_NOW, no_arg, ticket, sizeof(*ticket), err);
}

int ctl_forget_touches(int fd, gfn_t gfn, uint64_t nr, struct quire_error *err)
{
	const uint64_t arg[4] = { gfn, nr };

	return ask_one(fd, CTL_FORGET_TOUCHES, arg, NULL, 0, err);
}

int ctl_touched(int fd, gfn_t gfn, uint64_t nr, uint64_t *bits, struct quire_error *err)
{
	const uint64_t arg[4] = { gfn, nr };

	return ask_one(fd, CTL_TOUCHED, arg, bits, (nr + 63) / 64 * sizeof(*bits), err);
}

int ctl_compress(int fd, gfn_t gfn, uint64_t nr, bool all, struct gmem_packed *out,
		 struct quire_error *err)
{
	const uint64_t arg[4] = { gfn, nr, all };
	int code = ask_one(fd, CTL_COMPRESS, arg, out, sizeof(*out), err);

	if (!code && (out->compressed > nr || out->refused > nr || out->kept > nr ||
		      out->touched > nr || out->pool_pages > MAX_PAGES))
		code = quire_fail(err, -EPROTO, "what the VM says it compressed makes no sense");
	return code;
}

int ctl_get_story(int fd, gfn_t gfn, struct ctl_story *story, struct quire_error *err)
{
	const uint64_t arg[4] = { gfn };
	int code = ask_one(fd, CTL_STORY, arg, story, sizeof(*story), err);
	const struct gmem_story *page = &story->page;

	if (!code && (page->gfn != gfn || page->state >= PG_NR_STATES ||
		      note_reason(page->note) >= NOTE_NR_REASONS))
		code = quire_fail(err, -EPROTO, "what the VM says of the page makes no sense");
	return code;
}

#define SWAP_FIRST_US 100   /* the first wait for the disk ... */
#define SWAP_MOST_US  10000 /* ... and the longest */

/* Ask until it is neither busy nor at work. */
static int ask_until_done(int fd, unsigned int op, const uint64_t arg[4], void *out, size_t bytes,
			  struct quire_error *err)
{
	unsigned int us = SWAP_FIRST_US;
	int code;

	while ((code = ask_one(fd, op, arg, out, bytes, err)) == -EBUSY || code == -EINPROGRESS) {
		usleep(us);
		us = 2 * us < SWAP_MOST_US ? 2 * us : SWAP_MOST_US;
	}
	return code;
}

int ctl_swap_out(int fd, gfn_t gfn, uint64_t nr, bool all, struct ctl_swapped *out,
		 struct quire_error *err)
{
	const uint64_t arg[4] = { gfn, nr, all };
	uint64_t ticket[4] = { 0 };
	int code = ask_until_done(fd, CTL_SWAP_OUT, arg, ticket, sizeof(*ticket), err);

	if (!code)
		code = ask_until_done(fd, CTL_SWAPPED, ticket, out, sizeof(*out), err);
	if (code == -ENODEV)
		quire_fail(err, code, "it has no swap file: start it with --swap-dir");
	if (!code && (out->pages.swapped > nr || out->pages.clean > nr || out->pages.kept > nr ||
		      out->pages.touched > nr || out->code > 0 || out->code < -4095))
		code = quire_fail(err, -EPROTO, "what the VM says it swapped out makes no sense");
	return code;
}

static bool users_are_good(const struct ctl_frame_users *users, size_t bytes)
{
	uint64_t nr = min_u64(users->nr, CTL_MAX_USERS);

	if (users->nr > MAX_PAGES ||
	    bytes != offsetof(struct ctl_frame_users, gfn) + nr * sizeof(users->gfn[0]))
		return false;
	for (uint64_t i = 0; i < nr; i++)
		if (users->gfn[i] >= MAX_PAGES || (i && users->gfn[i] <= users->gfn[i - 1]))
			return false;
	return true;
}

static int get_users(int fd, const uint64_t arg[4], struct ctl_frame_users *users,
		     struct quire_error *err)
{
	struct packet p;
	int code = ask(fd, CTL_FRAME_USERS, arg, err);

	if (!code)
		code = receive(fd, CTL_FRAME_USERS, &p, err);
	if (code < 0)
		return code;
	if (p.reply.bytes > sizeof(*users))
		return refusal(CTL_FRAME_USERS, -EPROTONOSUPPORT, err);
	memset(users, 0, offsetof(struct ctl_frame_users, gfn));
	memcpy(users, p.payload, p.reply.bytes);
	if (!users_are_good(users, p.reply.bytes))
		return quire_fail(err, -EPROTO, "what the VM says of a shared page makes no sense");
	return 0;
}

int ctl_get_sharers(int fd, gfn_t gfn, struct ctl_frame_users *users, struct quire_error *err)
{
	const uint64_t arg[4] = { gfn };

	if (gfn == CTL_BY_FRAME)
		return refusal(CTL_FRAME_USERS, -EFAULT, err);
	return get_users(fd, arg, users, err);
}

int ctl_get_users(int fd, const struct gmem_frame *frame, struct ctl_frame_users *users,
		  struct quire_error *err)
{
	const uint64_t arg[4] = { CTL_BY_FRAME, frame->segment, frame->index };
	int code = get_users(fd, arg, users, err);

	if (!code && (users->frame.segment != frame->segment || users->frame.index != frame->index))
		return quire_fail(err, -EPROTO, "the VM speaks of another page than asked for");
	return code;
}

static bool runs_are_good(const struct gmem_shared_run *run, unsigned int nr, gfn_t gfn)
{
	for (unsigned int i = 0; i < nr; gfn = run[i].gfn + run[i].nr, i++)
		if (run[i].gfn < gfn || run[i].gfn >= MAX_PAGES || !run[i].nr ||
		    run[i].nr > MAX_PAGES || run[i].frame.index >= MERGE_SEGMENT_FRAMES ||
		    run[i].nr > MERGE_SEGMENT_FRAMES - run[i].frame.index)
			return false;
	return true;
}

int ctl_get_frames(int fd, gfn_t gfn, struct gmem_shared_run run[CTL_MAX_RUNS], unsigned int *nr,
		   struct quire_error *err)
{
	const uint64_t arg[4] = { gfn };
	struct packet p;
	int code = ask(fd, CTL_FRAMES, arg, err);

	if (!code)
		code = receive(fd, CTL_FRAMES, &p, err);
	if (code < 0)
		return code;
	if (p.reply.bytes % sizeof(*run))
		return refusal(CTL_FRAMES, -EPROTONOSUPPORT, err);
	*nr = (unsigned int)(p.reply.bytes / sizeof(*run));
	memcpy(run, p.payload, p.reply.bytes);
	if (!runs_are_good(run, *nr, gfn))
		return quire_fail(err, -EPROTO, "what the VM says of its frames makes no sense");
	return 0;
}

static uint8_t local_state(uint8_t wire)
{
	return (wire & ~CTL_LARGE) < PG_NR_STATES ? wire : PG_NR_STATES;
}

/* Unpack the runs of a packet behind the *done pages that are there already. */
static int unpack_runs(const struct packet *p, uint8_t *states, uint64_t nr, uint64_t *done)
{
	uint32_t run;

	for (size_t at = 0; at < p->reply.bytes / sizeof(run); at++) {
		memcpy(&run, p->payload + at * sizeof(run), sizeof(run));
		if (run >> 8 > nr - *done)
			return -EPROTO;
		memset(states + *done, local_state((uint8_t)run), run >> 8);
		*done += run >> 8;
	}
	return 0;
}

int ctl_get_map(int fd, gfn_t gfn, uint64_t nr, uint8_t *states, struct quire_error *err)
{
	const uint64_t arg[4] = { gfn, nr };
	struct packet p;
	uint64_t done = 0, before;
	int code;

	if (nr == 0)
		return 0;
	code = ask(fd, CTL_MAP, arg, err);
	do {
		if (code == 0)
			code = receive(fd, CTL_MAP, &p, err);
		if (code < 0)
			return code;
		before = done;
		if (unpack_runs(&p, states, nr, &done) < 0)
			return quire_fail(err, -EPROTO, "the VM sent more pages than asked for");
		if (done == before && !(p.reply.flags & CTL_LAST))
			return quire_fail(err, -EPROTO, "the VM's answer does not end");
	} while (!(p.reply.flags & CTL_LAST));
	memset(states + done, PG_NR_STATES, nr - done);
	return 0;
}

int ctl_get_cpu(int fd, unsigned int cpu, struct vcpu_state *state, struct quire_error *err)
{
	const uint64_t arg[4] = { cpu };

	return ask_one(fd, CTL_CPU, arg, state, sizeof(*state), err);
}

int ctl_get_tail(int fd, struct tail *tail, struct quire_error *err)
{
	int code = ask_one(fd, CTL_TAIL, no_arg, tail, sizeof(*tail), err);

	if (!code && !tail_is_good(tail))
		return quire_fail(err, -EPROTO, "the VM's answer makes no sense");
	return code;
}

int ctl_read(int fd, gpa_t gpa, void *buf, size_t bytes, struct quire_error *err)
{
	const uint64_t arg[4] = { gpa, bytes };
	struct packet p = { .reply = { .flags = 0 } };
	uint8_t *to = buf;
	size_t left = bytes;
	int code = ask(fd, CTL_READ, arg, err);

	while (code == 0 && !(p.reply.flags & CTL_LAST)) {
		code = receive(fd, CTL_READ, &p, err);
		if (code == -ETIMEDOUT)
			quire_fail(err, code,
				   "the VM does not answer, or the disk of its swap file (waited "
				   "%d s)",
				   CTL_PATIENCE_S);
		if (code < 0)
			return code;
		if (p.reply.bytes > left || (!p.reply.bytes && left))
			return quire_fail(err, -EPROTO, "the VM's answer makes no sense");
		memcpy(to, p.payload, p.reply.bytes);
		to += p.reply.bytes;
		left -= p.reply.bytes;
	}
	if (code == 0 && left)
		return quire_fail(err, -EPROTO, "the VM sent fewer bytes than asked for");
	return code;
}

static const char *ref_name(const struct pt_format *format, unsigned int level)
{
	for (unsigned int i = 0; format && i < format->nr_levels; i++)
		if (format->level[i].level == level)
			return format->level[i].name;
	return "?";
}

static void unpack_walk(const struct ctl_walk *in, struct walk_result *res)
{
	*res = (struct walk_result){
		.outcome = (enum walk_outcome)in->outcome,
		.error_code = in->error_code,
		.gpa = in->gpa,
		.maddr = in->maddr,
		.qualification = in->qualification,
		.level1 = in->level1,
		.level2 = in->level2,
		.format1 = ctl_paging_format(in->paging),
		.nr_refs = in->nr_refs,
	};
	for (unsigned int i = 0; i < in->nr_refs; i++) {
		const struct ctl_walk_ref *ref = &in->ref[i];

		res->ref[i] = (struct walk_ref){
			.stage = ref->stage,
			.level = ref->level,
			.addr = ref->addr,
			.input = ref->input,
			.entry = ref->entry,
			.name = ref_name(ref->stage == 1 ? res->format1 : &ept4_format, ref->level),
		};
	}
}

static bool look_is_good(const struct shadow_look *look)
{
	if (look->found > SHADOW_MAPS || look->nr_refs > ARRAY_SIZE(look->ref) ||
	    (look->found == SHADOW_MAPS && !look->nr_refs) || look->stage2_level > 2)
		return false;
	for (unsigned int i = 0; i < look->nr_refs; i++)
		if (look->ref[i].level != 4 - i || look->ref[i].kind > SP_MONITOR)
			return false;
	return true;
}

int ctl_get_walk(int fd, unsigned int cpu, gva_t gva, struct walk_access access,
		 struct ctl_walked *out, struct quire_error *err)
{
	uint64_t arg[4] = { gva, 0, cpu, 0 };
	struct ctl_walk in;
	int code;

	arg[1] = (access.write ? CTL_ACCESS_WRITE : 0) | (access.fetch ? CTL_ACCESS_FETCH : 0) |
		 (access.user ? CTL_ACCESS_USER : 0);
	code = ask_one(fd, CTL_WALK, arg, &in, sizeof(in), err);
	if (code < 0)
		return code;
	if (in.nr_refs > WALK_MAX_REFS || in.outcome > WALK_AGAIN || !look_is_good(&in.shadow))
		return quire_fail(err, -EPROTO, "the VM's answer makes no sense");
	unpack_walk(&in, &out->res);
	out->state = local_state(in.state);
	out->shadow = in.shadow;
	return 0;
}
