/* SPDX-License-Identifier: MIT */
/*
 * Finding machines and VMs, and asking them all: see roster.h.
 *
 * All VMs are asked first, and then their answers are read.  One deadline is for all of them, so
 * several VMs that are stopped in a debugger cost PATIENCE_MS together.  A VM that does not answer
 * is still in the roster, because its name and its process are known.
 *
 * Little is believed.  A VM's name is that of its socket and its pid is the kernel's word, whatever
 * the VM says.  A machine's record adds to a VM only what the machine itself keeps.  A machine that
 * is neither root's nor our own user's may have VMs of its own user only, each process once.  So it
 * can neither take our VMs on its books, nor make the list longer than its user has processes.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "mmu/machine/client.h"
#include "abstract.h"
#include "mmu/base/clock.h"
#include "mmu/base/vm_uid.h"
#include "process.h"
#include "roster.h"

#define MACHINE_PREFIX "quire/machine/"
#define PATIENCE_MS    1500
#define CONNECT_S      1

static int no_memory(struct quire_error *err)
{
	return quire_fail(err, -ENOMEM, "no memory for the list of VMs");
}

static struct roster_vm *add_vm(struct roster *r)
{
	struct roster_vm *vm = reallocarray(r->vm, r->nr_vms + 1, sizeof(*vm));

	if (!vm)
		return NULL;
	r->vm = vm;
	vm += r->nr_vms++;
	memset(vm, 0, sizeof(*vm));
	vm->fd = -1;
	return vm;
}

/* ---- machines ---- */

struct listing {
	struct roster *roster;
	unsigned int machine;
	unsigned int first; /* of its VMs in the roster */
	uid_t uid;
	bool failed;
};

/* May this process be a VM of the machine? */
static bool is_credible(const struct listing *list, uint32_t pid)
{
	const struct roster *r = list->roster;

	if (machine_client_trusts(list->uid))
		return true;
	for (unsigned int i = list->first; i < r->nr_vms; i++)
		if (r->vm[i].pid == pid)
			return false;
	return process_uid((pid_t)pid) == list->uid;
}

/* A machine knows names with any printable characters; only plain ones get into a table. */
static void take_record(void *ctx, uint32_t id, const struct machine_vm_record *record)
{
	struct listing *list = ctx;
	struct roster_vm *vm;

	if (!is_credible(list, (uint32_t)record->pid))
		return;
	vm = add_vm(list->roster);
	if (!vm) {
		list->failed = true;
		return;
	}
	vm->machine = list->machine;
	vm->id = id;
	vm->account = *record;
	vm->account.name[MACHINE_NAME_MAX] = '\0';
	vm->pid = (uint32_t)record->pid;
	vm->uid = list->uid;
	snprintf(vm->name, sizeof(vm->name), "%s",
		 ctl_name_is_good(vm->account.name) ? vm->account.name : "-");
}

static bool is_default(const char *address)
{
	char usual[sizeof("@" MACHINE_PREFIX) + 16];

	snprintf(usual, sizeof(usual), "@" MACHINE_ADDRESS, (unsigned int)getuid());
	return !strcmp(address, usual);
}

static struct roster_machine *add_machine(struct roster *r, const char *address)
{
	struct roster_machine *machine =
		reallocarray(r->machine, r->nr_machines + 1, sizeof(*machine));
	char *copy = strdup(address);

	if (machine)
		r->machine = machine;
	if (!machine || !copy) {
		free(copy);
		return NULL;
	}
	machine += r->nr_machines;
	*machine = (struct roster_machine){ .address = copy, .is_default = is_default(copy) };
	return machine;
}

