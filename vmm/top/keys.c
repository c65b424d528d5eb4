/* SPDX-License-Identifier: MIT */
/*
 * What keys do.  A key goes to the question at the bottom if there is one, or else to the view, or
 * else it is one of those that every view knows.
 */
#include <string.h>
#include "vmm/print/parse.h"
#include "vmm/print/table.h"
#include "model.h"

/* ---- questions ---- */

static void ask(struct model *m, enum model_question question, const char *typed)
{
	m->question = question;
	snprintf(m->typed, sizeof(m->typed), "%s", typed);
}

static enum model_wish act(struct model *m, enum act_kind kind, uint64_t bytes)
{
	m->act = (struct act){ .kind = kind, .bytes = bytes };
	return WISH_ACT;
}

/* Edit what is typed.  Only what may be in a name or a size gets in. */
static void edit(struct model *m, int key)
{
	size_t bytes = strlen(m->typed);

	if (key == TOP_ERASE && bytes)
		m->typed[bytes - 1] = '\0';
	if (key <= ' ' || key > '~' || bytes + 1 >= sizeof(m->typed))
		return;
	m->typed[bytes] = (char)key;
	m->typed[bytes + 1] = '\0';
}

static enum model_wish answer_balloon(struct model *m)
{
	struct quire_error err;
	uint64_t bytes = ACT_BY_POLICY;

	m->question = ASK_NOTHING;
	if (strcmp(m->typed, "auto") && parse_size(m->typed, &bytes, &err)) {
		snprintf(m->message, sizeof(m->message), "%.150s; or auto", err.text);
		return WISH_NOTHING;
	}
	return act(m, ACT_BALLOON, bytes);
}

static enum model_wish answer_kill(struct model *m, int key)
{
	m->question = ASK_NOTHING;
	if (key == 'y')
		return act(m, ACT_END, 0);
	if (key == '9')
		return act(m, ACT_KILL, 0);
	snprintf(m->message, sizeof(m->message), "%s was not killed", m->chosen_name);
	return WISH_NOTHING;
}

/* A filter takes effect while it is typed. */
static void set_filter(struct model *m, const char *text)
{
	snprintf(m->filter, sizeof(m->filter), "%s", text);
	model_update(m);
	m->first = 0;
}

static enum model_wish answer(struct model *m, int key)
{
	if (m->question == ASK_KILL)
		return answer_kill(m, key);
	if (key == TOP_ESCAPE) {
		if (m->question == ASK_FILTER)
			set_filter(m, "");
		m->question = ASK_NOTHING;
	} else if (key == TOP_ENTER && m->question == ASK_BALLOON) {
		return answer_balloon(m);
	} else if (key == TOP_ENTER) {
		m->question = ASK_NOTHING;
	} else {
		edit(m, key);
		if (m->question == ASK_FILTER)
			set_filter(m, m->typed);
	}
	return WISH_NOTHING;
}

/* ---- what can be done to the chosen VM ---- */

static enum model_wish do_to_chosen(struct model *m, int key)
{
	if (!model_chosen(m))
		return WISH_NOTHING;
	switch (key) {
	case 'p': return act(m, ACT_PAUSE, 0);
	case 'r': return act(m, ACT_RESUME, 0);
	case 'm': return act(m, ACT_MERGE_NOW, 0);
	case 'b': ask(m, ASK_BALLOON, ""); break;
	case 'k': ask(m, ASK_KILL, ""); break;
	default: break;
	}
	return WISH_NOTHING;
}

/* ---- the list ---- */

static void choose(struct model *m, int64_t row)
{
	int64_t last = (int64_t)m->nr_rows - 1;

	if (last < 0)
		return;
	m->chosen = (unsigned int)(row < 0 ? 0 : row > last ? last : row);
	m->chosen_pid = model_chosen(m)->pid;
	snprintf(m->chosen_name, sizeof(m->chosen_name), "%s", model_chosen(m)->name);
}

static void sort_by_next(struct model *m, unsigned int step)
{
	do
		m->sort = (m->sort + step) % NR_COLUMNS;
	while (!column_sorts(m->sort));
	model_update(m);
}

static enum model_wish key_in_list(struct model *m, int key)
{
	switch (key) {
	case TOP_UP: choose(m, (int64_t)m->chosen - 1); break;
	case TOP_DOWN: choose(m, (int64_t)m->chosen + 1); break;
	case TOP_PAGE_UP: choose(m, (int64_t)m->chosen - m->shown); break;
	case TOP_PAGE_DOWN: choose(m, (int64_t)m->chosen + m->shown); break;
	case TOP_FIRST: choose(m, 0); break;
	case TOP_LAST: choose(m, m->nr_rows); break;
	case '<': sort_by_next(m, NR_COLUMNS - 1); break;
	case '>': sort_by_next(m, 1); break;
	case 'i':
		m->reverse = !m->reverse;
		model_update(m);
		break;
	case '/': ask(m, ASK_FILTER, m->filter); break;
	case TOP_ESCAPE: set_filter(m, ""); break;
	case TOP_ENTER:
		if (model_chosen(m)) {
			m->view = VIEW_MAP;
			m->place = (struct pagemap_place){ 0 };
			return WISH_LOOK;
		}
		break;
	case 'q': return WISH_QUIT;
	default: return do_to_chosen(m, key);
	}
	return WISH_NOTHING;
}

/* ---- the map ---- */

static enum model_wish key_in_map(struct model *m, int key)
{
	struct pagemap_place *place = &m->place;
	gfn_t end = m->map->end;
	int64_t row = place->columns, all = (int64_t)place->columns * place->rows;

	switch (key) {
	case TOP_UP: pagemap_move(place, end, -row); break;
	case TOP_DOWN: pagemap_move(place, end, row); break;
	case TOP_LEFT: pagemap_move(place, end, -1); break;
	case TOP_RIGHT: pagemap_move(place, end, 1); break;
	case TOP_PAGE_UP: pagemap_move(place, end, -all); break;
	case TOP_PAGE_DOWN: pagemap_move(place, end, all); break;
	case TOP_FIRST: pagemap_move(place, end, INT64_MIN); break;
	case TOP_LAST: pagemap_move(place, end, INT64_MAX); break;
	case '+':
	case '=': pagemap_zoom(place, end, true); break;
	case '-': pagemap_zoom(place, end, false); break;
	case 'q':
	case TOP_ENTER:
	case TOP_ESCAPE: m->view = VIEW_LIST; return WISH_NOTHING;
	default: return do_to_chosen(m, key);
	}
	return WISH_LOOK;
}

/* ---- all ---- */

enum model_wish model_key(struct model *m, int key)
{
	m->message[0] = '\0';
	if (m->question != ASK_NOTHING)
		return answer(m, key);
	if (m->view == VIEW_HELP) {
		m->view = VIEW_LIST;
		return WISH_NOTHING;
	}
	if (key == ' ')
		return WISH_LOOK;
	if (key == 'h' || key == '?') {
		m->view = VIEW_HELP;
		return WISH_NOTHING;
	}
	return m->view == VIEW_MAP ? key_in_map(m, key) : key_in_list(m, key);
}
