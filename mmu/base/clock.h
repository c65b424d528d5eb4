/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_CLOCK_H
#define QUIRE_MMU_BASE_CLOCK_H

/*
 * Time.  Every time and every deadline in quire is a number of nanoseconds of CLOCK_MONOTONIC in a
 * uint64_t.  UINT64_MAX is a deadline that never comes.
 */
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL

#define POLL_MS_MAX 60000 /* poll_ms() returns no more */

/* What a clock says.  0 if there is no such clock: that of a thread that has ended, for example. */
static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline uint64_t monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* The same time as the C library wants it. */
static inline struct timespec ns_to_timespec(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};
}

/*
 * The timeout for poll() at now_ns, in milliseconds, rounded up: poll() does not return before the
 * deadline, unless that is more than POLL_MS_MAX away.  0 if the deadline has passed.
 */
static inline int poll_ms(uint64_t now_ns, uint64_t deadline_ns)
{
	uint64_t left = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

	return left / NS_PER_MS < POLL_MS_MAX ? (int)((left + NS_PER_MS - 1) / NS_PER_MS) :
						POLL_MS_MAX;
}

/* A condition whose timed waits take deadlines of CLOCK_MONOTONIC. */
static inline void cond_init_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

#endif
