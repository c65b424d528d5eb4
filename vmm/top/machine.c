/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "vmm/look/stats.h"
#include "vmm/print/table.h"
#include "machine.h"

#define LABEL 9	 /* columns before a bar of the machine */
#define TEXT  26 /* ... and behind it */

/* That of the chosen VM; without one, that which the look is about. */
static const struct roster_machine *machine_of(const struct model *m)
{
	const struct look *look = &m->watch->look;
	const struct roster_vm *vm = model_chosen(m);

	return vm && vm->id ? &look->roster.machine[vm->machine] : look->machine;
}

/* Where the machine's memory is: the parts of its budget (docs/stats.md). */
static const struct budget_part {
	const char *name;
	char glyph;
	uint32_t rgb;
} budget_parts[] = {
	{ "credits, with VMs", 'c', 0x3b82f6 },
	{ "store, shared by VMs", 's', 0x22c55e },
	{ "overhead", 'o', 0xa855f7 },
	{ "free", '.', 0x20242c },
};

static unsigned int bar_width(const struct frame *f)
{
	return f->columns > LABEL + TEXT + 4 ? f->columns - LABEL - TEXT : 4;
}

static void draw_label(struct frame *f, unsigned int row, const char *label)
{
	frame_print(f, row, 0, frame_bold, "%s", label);
}

/* A watermark in the bar: when so many pages are free, the bar is filled up to here. */
static void draw_mark(struct frame *f, unsigned int row, uint64_t pages, uint64_t memory)
{
	unsigned int width = bar_width(f);
	struct frame_cell *cell;

	if (!pages || pages >= memory)
		return;
	cell = frame_at(f, row,
			LABEL + (unsigned int)((double)(memory - pages) * width / (double)memory));
	if (cell)
		cell->character = '|';
}

static void draw_of(struct frame *f, unsigned int row, uint64_t pages, uint64_t of,
		    const char *what)
{
	frame_print(f, row, LABEL + bar_width(f) + 1, frame_plain, "%s of %s%s",
		    size_text(gfn_to_gpa(pages)), size_text(gfn_to_gpa(of)), what);
}

static void draw_budget(struct frame *f, unsigned int row, const struct machine_state *state)
{
	uint64_t memory = state->settings.memory_pages, free = state->free_pages;
	const uint64_t amount[ARRAY_SIZE(budget_parts)] = { state->credit_pages, state->store_pages,
							    state->overhead_pages, free };
	struct bar_part part[ARRAY_SIZE(budget_parts)];

	for (unsigned int i = 0; i < ARRAY_SIZE(part); i++)
		part[i] =
			(struct bar_part){ amount[i], budget_parts[i].glyph, budget_parts[i].rgb };
	draw_label(f, row, "memory");
	bar_draw(f, row, LABEL, bar_width(f), part, ARRAY_SIZE(part));
	draw_mark(f, row, state->high_pages, memory);
	draw_mark(f, row, state->low_pages, memory);
	draw_mark(f, row, state->min_pages, memory);
	draw_of(f, row, memory - min_u64(free, memory), memory,
		stats_excess_pages(state) ? " !" : "");
}

/* Only mode 2 keeps the limit; beyond it there is another letter. */
static void draw_promised(struct frame *f, unsigned int row, const struct machine_state *state)
{
	uint64_t limit = state->commit_limit_pages, all = state->committed_pages;
	const struct bar_part part[] = {
		{ min_u64(all, limit), '#', 0x64748b },
		{ all > limit ? all - limit : 0, '+', 0xeab308 },
		{ limit > all ? limit - all : 0, '.', 0x20242c },
	};

	draw_label(f, row, "promised");
	bar_draw(f, row, LABEL, bar_width(f), part, ARRAY_SIZE(part));
	draw_of(f, row, all, limit, "");
}

static void draw_no_machine(const struct model *m, struct frame *f, unsigned int row)
{
	const struct watch *w = m->watch;

	draw_label(f, row, "memory");
	if (w->away)
		frame_print(f, row, LABEL, frame_alarm, "away: %s", w->why.text);
	else if (w->look.roster.nr_machines)
		frame_print(f, row, LABEL, frame_plain,
			    "%u machines are running: choose one with --machine=ADDRESS",
			    w->look.roster.nr_machines);
	else
		frame_print(f, row, LABEL, frame_plain, "no machine is running");
}

