/* SPDX-License-Identifier: MIT */
/* quire run on a terminal: characters one by one, Ctrl-C, and the terminal as it was after. */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>
#include "tests/tap.h"

/* A key that quire itself never prints: only the guest can have said it. */
#define UNSAID "\x02"

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
static char quire[4096], quill[4096];

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

/* Run `guest`, or the image that echoes if it is NULL. */
static void start_guest(struct session *s, const char *option, const char *guest, const char *arg)
{
	if (openpty(&s->master, &s->slave, NULL, NULL, NULL) || tcgetattr(s->slave, &s->before))
		tap_skip_all("no pseudo-terminals");
	s->pid = fork();
	if (s->pid)
		return;
	if (login_tty(s->slave))
		_exit(111);
	execl(quire, quire, "run", "--timeout=300", option, guest ? guest : image, arg,
	      (char *)NULL);
	_exit(112);
}

static void start(struct session *s, const char *option)
{
	start_guest(s, option, NULL, NULL);
}

/* Wait until these of the terminal's local modes are on, and no other of the three. */
static bool becomes(const struct session *s, tcflag_t on)
{
	for (int i = 0; i < 4000; i++) {
		struct termios now;

		if (!tcgetattr(s->slave, &now) && (now.c_lflag & (ICANON | ECHO | ISIG)) == on)
			return true;
		usleep(5000);
	}
	return false;
}

static bool has_keys(const struct session *s)
{
	return becomes(s, ISIG);
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

static void finish(struct session *s)
{
	close(s->master);
	close(s->slave);
}

static void type(const struct session *s, const char *keys)
{
	if (write(s->master, keys, strlen(keys)) != (ssize_t)strlen(keys))
		tap_bail("cannot type");
}

/* Does `want` come out of the terminal, with anything else before it? */
static bool prints(const struct session *s, const char *want)
{
	struct pollfd fd = { .fd = s->master, .events = POLLIN };
	size_t matched = 0;
	char got;

	while (want[matched] && poll(&fd, 1, 20000) > 0 && read(s->master, &got, 1) == 1)
		matched = got == want[matched] ? matched + 1 : got == want[0];
	return !want[matched];
}

static void interrupt(void)
{
	struct session s;
	int status;

	start(&s, "--console=signals");
	if (!has_keys(&s)) {
		status = end(&s);
		tap_skip_all("quire does not run here (status %d)", WEXITSTATUS(status));
	}
	type(&s, UNSAID);
	ok(prints(&s, UNSAID),
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

	start(&s, "--console=signals");
	ok(has_keys(&s), "%s: running", name);
	kill(s.pid, sig);
	status = end(&s);
	ok(clean ? WIFEXITED(status) && WEXITSTATUS(status) == 128 + sig :
		   !WIFEXITED(status) || WEXITSTATUS(status),
	   "%s ends it (%#x)", name, status);
	ok(same_terminal(&s), "%s: the terminal is as it was", name);
	finish(&s);
}

static void all_keys(void)
{
	struct session s;
	int status;

	start(&s, "--console=raw");
	ok(prints(&s, "Ctrl-A x ends"), "raw: a line says how to end it");
	ok(becomes(&s, 0), "the terminal makes no signals");
	type(&s, "\x03\x1a\x1c\x13.");
	ok(prints(&s, "\x03\x1a\x1c\x13."), "Ctrl-C, Ctrl-Z, Ctrl-\\ and Ctrl-S are the guest's");
	type(&s, "\r!");
	ok(prints(&s, "\r!"), "Enter sends CR, as a serial terminal does");
	type(&s, "\x01\x01.");
	ok(prints(&s, "\x01."), "Ctrl-A Ctrl-A sends one Ctrl-A");
	type(&s, "\x01h");
	ok(prints(&s, "Ctrl-A b sends a break"), "Ctrl-A h prints what there is");
	type(&s, "\x01x");
	status = end(&s);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 130, "Ctrl-A x ends it with status 130");
	ok(same_terminal(&s), "and the terminal is as it was");
	finish(&s);
}

/* Somebody types more than a guest reads that never reads: Ctrl-A x still gets through. */
static void unread_keys(void)
{
	static const uint8_t deaf_guest[] = { 0xeb, 0xfe };
	char many[512];
	struct session s;
	int status, fd = open(image, O_WRONLY | O_TRUNC);

	if (write(fd, deaf_guest, sizeof(deaf_guest)) != sizeof(deaf_guest))
		tap_bail("cannot write %s", image);
	close(fd);
	start(&s, "--console=raw");
	ok(becomes(&s, 0), "a guest that never reads its console");
	memset(many, 'm', sizeof(many));
	for (unsigned int i = 0; i < 16; i++)
		if (write(s.master, many, sizeof(many)) != sizeof(many))
			tap_bail("cannot type");
	type(&s, "\x01x");
	status = end(&s);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 130, "Ctrl-A x ends it all the same");
	finish(&s);
}

