/* SPDX-License-Identifier: MIT */
#include <curses.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <quire/types.h>
#include "vmm/print/colour.h"
#include "model.h"
#include "screen.h"
/* Last, because it makes macros of plain words. */
#include <term.h>
#undef columns

static SCREEN *screen;
static bool coloured, blocks;
static volatile sig_atomic_t signal_seen;

/* ---- opening and closing ---- */

static void note_signal(int number)
{
	signal_seen = number;
}

int screen_signal(void)
{
	return signal_seen;
}

/* Before curses, which leaves alone what has a handler. */
static void catch_signals(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action = { .sa_handler = note_signal };

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaction(numbers[i], &action, NULL);
}

/* Does the terminal's description say how to move the cursor?  It is read for this alone. */
static bool moves_cursor(const char *term)
{
	bool moves;
	int found;

	if (!term || setupterm(term, STDOUT_FILENO, &found) != OK)
		return false;
	moves = tigetstr("cup") && tigetstr("cup") != (char *)-1;
	del_curterm(cur_term);
	return moves;
}

static int check_terminal(struct quire_error *err)
{
	const char *term = getenv("TERM");

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return quire_fail(err, -ENOTTY,
				  "standard input and output are no terminal: say --once or "
				  "--batch=N");
	if (!moves_cursor(term))
		return quire_fail(err, -ENOTTY,
				  "the terminal (TERM=%.40s) cannot move its cursor: say --once or "
				  "--batch=N",
				  term ? term : "");
	return 0;
}

int screen_open(bool colour, struct quire_error *err)
{
	int code;

	setlocale(LC_CTYPE, "");
	code = check_terminal(err);
	if (code)
		return code;
	catch_signals();
	screen = newterm(NULL, stdout, stdin);
	if (!screen)
		return quire_fail(err, -ENOTTY, "curses knows no terminal %.40s", getenv("TERM"));
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	blocks = !strcmp(nl_langinfo(CODESET), "UTF-8");
	coloured = colour && has_colors() && start_color() == OK && use_default_colors() == OK;
	return 0;
}

void screen_close(void)
{
	endwin();
	delscreen(screen);
}

void screen_size(unsigned int *rows, unsigned int *columns)
{
	*rows = (unsigned int)getmaxy(stdscr);
	*columns = (unsigned int)getmaxx(stdscr);
}

/* ---- drawing ---- */

static int nearest(uint32_t rgb)
{
	if (rgb == FRAME_OWN)
		return -1;
	return (int)(COLORS >= 256 ? colour_256(rgb) : colour_8(rgb));
}

static void set_style(const struct frame_style *style)
{
	attr_t attributes = (style->bold ? A_BOLD : 0) | (style->reverse ? A_REVERSE : 0);
	int pair = 0;

	if (coloured)
		pair = alloc_pair(nearest(style->ink), nearest(style->paper));
	attr_set(attributes, 0, pair > 0 ? &pair : NULL);
}

static void put_cell(const struct frame_cell *cell)
{
	unsigned int c = cell->character;

	if (c > FRAME_BLOCK && blocks)
		addnwstr(&(wchar_t){ (wchar_t)c }, 1);
	else
		addch((unsigned char)frame_ascii(c));
}

void screen_draw(const struct frame *f)
{
	for (unsigned int row = 0; row < f->rows; row++) {
		move((int)row, 0);
		for (unsigned int column = 0; column < f->columns; column++) {
			const struct frame_cell *cell = frame_at(f, row, column);

			set_style(&cell->style);
			put_cell(cell);
		}
	}
	refresh();
}

/* ---- keys ---- */

static const struct {
	int curses, ours;
} keys[] = {
	{ KEY_UP, TOP_UP },	  { KEY_DOWN, TOP_DOWN },	{ KEY_LEFT, TOP_LEFT },
	{ KEY_RIGHT, TOP_RIGHT }, { KEY_PPAGE, TOP_PAGE_UP },	{ KEY_NPAGE, TOP_PAGE_DOWN },
	{ KEY_HOME, TOP_FIRST },  { KEY_END, TOP_LAST },	{ KEY_ENTER, TOP_ENTER },
	{ '\r', TOP_ENTER },	  { KEY_BACKSPACE, TOP_ERASE }, { '\b', TOP_ERASE },
};

static bool is_gone(void)
{
	struct pollfd pfd = { .fd = STDIN_FILENO };

	return poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLHUP | POLLERR | POLLNVAL);
}

int screen_key(void)
{
	int key = getch();

	if (key == ERR)
		return is_gone() ? -1 : 0;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].curses == key)
			return keys[i].ours;
	return key < 0x80 ? key : 0xff; /* what we do not know means nothing */
}
