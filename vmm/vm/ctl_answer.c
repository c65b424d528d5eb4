/* SPDX-License-Identifier: MIT */
/*
 * What the control socket answers (ctl_protocol.h): each function here fills the packet's payload,
 * and returns its size or -errno.  The maps and the bytes of memory are answered in parts.
 *
 * Nothing here waits but for a vCPU to leave the guest, and after a vain wait there is none for a
 * while: a guest's processor that is stuck must not hold up the main loop for each question.  For
 * pages in a swap file it is the client who waits (ctl_go_on).
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "mmu/base/clock.h"
#include "ctl_impl.h"
#include "vm.h"

#define VCPU_TIMEOUT_MS 100  /* for a vCPU to leave the guest; then the client hears -ETIMEDOUT */
#define VCPU_STUCK_MS	1000 /* after such a timeout, wait for no vCPU for so long */

static_assert(PG_NR_STATES < CTL_NOT_RAM, "a state fits in seven bits");
static_assert(GMEM_STATE_LARGE == CTL_LARGE, "states go over the wire as gmem_states has them");
static_assert(sizeof(struct ctl_info) <= CTL_MAX_PAYLOAD, "CTL_INFO is one packet");
static_assert(sizeof(struct ctl_frame_users) <= CTL_MAX_PAYLOAD, "CTL_FRAME_USERS is one packet");
static_assert(sizeof(struct ctl_walk) <= CTL_MAX_PAYLOAD, "CTL_WALK is one packet");
static_assert(sizeof(struct gmem_story) <= CTL_MAX_PAYLOAD, "CTL_STORY is one packet");
static_assert(sizeof(struct tail) <= CTL_MAX_PAYLOAD, "CTL_TAIL is one packet");
static_assert(sizeof(struct vcpu_state) <= CTL_MAX_PAYLOAD, "CTL_CPU is one packet");

/* ---- answers in parts ---- */

/* Clip the range of a request to the end of RAM.  If nothing is left, the answer is empty. */
static void map_start(struct client *c, struct vm *vm)
{
	const struct gfn_range *ram;
	unsigned int nr;
	gfn_t end;

	ram = gmem_ram(vm_gmem(vm), &nr);
	end = ram[nr - 1].end;
	c->next = min_u64(c->request.arg[0], end);
	c->end = c->request.arg[1] ? c->next + min_u64(c->request.arg[1], end - c->next) : end;
}

static void read_start(struct client *c)
{
	uint64_t gpa = c->request.arg[0], bytes = c->request.arg[1];

	c->next = gpa;
	c->end = gpa + min_u64(bytes, UINT64_MAX - gpa);
}

/* Is there a client that asks which pages are touched? */
static bool is_traced(const struct ctl *ctl)
{
	for (unsigned int i = 0; i < CTL_MAX_CLIENTS; i++)
		if (ctl->client[i].fd >= 0 && ctl->client[i].traces)
			return true;
	return false;
}

void ctl_begin(struct ctl *ctl, struct client *c, struct vm *vm)
{
	if (c->request.op == CTL_MAP)
		map_start(c, vm);
	if (c->request.op == CTL_READ)
		read_start(c);
	if (c->request.op == CTL_TOUCHED && !is_traced(ctl))
		c->traces = true;
}

uint64_t ctl_chunk(const struct client *c)
{
	uint64_t most = c->request.op == CTL_MAP ? CTL_MAP_PAGES : CTL_MAX_PAYLOAD;

	return min_u64(c->end - c->next, most);
}

/* ---- each answer ---- */

static int answer_info(struct ctl *ctl, struct vm *vm)
{
	struct ctl_info *info = (void *)ctl->packet.payload;
	const struct gfn_range *ram;
	unsigned int nr;

	memset(info, 0, sizeof(*info));
	vm_info(vm, &info->vm);
	ram = gmem_ram(vm_gmem(vm), &nr);
	info->nr_ram = nr < CTL_MAX_RAM ? nr : CTL_MAX_RAM;
	memcpy(info->ram, ram, info->nr_ram * sizeof(*ram));
	return (int)sizeof(*info);
}

