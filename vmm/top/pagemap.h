/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_PAGEMAP_H
#define QUIRE_VMM_TOP_PAGEMAP_H

/*
 * The map of a VM's pages: a cell stands for 2^n pages, and one can move in it and change n.
 *
 * The states of the pages in sight come from the VM, so what is wanted (a struct pagemap_place) and
 * what is there (a struct pagemap) may differ for a moment.
 */
#include <quire/error.h>
#include "frame.h"
#include "mmu/memory/stage2.h"
#include "vmm/vm/vm_info.h"

/* What is looked at.  All is 0 at first: the whole memory, as well as it fits. */
struct pagemap_place {
	uint64_t scale;		    /* pages a cell, a power of two; 0: so that all fits */
	gfn_t cursor;		    /* a page of the cell that the cursor is on */
	gfn_t first;		    /* the first page in sight */
	unsigned int columns, rows; /* cells in sight */
};

struct pagemap {
	uint32_t pid; /* whose; 0: nobody's */
	gfn_t end;    /* of its RAM */
	gfn_t start;  /* pages [start, start + nr) are known ... */
	uint64_t nr;
	uint8_t *states;  /* ... a byte each, as ctl_get_map() gives them; malloc'd */
	uint16_t *owners; /* how many VMs share each; 0: unknown, or not shared; NULL: not asked */
	int code;	  /* -errno if the VM could not be asked, for the reason in why */
	struct quire_error why;
};

/* So many cells are in sight at most; the number of columns becomes a power of two. */
void pagemap_size(struct pagemap_place *place, unsigned int columns, unsigned int rows);

/* Fit the place, which has a size, into RAM that ends at `end`. */
void pagemap_fit(struct pagemap_place *place, gfn_t end);

/* Move the cursor by cells, or to an end; what is in sight follows. */
void pagemap_move(struct pagemap_place *place, gfn_t end, int64_t cells);

/* Half as many pages a cell, or twice as many; the cursor stays on its page. */
void pagemap_zoom(struct pagemap_place *place, gfn_t end, bool in);

/* The number of pages in sight. */
uint64_t pagemap_pages(const struct pagemap_place *place);

/* Draw the map into rows [row, row + place->rows), and what the cursor is on into the next row. */
void pagemap_draw(struct frame *f, unsigned int row, const struct pagemap *map,
		  const struct pagemap_place *place);

void pagemap_finish(struct pagemap *map);

#endif
