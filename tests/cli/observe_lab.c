/* SPDX-License-Identifier: MIT */
#include "mmu/base/clock.h"
#include "mmu/base/wire.h"
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include "observe_lab.h"
#include "tests/vm/made_up.h"

/* ---- a made-up VM; one a process ---- */

struct lab_vm lab_vm;

static const struct gfn_range lab_ram[] = { { 0, LAB_PAGES } };

/* 100 pages in a balloon of 200, and all that a guest can tell. */
static void lab_balloon(struct balloon_record *b)
{
	*b = (struct balloon_record){
		.mode = BALLOON_MODE_AUTO,
		.driver = 1,
		.nr_stats = 16,
		.target = 200,
		.actual = 100,
	};
	for (unsigned int i = 0; i < 16; i++) {
		b->stat[i].tag = i;
		b->stat[i].value = i * MiB;
	}
}

/* A quarter of a processor, and LAB_FAULTS_PER_S. */
void vm_info(struct vm *vm, struct vm_info *out)
{
	(void)vm;
	memset(out, 0, sizeof(*out));
	memcpy(out->name, lab_vm.name, sizeof(out->name));
	out->pid = (uint32_t)getpid();
	out->state = lab_vm.state;
	out->exit_status = 7;
	out->nr_vcpus = 3;
	out->is_copy = lab_vm.is_copy;
	out->ram_bytes = LAB_PAGES * QUIRE_PAGE_SIZE;
	out->now_ns = monotonic_ns();
	out->run_ns = 8000000000;
	out->cpu_ns = 2000000000;
	out->vcpu_cpu_ns = 1500000000;
	out->mem.s2.ram_pages = LAB_PAGES;
	out->mem.s2.pages[PG_PRIVATE] = LAB_PRIVATE;
	out->mem.s2.pages[PG_COMPRESSED] = LAB_COMPRESSED;
	out->mem.s2.pages[PG_ABSENT] = LAB_PAGES - LAB_PRIVATE - LAB_COMPRESSED;
	out->mem.pool.pool_pages = LAB_POOL;
	out->mem.pool.object_pages = LAB_COMPRESSED - 1;
	out->mem.pool.filled_pages = 1;
	out->mem.swap.spare_pages = LAB_CACHED;
	out->mem.s2.large_leaves = 1;
	out->mem.s2.tables = 4;
	out->mem.orphan_pages = 3;
	out->mem.faults = out->now_ns / (1000000000 / LAB_FAULTS_PER_S);
	snprintf(out->domain, sizeof(out->domain), "lab");
	out->merge = lab_vm.merge;
	out->merge_passes = lab_vm.passes;
	out->reclaim.gone_pages = 40;
	out->reclaim.refault_pages = 9;
	out->reclaim.refault_distances[3] = 4;
	out->reclaim.refault_distances[9] = 5;
	lab_balloon(&out->balloon);
	out->paging = VM_PAGING_SHADOW;
	out->shadow.emulated[0] = 8;
	out->exits[2] = 5;
	out->exits[KVM_NR_EXITS - 1] = 6;
}

int vm_pause(struct vm *vm, unsigned int timeout_ms)
{
	(void)vm, (void)timeout_ms;
	lab_vm.state = VM_PAUSED;
	return 0;
}

void vm_resume(struct vm *vm)
{
	(void)vm;
	lab_vm.state = VM_RUNNING;
}

void vm_stop(struct vm *vm)
{
	(void)vm;
	lab_vm.stopped = true;
}

void vm_set_merge(struct vm *vm, enum keeper_mode mode)
{
	(void)vm;
	lab_vm.merge.mode = mode;
}

/* Each pass finds pages that are equal, the first the most. */
uint64_t vm_merge_pass(struct vm *vm)
{
	(void)vm;
	lab_vm.merge.merged_pages += lab_vm.passes < 2 ? 100 - 90 * lab_vm.passes : 0;
	lab_vm.merge.zeroed_pages += lab_vm.passes ? 0 : 7;
	lab_vm.merge.full_scans++;
	return ++lab_vm.passes;
}