static uint8_t wire_state(uint8_t state)
{
	return (state & ~GMEM_STATE_LARGE) < PG_NR_STATES ? state : CTL_NOT_RAM;
}

/* Make the next chunk of the map.  It fits even if every page is a run of its own. */
static int answer_map(struct ctl *ctl, const struct client *c, struct vm *vm)
{
	uint32_t *run = (void *)ctl->packet.payload;
	uint64_t nr = ctl_chunk(c);
	unsigned int runs = 0;

	gmem_states(vm_gmem(vm), c->next, nr, ctl->states);
	for (uint64_t i = 0; i < nr; i++) {
		uint8_t state = wire_state(ctl->states[i]);

		if (runs > 0 && (uint8_t)run[runs - 1] == state)
			run[runs - 1] += 1u << 8;
		else
			run[runs++] = 1u << 8 | state;
	}
	return (int)(runs * sizeof(*run));
}

static int answer_read(struct ctl *ctl, const struct client *c, struct vm *vm)
{
	return (int)guest_peek(vm_gmem(vm), c->next, ctl->packet.payload, ctl_chunk(c), 0);
}

/* A vCPU that is stuck costs the main loop VCPU_TIMEOUT_MS, which may happen only rarely. */
static bool may_wait(const struct ctl *ctl)
{
	return monotonic_ns() >= ctl->no_wait_until_ns;
}

static int waited(struct ctl *ctl, int code)
{
	if (code == -ETIMEDOUT)
		ctl->no_wait_until_ns = monotonic_ns() + VCPU_STUCK_MS * NS_PER_MS;
	return code;
}

static unsigned int paging_of(const struct pt_format *format)
{
	unsigned int paging = CTL_PAGING_OFF;

	while (paging < CTL_NR_PAGING && ctl_paging_format(paging) != format)
		paging++;
	return paging;
}

static void pack_walk(const struct walk_result *res, struct ctl_walk *out)
{
	memset(out, 0, sizeof(*out));
	out->outcome = (uint32_t)res->outcome;
	out->error_code = res->error_code;
	out->gpa = res->gpa;
	out->maddr = res->maddr;
	out->qualification = res->qualification;
	out->level1 = res->level1;
	out->level2 = res->level2;
	out->paging = (uint8_t)paging_of(res->format1);
	out->nr_refs = res->nr_refs;
	for (unsigned int i = 0; i < res->nr_refs; i++) {
		const struct walk_ref *ref = &res->ref[i];

		out->ref[i] = (struct ctl_walk_ref){
			.stage = ref->stage,
			.level = ref->level,
			.addr = ref->addr,
			.input = ref->input,
			.entry = ref->entry,
		};
	}
}

/* The state of the page that the walk led to; CTL_NOT_RAM if it led to none. */
static uint8_t reached_state(struct vm *vm, const struct walk_result *res)
{
	uint8_t state;

	if (res->outcome == WALK_AGAIN || res->gpa == GPA_INVALID)
		return CTL_NOT_RAM;
	gmem_states(vm_gmem(vm), gpa_to_gfn(res->gpa), 1, &state);
	return wire_state(state);
}

/* The registers of a vCPU that a client named. */
static int read_cpu(struct ctl *ctl, struct vm *vm, uint64_t cpu, struct vcpu_state *state)
{
	if (cpu >= vm_nr_vcpus(vm))
		return -ENOENT;
	if (!may_wait(ctl))
		return -ETIMEDOUT;
	return waited(ctl, vm_vcpu_state(vm, (unsigned int)cpu, VCPU_TIMEOUT_MS, state));
}

static int answer_cpu(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct vcpu_state *state = (void *)ctl->packet.payload;
	int code = read_cpu(ctl, vm, req->arg[0], state);

	return code ? code : (int)sizeof(*state);
}

static int answer_tail(struct ctl *ctl, struct vm *vm)
{
	vm_tail(vm, (void *)ctl->packet.payload);
	return (int)sizeof(struct tail);
}

