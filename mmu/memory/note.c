/* SPDX-License-Identifier: MIT */
#include "note.h"

const char *const note_reason_name[NOTE_NR_REASONS] = {
	[NOTE_NEW] = "new",
	[NOTE_UNIQUE] = "unique",
	[NOTE_VOLATILE] = "volatile",
	[NOTE_BACKING_OFF] = "backing_off",
	[NOTE_PAGE_TABLE] = "page_table",
	[NOTE_KEPT_HUGE] = "kept_huge",
	[NOTE_BUDGET] = "budget",
};
