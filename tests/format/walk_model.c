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
		bool leaf;
		int type;

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
		if (!model_bit(e, 0) && model_bit(e, 1))
			return false;
		if (!model_bit(e, 0) && !model_bit(e, 1) && !m->ept_exec_only)
			return false;
		if (model_any(e, m->ept_maxphyaddr, 51))
			return false;
		if (level >= 4) {
			leaf = false;
			if (model_any(e, 3, 7))
				return false;
		} else if (level == 1) {
			leaf = true;
		} else {
			leaf = model_bit(e, 7);
			if (!leaf && model_any(e, 3, 6))
				return false;
			if (leaf && level == 3 && !m->ept_1g)
				return false;
			if (leaf && model_any(e, 12, shift - 1))
				return false;
		}
		type = (int)(model_field(e, 3, 5) / 8);
		if (leaf && (type == 2 || type == 3 || type == 7))
			return false;

		r = r && model_bit(e, 0);
		w = w && model_bit(e, 1);
		x = x && model_bit(e, 2);
		if (leaf)
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

/* One attempt.  Returns false if an A or D bit could not be set because the entry changed. */
static bool model_attempt(struct model *m, enum model_mode mode)
{
	bool wp = model_bit(m->cpu.cr0, 16), smep = model_bit(m->cpu.cr4, 20);
	bool smap = model_bit(m->cpu.cr4, 21), pse = model_bit(m->cpu.cr4, 4);
	bool read = !m->access.write && !m->access.fetch;
	bool writable = true, user = true, no_execute = false;
	int bytes = mode == MODEL_32 ? 4 : 8, top = 0, shift = 0, width = 9, nr = 0, level, level2;
	uint64_t table = 0, gpa = m->gva, e = 0, maddr;
	struct model_step step[5];
	bool dummy;

	m->nr_refs = 0;
	switch (mode) {
	case MODEL_32:
		top = 2;
		table = model_field(m->cpu.cr3, 12, 31);
		break;
	case MODEL_PAE:
		top = 3;
		table = model_field(m->cpu.cr3, 5, 31);
		break;
	case MODEL_4LEVEL: top = 4; break;
	case MODEL_5LEVEL: top = 5; break;
	default: break;
	}
	if (top >= 4) {
		int phys = m->cpu.maxphyaddr < 32 ? 32 : m->cpu.maxphyaddr;

		table = model_field(m->cpu.cr3, 12, phys > 52 ? 51 : phys - 1);
	}

	for (level = top; level >= 1; level--) {
		struct model_step *s = &step[nr++];
		bool leaf;

		if (mode == MODEL_32) {
			width = 10;
			shift = level == 2 ? 22 : 12;
		} else {
			width = mode == MODEL_PAE && level == 3 ? 2 : 9;
			shift = 12 + 9 * (level - 1);
		}
		s->level = level;
		s->gpa = table + model_field(m->gva, shift, shift + width - 1) / (1ULL << shift) *
					 (uint64_t)bytes;
		if (!model_stage2(m, s->gpa, true, m->ept_levels && m->ept_ad, false, true,
				  &s->maddr, &level2, &s->may_write))
			return true;
		e = 0;
		if (s->maddr >= m->guest_bytes || m->guest_bytes - s->maddr < (uint64_t)bytes) {
			model_record(m, 1, level, s->gpa, m->gva, 0);
			m->outcome = WALK_NO_MEMORY;
			m->gpa = s->gpa;
			return true;
		}
		memcpy(&e, m->guest + s->maddr, (size_t)bytes);
		s->entry = e;
		model_record(m, 1, level, s->gpa, m->gva, e);

		if (!model_bit(e, 0)) {
			model_page_fault(m, false, false);
			return true;
		}
		if (model_guest_reserved(m, mode, level, e)) {
			model_page_fault(m, true, true);
			return true;
		}
		if (!(mode == MODEL_PAE && level == 3)) {
			writable = writable && model_bit(e, 1);
			user = user && model_bit(e, 2);
			no_execute = no_execute || model_bit(e, 63);
		}
		leaf = level == 1;
		if (level == 2 && model_bit(e, 7) && (mode != MODEL_32 || pse))
			leaf = true;
		if (level == 3 && model_bit(e, 7) && mode != MODEL_PAE)
			leaf = true;
		if (leaf)
			break;
		table = model_field(e, 12, 51);
	}

	if (top > 0) {
		bool refused = false;

		/* A 4 MiB page has its address bits 39:32 in 20:13. */
		if (mode == MODEL_32 && level == 2)
			gpa = model_field(e, 22, 31) + (model_field(e, 13, 20) << 19);
		else
			gpa = model_field(e, shift, 51);
		gpa += model_field(m->gva, 0, shift - 1);

		if (m->access.user && !user)
			refused = true;
		if (m->access.write && m->access.user && !writable)
			refused = true;
		if (m->access.write && !m->access.user && wp && !writable)
			refused = true;
		if (m->access.fetch && no_execute)
			refused = true;
		if (m->access.fetch && !m->access.user && user && smep)
			refused = true;
		if (!m->access.fetch && !m->access.user && user && smap && !m->cpu.ac)
			refused = true;
		if (refused) {
			model_page_fault(m, true, false);
			return true;
		}
	}

	for (int i = 0; m->access.set_ad && i < nr; i++) {
		struct model_step *s = &step[i];
		uint64_t now = 0, new = s->entry;

		if (!(mode == MODEL_PAE && s->level == 3))
			new |= 0x20;
		if (i == nr - 1 && m->access.write)
			new |= 0x40;
		if (new == s->entry)
			continue;
		if (!s->may_write) {
			bool r = true, x = true;

			/* Its R and X again: the entries of the last walk for this gpa. */
			for (int k = 0; k < m->nr_refs; k++) {
				if (m->ref[k].stage != 2 || m->ref[k].input != s->gpa)
					continue;
				r = r && model_bit(m->ref[k].entry, 0);
				x = x && model_bit(m->ref[k].entry, 2);
			}
			model_violation(m, s->gpa, true, true, false, r, false, x, true);
			return true;
		}
		memcpy(&now, m->guest + s->maddr, (size_t)bytes);
		if (now != s->entry)
			return false;
		memcpy(m->guest + s->maddr, &new, (size_t)bytes);
	}

	if (!model_stage2(m, gpa, read, m->access.write, m->access.fetch, false, &maddr, &level2,
			  &dummy))
		return true;
	m->outcome = WALK_OK;
	m->gpa = gpa;
	m->maddr = maddr;
	m->level1 = top ? level : 0;
	m->level2 = level2;
	return true;
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
