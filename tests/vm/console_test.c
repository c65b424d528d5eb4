/* SPDX-License-Identifier: MIT */
/* The console's output: what waits, who is told, and that nothing is left behind. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "vmm/vm/console.h"
#include "tests/tap.h"

#define ROUNDS	    5000u
#define PATIENCE_MS 10000

static struct console con;
static int reader, woken;
static atomic_uint wakes, seen_waiting;
static unsigned int printed;

static void wake(void *ctx)
{
	(void)ctx;
	seen_waiting += console_waiting(&con);
	wakes++;
	eventfd_write(woken, 1);
}

static void setup(void)
{
	int fds[2];

	console_init(&con, wake, NULL);
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		tap_bail("no pipe");
	woken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	reader = fds[0];
	con.out_fd = fds[1];
	wakes = seen_waiting = 0;
}

static void finish(void)
{
	console_finish(&con);
	close(reader);
	close(woken);
	close(con.out_fd);
}

static size_t take(char *buf, size_t size)
{
	ssize_t n = read(reader, buf, size);

	return n > 0 ? (size_t)n : 0;
}

static bool came(const char *want)
{
	char buf[256];
	size_t n = take(buf, sizeof(buf));

	return n == strlen(want) && !memcmp(buf, want, n);
}

static void one_thread(void)
{
	setup();
	ok(!console_waiting(&con), "nothing waits at first");
	console_write(&con, "line\n", 5);
	ok(came("line\n") && !wakes && !console_waiting(&con), "a whole line leaves at once");
	console_write(&con, "a", 1);
	ok(came("") && wakes == 1, "a part of one waits, and the main loop is told");
	ok(seen_waiting == 1, "which sees it waiting when it looks, however soon");
	console_write(&con, "b", 1);
	ok(wakes == 1 && console_waiting(&con), "it is told once");
	pthread_mutex_lock(&con.lock.mutex); /* as another thread would */
	ok(console_waiting(&con), "and sees it also while a vCPU is writing");
	ok(!console_write_idle(&con), "but then leaves the writing to it");
	pthread_mutex_unlock(&con.lock.mutex);
	ok(console_write_idle(&con) && came("ab") && !console_waiting(&con),
	   "once the guest is quiet it goes out");
	console_write(&con, "c", 1);
	ok(wakes == 2 && seen_waiting == 2, "the next part is news again");
	ok(console_drain(&con, -1, UINT64_MAX) && came("c") && !console_waiting(&con),
	   "at the end nothing is left");
	finish();
}

/* Whoever asks for the last lines waits for no reader, and gets what a reader has not got yet. */
static void last_lines(void)
{
	struct tail tail;

	setup();
	console_write(&con, "first\nsec", 9);
	ok(console_offer(&con, "ond\n", 4), "a line that comes in two ways");
	pthread_mutex_lock(&con.lock.mutex); /* as a vCPU that waits for the reader */
	ok(!console_offer(&con, "third\n", 6), "... while a vCPU waits, nothing can be added");
	console_tail(&con, &tail);
	pthread_mutex_unlock(&con.lock.mutex);
	ok(tail.last == 1 && tail.line[1].bytes == 6 && !memcmp(tail.line[1].text, "second", 6),
	   "... and the last line is known all the same");
	finish();
}

/* A vCPU that prints a byte, and the next when that has come out. */
static void *vcpu(void *arg)
{
	struct pollfd fd = { .fd = reader, .events = POLLIN };
	char c;

	(void)arg;
	do
		console_write(&con, "x", 1);
	while (++printed < ROUNDS && poll(&fd, 1, PATIENCE_MS) > 0 && take(&c, 1));
	return NULL;
}

/* The main loop, which looks only when it is told to. */
static void two_threads(void)
{
	struct pollfd fd = { .events = POLLIN };
	unsigned int out = 0;
	eventfd_t count;
	pthread_t thread;

	setup();
	fd.fd = woken;
	if (pthread_create(&thread, NULL, vcpu, NULL))
		tap_bail("no thread");
	while (out < ROUNDS && poll(&fd, 1, PATIENCE_MS) > 0) {
		eventfd_read(woken, &count);
		while (console_waiting(&con))
			out += console_write_idle(&con);
	}
	pthread_join(thread, NULL);
	ok(out == ROUNDS && printed == ROUNDS, "%u of %u bytes went out one by one", out, ROUNDS);
	finish();
}

static unsigned int found;

static void on_phrase(void *ctx)
{
	found += ctx == &con;
}

/* In pieces of this size: how often the text is found, and that all that came is written then. */
static unsigned int look_for(const char *text, const char *output, size_t piece)
{
	size_t length = strlen(output);
	char buf[256];

	setup();
	found = 0;
	console_look_for(&con, text, on_phrase, &con);
	for (size_t at = 0; at < length && !found; at += piece)
		console_write(&con, output + at, piece < length - at ? piece : length - at);
	if (found && (console_waiting(&con) || take(buf, sizeof(buf)) < strlen(text)))
		found = 99;
	finish();
	return found;
}

static void phrases(void)
{
	for (size_t piece = 1; piece < 8; piece++) {
		ok(look_for("aab", "aaaab", piece) == 1 &&
			   look_for("ready", "rereready ", piece) == 1 &&
			   look_for("abab!", "ababab!", piece) == 1,
		   "a text is found in pieces of %zu bytes, and is written by then", piece);
		ok(!look_for("ready", "read\ny rea dy", piece), "... where it is");
	}
	setup();
	found = 0;
	console_look_for(&con, "x", on_phrase, &con);
	console_write(&con, "xx", 2);
	console_write(&con, "x\n", 2);
	ok(found == 1, "it is told once");
	finish();
}

int main(void)
{
	tap_init();
	one_thread();
	last_lines();
	two_threads();
	phrases();
	return tap_done();
}
