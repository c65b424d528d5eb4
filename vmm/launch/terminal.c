/* SPDX-License-Identifier: MIT */
/*
 * The terminal's modes; terminal.h says when they change.
 *
 * Output stays processed: a line feed also returns the carriage, as guests without a terminal
 * driver expect, and as our own messages need.
 */
#include <quire/types.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include "mmu/base/thread.h"
#include "terminal.h"

/* There is one for each process, because a signal handler has to find it. */
static struct termios saved, taken;
static volatile sig_atomic_t is_taken;

static const int fatal[] = { THREAD_FAULTS };
static struct sigaction old_action[ARRAY_SIZE(fatal)];

static bool owns_terminal(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

/*
 * Put the terminal back when a bug of ours ends the process.  Then the handler that was there
 * before takes over: a fault happens again when this one returns, and any other signal is raised
 * again.
 */
static void on_fatal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (is_taken)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		if (fatal[i] == sig)
			sigaction(sig, &old_action[i], NULL);
	if (info->si_code <= 0)
		raise(sig);
}

static void catch_fatal_signals(void)
{
	struct sigaction action = { .sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO };

	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &action, &old_action[i]);
}

static struct termios single_keys(const struct termios *from, bool raw)
{
	struct termios mode = *from;

	mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	mode.c_cc[VMIN] = 1;
	mode.c_cc[VTIME] = 0;
	if (raw) {
		mode.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR |
					    ICRNL | IXON);
		mode.c_lflag &= ~(tcflag_t)(ISIG | IEXTEN | ECHONL);
		mode.c_cflag = (mode.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	}
	return mode;
}

bool terminal_take(bool raw)
{
	if (!owns_terminal() || tcgetattr(STDIN_FILENO, &saved))
		return false;
	taken = single_keys(&saved, raw);
	catch_fatal_signals();
	is_taken = true;
	tcsetattr(STDIN_FILENO, TCSANOW, &taken);
	return true;
}

void terminal_retake(void)
{
	if (is_taken && owns_terminal())
		tcsetattr(STDIN_FILENO, TCSANOW, &taken);
}

void terminal_give_back(void)
{
	if (is_taken && owns_terminal())
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

bool terminal_size(uint16_t *columns, uint16_t *rows)
{
	struct winsize size;

	if (!is_taken || ioctl(STDIN_FILENO, TIOCGWINSZ, &size))
		return false;
	*columns = size.ws_col;
	*rows = size.ws_row;
	return true;
}