/* Add a machine and its VMs; add nothing if it does not answer. */
static int ask_machine(struct roster *r, const char *address, struct quire_error *err)
{
	struct listing list = { .roster = r, .machine = r->nr_machines, .first = r->nr_vms };
	struct roster_machine *machine;
	struct machine_client *client;
	int code = machine_client_look(address, &client, &list.uid, err);

	if (code)
		return code;
	machine = add_machine(r, address);
	code = machine ? machine_client_get(client, &machine->state, err) : no_memory(err);
	if (!code)
		code = machine_client_list(client, take_record, &list, err);
	if (!code && list.failed)
		code = no_memory(err);
	machine_client_destroy(client);
	if (!code) {
		r->nr_machines++;
	} else if (machine) {
		free(machine->address);
		r->nr_vms = list.first;
	}
	return code;
}

/* The machine of another user hangs up, and so does a machine that just ends. */
static bool is_not_ours(int code)
{
	return code == -ECONNRESET || code == -ECONNREFUSED || code == -ENOENT;
}

static void complain_of(const struct roster *r, const char *address, const struct quire_error *why)
{
	struct quire_error line;

	quire_fail(&line, 0, "%.120s: %.300s", address, why->text);
	if (r->warn)
		r->warn(line.text);
}

static int ask_all_machines(struct roster *r, struct quire_error *err)
{
	char **names, address[sizeof("@" MACHINE_PREFIX) + 108];
	unsigned int nr = abstract_list(MACHINE_PREFIX, &names);
	struct quire_error why;
	int code = 0;

	for (unsigned int i = 0; i < nr && code != -ENOMEM; i++) {
		snprintf(address, sizeof(address), "@" MACHINE_PREFIX "%s", names[i]);
		code = ask_machine(r, address, &why);
		if (code && !is_not_ours(code))
			complain_of(r, address, &why);
	}
	abstract_free(names, nr);
	return code == -ENOMEM ? no_memory(err) : 0;
}

int roster_find_machines(struct roster *r, const char *address, struct quire_error *err)
{
	return address ? ask_machine(r, address, err) : ask_all_machines(r, err);
}

const char *roster_short_address(const struct roster_machine *machine)
{
	size_t usual = strlen("@" MACHINE_PREFIX);

	return strncmp(machine->address, "@" MACHINE_PREFIX, usual) ? machine->address :
								      machine->address + usual;
}

/* ---- VMs ---- */

static struct roster_vm *vm_of_pid(struct roster *r, uint32_t pid)
{
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].pid == pid && r->vm[i].fd < 0)
			return &r->vm[i];
	return NULL;
}

static int open_vm(struct roster *r, const char *name, bool only_accounted)
{
	int fd = ctl_open(name, CONNECT_S);
	struct roster_vm *vm;
	struct ucred cred;

	if (fd == -EMFILE || fd == -ENFILE)
		return fd;
	if (fd < 0)
		return 0; /* it has just ended, or it is too busy to be asked */
	if (ctl_peer(fd, &cred) || !ctl_is_ours(&cred)) {
		close(fd);
		return 0;
	}
	vm = vm_of_pid(r, (uint32_t)cred.pid);
	if (!vm && !only_accounted)
		vm = add_vm(r);
	if (!vm) {
		close(fd);
		return only_accounted ? 0 : -ENOMEM;
	}
	snprintf(vm->name, sizeof(vm->name), "%s", name);
	vm->pid = (uint32_t)cred.pid;
	vm->uid = uid_owner(cred.uid);
	vm->fd = fd;
	return 0;
}

static bool readable_by(int fd, uint64_t deadline_ns)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, poll_ms(monotonic_ns(), deadline_ns)) == 1;
}

/* Take the VM's counters, if it answers in time.  A second answer gives a rate. */
static bool take_answer(struct roster_vm *vm, uint64_t deadline_ns)
{
	struct vm_info before = vm->info;
	struct ctl_info answer;
	uint64_t ns;

	if (!readable_by(vm->fd, deadline_ns) || ctl_take_info(vm->fd, &answer, NULL) < 0)
		return false;
	vm->info = answer.vm;
	/* Its own word for who it is counts for nothing: others would be taken for it. */
	snprintf(vm->info.name, sizeof(vm->info.name), "%s", vm->name);
	vm->info.pid = vm->pid;
	ns = vm->info.now_ns - before.now_ns;
	if (vm->answers && ns > 0)
		vm->faults_per_second =
			(uint64_t)((double)(vm->info.mem.faults - before.mem.faults) * 1e9 /
				   (double)ns);
	vm->answers = true;
	return true;
}

