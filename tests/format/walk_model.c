/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "walk_model.h"

static bool model_bit(uint64_t value, int bit)
{
	return (value >> bit) % 2 == 1;
}

/* Is any of bits first..last set? */
static bool model_any(uint64_t value, int first, int last)
{
	for (int bit = first; bit <= last; bit++)
		if (model_bit(value, bit))
			return true;
	return false;
}

/* Bits first..last of value, in place. */
static uint64_t model_field(uint64_t value, int first, int last)
{
	uint64_t out = 0;

	for (int bit = first; bit <= last; bit++)
		if (model_bit(value, bit))
			out += 1ULL << bit;
	return out;
}

static enum model_mode model_mode(const struct walk_cpu *cpu)
{
	bool pe = model_bit(cpu->cr0, 0), pg = model_bit(cpu->cr0, 31);
	bool pae = model_bit(cpu->cr4, 5), la57 = model_bit(cpu->cr4, 12);
	bool pcide = model_bit(cpu->cr4, 17);
	bool lme = model_bit(cpu->efer, 8), lma = model_bit(cpu->efer, 10);

	/* LMA is not stored by anybody: the processor computes it from LME and PG. */
	if (lma && !lme)
		return MODEL_IMPOSSIBLE;
	if (lma && !pg)
		return MODEL_IMPOSSIBLE;
	if (lme && pg && !lma)
		return MODEL_IMPOSSIBLE;
	if (pg && !pe)
		return MODEL_IMPOSSIBLE;
	if (lma && !pae)
		return MODEL_IMPOSSIBLE;
	if (pcide && !lma)
		return MODEL_IMPOSSIBLE;
	if (!pg)
		return MODEL_OFF;
	if (lma)
		return la57 ? MODEL_5LEVEL : MODEL_4LEVEL;
	return pae ? MODEL_PAE : MODEL_32;
}

static void model_record(struct model *m, int stage, int level, uint64_t addr, uint64_t input,
			 uint64_t entry)
{
	struct model_ref *ref = &m->ref[m->nr_refs++];

	ref->stage = stage;
	ref->level = level;
	ref->addr = addr;
	ref->input = input;
	ref->entry = entry;
}

/* read, write, fetch describe the access; is the gpa that of a guest paging entry? */
static void model_violation(struct model *m, uint64_t gpa, bool read, bool write, bool fetch,
			    bool r, bool w, bool x, bool guest_table)
{
	m->outcome = WALK_VIOLATION;
	m->gpa = gpa;
	m->qualification = 0x80;
	if (read)
		m->qualification += 1;
	if (write)
		m->qualification += 2;
	if (fetch)
		m->qualification += 4;
	if (r)
		m->qualification += 8;
	if (w)
		m->qualification += 16;
	if (x)
		m->qualification += 32;
	if (!guest_table)
		m->qualification += 0x100;
}

static bool model_stage2_is_leaf(uint64_t e, int level)
{
	return level == 1 || (level <= 3 && model_bit(e, 7));
}

/* Is e, of which bit `shift` of the address is the lowest that its level translates, refused? */
static bool model_misconfigured(const struct model *m, uint64_t e, int level, int shift)
{
	bool leaf = model_stage2_is_leaf(e, level);
	int type = (int)(model_field(e, 3, 5) / 8);

	if (!model_bit(e, 0) && model_bit(e, 1))
		return true;
	if (!model_bit(e, 0) && !model_bit(e, 1) && !m->ept_exec_only)
		return true;
	if (model_any(e, m->ept_maxphyaddr, 51))
		return true;
	if (level >= 4 && model_any(e, 3, 7))
		return true;
	if (!leaf)
		return model_any(e, 3, 6);
	if (level == 3 && !m->ept_1g)
		return true;
	if (level > 1 && model_any(e, 12, shift - 1))
		return true;
	return type == 2 || type == 3 || type == 7;
}

