/* SPDX-License-Identifier: MIT */
#include "merge_lab.h"

void merge_fill(const struct merge_vm *v, uint64_t gfn, uint64_t number)
{
	uint64_t page[QUIRE_PAGE_SIZE / sizeof(uint64_t)];

	for (unsigned int i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = i ? number * 1000003 + i : number;
	if (pwrite(v->vm.ram, page, sizeof(page), (off_t)(gfn * QUIRE_PAGE_SIZE)) != sizeof(page))
		abort();
}

struct lab_vm merge_admit(struct lab *lab, int control, struct machine_admit admit)
{
	lab_step(lab);
	while (hear(control, NULL, NULL) > 0)
		;
	return lab_admit(lab, control, admit);
}

/* Not yet a member, but attached. */
static void merge_open(struct lab *lab, int control, struct merge_vm *v, const char *domain,
		       uint64_t pages)
{
	struct machine_admit admit = lab_promise(pages, 1);

	snprintf(admit.domain, sizeof(admit.domain), "%s", domain);
	v->vm = merge_admit(lab, control, admit);
	v->merge = -1;
	if (v->vm.error)
		abort();
	lab_attach(lab, &v->vm, pages, 0);
}

void merge_join_lab(struct lab *lab, struct merge_vm *v)
{
	struct machine_msg msg;
	int type;

	say(v->vm.channel, MACHINE_JOIN, 0, 0, -1);
	lab_step(lab);
	do
		type = hear(v->vm.channel, &msg, &v->merge);
	while (type == MACHINE_RECALL || type == MACHINE_BALLOON_TARGET);
	if (type != MACHINE_JOINED)
		abort();
}

void merge_vm_open(struct lab *lab, int control, struct merge_vm *v, const char *domain,
		   uint64_t pages)
{
	merge_open(lab, control, v, domain, pages);
	merge_join_lab(lab, v);
}

void merge_vm_close(struct lab *lab, struct merge_vm *v)
{
	if (v->merge >= 0)
		close(v->merge);
	v->merge = -1;
	lab_finish_vm(&v->vm);
	lab_step(lab);
}

void merge_begin(struct merge_vm *v, enum merge_type type, uint32_t arg)
{
	memset(&v->msg, 0, sizeof(v->msg));
	wire_merge_header(&v->msg, type);
	v->msg.arg = arg;
}

void merge_add(struct merge_vm *v, uint64_t gfn, uint64_t number)
{
	merge_fill(v, gfn & ~MERGE_PUBLISH, number);
	merge_claim(v, gfn, number);
}

void merge_claim(struct merge_vm *v, uint64_t gfn, uint64_t hash)
{
	v->msg.lookup[v->msg.nr++] = (struct merge_lookup){ .hash = hash, .gfn = gfn };
}

int merge_say(struct lab *lab, struct merge_vm *v, int *descriptor)
{
	int none, code;

	wire_send_merge(v->merge, &v->msg, -1);
	lab_step(lab);
	code = wire_recv_merge(v->merge, &v->msg, descriptor ? descriptor : &none);
	if (code == 1 && !descriptor && none >= 0)
		close(none);
	return code == 1 ? v->msg.type : code;
}

static uint32_t say_one(struct lab *lab, struct merge_vm *v)
{
	return merge_say(lab, v, NULL) == MERGE_FRAMES && v->msg.nr == 1 ? v->msg.frame[0].frame :
									   0;
}

uint32_t merge_look(struct lab *lab, struct merge_vm *v, uint64_t gfn, uint64_t number)
{
	merge_begin(v, MERGE_LOOKUP, 0);
	merge_add(v, gfn, number);
	return say_one(lab, v);
}

uint32_t merge_lie(struct lab *lab, struct merge_vm *v, uint64_t gfn, uint64_t hash)
{
	merge_begin(v, MERGE_LOOKUP, 0);
	merge_claim(v, gfn, hash);
	return say_one(lab, v);
}

uint32_t merge_get_news(struct lab *lab, struct merge_vm *v)
{
	merge_begin(v, MERGE_NEWS, 0);
	return merge_say(lab, v, NULL) == MERGE_FRAMES ? v->msg.nr : UINT32_MAX;
}

void merge_drop(struct lab *lab, struct merge_vm *v, uint32_t frame)
{
	merge_begin(v, MERGE_DROP, 0);
	v->msg.drop[v->msg.nr++] = frame;
	wire_send_merge(v->merge, &v->msg, -1);
	lab_step(lab);
}
