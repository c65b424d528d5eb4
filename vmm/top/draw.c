/* SPDX-License-Identifier: MIT */
/* What a frame contains: the list of VMs, the map of one, or help. */
#include <string.h>
#include "vmm/look/stats.h"
#include "vmm/print/table.h"
#include "machine.h"

/* ---- the list ---- */

static size_t longest_name(const struct model *m)
{
	size_t longest = 0, bytes;

	for (unsigned int i = 0; i < m->nr_rows; i++) {
		bytes = strlen(m->row[i].vm->name);
		longest = bytes > longest ? bytes : longest;
	}
	return longest;
}

static struct row sum_of_all(const struct model *m)
{
	return (struct row){ .ring = &m->watch->all, .point = watch_point(&m->watch->all, 0) };
}

/* The head, all together, and as many VMs as there are rows up to `end`. */
static void draw_list(struct model *m, struct frame *f, unsigned int row, unsigned int end)
{
	struct column_widths widths = columns_fit(f->columns, longest_name(m));
	struct row all = sum_of_all(m);

	columns_draw_head(f, row++, &widths, m->sort);
	columns_draw(f, row++, &widths, &all, m->sort);
	m->shown = end > row ? end - row : 1;
	if (m->chosen < m->first)
		m->first = m->chosen;
	if (m->chosen >= m->first + m->shown)
		m->first = m->chosen - m->shown + 1;
	if (m->first && m->nr_rows < m->first + m->shown)
		m->first = m->nr_rows > m->shown ? m->nr_rows - m->shown : 0;
	for (unsigned int i = m->first; i < m->nr_rows && row < end; i++, row++) {
		columns_draw(f, row, &widths, &m->row[i], m->sort);
		if (model_chosen(m) == m->row[i].vm)
			frame_reverse(f, row);
	}
	if (!m->nr_rows && row < end)
		frame_print(f, row, 0, frame_plain, "%s",
			    *m->filter ? "no VM has this in its name" : "no VM is running");
}

/* ---- the map ---- */

/* With one blank between the states where two do not fit, so that 80 columns have them all. */
static void draw_legend(struct frame *f, unsigned int row)
{
	unsigned int at = 0, length = 0, gap;

	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		length += strlen(page_states[i].name) + 4;
	gap = length - 2 > f->columns ? 1 : 2;
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		frame_put(f, row, at, frame_on(page_states[i].rgb),
			  (unsigned char)page_states[i].glyph);
		at = frame_print(f, row, at + 2, frame_plain, "%s", page_states[i].name) + gap;
	}
}

static void draw_map(struct model *m, struct frame *f, unsigned int end)
{
	const struct row *row = &m->row[m->chosen];
	const struct roster_vm *vm = row->vm;
	const struct pagemap *map = m->map;
	unsigned int at;

	at = frame_print(f, 0, 0, frame_bold, "%s", vm->name);
	if (vm->answers)
		at = frame_print(f, 0, at, frame_plain, ", %s, %s of RAM",
				 stats_state_name(vm->info.state), size_text(vm->info.ram_bytes));
	pagemap_size(&m->place, f->columns > 14 ? f->columns - 14 : 1, end > 6 ? end - 5 : 1);
	if (map->pid != vm->pid || map->code) {
		frame_print(f, 2, 0, map->code ? frame_alarm : frame_plain, "%s",
			    map->pid == vm->pid && map->code ? map->why.text :
							       "asking for its pages");
		return;
	}
	pagemap_fit(&m->place, map->end);
	frame_print(f, 0, at, frame_plain, "; a cell is %s", size_text(gfn_to_gpa(m->place.scale)));
	if (row->point)
		bar_draw_states(f, 1, 0, f->columns, row->point->state_pages);
	pagemap_draw(f, 3, map, &m->place);
	draw_legend(f, end - 1);
}

/* ---- help ---- */

static const char *const help_lines[] = {
	"up down PgUp PgDn Home End   choose a VM     Enter   the map of its pages",
	"< >   sort by another column    i   the other way round",
	"/     only VMs with this in their names; Esc: all",
	"p r   pause, resume             b   set its balloon",
	"m     merge now                 k   kill, after a question",
	"space look now                  q   leave",
	"In the map: arrows move, + and - zoom, Esc goes back.  A shared page shows how",
	"many VMs share it: 1 to 9, + for more.",
	"",
	"FAULTS to LOADS are a second, in pages.  STALL: in so many percent of the time a",
	"vCPU waited for memory.  HISTORY is that of the column by which it is sorted.",
	"",
	"The bar of memory; a | is a watermark:",
};

static void draw_help(struct frame *f)
{
	unsigned int row = 2;

	frame_print(f, 0, 0, frame_bold, "quire top: help; any key goes back");
	for (unsigned int i = 0; i < ARRAY_SIZE(help_lines); i++)
		frame_print(f, row++, 0, frame_plain, "%s", help_lines[i]);
	machine_draw_legend(f, row);
	frame_print(f, ++row, 0, frame_plain, "Pages of guests, in bars and maps:");
	draw_legend(f, row + 1);
}

/* ---- the bottom ---- */

static const char *const key_lines[] = {
	[VIEW_LIST] =
		"Enter map  / filter  <> sort  p pause r resume b balloon m merge k kill  h help",
	[VIEW_MAP] =
		"Esc back  arrows move  + - zoom  p pause  r resume  b balloon  m merge  k kill",
	[VIEW_HELP] = "any key goes back",
};

static void draw_bottom(const struct model *m, struct frame *f)
{
	unsigned int row = f->rows - 2;

	switch (m->question) {
	case ASK_FILTER: frame_print(f, row, 0, frame_bold, "names with: %s_", m->typed); break;
	case ASK_BALLOON:
		frame_print(f, row, 0, frame_bold, "memory that %s keeps (SIZE, or auto): %s_",
			    m->chosen_name, m->typed);
		break;
	case ASK_KILL:
		frame_print(f, row, 0, frame_alarm,
			    "kill %s?  y: in order  9: at once, by SIGKILL  other keys: no",
			    m->chosen_name);
		break;
	default:
		if (*m->message)
			frame_print(f, row, 0, frame_bold, "%s", m->message);
		else if (*m->filter)
			frame_print(f, row, 0, frame_plain, "only names with: %s (%u of %u VMs)",
				    m->filter, m->nr_rows, m->watch->look.roster.nr_vms);
		break;
	}
	frame_print(f, row + 1, 0, frame_plain, "%s", key_lines[m->view]);
}

void model_draw(struct model *m, struct frame *f, const char *time)
{
	unsigned int end = f->rows > 2 ? f->rows - 2 : 0;

	if (m->view == VIEW_HELP)
		draw_help(f);
	else if (m->view == VIEW_MAP)
		draw_map(m, f, end);
	else
		draw_list(m, f, machine_draw(m, f, time, machine_rows(f->rows)), end);
	if (end)
		draw_bottom(m, f);
}

int model_draw_list(struct model *m, struct frame *f, unsigned int columns, const char *time)
{
	unsigned int rows = MACHINE_ROWS + 2 + (m->nr_rows ? m->nr_rows : 1);
	int code = frame_init(f, rows, columns);

	if (!code)
		draw_list(m, f, machine_draw(m, f, time, MACHINE_ROWS), rows);
	return code;
}
