/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "mmu/format/x86pt.h"
#include "shadow_history.h"

#define VERSIONS 64u
#define AD	 (X86_A | X86_D)

struct version {
	uint64_t from, value;
};

static struct version history[LAB_POOL][LAB_SLOTS][VERSIONS];
static unsigned int nr_versions[LAB_POOL][LAB_SLOTS];
static uint64_t now;
static uint64_t loaded[LAB_CPUS]; /* when each loaded CR3 */
static uint64_t invalidated[LAB_CPUS][LAB_SLOTS * LAB_SLOTS * LAB_SLOTS * LAB_SLOTS];
static uint64_t any_flush[LAB_CPUS][4096]; /* times of flushes of any kind, ascending */
static unsigned int nr_flushes[LAB_CPUS];

unsigned int history_of_gva(gva_t gva)
{
	unsigned int n = 0;

	for (unsigned int level = 4; level >= 1; level--) {
		unsigned int index = gva >> (3 + 9 * level) & 511, slot = 0;

		while (slot < LAB_SLOTS - 1 && lab_slot[slot] != index)
			slot++;
		n = n * LAB_SLOTS + slot;
	}
	return n;
}

static void forget_history(void)
{
	for (unsigned int page = 0; page < LAB_POOL; page++)
		for (unsigned int slot = 0; slot < LAB_SLOTS; slot++) {
			history[page][slot][0] =
				(struct version){ now, lab_entry(page, slot) & ~AD };
			nr_versions[page][slot] = 1;
		}
	for (unsigned int cpu = 0; cpu < LAB_CPUS; cpu++)
		nr_flushes[cpu] = 0;
}

static void note_flush(unsigned int cpu)
{
	any_flush[cpu][nr_flushes[cpu]++] = now;
}

/* All that happened is forgotten when all processors flush. */
static void load_all(void)
{
	for (unsigned int cpu = 0; cpu < LAB_CPUS; cpu++)
		loaded[cpu] = ++now;
	shadow_resync(lab_shadow);
	shadow_flush(lab_shadow);
	forget_history();
}

void history_note(unsigned int page, unsigned int slot, uint64_t value)
{
	unsigned int *nr = &nr_versions[page][slot];

	now++;
	history[page][slot][(*nr)++] = (struct version){ now, value & ~AD };
	if (*nr == VERSIONS)
		load_all();
}

bool history_had(gpa_t gpa, uint64_t value)
{
	unsigned int page = gpa_to_gfn(gpa), slot = 0;

	while (slot < LAB_SLOTS - 1 && lab_slot[slot] != gpa % QUIRE_PAGE_SIZE / 8)
		slot++;
	for (unsigned int i = 0; i < nr_versions[page][slot]; i++)
		if (history[page][slot][i].value == (value & ~AD))
			return true;
	return false;
}

void history_begin(void)
{
	memset(invalidated, 0, sizeof(invalidated));
	now = 1;
	load_all();
}

/* --- what a TLB may hold ------------------------------------------------------------------ */

struct query {
	unsigned int cpu;
	gva_t gva;
	struct walk_access access;
	maddr_t maddr;
	uint64_t leaf_time, link_time; /* a link may be as old as this */
};

/* Intel SDM Vol. 3A, "Determination of Access Rights", in the words of the manual. */
static bool model_allows(const struct walk_cpu *r, struct walk_access a, bool w, bool u, bool nx)
{
	bool wp = r->cr0 >> 16 & 1, smep = r->cr4 >> 20 & 1, smap = r->cr4 >> 21 & 1;

	if (a.user)
		return u && (!a.write || w) && (!a.fetch || !nx);
	if (a.fetch)
		return !nx && !(u && smep);
	if (u && smap && !r->ac)
		return false;
	return !a.write || w || !wp;
}

static bool leads(const struct query *q, gpa_t table, unsigned int level, bool w, bool u, bool nx);

