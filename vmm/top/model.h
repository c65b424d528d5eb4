/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_MODEL_H
#define QUIRE_VMM_TOP_MODEL_H

/*
 * What `quire top` shows, and what a key does to it.  The model knows neither a terminal nor a
 * socket: it reads a watch, which somebody else keeps up to date, and it says what it wants done
 * (enum model_wish).  So a test can press keys and look at frames.
 */
#include "columns.h"
#include "pagemap.h"
#include "vmm/look/act.h"

#define MODEL_TEXT 80 /* bytes of what is typed, with the NUL */

enum model_view { VIEW_LIST, VIEW_MAP, VIEW_HELP };

/* What the bottom line asks for. */
enum model_question { ASK_NOTHING, ASK_FILTER, ASK_BALLOON, ASK_KILL };

/* Keys are characters, or one of these. */
enum model_key {
	TOP_ENTER = '\n',
	TOP_ESCAPE = 27,
	TOP_ERASE = 127,
	TOP_UP = 0x100,
	TOP_DOWN,
	TOP_LEFT,
	TOP_RIGHT,
	TOP_PAGE_UP,
	TOP_PAGE_DOWN,
	TOP_FIRST,
	TOP_LAST,
};

/* What is to be done after a key. */
enum model_wish {
	WISH_NOTHING, /* but a new frame */
	WISH_LOOK,    /* at everything, now */
	WISH_ACT,     /* do model->act to the chosen VM */
	WISH_QUIT,
};

struct model {
	const struct watch *watch;
	const struct pagemap *map; /* of the chosen VM; see pagemap.h */
	bool keys;		   /* somebody presses keys, so a VM is chosen */
	unsigned int sort;	   /* enum column_id */
	bool reverse;
	char filter[MODEL_TEXT]; /* only VMs with this in their names; "": all */

	/* The list: VMs of the watch's newest look, filtered and sorted. */
	struct row *row;
	unsigned int nr_rows, room;
	unsigned int chosen, first; /* rows: the chosen one, and the first that is shown */
	uint32_t chosen_pid;	    /* 0: none */
	char chosen_name[VM_NAME_MAX + 1];
	unsigned int shown; /* how many rows of VMs the last frame had room for */

	enum model_view view;
	struct pagemap_place place;
	enum model_question question;
	char typed[MODEL_TEXT];
	struct act act;
	char message[200]; /* of the bottom line; "": none */
};

void model_init(struct model *m, const struct watch *watch, const struct pagemap *map);
void model_finish(struct model *m);

/*
 * Take the watch's newest look into the list.  The chosen VM stays chosen.  If it has ended, its
 * neighbour is, and the message says so.  0 or -ENOMEM.
 */
int model_update(struct model *m);

/* The chosen VM; NULL: the list is empty, or nobody chooses. */
const struct roster_vm *model_chosen(const struct model *m);

/* Obey a key. */
enum model_wish model_key(struct model *m, int key);

/*
 * Draw all of it, with the time of day, a text.  The last two rows are a message or a question, and
 * what the keys do.
 */
void model_draw(struct model *m, struct frame *f, const char *time);

/* Draw the list for a reader who presses no keys, all rows of it, into a frame made for it. */
int model_draw_list(struct model *m, struct frame *f, unsigned int columns, const char *time);

#endif