/* Page 5 shares frame 3 of segment 11 with page 6 of the same VM, and so in each VM. */
int gmem_frame_of(struct gmem *gm, gfn_t gfn, struct gmem_frame *frame)
{
	(void)gm;
	*frame = (struct gmem_frame){ 11, 3 };
	return gfn >= LAB_PAGES ? -EFAULT : gfn == 5 || gfn == 6 ? 0 : -ENOENT;
}

uint64_t gmem_frame_users(struct gmem *gm, const struct gmem_frame *frame, gfn_t *out, uint64_t max)
{
	(void)gm;
	if (frame->segment != 11 || frame->index != 3 || max < 2)
		return 0;
	out[0] = 5;
	out[1] = 6;
	return 2;
}

unsigned int gmem_shared_runs(struct gmem *gm, gfn_t gfn, struct gmem_shared_run *out,
			      unsigned int max)
{
	static const struct gmem_shared_run page_5 = { 5, 1, { 11, 3 } };
	const struct gmem_shared_run *run = lab_vm.run ? lab_vm.run : &page_5;
	unsigned int nr = 0;

	(void)gm;
	for (const struct gmem_shared_run *end = run + (lab_vm.run ? lab_vm.nr_runs : 1);
	     run < end && nr < max; run++) {
		uint64_t skip = run->gfn < gfn ? min_u64(gfn - run->gfn, run->nr) : 0;

		if (skip < run->nr)
			out[nr++] = (struct gmem_shared_run){
				run->gfn + skip,
				run->nr - skip,
				{ run->frame.segment, run->frame.index + skip },
			};
	}
	return nr;
}

unsigned int vm_nr_vcpus(const struct vm *vm)
{
	(void)vm;
	return 3;
}

int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state)
{
	(void)vm, (void)cpu, (void)timeout_ms, (void)state;
	return -ETIMEDOUT;
}

void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out)
{
	(void)vm, (void)state, (void)out;
}

const struct gfn_range *gmem_ram(const struct gmem *gm, unsigned int *nr)
{
	(void)gm;
	*nr = ARRAY_SIZE(lab_ram);
	return lab_ram;
}

void gmem_states(struct gmem *gm, gfn_t gfn, uint64_t nr, uint8_t *states)
{
	(void)gm, (void)gfn;
	memset(states, PG_ABSENT, nr);
}

ssize_t guest_peek(struct gmem *gm, gpa_t gpa, void *buf, size_t len, uint64_t until_ns)
{
	(void)gm, (void)gpa, (void)until_ns;
	memset(buf, 0, len);
	return (ssize_t)len;
}

enum walk_outcome gmem_look(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res,
			    struct shadow_look *look)
{
	(void)gm, (void)cpu, (void)gva, (void)access, (void)look;
	return res->outcome = WALK_BAD_MODE;
}

/* ---- processes ---- */