/* Half of a key of ours, and then the guest resets itself: the other half is still ours. */
static void key_and_reset(void)
{
	/* It prints ".", reads a byte and resets itself: 0x3f8, 0x3fd, and 0xfe to port 0x64. */
	static const uint8_t resets[] = { 0xba, 0xf8, 0x03, 0xb0, 0x2e, 0xee, 0xba, 0xfd,
					  0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xba, 0xf8,
					  0x03, 0xec, 0xb0, 0xfe, 0xe6, 0x64, 0xfa, 0xf4 };
	struct session s;
	int status, fd = open(image, O_WRONLY | O_TRUNC);

	if (write(fd, resets, sizeof(resets)) != sizeof(resets))
		tap_bail("cannot write %s", image);
	close(fd);
	start(&s, "--console=raw");
	ok(prints(&s, "."), "a guest that resets itself at any key");
	type(&s, "r\x01");
	ok(prints(&s, "."), "... does, after a Ctrl-A");
	type(&s, "x");
	if (!ok(prints(&s, "ended by Ctrl-A x"), "... and the x of Ctrl-A x ends it"))
		type(&s, "\x01x");
	status = end(&s);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 130, "... with status 130");
	finish(&s);
}

static void resize(const struct session *s, uint16_t columns, uint16_t rows)
{
	struct winsize size = { .ws_col = columns, .ws_row = rows };

	ioctl(s->master, TIOCSWINSZ, &size);
}

/* A guest with a driver of the virtio console: its keys, and the window's size. */
static void virtio_console(void)
{
	struct session s;
	int status;

	start_guest(&s, "--console=virtio", quill, "hvc");
	ok(prints(&s, "size "), "virtio: a guest that has a driver");
	resize(&s, 132, 43);
	ok(prints(&s, "size 132 43"), "it hears of the window's size");
	ok(becomes(&s, 0), "and all keys are its own");
	resize(&s, 99, 7);
	ok(prints(&s, "size 99 7"), "a new size");
	type(&s, "ab\x03z");
	ok(prints(&s, "ab\x03z"), "keys, Ctrl-C too");
	type(&s, "\rquit\r");
	status = end(&s);
	ok(WIFEXITED(status) && !WEXITSTATUS(status), "it ends by itself (%#x)", status);
	ok(same_terminal(&s), "and the terminal is as it was");
	finish(&s);
}

static pid_t child_of(pid_t parent)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	f = fopen(path, "re");
	for (int next; f && fscanf(f, "%d", &next) == 1;)
		pid = next;
	if (f)
		fclose(f);
	return pid;
}

/* The VM is the launcher's last child: its machine was born before it. */
static void vm_killed(void)
{
	struct session s;
	int status;

	start(&s, "--console=raw");
	ok(becomes(&s, 0), "a VM that is about to be killed");
	type(&s, UNSAID);
	ok(prints(&s, UNSAID), "... runs");
	kill(child_of(s.pid), SIGKILL);
	status = end(&s);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 121, "SIGKILL to the VM (%#x)", status);
	ok(same_terminal(&s), "the terminal is as it was");
	finish(&s);
}

/* SIGTSTP stops only who has a parent that could continue it: a job of a shell in the session. */
static void stop_by_signal(void)
{
	struct session s;
	int status = 0;

	start(&s, "--console=raw");
	ok(becomes(&s, 0), "raw, before SIGTSTP");
	kill(s.pid, SIGTSTP);
	kill(s.pid, SIGCONT);
	ok(becomes(&s, 0), "raw again after SIGCONT");
	type(&s, UNSAID);
	ok(prints(&s, UNSAID), "and the guest goes on");
	kill(s.pid, SIGTERM);
	status = end(&s);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 143 && same_terminal(&s), "to its end");
	finish(&s);
}

/* As a shell does around Ctrl-Z and fg. */
static void stop_and_continue(void)
{
	struct session s;

	start(&s, "--console=signals");
	ok(has_keys(&s), "before a stop: single characters");
	kill(s.pid, SIGSTOP);
	tcsetattr(s.slave, TCSANOW, &s.before);
	kill(s.pid, SIGCONT);
	ok(has_keys(&s), "after SIGCONT again");
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
	snprintf(quill, sizeof(quill), "%s/guest/quill.elf", build ? build : "build");
	if (access(quire, X_OK))
		tap_skip_all("no %s", quire);
	write_image();
	interrupt();
	all_keys();
	stop_and_continue();
	stop_by_signal();
	vm_killed();
	virtio_console();
	by_signal(SIGTERM, "SIGTERM", true);
	by_signal(SIGSEGV, "a crash of our own", false);
	unread_keys();
	key_and_reset();
	unlink(image);
	return tap_done();
}
