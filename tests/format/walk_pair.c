/* SPDX-License-Identifier: MIT */
#include "walk_pair.h"

void pair_init(struct pair *p, uint64_t guest_bytes, uint64_t ept_bytes)
{
	memset(p, 0, sizeof(*p));
	lab_init(&p->lab, guest_bytes, ept_bytes);
	p->twin = calloc(1, guest_bytes);
	if (!p->twin)
		abort();
	p->mem = lab_memory(&p->lab);
	p->s2 = lab_stage2(&p->lab, &ept4_format);
}

void pair_finish(struct pair *p)
{
	free(p->twin);
	lab_finish(&p->lab);
}

void put_both(struct pair *p, uint64_t addr, unsigned int bytes, uint64_t value)
{
	lab_put(p->lab.guest, addr, bytes, value);
	lab_put(p->twin, addr, bytes, value);
}

static void run_model(struct pair *p)
{
	struct model *m = &p->model;

	m->cpu = p->cpu;
	m->access = p->access;
	m->gva = p->gva;
	m->guest = p->twin;
	m->guest_bytes = p->lab.guest_bytes;
	m->ept_levels = p->stage2 ? p->s2.format->nr_levels : 0;
	m->ept_ad = p->s2.ad;
	m->ept_exec_only = p->s2.rules.exec_only;
	m->ept_1g = p->s2.rules.pages_1g;
	m->ept_maxphyaddr = p->s2.rules.maxphyaddr;
	m->ept_root = p->s2.root;
	m->ept = p->lab.ept;
	m->ept_bytes = p->lab.ept_bytes;
	model_walk(m);
}

static bool same_refs(const struct pair *p)
{
	for (int i = 0; i < p->model.nr_refs; i++) {
		const struct walk_ref *got = &p->res.ref[i];
		const struct model_ref *want = &p->model.ref[i];

		if (got->stage != want->stage || got->level != want->level ||
		    got->addr != want->addr || got->input != want->input ||
		    got->entry != want->entry)
			return false;
	}
	return true;
}

static bool same(const struct pair *p)
{
	const struct walk_result *r = &p->res;
	const struct model *m = &p->model;

	return r->outcome == m->outcome && r->gpa == m->gpa && r->maddr == m->maddr &&
	       r->error_code == m->error_code && r->qualification == m->qualification &&
	       r->level1 == m->level1 && r->level2 == m->level2 && (int)r->nr_refs == m->nr_refs &&
	       same_refs(p);
}

static void describe(const struct pair *p)
{
	const struct walk_result *r = &p->res;
	const struct model *m = &p->model;

	tap_note("case %" PRIu64 ": %s%s%s%s gva %#" PRIx64, p->cases,
		 p->access.user ? "user " : "supervisor ",
		 p->access.write ? "write" :
		 p->access.fetch ? "fetch" :
				   "read",
		 p->access.set_ad ? ", set A/D," : ",", p->stage2 ? " stage 2," : "", p->gva);
	tap_note("  cr0 %#" PRIx64 " cr3 %#" PRIx64 " cr4 %#" PRIx64 " efer %#" PRIx64
		 " ac %d M %u 1G %d AMD %d; EPT %s, A/D %d, X only %d, 1G %d",
		 p->cpu.cr0, p->cpu.cr3, p->cpu.cr4, p->cpu.efer, p->cpu.ac, p->cpu.maxphyaddr,
		 p->cpu.pages_1g, p->cpu.amd, p->s2.format->name, p->s2.ad, p->s2.rules.exec_only,
		 p->s2.rules.pages_1g);
	tap_note("  got:  %s gpa %#" PRIx64 " maddr %#" PRIx64 " code %#x qual %#" PRIx64
		 " levels %u/%u refs %u",
		 walk_outcome_name(r->outcome), r->gpa, r->maddr, r->error_code, r->qualification,
		 r->level1, r->level2, r->nr_refs);
	tap_note("  want: %s gpa %#" PRIx64 " maddr %#" PRIx64 " code %#x qual %#" PRIx64
		 " levels %d/%d refs %d",
		 walk_outcome_name(m->outcome), m->gpa, m->maddr, m->error_code, m->qualification,
		 m->level1, m->level2, m->nr_refs);
	for (int i = 0; i < m->nr_refs || i < (int)r->nr_refs; i++) {
		const struct walk_ref *a = &r->ref[i];
		const struct model_ref *b = &m->ref[i];

		if (i < (int)r->nr_refs)
			tap_note("  got  %2d: stage %u level %u addr %#" PRIx64 " input %#" PRIx64
				 " entry %#" PRIx64,
				 i, a->stage, a->level, a->addr, a->input, a->entry);
		if (i < m->nr_refs)
			tap_note("  want %2d: stage %d level %d addr %#" PRIx64 " input %#" PRIx64
				 " entry %#" PRIx64,
				 i, b->stage, b->level, b->addr, b->input, b->entry);
	}
}

void compare(struct pair *p)
{
	walk_2d(&p->cpu, p->stage2 ? &p->s2 : NULL, &p->mem, p->gva, p->access, &p->res);
	run_model(p);
	p->cases++;
	p->outcomes[p->res.outcome]++;
	if (!same(p) && !p->mismatches++)
		describe(p);
}

void compare_memory(struct pair *p)
{
	if (memcmp(p->lab.guest, p->twin, p->lab.guest_bytes) == 0)
		return;
	if (!p->mismatches++) {
		describe(p);
		for (uint64_t at = 0; at < p->lab.guest_bytes; at += 8)
			if (memcmp(p->lab.guest + at, p->twin + at, 8))
				tap_note("  memory %#" PRIx64 ": got %#" PRIx64 " want %#" PRIx64,
					 at, lab_get(p->lab.guest, at, 8), lab_get(p->twin, at, 8));
	}
}

void conclude(struct pair *p, const char *what)
{
	ok(p->mismatches == 0, "%s: %" PRIu64 " cases agree with the model", what, p->cases);
	for (int o = 0; o <= WALK_AGAIN; o++)
		if (p->outcomes[o])
			tap_note("  %s: %" PRIu64, walk_outcome_name((enum walk_outcome)o),
				 p->outcomes[o]);
}