static int answer_walk(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct walk_access access = {
		.write = req->arg[1] & CTL_ACCESS_WRITE,
		.fetch = req->arg[1] & CTL_ACCESS_FETCH,
		.user = req->arg[1] & CTL_ACCESS_USER,
	};
	struct ctl_walk *out = (void *)ctl->packet.payload;
	struct vcpu_state state;
	struct shadow_look shadow;
	struct walk_result res;
	struct walk_cpu cpu;
	int code;

	if (req->arg[1] > (CTL_ACCESS_WRITE | CTL_ACCESS_FETCH | CTL_ACCESS_USER) ||
	    (access.write && access.fetch))
		return -EINVAL;
	code = read_cpu(ctl, vm, req->arg[2], &state);
	if (code < 0)
		return code;
	vcpu_walk_cpu(vm, &state, &cpu);
	gmem_look(vm_gmem(vm), &cpu, req->arg[0], access, &res, &shadow);
	pack_walk(&res, out);
	out->shadow = shadow;
	out->state = reached_state(vm, &res);
	return (int)sizeof(*out);
}

/* A pause always takes effect.  If waiting is not allowed now, only the waiting is left out. */
static int answer_pause(struct ctl *ctl, struct vm *vm)
{
	return may_wait(ctl) ? waited(ctl, vm_pause(vm, VCPU_TIMEOUT_MS)) : vm_pause(vm, 0);
}

static int answer_resume(struct vm *vm)
{
	vm_resume(vm);
	return 0;
}

static int answer_stop(struct vm *vm)
{
	vm_stop(vm);
	return 0;
}

static int answer_merge_mode(const struct ctl_request *req, struct vm *vm)
{
	if (req->arg[0] >= KEEPER_NR_MODES)
		return -EINVAL;
	vm_set_merge(vm, (enum keeper_mode)req->arg[0]);
	return 0;
}

static int answer_merge_now(struct ctl *ctl, struct vm *vm)
{
	uint64_t ticket = vm_merge_pass(vm);

	memcpy(ctl->packet.payload, &ticket, sizeof(ticket));
	return (int)sizeof(ticket);
}

static bool is_part(const struct ctl_request *req, uint64_t most)
{
	return req->arg[1] > 0 && req->arg[1] <= most;
}

static int answer_forget_touches(const struct ctl_request *req, struct vm *vm)
{
	if (!is_part(req, CTL_MOST_FORGET))
		return -EINVAL;
	return gmem_forget_touches(vm_gmem(vm), GMEM_BY_HAND, req->arg[0], req->arg[1]);
}

/* A touch between the look and the forgetting, microseconds later, is not seen. */
static int touched_in_block(struct gmem *gm, gfn_t gfn, uint64_t nr, uint64_t *bits)
{
	struct gmem_touched touched;
	int code = gmem_touched(gm, GMEM_TRACER, gfn, nr, &touched);

	if (code)
		return code;
	memcpy(bits, touched.touched, (nr + 63) / 64 * sizeof(*bits));
	return gmem_forget_touches(gm, GMEM_TRACER, gfn, nr);
}

static int answer_touched(struct ctl *ctl, const struct client *c, struct vm *vm)
{
	const struct ctl_request *req = &c->request;
	uint64_t *bits = (void *)ctl->packet.payload, gfn = req->arg[0], nr = req->arg[1];
	int code = 0;

	if (!is_part(req, CTL_MOST_FORGET) || gfn % QUIRE_BLOCK_PAGES)
		return -EINVAL;
	if (!c->traces)
		return -EBUSY;
	for (uint64_t i = 0; i < nr && !code; i += QUIRE_BLOCK_PAGES)
		code = touched_in_block(vm_gmem(vm), gfn + i, min_u64(nr - i, QUIRE_BLOCK_PAGES),
					bits + i / 64);
	return code ? code : (int)((nr + 63) / 64 * sizeof(*bits));
}

static int answer_compress(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct gmem_packed *out = (void *)ctl->packet.payload;
	int code;

	if (!is_part(req, CTL_MOST_COMPRESS) || req->arg[2] > 1)
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	code = gmem_compress(vm_gmem(vm), req->arg[0], req->arg[1],
			     req->arg[2] ? GMEM_NR_WATCHERS : GMEM_BY_HAND, out);
	return code ? code : (int)sizeof(*out);
}

