/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "feed.h"
#include "screen.h"
#include "top.h"

static void begin(struct model *m, const struct top_options *opt, const struct watch *watch,
		  const struct pagemap *map)
{
	model_init(m, watch, map);
	m->sort = opt->sort;
	m->reverse = opt->reverse;
	snprintf(m->filter, sizeof(m->filter), "%s", opt->filter);
}

static const char *time_of_day(char text[16])
{
	time_t now = time(NULL);
	struct tm tm;

	if (!localtime_r(&now, &tm) || !strftime(text, 16, "%H:%M:%S", &tm))
		text[0] = '\0';
	return text;
}

static int no_memory(struct quire_error *err)
{
	return quire_fail(err, -ENOMEM, "no memory for so many VMs");
}

/* ---- on the terminal ---- */

/* Hand over what the model wants. */
static void want(struct feed *f, struct model *m, enum model_wish wish)
{
	const struct roster_vm *vm = model_chosen(m);

	feed_map(f, m->view == VIEW_MAP ? vm : NULL, &m->place);
	if (wish == WISH_ACT && vm) {
		feed_act(f, vm, &m->act);
		snprintf(m->message, sizeof(m->message), "%s %s ...", act_names[m->act.kind],
			 vm->name);
	} else if (wish == WISH_LOOK) {
		feed_look_now(f);
	}
}

/* Take what is new, obey the key, and draw.  WISH_QUIT, WISH_NOTHING, or -ENOMEM. */
static int turn(struct feed *f, struct model *m, int key, struct frame *frame)
{
	enum model_wish wish = WISH_NOTHING;
	char time[16];
	int code;

	pthread_mutex_lock(&f->lock);
	/* What was done came before the look, which may have found that the VM has ended. */
	if (*f->outcome)
		snprintf(m->message, sizeof(m->message), "%s", f->outcome);
	f->outcome[0] = '\0';
	code = f->failed ? -ENOMEM : model_update(m);
	if (!code && key)
		wish = model_key(m, key);
	if (!code)
		model_draw(m, frame, time_of_day(time));
	if (!code)
		want(f, m, wish);
	pthread_mutex_unlock(&f->lock);
	return code ? code : wish == WISH_QUIT ? WISH_QUIT : WISH_NOTHING;
}

static int show(struct feed *f, struct model *m, int key)
{
	unsigned int rows, columns;
	struct frame frame;
	int code;

	screen_size(&rows, &columns);
	code = frame_init(&frame, rows, columns);
	if (code)
		return code;
	code = turn(f, m, key, &frame);
	if (code == WISH_NOTHING)
		screen_draw(&frame);
	frame_finish(&frame);
	return code;
}

static void await(struct feed *f)
{
	struct pollfd pfd[] = { { .fd = STDIN_FILENO, .events = POLLIN },
				{ .fd = f->ready, .events = POLLIN } };
	eventfd_t none;

	poll(pfd, ARRAY_SIZE(pfd), 1000);
	eventfd_read(f->ready, &none);
}

/* 0, a signal's number, or -ENOMEM. */
static int loop(struct feed *f, struct model *m)
{
	int key = 0, code = 0;

	while (!screen_signal() && key >= 0) {
		code = show(f, m, key);
		if (code)
			return code == WISH_QUIT ? 0 : code;
		key = screen_key();
		if (!key)
			await(f);
	}
	return screen_signal() ? screen_signal() : SIGHUP;
}

int top_run(const struct top_options *opt, struct quire_error *err)
{
	static struct feed feed; /* its thread lives as long as the process */
	struct model m;
	int code = screen_open(opt->colour, err);

	if (code)
		return code;
	code = feed_start(&feed, opt->address, opt->interval_ns, err);
	if (!code) {
		begin(&m, opt, &feed.watch, &feed.map);
		m.keys = true;
		code = loop(&feed, &m);
		model_finish(&m);
	}
	screen_close();
	return code == -ENOMEM ? no_memory(err) : code;
}

/* ---- as text ---- */

#define MOST_COLUMNS 1000

/* As wide as the terminal, or as COLUMNS says, or 80 columns. */
static unsigned int width(void)
{
	const char *columns = getenv("COLUMNS");
	unsigned long value = columns ? strtoul(columns, NULL, 10) : 0;
	struct winsize size;

	if (!value && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		value = size.ws_col;
	return value >= 20 && value <= MOST_COLUMNS ? (unsigned int)value : 80;
}

static int write_frame(struct model *m, const struct frame_look *look)
{
	struct frame frame;
	char time[16];
	int code = model_update(m);

	if (!code)
		code = model_draw_list(m, &frame, width(), time_of_day(time));
	if (code)
		return code;
	frame_write(stdout, &frame, *look);
	frame_finish(&frame);
	return fflush(stdout) ? -errno : 0;
}

static void rest(uint64_t ns)
{
	struct timespec until = ns_to_timespec(monotonic_ns() + ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static int write_frames(struct watch *w, struct model *m, const struct top_options *opt,
			uint64_t frames, struct quire_error *err)
{
	struct frame_look look = { .colour = opt->colour };
	int code = watch_step(w, err);

	setlocale(LC_CTYPE, "");
	look.blocks = !strcmp(nl_langinfo(CODESET), "UTF-8");
	for (uint64_t i = 0; i < frames && !code; i++) {
		rest(opt->interval_ns);
		code = watch_step(w, err);
		if (code)
			return code;
		if (i)
			putchar('\n');
		code = write_frame(m, &look);
		if (code)
			quire_fail(err, code, "cannot write a frame: %s", strerror(-code));
	}
	if (!code && w->away)
		code = quire_fail(err, -ENOTCONN, "%.400s", w->why.text);
	return code;
}

int top_batch(const struct top_options *opt, uint64_t frames, struct quire_error *err)
{
	const struct pagemap none = { 0 };
	struct watch watch;
	struct model m;
	int code;

	watch_init(&watch, opt->address);
	begin(&m, opt, &watch, &none);
	code = write_frames(&watch, &m, opt, frames, err);
	model_finish(&m);
	watch_finish(&watch);
	return code;
}
