/* SPDX-License-Identifier: MIT */
/*
 * What the guest writes to a PC's text screen (text_screen.h) goes to its console.
 *
 * The main loop looks twice a second, and once more at the end; less and less often if the guest
 * has never written there.  Guests that know that they have no PC's display are not looked at
 * (vm_config.vga_text).
 */
#include <string.h>
#include "vm_impl.h"

#define LOOK_NS	    (NS_PER_S / 2)
#define LOOK_MAX_NS (8 * NS_PER_S)

static bool print_line(void *ctx, const char *line)
{
	struct vm *vm = ctx;

	return console_offer(&vm->console, line, strlen(line));
}

/* A page that the guest has never written is not read: that might take a while. */
static bool is_written(const struct vm *vm)
{
	struct stage2_page page;

	return !gmem_lookup(vm->gm, gpa_to_gfn(TEXT_SCREEN_GPA), &page) &&
	       page.state != PG_ABSENT && page.state != PG_ZERO;
}

/* False: the guest has no screen, or has never written to it. */
static bool look(struct vm *vm, bool final)
{
	uint8_t cell[TEXT_SCREEN_BYTES];

	if (!vm->config.vga_text || !is_written(vm) ||
	    guest_read(vm->gm, TEXT_SCREEN_GPA, cell, sizeof(cell)))
		return false;
	text_screen_look(&vm->screen.text, cell, final, print_line, vm);
	return true;
}

void vm_screen_finish(struct vm *vm)
{
	look(vm, true);
}

uint64_t vm_screen_tick(struct vm *vm)
{
	struct vm_screen *s = &vm->screen;
	uint64_t now = monotonic_ns();

	if (!vm->config.vga_text || atomic_load(&vm->paused))
		return UINT64_MAX;
	if (now < s->next_ns)
		return s->next_ns;
	s->gap_ns = s->gap_ns ? min_u64(2 * s->gap_ns, LOOK_MAX_NS) : LOOK_NS;
	if (look(vm, false))
		s->gap_ns = LOOK_NS;
	s->next_ns = now + s->gap_ns;
	return s->next_ns;
}
