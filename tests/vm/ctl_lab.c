/* SPDX-License-Identifier: MIT */
#include "mmu/base/clock.h"
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>
#include "ctl_lab.h"
#include "made_up.h"

char name[64];
struct ctl *ctl;
atomic_bool stop, stuck;
atomic_bool paused;
atomic_long disk_pages = -1;
atomic_bool disk_news;
static atomic_uint merge_mode;
atomic_ulong merge_passes;
atomic_ulong turns, asked_vcpu, slowest_ms, waits, stops;

/* ---- the made-up VM ---- */

const struct gfn_range ram[] = { { 0, 20000 }, { 30000, RAM_END } };

uint8_t fake_state(gfn_t gfn)
{
	if (gfn >= RAM_END || (gfn >= 20000 && gfn < 30000))
		return PG_NR_STATES;
	if (gfn >= 512 && gfn < 1024)
		return PG_PRIVATE | GMEM_STATE_LARGE;
	return gfn < 12000 ? gfn % 2 : PG_ABSENT;
}

uint8_t fake_byte(gpa_t gpa)
{
	return (uint8_t)(gpa * 7 + (gpa >> 12));
}

void vm_info(struct vm *vm, struct vm_info *out)
{
	(void)vm;
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", name);
	out->pid = (uint32_t)getpid();
	out->nr_vcpus = 2;
	out->state = paused ? stuck ? VM_PAUSING : VM_PAUSED : VM_RUNNING;
	out->mem.s2.ram_pages = 40000;
	out->mem.s2.pages[PG_ABSENT] = 33744;
	out->mem.s2.pages[PG_PRIVATE] = 6256;
	out->merge.reason_pages[NOTE_UNIQUE] = 6000;
	out->merge.reason_pages[NOTE_NEW] = 256;
	out->merge.mode = merge_mode;
	out->merge_passes = merge_passes;
	snprintf(out->domain, sizeof(out->domain), "here");
	out->mem.s2.large_leaves = 1;
	out->mem.faults = 77;
	out->exits[KVM_NR_EXITS - 1] = 5;
}

int vm_pause(struct vm *vm, unsigned int timeout_ms)
{
	(void)vm;
	paused = true;
	if (!stuck)
		return 0;
	waits += timeout_ms > 0;
	usleep(timeout_ms * 1000);
	return -ETIMEDOUT;
}

void vm_resume(struct vm *vm)
{
	(void)vm;
	paused = false;
}

void vm_stop(struct vm *vm)
{
	(void)vm;
	stops++;
}

void vm_set_merge(struct vm *vm, enum keeper_mode mode)
{
	(void)vm;
	merge_mode = mode;
}

uint64_t vm_merge_pass(struct vm *vm)
{
	(void)vm;
	return ++merge_passes;
}

/* Every third page shares the frame of its number's last digit; in segment 7. */
int gmem_frame_of(struct gmem *gm, gfn_t gfn, struct gmem_frame *frame)
{
	(void)gm;
	if (gfn >= RAM_END)
		return -EFAULT;
	*frame = (struct gmem_frame){ 7, gfn % 10 };
	return gfn % 3 ? -ENOENT : 0;
}

uint64_t gmem_frame_users(struct gmem *gm, const struct gmem_frame *frame, gfn_t *out, uint64_t max)
{
	uint64_t nr = 0;

	(void)gm;
	for (gfn_t gfn = 0; gfn < RAM_END && frame->segment == 7; gfn += 3) {
		if (gfn % 10 != frame->index && frame->index != 99)
			continue;
		if (nr < max)
			out[nr] = gfn;
		nr++;
	}
	return nr;
}

unsigned int gmem_shared_runs(struct gmem *gm, gfn_t gfn, struct gmem_shared_run *out,
			      unsigned int max)
{
	unsigned int nr = 0;

	(void)gm;
	for (gfn = (gfn + 2) / 3 * 3; gfn < RAM_END && nr < max; gfn += 3)
		out[nr++] = (struct gmem_shared_run){ gfn, 1, { 7, gfn % 10 } };
	return nr;
}

unsigned int vm_nr_vcpus(const struct vm *vm)
{
	(void)vm;
	return 2;
}

int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state)
{
	(void)vm;
	atomic_fetch_add(&asked_vcpu, 1);
	memset(state, 0, sizeof(*state));
	state->sregs.cr3 = 0x1000 * (cpu + 1);
	if (!stuck)
		return 0;
	usleep(timeout_ms * 1000);
	return -ETIMEDOUT;
}

void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out)
{
	(void)vm;
	*out = (struct walk_cpu){ .cr3 = state->sregs.cr3 };
}

const struct gfn_range *gmem_ram(const struct gmem *gm, unsigned int *nr)
{
	(void)gm;
	*nr = ARRAY_SIZE(ram);
	return ram;
}

void gmem_states(struct gmem *gm, gfn_t gfn, uint64_t nr, uint8_t *states)
{
	(void)gm;
	for (uint64_t i = 0; i < nr; i++)
		states[i] = fake_state(gfn + i);
}