/* Returns false if the walk is over, with the outcome stored. */
static bool model_stage2(struct model *m, uint64_t gpa, bool read, bool write, bool fetch,
			 bool guest_table, uint64_t *maddr, int *leaf_level, bool *may_write)
{
	bool r = true, w = true, x = true;
	uint64_t table = m->ept_root, e = 0;
	int level, shift = 0;

	*leaf_level = 0;
	*may_write = true;
	*maddr = gpa;
	if (m->ept_levels == 0)
		return true;

	if (m->ept_levels == 4 && model_any(gpa, 48, 63)) {
		model_violation(m, gpa, read, write, fetch, false, false, false, guest_table);
		return false;
	}
	for (level = m->ept_levels; level >= 1; level--) {
		uint64_t addr;

		shift = 12 + 9 * (level - 1);
		addr = table + model_field(gpa, shift, shift + 8) / (1ULL << shift) * 8;
		if (addr >= m->ept_bytes || m->ept_bytes - addr < 8) {
			model_record(m, 2, level, addr, gpa, 0);
			m->outcome = WALK_NO_MEMORY;
			m->gpa = gpa;
			return false;
		}
		memcpy(&e, m->ept + addr, 8);
		model_record(m, 2, level, addr, gpa, e);

		if (!model_any(e, 0, 2)) {
			model_violation(m, gpa, read, write, fetch, false, false, false,
					guest_table);
			return false;
		}

		m->outcome = WALK_MISCONFIG;
		m->gpa = gpa;
		if (model_misconfigured(m, e, level, shift))
			return false;

		r = r && model_bit(e, 0);
		w = w && model_bit(e, 1);
		x = x && model_bit(e, 2);
		if (model_stage2_is_leaf(e, level))
			break;
		table = model_field(e, 12, 51);
	}

	if ((read && !r) || (write && !w) || (fetch && !x)) {
		model_violation(m, gpa, read, write, fetch, r, w, x, guest_table);
		return false;
	}
	*maddr = model_field(e, shift, 51) + model_field(gpa, 0, shift - 1);
	*leaf_level = level;
	*may_write = w;
	return true;
}

static void model_page_fault(struct model *m, bool present, bool reserved)
{
	bool smep = model_bit(m->cpu.cr4, 20), pae = model_bit(m->cpu.cr4, 5);
	bool nxe = model_bit(m->cpu.efer, 11);

	m->outcome = WALK_PAGE_FAULT;
	m->gpa = UINT64_MAX;
	m->error_code = 0;
	if (present)
		m->error_code += 1;
	if (m->access.write)
		m->error_code += 2;
	if (m->access.user)
		m->error_code += 4;
	if (reserved)
		m->error_code += 8;
	if (m->access.fetch && (smep || (pae && nxe)))
		m->error_code += 16;
}

/* Does a present guest entry have a reserved bit set? */
static bool model_guest_reserved(const struct model *m, enum model_mode mode, int level, uint64_t e)
{
	bool nxe = model_bit(m->cpu.efer, 11), pse = model_bit(m->cpu.cr4, 4);
	bool ps = model_bit(e, 7);
	int phys = m->cpu.maxphyaddr;

	if (phys < 32)
		phys = 32;
	if (phys > 52)
		phys = 52;

	switch (mode) {
	case MODEL_32:
		if (level == 1 || !pse || !ps)
			return false;
		switch (phys) {
		case 32: return model_any(e, 13, 21);
		case 33: return model_any(e, 14, 21);
		case 34: return model_any(e, 15, 21);
		case 35: return model_any(e, 16, 21);
		case 36: return model_any(e, 17, 21);
		case 37: return model_any(e, 18, 21);
		case 38: return model_any(e, 19, 21);
		case 39: return model_any(e, 20, 21);
		default: return model_bit(e, 21);
		}
	case MODEL_PAE:
		if (level == 3)
			return model_any(e, 1, 2) || model_any(e, 5, 8) || model_any(e, phys, 63);
		if (model_any(e, phys, 62))
			return true;
		if (model_bit(e, 63) && !nxe)
			return true;
		return level == 2 && ps && model_any(e, 13, 20);
	default:
		if (model_any(e, phys, 51))
			return true;
		if (model_bit(e, 63) && !nxe)
			return true;
		if (level >= 4)
			return ps || (m->cpu.amd && model_bit(e, 8));
		if (level == 3 && ps)
			return !m->cpu.pages_1g || model_any(e, 13, 29);
		if (level == 2 && ps)
			return model_any(e, 13, 20);
		return false;
	}
}

/* One entry met on the way through the guest's tables. */
struct model_step {
	int level;
	uint64_t gpa, maddr, entry;
	bool may_write;
};

/* The way through the guest's tables, as far as it went. */
struct model_way {
	enum model_mode mode;
	int top;	/* the level that it begins at; 0: there is no paging */
	int level;	/* where it is */
	int shift;	/* the lowest bit of gva that the tables of this level look at */
	int bytes;	/* of an entry */
	uint64_t table; /* the gpa of the table of this level */
	bool writable, user, no_execute;
	struct model_step step[5];
	int nr;
};

