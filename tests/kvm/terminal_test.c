/* SPDX-License-Identifier: MIT */
/* quire run on a terminal: characters one by one, Ctrl-C, and the terminal as it was after. */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>
#include "tests/tap.h"

/* Real mode: copies COM1's input to its output for ever. */
static const uint8_t echo_guest[] = {
	0xba, 0xfd, 0x03, /*    mov dx, 0x3fd */
	0xec,		  /* 1: in al, dx */
	0xa8, 0x01,	  /*    test al, 1 */
	0x74, 0xfb,	  /*    jz 1b */
	0xba, 0xf8, 0x03, /*    mov dx, 0x3f8 */
	0xec,		  /*    in al, dx */
	0xee,		  /*    out dx, al */
	0xeb, 0xf1,	  /*    jmp start */
};

static char image[] = "/tmp/quire-terminal-XXXXXX";
static char quire[4096];

static void write_image(void)
{
	int fd = mkstemp(image);

	if (fd < 0 || write(fd, echo_guest, sizeof(echo_guest)) != sizeof(echo_guest))
		tap_bail("cannot write %s", image);
	close(fd);
}

/* The terminal's master and slave, and quire running on it. */
struct session {
	int master, slave;
	pid_t pid;
	struct termios before;
};

static void start(struct session *s)
{
	if (openpty(&s->master, &s->slave, NULL, NULL, NULL) || tcgetattr(s->slave, &s->before))
		tap_skip_all("no pseudo-terminals");
	s->pid = fork();
	if (s->pid)
		return;
	if (login_tty(s->slave))
		_exit(111);
	execl(quire, quire, "run", "--timeout=20", image, (char *)NULL);
	_exit(112);
}

/* Wait until the terminal is in single-character mode, or the process is gone. */
static bool is_raw(const struct session *s)
{
	for (int i = 0; i < 1000; i++) {
		struct termios now;

		if (!tcgetattr(s->slave, &now) && !(now.c_lflag & (ICANON | ECHO)))
			return true;
		usleep(5000);
	}
	return false;
}

static int end(struct session *s)
{
	int status = 0;

	waitpid(s->pid, &status, 0);
	return status;
}

static bool same_terminal(const struct session *s)
{
	struct termios now;

	return !tcgetattr(s->slave, &now) && now.c_lflag == s->before.c_lflag &&
	       now.c_iflag == s->before.c_iflag && now.c_oflag == s->before.c_oflag;
}

/* Does `want` come out of the terminal? */
static bool comes_back(const struct session *s, char want)
{
	struct pollfd fd = { .fd = s->master, .events = POLLIN };
	char got = 0;

	while (poll(&fd, 1, 5000) > 0 && read(s->master, &got, 1) == 1)
		if (got == want)
			return true;
	return false;
}

static void finish(struct session *s)
{
	close(s->master);
	close(s->slave);
}

static void interrupt(void)
{
	struct session s;
	int status;

	start(&s);
	if (!is_raw(&s)) {
		status = end(&s);
		tap_skip_all("quire does not run here (status %d)", WEXITSTATUS(status));
	}
	if (write(s.master, "k", 1) != 1)
		tap_bail("cannot type");
	ok(comes_back(&s, 'k'),
	   "a key reaches the guest without Enter, and its echo is the guest's");
	if (write(s.master, "\x03", 1) != 1)
		tap_bail("cannot type");
	status = end(&s);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 130, "Ctrl-C ends it with status 130");
	ok(same_terminal(&s), "and the terminal is as it was");
	finish(&s);
}

static void by_signal(int sig, const char *name, bool clean)
{
	struct session s;
	int status;

	start(&s);
	ok(is_raw(&s), "%s: running", name);
	kill(s.pid, sig);
	status = end(&s);
	ok(clean ? WIFEXITED(status) && WEXITSTATUS(status) == 128 + sig :
		   !WIFEXITED(status) || WEXITSTATUS(status),
	   "%s ends it (%#x)", name, status);
	ok(same_terminal(&s), "%s: the terminal is as it was", name);
	finish(&s);
}

/* As a shell does around Ctrl-Z and fg. */
static void stop_and_continue(void)
{
	struct session s;

	start(&s);
	ok(is_raw(&s), "before a stop: single characters");
	kill(s.pid, SIGSTOP);
	tcsetattr(s.slave, TCSANOW, &s.before);
	kill(s.pid, SIGCONT);
	ok(is_raw(&s), "after SIGCONT again");
	kill(s.pid, SIGTERM);
	end(&s);
	ok(same_terminal(&s), "and at the end the terminal is as it was");
	finish(&s);
}

int main(void)
{
	const char *build = getenv("QUIRE_BUILD");

	tap_init();
	snprintf(quire, sizeof(quire), "%s/quire", build ? build : "build");
	if (access(quire, X_OK))
		tap_skip_all("no %s", quire);
	write_image();
	interrupt();
	stop_and_continue();
	by_signal(SIGTERM, "SIGTERM", true);
	by_signal(SIGSEGV, "a crash of our own", false);
	unlink(image);
	return tap_done();
}
