/* SPDX-License-Identifier: MIT */
/*
 * The wait port: a guest's wait ends by time, by a cue, and by one that came before it; never by
 * one that an earlier wait has already ended for.
 */
#include <pthread.h>
#include <quire/abi.h>
#include <unistd.h>
#include "vmm/dev/bus.h"
#include "mmu/base/clock.h"
#include "tests/tap.h"

#define LONG_US 60000000u /* no test waits that long: its time-out would end it */

static struct bus ports;
static struct wait_port port;

static void wait_us(uint32_t us)
{
	bus_write(&ports, QUIRE_WAIT_PORT, 4, &us, 1);
}

static uint64_t now_us(void)
{
	return monotonic_ns() / 1000;
}

static void *tell_when_it_waits(void *arg)
{
	(void)arg;
	while (!atomic_load(&port.waiting))
		usleep(100);
	wait_port_tell(&port);
	return NULL;
}

static void cue_ends_a_wait(uint32_t us, const char *what)
{
	pthread_t thread;

	pthread_create(&thread, NULL, tell_when_it_waits, NULL);
	wait_us(us);
	pthread_join(thread, NULL);
	ok(!atomic_load(&port.waiting), "%s", what);
}

static void *wait_once(void *arg)
{
	(void)arg;
	wait_us(0); /* what was told before is old to this thread, too */
	wait_us(QUIRE_WAIT_FOREVER);
	return NULL;
}

static void each_vcpu_hears_it(void)
{
	pthread_t thread[3];

	for (unsigned int i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, wait_once, NULL);
	while (atomic_load(&port.waiting) < 3)
		usleep(100);
	wait_port_tell(&port);
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	ok(true, "one cue ends the waits of all vCPUs");
}

int main(void)
{
	uint64_t start;
	uint32_t value = UINT32_MAX;
	uint8_t byte = 0xff;

	tap_init();
	ok(!wait_port_add(&ports, &port), "the port goes on the bus");
	bus_read(&ports, QUIRE_WAIT_PORT, 4, &value, 1);
	ok(value == 0, "it reads as zero");

	start = now_us();
	wait_us(20000);
	ok(now_us() - start >= 20000, "without a cue a wait lasts its time");
	wait_us(0);
	ok(true, "a wait of no time returns");

	wait_port_tell(&port);
	wait_us(LONG_US);
	ok(true, "a cue that came before a wait ends it");
	start = now_us();
	wait_us(20000);
	ok(now_us() - start >= 20000, "... and does not end the next one");

	cue_ends_a_wait(LONG_US, "a cue ends a wait");
	cue_ends_a_wait(QUIRE_WAIT_FOREVER, "... also one without a limit");

	bus_write(&ports, QUIRE_WAIT_PORT, 1, &byte, 1);
	bus_write(&ports, QUIRE_WAIT_PORT + 2, 1, &byte, 1);
	ok(true, "narrow writes wait for nothing");
	each_vcpu_hears_it();
	return tap_done();
}
