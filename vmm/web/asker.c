/* SPDX-License-Identifier: MIT */
#include "asker.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "live.h"
#include "mmu/base/clock.h"
#include "mmu/base/thread.h"
#include "mmu/base/wire.h"

#define MACHINE_BYTES 112 /* longer than any address of a socket */

struct list {
	struct asker_job *first, **end;
};

static struct asker {
	struct thread thread;
	char machine[MACHINE_BYTES];
	void (*confine)(void);
	sem_t confined;
	int fd; /* written whenever a job is done */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list waiting, done;
	unsigned int nr_waiting, nr_watchers;
	uint64_t next_look_ns;
} asker = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.waiting = { .end = &asker.waiting.first },
	.done = { .end = &asker.done.first },
};

static void append(struct list *list, struct asker_job *job)
{
	job->next = NULL;
	*list->end = job;
	list->end = &job->next;
}

static struct asker_job *take_first(struct list *list)
{
	struct asker_job *job = list->first;

	if (!job)
		return NULL;
	list->first = job->next;
	if (!list->first)
		list->end = &list->first;
	return job;
}

static void answer(struct asker_job *job)
{
	FILE *f = open_memstream(&job->text, &job->bytes);

	job->question.machine = asker.machine;
	job->status = 503;
	if (!f)
		return;
	job->status = job->row->answer(&job->question, f);
	if (fclose(f))
		job->status = 503;
}

/* Wait for a job, or until it is time to look: NULL. */
static struct asker_job *next_job(void)
{
	struct asker_job *job;
	struct timespec until;
	int code = 0;

	pthread_mutex_lock(&asker.lock);
	while (!(job = take_first(&asker.waiting)) && !(code && asker.nr_watchers)) {
		until = ns_to_timespec(asker.next_look_ns);
		code = asker.nr_watchers ?
			       pthread_cond_timedwait(&asker.work, &asker.lock, &until) :
			       pthread_cond_wait(&asker.work, &asker.lock);
	}
	asker.nr_waiting -= job != NULL;
	pthread_mutex_unlock(&asker.lock);
	return job;
}

static void look(void)
{
	uint64_t rest_ns = live_look() * NS_PER_MS;

	asker.next_look_ns = monotonic_ns() + rest_ns;
}

static void do_job(struct asker_job *job)
{
	answer(job);
	pthread_mutex_lock(&asker.lock);
	append(&asker.done, job);
	pthread_mutex_unlock(&asker.lock);
}

static void run(void *arg)
{
	const uint64_t one = 1;

	(void)arg;
	asker.confine();
	sem_post(&asker.confined);
	for (;;) {
		struct asker_job *job = next_job();

		if (job)
			do_job(job);
		else
			look();
		if (write(asker.fd, &one, sizeof(one)) < 0)
			return;
	}
}

void asker_watch(bool more)
{
	pthread_mutex_lock(&asker.lock);
	asker.nr_watchers += more ? 1 : -1u;
	pthread_cond_signal(&asker.work);
	pthread_mutex_unlock(&asker.lock);
}

int asker_start(const char *machine, void (*confine)(void), struct quire_error *err)
{
	char name[MACHINE_BYTES];
	int code;

	snprintf(asker.machine, sizeof(asker.machine), "%s",
		 wire_address_name(machine, name, sizeof(name)));
	live_init(asker.machine);
	cond_init_monotonic(&asker.work);
	asker.confine = confine;
	sem_init(&asker.confined, 0, 0);
	asker.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	code = asker.fd < 0 ? -errno : thread_start(&asker.thread, "asker", run, NULL);
	if (code)
		return quire_fail(err, code, "cannot start a thread: %s", strerror(-code));
	while (sem_wait(&asker.confined) && errno == EINTR)
		;
	return 0;
}

bool asker_put(struct asker_job *job)
{
	bool room;

	pthread_mutex_lock(&asker.lock);
	room = asker.nr_waiting < ASKER_MAX_WAITING;
	if (room) {
		append(&asker.waiting, job);
		asker.nr_waiting++;
		pthread_cond_signal(&asker.work);
	}
	pthread_mutex_unlock(&asker.lock);
	return room;
}

/* First what wakes the server, and then the list: so nothing that is done is left there. */
struct asker_job *asker_take(void)
{
	struct asker_job *job;
	uint64_t times;

	if (read(asker.fd, &times, sizeof(times)) < 0 && errno != EAGAIN)
		return NULL;
	pthread_mutex_lock(&asker.lock);
	job = take_first(&asker.done);
	pthread_mutex_unlock(&asker.lock);
	return job;
}

int asker_fd(void)
{
	return asker.fd;
}