/* Fork a child that does not outlive us; it says over *ready when it is set up. */
static pid_t lab_fork(int *ready)
{
	int pair[2];
	pid_t pid;

	if (pipe(pair))
		tap_bail("pipe: %s", strerror(errno));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		tap_bail("fork: %s", strerror(errno));
	close(pair[pid ? 1 : 0]);
	*ready = pair[pid ? 0 : 1];
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void lab_await(int ready, const char *what)
{
	char byte;

	if (read(ready, &byte, 1) != 1)
		tap_bail("%s does not start", what);
	close(ready);
}

pid_t lab_start_vm(const char *name, enum vm_state state)
{
	struct quire_error err;
	struct pollfd pfd = { .events = POLLIN };
	struct ctl *ctl;
	int ready;
	pid_t pid = lab_fork(&ready);

	if (pid > 0) {
		lab_await(ready, name);
		return pid;
	}
	snprintf(lab_vm.name, sizeof(lab_vm.name), "%s", name);
	lab_vm.state = state;
	made_up_set_end(LAB_PAGES);
	lab_vm.merge =
		(struct keeper_stats){ .mode = KEEPER_ON, .joined = 1, .metadata_bytes = 4096 };
	for (unsigned int i = 0; i < NOTE_NR_REASONS; i++)
		lab_vm.merge.reason_pages[i] = i ? i : LAB_PRIVATE;
	for (unsigned int i = 1; i < NOTE_NR_REASONS; i++)
		lab_vm.merge.reason_pages[0] -= i;
	if (ctl_create(name, &ctl, &err) || write(ready, "", 1) != 1)
		_exit(1);
	close(ready);
	pfd.fd = ctl_fd(ctl);
	while (!lab_vm.stopped)
		if (poll(&pfd, 1, -1) == 1)
			ctl_serve(ctl, (struct vm *)ctl);
	_exit(143);
}

pid_t lab_start_machine(const struct machine_config *config, const char *address)
{
	struct quire_error err;
	struct machine *m;
	int ready;
	pid_t pid = lab_fork(&ready);

	if (pid > 0) {
		lab_await(ready, address);
		return pid;
	}
	if (machine_create(config, &m, &err) || machine_listen(m, address, &err) ||
	    write(ready, "", 1) != 1)
		_exit(1);
	_exit(machine_run(m, -1) ? 1 : 0);
}

int lab_end(pid_t pid, int sig)
{
	int status;

	if (sig)
		kill(pid, sig);
	waitpid(pid, &status, 0);
	return status;
}

/* The VM takes some of the machine's swap, which it has until its channel ends. */
static void take_swap(int channel)
{
	struct machine_msg msg = wire_msg(MACHINE_SWAP_CREDIT, 0);
	struct pollfd p = { .fd = channel, .events = POLLIN };
	int attached = -1;

	msg.pages = LAB_SWAP;
	if (wire_send(channel, &msg, -1))
		tap_bail("SWAP_CREDIT");
	while (msg.type != MACHINE_SWAP_GRANT) {
		if (poll(&p, 1, 10000) != 1 || wire_recv(channel, &msg, &attached) != 1)
			tap_bail("no SWAP_GRANT");
		if (attached >= 0)
			close(attached);
	}
}

uint32_t lab_admit(struct machine_client *client, const char *name, pid_t pid)
{
	struct machine_admit admit = {
		.ram_pages = LAB_PAGES,
		.overhead_pages = 240,
		.oom_score_adj = -17,
	};
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct machine_admitted admitted;
	struct quire_error err;

	snprintf(admit.name, sizeof(admit.name), "%s", name);
	if (machine_client_admit(client, &admit, &admitted, &err) ||
	    machine_client_started(client, admitted.vm, pidfd, &err))
		tap_bail("machine: %s", err.text);
	close(pidfd);
	take_swap(admitted.channel);
	return admitted.vm;
}

bool lab_isolate(void)
{
	return unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) == 0;
}

/* ---- commands ---- */

char lab_out[65536];
double lab_took_s;

int lab_quire(const char *fmt, ...)
{
	const char *build = getenv("QUIRE_BUILD");
	char line[1024];
	uint64_t start = monotonic_ns();
	size_t at, bytes;
	va_list ap;
	int status;
	FILE *f;

	at = (size_t)snprintf(line, sizeof(line), "timeout 30 %s/quire ", build ? build : "build");
	va_start(ap, fmt);
	vsnprintf(line + at, sizeof(line) - at, fmt, ap);
	va_end(ap);
	strncat(line, " 2>&1", sizeof(line) - strlen(line) - 1);
	f = popen(line, "r");
	if (!f)
		tap_bail("popen: %s", strerror(errno));
	bytes = fread(lab_out, 1, sizeof(lab_out) - 1, f);
	lab_out[bytes] = '\0';
	status = pclose(f);
	lab_took_s = (double)(monotonic_ns() - start) / 1e9;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *lab_said(void)
{
	static char line[512];

	snprintf(line, sizeof(line), "%.*s", (int)strcspn(lab_out, "\n"), lab_out);
	return line;
}

unsigned int lab_lines(void)
{
	unsigned int nr = 0;

	for (const char *p = lab_out; *p; p++)
		nr += *p == '\n';
	return nr;
}

size_t lab_width(void)
{
	size_t most = 0;

	for (const char *p = lab_out; p && *p; p = strchr(p, '\n'), p += p != NULL)
		if (strcspn(p, "\n") > most)
			most = strcspn(p, "\n");
	return most;
}

const char *lab_line(const char *text)
{
	static char line[512];
	const char *hit = strstr(lab_out, text), *start = hit;

	line[0] = '\0';
	while (hit && start > lab_out && start[-1] != '\n')
		start--;
	if (hit)
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(start, "\n"), start);
	return line;
}