/* An entry with this value: does it lead to q->maddr? */
static bool value_leads(const struct query *q, uint64_t v, unsigned int level, bool w, bool u,
			bool nx)
{
	gpa_t at = v & X86_ADDR_MASK;
	uint64_t size = 1ULL << (3 + 9 * level);
	bool nxe = lab_regs[q->cpu].efer >> 11 & 1, leaf = level == 1 || (v & X86_PS);

	if (!(v & X86_P) || (v >> 51 & 1) || (!nxe && v >> 63))
		return false;
	if (leaf && level == 4)
		return false;
	w &= v >> 1 & 1;
	u &= v >> 2 & 1;
	nx |= v >> 63;
	if (!leaf)
		return leads(q, at, level - 1, w, u, nx);
	if (level > 1 && (at & (size - 1) & ~0x1000ULL))
		return false;
	at &= ~(size - 1);
	return model_allows(&lab_regs[q->cpu], q->access, w, u, nx) &&
	       lab_reaches(at + (q->gva & (size - 1)), q->maddr);
}

static bool leads(const struct query *q, gpa_t table, unsigned int level, bool w, bool u, bool nx)
{
	unsigned int index = q->gva >> (3 + 9 * level) & 511, slot = 0, page = gpa_to_gfn(table);
	const struct version *v;

	while (lab_slot[slot] != index)
		slot++;
	if (page >= LAB_POOL)
		return false;
	v = history[page][slot];
	for (unsigned int i = 0; i < nr_versions[page][slot]; i++) {
		bool last = i + 1 == nr_versions[page][slot];
		uint64_t from = v[i].from, to = last ? UINT64_MAX : v[i + 1].from - 1;
		bool leaf = level == 1 || (v[i].value & X86_PS);
		uint64_t oldest = leaf ? q->leaf_time : q->link_time;

		if (from <= q->leaf_time && to >= oldest &&
		    value_leads(q, v[i].value, level, w, u, nx))
			return true;
	}
	return false;
}

/* The last flush of any kind at or before `time`. */
static uint64_t flush_before(unsigned int cpu, uint64_t time)
{
	uint64_t last = loaded[cpu];

	for (unsigned int i = 0; i < nr_flushes[cpu] && any_flush[cpu][i] <= time; i++)
		last = max_u64(last, any_flush[cpu][i]);
	return last;
}

/*
 * The translation was made at some time since the address was flushed: by the leaf of that time,
 * and by links as old as the last flush before it.
 */
bool lab_permits(unsigned int cpu, gva_t gva, struct walk_access access, maddr_t maddr)
{
	uint64_t since = max_u64(loaded[cpu], invalidated[cpu][history_of_gva(gva)]);
	struct query q = { cpu, gva, access, maddr, 0, 0 };

	for (q.leaf_time = since; q.leaf_time <= now; q.leaf_time++) {
		q.link_time = flush_before(cpu, q.leaf_time);
		if (leads(&q, lab_regs[cpu].cr3, 4, true, true, false))
			return true;
	}
	return false;
}

/* An entry of the path, with the time of its last change.  False: the table is none of ours. */
static bool path_entry(unsigned int level, gpa_t table, gva_t gva, uint64_t *entry, uint64_t *time)
{
	unsigned int index = gva >> (3 + 9 * level) & 511, slot = 0, page = gpa_to_gfn(table);

	if (page >= LAB_POOL)
		return false;
	while (lab_slot[slot] != index)
		slot++;
	*entry = lab_entry(page, slot);
	*time = history[page][slot][nr_versions[page][slot] - 1].from;
	return true;
}

bool lab_bits_set(unsigned int cpu, gva_t gva, bool write)
{
	uint64_t since = max_u64(loaded[cpu], invalidated[cpu][history_of_gva(gva)]), e, time;
	gpa_t table = lab_regs[cpu].cr3;
	bool set = true;

	for (unsigned int level = 4;; level--) {
		if (!path_entry(level, table, gva, &e, &time) || time > since || !(e & X86_P))
			return true;
		set &= (e & X86_A) != 0;
		if (level == 1 || (e & X86_PS))
			return set && (!write || (e & X86_D));
		table = e & X86_ADDR_MASK;
	}
}

/* --- flushes ----------------------------------------------------------------------------- */

void lab_invlpg(unsigned int cpu, gva_t gva)
{
	shadow_invlpg(lab_shadow, &lab_regs[cpu], gva);
	shadow_flush(lab_shadow);
	invalidated[cpu][history_of_gva(gva)] = ++now;
	note_flush(cpu);
}

void lab_load(unsigned int cpu)
{
	shadow_resync(lab_shadow);
	shadow_flush(lab_shadow);
	loaded[cpu] = ++now;
	note_flush(cpu);
	if (nr_flushes[cpu] > 4000)
		load_all();
}
