/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "machine_lab.h"

unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int nr = 0;

	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

static uint64_t lab_clock(void *ctx)
{
	return ((struct lab *)ctx)->now_ns;
}

static void lab_log(void *ctx, const char *line)
{
	struct lab *lab = ctx;

	snprintf(lab->log, sizeof(lab->log), "%s", line);
}

void lab_complain(void *ctx, const char *what)
{
	(void)ctx;
	printf("# audit: %s\n", what);
}

uint64_t lab_hash(const struct hash_secret *secret, const void *page)
{
	(void)secret;
	return *(const uint64_t *)page;
}

struct machine_config lab_config(struct lab *lab, uint64_t memory, uint64_t swap,
				 enum overcommit_mode mode)
{
	struct machine_config config = {
		.measure_ms = LAB_MEASURE_MS,
		.log = lab_log,
		.clock_ns = lab_clock,
		.hash = lab_hash,
		.ctx = lab,
	};

	ledger_defaults(&config.ledger, memory, swap);
	config.ledger.mode = mode;
	return config;
}

void lab_open(struct lab *lab, const struct machine_config *config)
{
	*lab = (struct lab){ .now_ns = 1000 * LAB_MS };
	if (machine_create(config, &lab->m, NULL))
		abort();
}

void lab_step(struct lab *lab)
{
	struct pollfd p = { .fd = machine_fd(lab->m), .events = POLLIN };
	unsigned int rounds = 0;

	do {
		lab->done = machine_serve(lab->m) == 1;
		lab->faults += machine_audit(lab->m, lab_complain, NULL);
	} while (poll(&p, 1, 0) > 0 && ++rounds < 10000);
	lab->faults += rounds == 10000;
}

void lab_pass(struct lab *lab, uint64_t ms)
{
	lab->now_ns += ms * LAB_MS;
	lab_step(lab);
}

struct machine_state lab_state(struct lab *lab)
{
	struct machine_state s;

	machine_get_state(lab->m, &s);
	return s;
}

int lab_dial(struct lab *lab)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) ||
	    machine_adopt_control(lab->m, pair[0]))
		abort();
	return pair[1];
}

int say_msg(int fd, struct machine_msg msg, int attach)
{
	return wire_send(fd, &msg, attach);
}

int say(int fd, enum machine_type type, uint32_t vm, uint64_t pages, int attach)
{
	struct machine_msg msg = wire_msg(type, vm);

	msg.pages = pages;
	return wire_send(fd, &msg, attach);
}

int say_credit(int fd, uint64_t need, uint64_t want)
{
	struct machine_msg msg = wire_msg(MACHINE_CREDIT, 0);

	msg.credit.need_pages = need;
	msg.credit.want_pages = want;
	return wire_send(fd, &msg, -1);
}

uint64_t lab_take(struct lab *lab, int fd, uint64_t pages)
{
	struct machine_msg msg;
	uint64_t taken = 0, before;

	do {
		before = taken;
		say_credit(fd, min_u64(pages - taken, MACHINE_NEED_MAX), 0);
		lab_step(lab);
		while (hear(fd, &msg, NULL) > 0)
			taken += msg.type == MACHINE_GRANT ? msg.pages : 0;
	} while (taken > before && taken < pages);
	return taken;
}

int hear(int fd, struct machine_msg *msg, int *attached)
{
	struct machine_msg ignored;
	int none, code;

	msg = msg ? msg : &ignored;
	code = wire_recv(fd, msg, attached ? attached : &none);
	if (code == 1 && !attached && none >= 0)
		close(none);
	return code == 1 ? msg->type : code;
}

int lab_connect(struct lab *lab)
{
	int fd = lab_dial(lab);

	say(fd, MACHINE_HELLO, 0, 0, -1);
	lab_step(lab);
	if (hear(fd, NULL, NULL) != MACHINE_HELLO)
		abort();
	return fd;
}

struct machine_admit lab_promise(uint64_t ram, uint64_t overhead)
{
	return (struct machine_admit){ .ram_pages = ram,
				       .overhead_pages = overhead,
				       .name = "lab" };
}

struct lab_vm lab_admit(struct lab *lab, int control, struct machine_admit admit)
{
	struct machine_msg msg = wire_msg(MACHINE_ADMIT, 0);
	struct lab_vm vm = { .channel = -1, .ram = -1 };
	int type;

	msg.admit = admit;
	say_msg(control, msg, -1);
	lab_step(lab);
	type = hear(control, &msg, &vm.channel);
	vm.id = msg.vm;
	if (type == MACHINE_ADMITTED)
		vm.credits = msg.pages;
	vm.error = type == MACHINE_REFUSED ? msg.error : type < 0 ? type : 0;
	if (type == MACHINE_REFUSED) {
		memcpy(vm.text, msg.text, sizeof(vm.text));
		vm.refusal = msg.refusal;
	}
	return vm;
}

int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

pid_t fork_sleeper(void)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe2(ready, O_CLOEXEC))
		abort();
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_range(3, ~0U, 0);
		for (;;)
			pause();
	}
	close(ready[1]);
	while (read(ready[0], &c, 1) < 0)
		;
	close(ready[0]);
	return pid;
}

void lab_start(struct lab *lab, int control, struct lab_vm *vm)
{
	int pidfd;

	vm->pid = fork_sleeper();
	pidfd = pidfd_of(vm->pid);
	say(control, MACHINE_STARTED, vm->id, 0, pidfd);
	close(pidfd);
	lab_step(lab);
}

int reopen_readonly(int fd)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

void lab_attach(struct lab *lab, struct lab_vm *vm, uint64_t ram, uint64_t resident)
{
	int readonly;

	vm->ram = memfd_create("lab-ram", MFD_CLOEXEC);
	if (ftruncate(vm->ram, ram * QUIRE_PAGE_SIZE) ||
	    (resident && fallocate(vm->ram, 0, 0, resident * QUIRE_PAGE_SIZE)))
		abort();
	readonly = reopen_readonly(vm->ram);
	say(vm->channel, MACHINE_ATTACH, 0, 0, readonly);
	close(readonly);
	lab_step(lab);
}

int lab_reap(struct lab_vm *vm, bool wait)
{
	int status;

	if (waitpid(vm->pid, &status, wait ? 0 : WNOHANG) != vm->pid)
		return 0;
	return WIFSIGNALED(status) ? WTERMSIG(status) : -1;
}

bool lab_await_vms(struct lab *lab, unsigned int nr)
{
	struct pollfd p = { .fd = machine_fd(lab->m), .events = POLLIN };

	for (unsigned int i = 0; i < 200 && lab_state(lab).nr_vms > nr; i++) {
		poll(&p, 1, 100);
		lab_step(lab);
	}
	return lab_state(lab).nr_vms == nr;
}

void lab_finish_vm(struct lab_vm *vm)
{
	if (vm->pid > 0 && !kill(vm->pid, SIGKILL))
		waitpid(vm->pid, NULL, 0);
	if (vm->channel >= 0)
		close(vm->channel);
	if (vm->ram >= 0)
		close(vm->ram);
	*vm = (struct lab_vm){ .channel = -1, .ram = -1 };
}