static void draw_pages_of_all(struct frame *f, unsigned int row, const struct watch_point *all)
{
	uint64_t ram = 0, resident = 0;

	draw_label(f, row, "guests");
	if (!all)
		return;
	bar_draw_states(f, row, LABEL, bar_width(f), all->state_pages);
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		ram += all->state_pages[i];
		resident += page_states[i].resident ? all->state_pages[i] : 0;
	}
	draw_of(f, row, resident, ram, "");
}

static uint64_t in_use(const struct watch_point *point, unsigned int none)
{
	(void)none;
	return point->memory - min_u64(point->free, point->memory);
}

/* Three sparklines side by side, of the machine that the watch is about, and of all VMs. */
static void draw_history(const struct model *m, struct frame *f, unsigned int row)
{
	const struct watch_ring *all = &m->watch->all;
	const struct watch_point *now = watch_point(all, 0);
	static const char *const label[] = { "in use", "faults", "stall" };
	unsigned int third = f->columns > LABEL ? (f->columns - LABEL) / 3 : 0;

	draw_label(f, row, "history");
	for (unsigned int i = 0; i < ARRAY_SIZE(label) && third > 10 && now; i++) {
		unsigned int at = LABEL + i * third;

		frame_print(f, row, at, frame_plain, "%s", label[i]);
		at += (unsigned int)strlen(label[i]) + 1;
		bar_draw_spark(f, row, at, LABEL + (i + 1) * third - 1 - at, all,
			       i == 0 ? in_use :
			       i == 1 ? columns_rate :
					columns_stall,
			       WATCH_FAULTS,
			       i == 0 ? now->memory :
			       i == 2 ? 1000 :
					0);
	}
}

static void draw_title(const struct model *m, struct frame *f, const char *time)
{
	const struct watch *w = m->watch;
	const struct roster *r = &w->look.roster;
	unsigned int nr[VM_NR_STATES] = { 0 }, silent = 0, at;
	const struct roster_machine *machine = machine_of(m);
	char address[64] = "";

	for (unsigned int i = 0; i < r->nr_vms; i++) {
		if (r->vm[i].answers && r->vm[i].info.state < VM_NR_STATES)
			nr[r->vm[i].info.state]++;
		else
			silent++;
	}
	at = frame_print(f, 0, 0, frame_bold, "quire top  %s  ", time);
	at = frame_print(f, 0, at, frame_plain, "%u VM%s", r->nr_vms, r->nr_vms == 1 ? "" : "s");
	for (unsigned int i = 0; i < VM_NR_STATES; i++)
		if (nr[i])
			at = frame_print(f, 0, at, frame_plain, ", %u %s", nr[i],
					 stats_state_name(i));
	if (silent)
		at = frame_print(f, 0, at, frame_alarm, ", %u silent", silent);
	if (machine)
		snprintf(address, sizeof(address), "machine %.40s, mode %u",
			 roster_short_address(machine), machine->state.settings.mode);
	if (at + 2 + strlen(address) <= f->columns)
		frame_print_right(f, 0, f->columns, frame_plain, address);
}

unsigned int machine_rows(unsigned int rows)
{
	return rows >= 16 ? MACHINE_ROWS : rows >= 12 ? 4 : rows >= 8 ? 2 : 1;
}

unsigned int machine_draw(const struct model *m, struct frame *f, const char *time,
			  unsigned int rows)
{
	const struct roster_machine *machine = machine_of(m);

	draw_title(m, f, time);
	if (rows > 1 && machine)
		draw_budget(f, 1, &machine->state);
	else if (rows > 1)
		draw_no_machine(m, f, 1);
	if (rows > 2) {
		if (machine)
			draw_promised(f, 2, &machine->state);
		draw_pages_of_all(f, 3, watch_point(&m->watch->all, 0));
	}
	if (rows > 4)
		draw_history(m, f, 4);
	return rows;
}

void machine_draw_legend(struct frame *f, unsigned int row)
{
	unsigned int at = 2;

	for (unsigned int i = 0; i < ARRAY_SIZE(budget_parts); i++) {
		frame_put(f, row, at, frame_on(budget_parts[i].rgb),
			  (unsigned char)budget_parts[i].glyph);
		at = frame_print(f, row, at + 2, frame_plain, "%s", budget_parts[i].name) + 2;
	}
}