/* Each byte is what fake_byte() says. */
ssize_t guest_peek(struct gmem *gm, gpa_t gpa, void *buf, size_t len, uint64_t until_ns)
{
	uint8_t *to = buf;

	(void)gm, (void)until_ns;
	for (size_t i = 0; i < len; i++)
		if (fake_state(gpa_to_gfn(gpa + i)) == PG_NR_STATES)
			return -EFAULT;
	if (disk_pages >= 0) {
		len = min_u64(len, QUIRE_PAGE_SIZE - gpa % QUIRE_PAGE_SIZE);
		if (!disk_pages)
			return -EINPROGRESS;
		disk_pages--;
	}
	for (size_t i = 0; i < len; i++)
		to[i] = fake_byte(gpa + i);
	return (ssize_t)len;
}

enum walk_outcome gmem_look(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res,
			    struct shadow_look *look)
{
	(void)gm;
	*look = (struct shadow_look){
		.found = SHADOW_NO_ENTRY,
		.nr_refs = 1,
		.ref = { { .level = 4, .kind = SP_GUEST, .entry = 0x1234 } },
	};
	*res = (struct walk_result){
		.outcome = gva == BUSY_GVA ? WALK_AGAIN : WALK_OK,
		.gpa = 600 * 4096 + gva % 4096, .maddr = 0x5000,
		.level1 = 2, .level2 = 1, .format1 = &x86_4level_format, .nr_refs = 2,
		.error_code = access.write * PF_W | access.fetch * PF_I | access.user * PF_U,
		.ref = {
			{ .stage = 2, .level = 4, .addr = 0x10, .input = cpu->cr3, .entry = 7 },
			{ .stage = 1, .level = 3, .addr = cpu->cr3, .input = gva, .entry = 0x87 },
		},
	};
	return res->outcome;
}

/* ---- the main loop ---- */

static unsigned long now_ms(void)
{
	return monotonic_ns() / NS_PER_MS;
}

static void *main_loop(void *arg)
{
	struct pollfd pfd = { .fd = ctl_fd(ctl), .events = POLLIN };
	unsigned long start, took;

	(void)arg;
	while (!stop) {
		if (atomic_exchange(&disk_news, false))
			ctl_go_on(ctl);
		if (poll(&pfd, 1, 20) <= 0)
			continue;
		start = now_ms();
		ctl_serve(ctl, (struct vm *)ctl);
		took = now_ms() - start;
		if (took > slowest_ms)
			slowest_ms = took;
		turns++;
	}
	return NULL;
}

/* ---- clients ---- */

int connect_vm(void)
{
	int fd = ctl_open(name, CTL_PATIENCE_S);

	if (fd < 0)
		tap_bail("cannot connect: %s", strerror(-fd));
	return fd;
}

struct ctl_request request(unsigned int op, uint64_t arg0, uint64_t arg1, uint64_t arg2)
{
	return (struct ctl_request){
		.magic = CTL_MAGIC,
		.version = CTL_VERSION,
		.op = (uint16_t)op,
		.tag = 99,
		.arg = { arg0, arg1, arg2 },
	};
}

int status_of(int fd, const void *record, size_t bytes)
{
	static _Alignas(8) unsigned char packet[sizeof(struct ctl_reply) + CTL_MAX_PAYLOAD];
	struct ctl_reply *reply = (void *)packet;
	ssize_t n;

	if (send(fd, record, bytes, MSG_NOSIGNAL) < 0)
		return 1;
	n = recv(fd, packet, sizeof(packet), 0);
	if (n <= 0)
		return 1;
	return reply->tag == 99 ? reply->status : -9999;
}

int status_of_request(struct ctl_request req)
{
	int fd = connect_vm(), status = status_of(fd, &req, sizeof(req));

	close(fd);
	return status;
}

void still_serves(const char *after)
{
	struct quire_error err = { "" };
	struct ctl_info info;
	unsigned long start = now_ms();
	int fd = connect_vm(), code = ctl_get_info(fd, &info, &err);

	close(fd);
	ok(code == 0 && now_ms() - start < 4000, "after %s a new client is answered (%s)", after,
	   err.text);
}

unsigned int state_of_vm(void)
{
	struct quire_error err;
	struct ctl_info info;
	int fd = connect_vm(), code = ctl_get_info(fd, &info, &err);

	close(fd);
	return code ? 99 : info.vm.state;
}

int command(unsigned int op)
{
	struct quire_error err = { "" };
	int fd = connect_vm(), code = ctl_command(fd, op, &err);

	close(fd);
	if (code)
		tap_note("%s", err.text);
	return code;
}

/* ---- the beginning and the end ---- */

static pthread_t server;

void begin(const char *test)
{
	struct quire_error err;

	/* To `quire ps` of others this is a VM, and each takes a client's place. */
	if (geteuid() == 0 && unshare(CLONE_NEWNET))
		tap_note("no network namespace: others may ask our server");
	made_up_set_end(RAM_END);
	snprintf(name, sizeof(name), "%s.%d", test, (int)getpid());
	if (ctl_create(name, &ctl, &err) < 0)
		tap_bail("%s", err.text);
	pthread_create(&server, NULL, main_loop, NULL);
}

void end(void)
{
	stop = true;
	pthread_join(server, NULL);
	ctl_destroy(ctl);
}