static int answer_story(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct ctl_story *out = (void *)ctl->packet.payload;
	int code = gmem_story(vm_gmem(vm), req->arg[0], &out->page);

	if (code)
		return code;
	vm_reclaim_look(vm, req->arg[0], &out->reclaim);
	return (int)sizeof(*out);
}

static int answer_swap_out(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	uint64_t ticket = 0;
	int code;

	if (!is_part(req, CTL_MOST_SWAP) || req->arg[2] > 1)
		return -EINVAL;
	code = vm_begin_swap(vm, req->arg[0], req->arg[1], req->arg[2], &ticket);
	memcpy(ctl->packet.payload, &ticket, sizeof(ticket));
	return code ? code : (int)sizeof(ticket);
}

static int answer_swapped(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct ctl_swapped *out = (void *)ctl->packet.payload;

	memset(out, 0, sizeof(*out));
	out->code = vm_end_swap(vm, req->arg[0], &out->pages);
	switch (out->code) {
	case -EINPROGRESS:
	case -ESTALE:
	case -EFAULT:
	case -ENODEV: return (int)out->code;
	default: return (int)sizeof(*out);
	}
}

static int answer_frame_users(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct ctl_frame_users *out = (void *)ctl->packet.payload;
	int code;

	out->frame = (struct gmem_frame){ .segment = req->arg[1], .index = req->arg[2] };
	if (req->arg[0] != CTL_BY_FRAME) {
		code = gmem_frame_of(vm_gmem(vm), req->arg[0], &out->frame);
		if (code)
			return code;
	}
	out->nr = gmem_frame_users(vm_gmem(vm), &out->frame, out->gfn, CTL_MAX_USERS);
	return (int)(offsetof(struct ctl_frame_users, gfn) +
		     min_u64(out->nr, CTL_MAX_USERS) * sizeof(out->gfn[0]));
}

static int answer_frames(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct gmem_shared_run *run = (void *)ctl->packet.payload;

	return (int)(gmem_shared_runs(vm_gmem(vm), min_u64(req->arg[0], GPA_INVALID >> 1), run,
				      CTL_MAX_RUNS) *
		     sizeof(*run));
}

int ctl_answer(struct ctl *ctl, const struct client *c, struct vm *vm)
{
	if (c->request.version != CTL_VERSION)
		return -EPROTONOSUPPORT;
	switch (c->request.op) {
	case CTL_INFO: return answer_info(ctl, vm);
	case CTL_MAP: return answer_map(ctl, c, vm);
	case CTL_WALK: return answer_walk(ctl, &c->request, vm);
	case CTL_PAUSE: return answer_pause(ctl, vm);
	case CTL_RESUME: return answer_resume(vm);
	case CTL_STOP: return answer_stop(vm);
	case CTL_MERGE_MODE: return answer_merge_mode(&c->request, vm);
	case CTL_MERGE_NOW: return answer_merge_now(ctl, vm);
	case CTL_FORGET_TOUCHES: return answer_forget_touches(&c->request, vm);
	case CTL_TOUCHED: return answer_touched(ctl, c, vm);
	case CTL_COMPRESS: return answer_compress(ctl, &c->request, vm);
	case CTL_STORY: return answer_story(ctl, &c->request, vm);
	case CTL_SWAP_OUT: return answer_swap_out(ctl, &c->request, vm);
	case CTL_SWAPPED: return answer_swapped(ctl, &c->request, vm);
	case CTL_FRAME_USERS: return answer_frame_users(ctl, &c->request, vm);
	case CTL_FRAMES: return answer_frames(ctl, &c->request, vm);
	case CTL_CPU: return answer_cpu(ctl, &c->request, vm);
	case CTL_READ: return answer_read(ctl, c, vm);
	case CTL_TAIL: return answer_tail(ctl, vm);
	default: return -EOPNOTSUPP;
	}
}
