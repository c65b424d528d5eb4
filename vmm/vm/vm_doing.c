/* SPDX-License-Identifier: MIT */
/*
 * Where the vCPUs of a VM are, and what its guest printed last, said by the VM itself: when it runs
 * into --timeout, at SIGQUIT (Ctrl-\), and by Ctrl-A w.  The samples are taken while the guest
 * runs.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "crash.h"
#include "doing.h"
#include "message.h"
#include "render.h"
#include "vm_impl.h"

#define SAMPLE_MS 50 /* a vCPU has so long to leave the guest */

struct vm_doing {
	unsigned int nr[VM_MAX_VCPUS]; /* of samples; 0: it did not leave the guest */
	struct vcpu_state sample[VM_MAX_VCPUS][DOING_SAMPLES];
};

static void take_sample(struct vm *vm, struct vm_doing *doing, unsigned int cpu)
{
	if (!vm_vcpu_state(vm, cpu, SAMPLE_MS, &doing->sample[cpu][doing->nr[cpu]]))
		doing->nr[cpu]++;
}

/* A vCPU that did not answer once is not waited for again. */
void vm_doing_take(struct vm *vm)
{
	const struct timespec gap = { .tv_nsec = DOING_GAP_US * 1000 };
	struct vm_doing *doing = vm->doing;

	if (!doing)
		doing = vm->doing = malloc(sizeof(*doing));
	if (!doing)
		return;
	memset(doing->nr, 0, sizeof(doing->nr));
	for (unsigned int n = 0; n < DOING_SAMPLES; n++) {
		for (unsigned int i = 0; i < vm->nr_vcpus; i++)
			if (doing->nr[i] == n && (!n || i < DOING_CPUS))
				take_sample(vm, doing, i);
		nanosleep(&gap, NULL);
	}
}

static void print_walk(FILE *f, struct vm *vm, const struct vcpu_state *state)
{
	struct walk_access fetch = { .fetch = true, .user = doing_cpl(state) == 3 };
	gva_t rip = doing_rip(state);
	struct walk_result res;
	struct walk_cpu cpu;

	vcpu_walk_cpu(vm, state, &cpu);
	gmem_walk(vm->gm, &cpu, rip, fetch, &res);
	fputs("RIP, fetch: ", f);
	render_walk(f, rip, &res,
		    res.gpa == GPA_INVALID ? PG_NR_STATES : render_state(vm->gm, res.gpa));
}

static void print_cpu(FILE *f, struct vm *vm, unsigned int cpu)
{
	const struct vcpu_state *sample = vm->doing->sample[cpu];
	unsigned int nr = vm->doing->nr[cpu];

	if (!nr) {
		fprintf(f, "vCPU %u: waits for memory, or for the reader of the guest's output\n",
			cpu);
		return;
	}
	doing_print(f, cpu, sample, nr, NULL);
	if (cpu < DOING_CPUS && doing_anything(&sample[nr - 1]))
		print_walk(f, vm, &sample[nr - 1]);
}

static void show_code(struct vm *vm, unsigned int cpu)
{
	unsigned int nr = vm->doing->nr[cpu];
	const struct vcpu_state *last;
	struct code code;

	if (!nr || !vm->config.on_code)
		return;
	last = &vm->doing->sample[cpu][nr - 1];
	if (!doing_anything(last))
		return;
	crash_code(vm, cpu, last, &code);
	vm->config.on_code(vm->config.ctx, &code);
}

void vm_tail_report(struct vm *vm)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *f = open_memstream(&text, &bytes);
	struct tail tail;

	if (!f)
		return;
	vm_tail(vm, &tail);
	fprintf(f, "%s: ", message_prefix());
	tail_print(f, &tail);
	if (!fclose(f))
		fwrite(text, 1, bytes, stderr);
	free(text);
}

void vm_doing_report(struct vm *vm)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *f;

	if (!vm->doing)
		return;
	vm_tail_report(vm);
	f = open_memstream(&text, &bytes);
	if (!f)
		return;
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		print_cpu(f, vm, i);
	if (!fclose(f))
		fwrite(text, 1, bytes, stderr);
	free(text);
	for (unsigned int i = 0; i < vm->nr_vcpus && i < DOING_CPUS; i++)
		show_code(vm, i);
	free(vm->doing);
	vm->doing = NULL;
}