static void hang_up(struct roster_vm *vm)
{
	if (vm->fd >= 0)
		close(vm->fd);
	vm->fd = -1;
}

/* Ask all VMs that are connected.  Those that do not answer are not asked again. */
static void ask_all(struct roster *r)
{
	uint64_t deadline_ns = monotonic_ns() + PATIENCE_MS * NS_PER_MS;

	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].fd >= 0)
			ctl_ask_info(r->vm[i].fd, NULL);
	for (unsigned int i = 0; i < r->nr_vms; i++) {
		struct roster_vm *vm = &r->vm[i];

		if (vm->fd >= 0 && !take_answer(vm, deadline_ns))
			hang_up(vm);
	}
}

static bool has_ended(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool ended = fd < 0 ? errno == ESRCH : readable_by(fd, 0);

	if (fd >= 0)
		close(fd);
	return ended;
}

/* A machine may not have heard yet that one of its VMs has ended. */
static void drop_ended(struct roster *r)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (r->vm[i].answers || !has_ended((pid_t)r->vm[i].pid))
			r->vm[kept++] = r->vm[i];
	r->nr_vms = kept;
}

static int compare_vms(const void *a, const void *b)
{
	const struct roster_vm *x = a, *y = b;

	if (!x->id != !y->id)
		return x->id ? -1 : 1;
	if (x->id && x->machine != y->machine)
		return x->machine < y->machine ? -1 : 1;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return strverscmp(x->name, y->name);
}

int roster_find_vms(struct roster *r, bool only_accounted, bool sample, struct quire_error *err)
{
	char **names;
	unsigned int nr = abstract_list(CTL_PREFIX, &names);
	int code = 0;

	for (unsigned int i = 0; i < nr && !code; i++)
		code = open_vm(r, names[i], only_accounted);
	abstract_free(names, nr);
	if (code == -ENOMEM)
		return no_memory(err);
	if (code)
		return quire_fail(err, code,
				  "more VMs than this process may have open files "
				  "(%s); see ulimit -n",
				  strerror(-code));
	ask_all(r);
	if (sample && r->nr_vms) {
		usleep(ROSTER_SAMPLE_MS * 1000);
		ask_all(r);
	}
	for (unsigned int i = 0; i < r->nr_vms; i++)
		hang_up(&r->vm[i]);
	drop_ended(r);
	if (r->nr_vms)
		qsort(r->vm, r->nr_vms, sizeof(*r->vm), compare_vms);
	return 0;
}

static bool has(const struct roster *r, const char *name)
{
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (!strcmp(r->vm[i].name, name))
			return true;
	return false;
}

static bool is_among(const struct named *list, const char *name)
{
	for (unsigned int i = 0; i < list->nr; i++)
		if (!strcmp(list->vm[i].name, name))
			return true;
	return false;
}

int roster_keep(struct roster *r, const struct named *list, struct quire_error *err)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < list->nr; i++)
		if (list->vm[i].alone && !has(r, list->vm[i].name))
			return quire_fail(err, -ENOENT,
					  "VM %s has just ended, or has another machine than "
					  "--machine says",
					  list->vm[i].name);
	for (unsigned int i = 0; i < r->nr_vms; i++)
		if (is_among(list, r->vm[i].name))
			r->vm[kept++] = r->vm[i];
	r->nr_vms = kept;
	return 0;
}

void roster_finish(struct roster *r)
{
	for (unsigned int i = 0; i < r->nr_machines; i++)
		free(r->machine[i].address);
	for (unsigned int i = 0; i < r->nr_vms; i++)
		hang_up(&r->vm[i]);
	free(r->machine);
	free(r->vm);
	*r = (struct roster){ 0 };
}
