/* SPDX-License-Identifier: MIT */
/*
 * What the guest writes to a PC's text screen (text_screen.h) goes to its console.
 *
 * The main loop looks twice a second, and once more at the end; less and less often if the guest
 * has never written there.  While the screen is in a swap file, nobody waits for its disk but the
 * last look, and that not for long.  Guests that know that they have no PC's display are not looked
 * at (vm_config.vga_text).
 */
#include <errno.h>
#include <string.h>
#include "vm_impl.h"

#define LOOK_NS	    (NS_PER_S / 2)
#define LOOK_MAX_NS (8 * NS_PER_S)
#define LAST_NS	    (NS_PER_S / 4) /* the last look waits so long for the swap file */

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

/* 0; -ENOENT: the guest has no screen, or has never written to it; or as guest_peek. */
static int look(struct vm *vm, bool final)
{
	uint64_t until_ns = final ? monotonic_ns() + LAST_NS : 0;
	uint8_t cell[TEXT_SCREEN_BYTES];
	ssize_t bytes;

	if (!vm->config.vga_text || !is_written(vm))
		return -ENOENT;
	bytes = guest_peek(vm->gm, TEXT_SCREEN_GPA, cell, sizeof(cell), until_ns);
	if (bytes < 0)
		return (int)bytes;
	text_screen_look(&vm->screen.text, cell, final, print_line, vm);
	return 0;
}

void vm_screen_finish(struct vm *vm)
{
	look(vm, true);
}

uint64_t vm_screen_tick(struct vm *vm)
{
	struct vm_screen *s = &vm->screen;
	uint64_t now = monotonic_ns();
	int ret;

	if (!vm->config.vga_text || atomic_load(&vm->paused))
		return UINT64_MAX;
	if (now < s->next_ns)
		return s->next_ns;
	ret = look(vm, false);
	if (ret == -EINPROGRESS)
		return UINT64_MAX; /* on_peek wakes the main loop */
	s->gap_ns = s->gap_ns ? min_u64(2 * s->gap_ns, LOOK_MAX_NS) : LOOK_NS;
	if (!ret)
		s->gap_ns = LOOK_NS;
	s->next_ns = now + s->gap_ns;
	return s->next_ns;
}