enum model_verdict { MODEL_GOES_ON, MODEL_IS_OVER, MODEL_TRY_AGAIN };

static void model_begin(const struct model *m, struct model_way *way)
{
	int phys = m->cpu.maxphyaddr < 32 ? 32 : m->cpu.maxphyaddr;

	way->writable = true;
	way->user = true;
	way->bytes = way->mode == MODEL_32 ? 4 : 8;
	switch (way->mode) {
	case MODEL_32:
		way->top = 2;
		way->table = model_field(m->cpu.cr3, 12, 31);
		break;
	case MODEL_PAE:
		way->top = 3;
		way->table = model_field(m->cpu.cr3, 5, 31);
		break;
	case MODEL_4LEVEL: way->top = 4; break;
	case MODEL_5LEVEL: way->top = 5; break;
	default: break;
	}
	if (way->top >= 4)
		way->table = model_field(m->cpu.cr3, 12, phys > 52 ? 51 : phys - 1);
	way->level = way->top;
}

/* The gpa of the entry for gva, at this level. */
static uint64_t model_entry_at(const struct model *m, struct model_way *way)
{
	int width;

	if (way->mode == MODEL_32) {
		width = 10;
		way->shift = way->level == 2 ? 22 : 12;
	} else {
		width = way->mode == MODEL_PAE && way->level == 3 ? 2 : 9;
		way->shift = 12 + 9 * (way->level - 1);
	}
	return way->table + model_field(m->gva, way->shift, way->shift + width - 1) /
				    (1ULL << way->shift) * (uint64_t)way->bytes;
}

/* Read the entry into the step.  False: the walk is over. */
static bool model_read(struct model *m, const struct model_way *way, struct model_step *s)
{
	int level2;

	if (!model_stage2(m, s->gpa, true, m->ept_levels && m->ept_ad, false, true, &s->maddr,
			  &level2, &s->may_write))
		return false;
	if (s->maddr >= m->guest_bytes || m->guest_bytes - s->maddr < (uint64_t)way->bytes) {
		model_record(m, 1, s->level, s->gpa, m->gva, 0);
		m->outcome = WALK_NO_MEMORY;
		m->gpa = s->gpa;
		return false;
	}
	s->entry = 0;
	memcpy(&s->entry, m->guest + s->maddr, (size_t)way->bytes);
	model_record(m, 1, s->level, s->gpa, m->gva, s->entry);

	if (!model_bit(s->entry, 0)) {
		model_page_fault(m, false, false);
		return false;
	}
	if (model_guest_reserved(m, way->mode, s->level, s->entry)) {
		model_page_fault(m, true, true);
		return false;
	}
	return true;
}

static bool model_is_leaf(const struct model *m, const struct model_way *way, uint64_t e)
{
	bool pse = model_bit(m->cpu.cr4, 4);

	if (way->level == 1)
		return true;
	if (way->level == 2 && model_bit(e, 7) && (way->mode != MODEL_32 || pse))
		return true;
	return way->level == 3 && model_bit(e, 7) && way->mode != MODEL_PAE;
}

/* From the top to the leaf.  False: the walk is over. */
static bool model_descend(struct model *m, struct model_way *way)
{
	for (; way->level >= 1; way->level--) {
		struct model_step *s = &way->step[way->nr++];

		s->level = way->level;
		s->gpa = model_entry_at(m, way);
		if (!model_read(m, way, s))
			return false;
		if (!(way->mode == MODEL_PAE && way->level == 3)) {
			way->writable = way->writable && model_bit(s->entry, 1);
			way->user = way->user && model_bit(s->entry, 2);
			way->no_execute = way->no_execute || model_bit(s->entry, 63);
		}
		if (model_is_leaf(m, way, s->entry))
			break;
		way->table = model_field(s->entry, 12, 51);
	}
	return true;
}

/* The gpa that gva means. */
static uint64_t model_gpa(const struct model *m, const struct model_way *way)
{
	uint64_t e, gpa;

	if (way->top == 0)
		return m->gva;
	e = way->step[way->nr - 1].entry;
	/* A 4 MiB page has its address bits 39:32 in 20:13. */
	if (way->mode == MODEL_32 && way->level == 2)
		gpa = model_field(e, 22, 31) + (model_field(e, 13, 20) << 19);
	else
		gpa = model_field(e, way->shift, 51);
	return gpa + model_field(m->gva, 0, way->shift - 1);
}

static bool model_is_refused(const struct model *m, const struct model_way *way)
{
	bool wp = model_bit(m->cpu.cr0, 16), smep = model_bit(m->cpu.cr4, 20);
	bool smap = model_bit(m->cpu.cr4, 21);

	if (way->top == 0)
		return false;
	if (m->access.user && !way->user)
		return true;
	if (m->access.write && m->access.user && !way->writable)
		return true;
	if (m->access.write && !m->access.user && wp && !way->writable)
		return true;
	if (m->access.fetch && way->no_execute)
		return true;
	if (m->access.fetch && !m->access.user && way->user && smep)
		return true;
	return !m->access.fetch && !m->access.user && way->user && smap && !m->cpu.ac;
}

/* Stage 2 does not let the processor write the entry of this step. */
static void model_cannot_set(struct model *m, const struct model_step *s)
{
	bool r = true, x = true;

	/* Its R and X again: the entries of the last walk for this gpa. */
	for (int k = 0; k < m->nr_refs; k++) {
		if (m->ref[k].stage != 2 || m->ref[k].input != s->gpa)
			continue;
		r = r && model_bit(m->ref[k].entry, 0);
		x = x && model_bit(m->ref[k].entry, 2);
	}
	model_violation(m, s->gpa, true, true, false, r, false, x, true);
}

/* To be tried again if an entry has changed since it was read. */
static enum model_verdict model_set_ad(struct model *m, const struct model_way *way)
{
	for (int i = 0; m->access.set_ad && i < way->nr; i++) {
		const struct model_step *s = &way->step[i];
		uint64_t now = 0, new = s->entry;

		if (!(way->mode == MODEL_PAE && s->level == 3))
			new |= 0x20;
		if (i == way->nr - 1 && m->access.write)
			new |= 0x40;
		if (new == s->entry)
			continue;
		if (!s->may_write) {
			model_cannot_set(m, s);
			return MODEL_IS_OVER;
		}
		memcpy(&now, m->guest + s->maddr, (size_t)way->bytes);
		if (now != s->entry)
			return MODEL_TRY_AGAIN;
		memcpy(m->guest + s->maddr, &new, (size_t)way->bytes);
	}
	return MODEL_GOES_ON;
}

/* The access itself, through stage 2. */
static void model_access(struct model *m, const struct model_way *way, uint64_t gpa)
{
	bool read = !m->access.write && !m->access.fetch, may_write;
	uint64_t maddr;
	int level2;

	if (!model_stage2(m, gpa, read, m->access.write, m->access.fetch, false, &maddr, &level2,
			  &may_write))
		return;
	m->outcome = WALK_OK;
	m->gpa = gpa;
	m->maddr = maddr;
	m->level1 = way->top ? way->level : 0;
	m->level2 = level2;
}

/* One attempt.  Returns false if an A or D bit could not be set because the entry changed. */
static bool model_attempt(struct model *m, enum model_mode mode)
{
	struct model_way way = { .mode = mode };
	enum model_verdict verdict;

	m->nr_refs = 0;
	model_begin(m, &way);
	if (!model_descend(m, &way))
		return true;
	if (model_is_refused(m, &way)) {
		model_page_fault(m, true, false);
		return true;
	}
	verdict = model_set_ad(m, &way);
	if (verdict == MODEL_GOES_ON)
		model_access(m, &way, model_gpa(m, &way));
	return verdict != MODEL_TRY_AGAIN;
}

void model_walk(struct model *m)
{
	enum model_mode mode = model_mode(&m->cpu);

	m->gpa = UINT64_MAX;
	m->maddr = UINT64_MAX;
	m->error_code = 0;
	m->qualification = 0;
	m->level1 = 0;
	m->level2 = 0;
	m->nr_refs = 0;
	if (mode == MODEL_IMPOSSIBLE) {
		m->outcome = WALK_BAD_MODE;
		return;
	}
	if (mode == MODEL_4LEVEL || mode == MODEL_5LEVEL) {
		int top = mode == MODEL_4LEVEL ? 47 : 56;

		for (int bit = top + 1; bit <= 63; bit++) {
			if (model_bit(m->gva, bit) != model_bit(m->gva, top)) {
				m->outcome = WALK_NOT_CANONICAL;
				return;
			}
		}
	} else {
		m->gva = model_field(m->gva, 0, 31);
	}
	while (!model_attempt(m, mode))
		;
	/* What refused the access left its gpa, or none, and no machine address. */
}
