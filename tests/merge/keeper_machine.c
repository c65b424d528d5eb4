/* SPDX-License-Identifier: MIT */
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "keeper_machine.h"

void lab_report(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("audit: %s", what);
}

struct lab_machine lab;

static void *lab_serve(void *arg)
{
	(void)arg;
	while (!atomic_load(&lab.stop)) {
		struct pollfd p[2] = { { .fd = machine_fd(lab.m), .events = POLLIN },
				       { .fd = lab.wake, .events = POLLIN } };
		int timeout;

		pthread_mutex_lock(&lab.mutex);
		machine_serve(lab.m);
		timeout = machine_timeout_ms(lab.m);
		pthread_mutex_unlock(&lab.mutex);
		poll(p, 2, timeout);
	}
	return NULL;
}

void lab_machine_open(uint64_t memory)
{
	struct machine_config config = { .recall_ms = 120000, .hash = lab.hash };
	int pair[2];

	ledger_defaults(&config.ledger, memory, 0);
	config.ledger.mode = OVERCOMMIT_ALWAYS;
	lab.memory = memory;
	pthread_mutex_init(&lab.mutex, NULL);
	pthread_mutex_init(&lab.asking, NULL);
	lab.wake = eventfd(0, EFD_CLOEXEC);
	atomic_store(&lab.stop, false);
	if (machine_create(&config, &lab.m, NULL) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ||
	    machine_adopt_control(lab.m, pair[0]))
		tap_bail("no machine");
	pthread_create(&lab.thread, NULL, lab_serve, NULL);
	if (machine_client_create(pair[1], &lab.client, NULL))
		tap_bail("no client");
}

void lab_machine_die(void)
{
	atomic_store(&lab.stop, true);
	eventfd_write(lab.wake, 1);
	pthread_join(lab.thread, NULL);
	machine_client_destroy(lab.client);
	machine_destroy(lab.m);
	close(lab.wake);
	pthread_mutex_destroy(&lab.mutex);
	pthread_mutex_destroy(&lab.asking);
}

struct machine_state lab_state(void)
{
	struct machine_state s;

	pthread_mutex_lock(&lab.mutex);
	machine_get_state(lab.m, &s);
	pthread_mutex_unlock(&lab.mutex);
	return s;
}

unsigned int lab_machine_audit(void)
{
	unsigned int faults;

	pthread_mutex_lock(&lab.mutex);
	faults = machine_audit(lab.m, lab_report, NULL);
	pthread_mutex_unlock(&lab.mutex);
	return faults;
}

void lab_machine_close(void)
{
	struct machine_state s;

	for (unsigned int i = 0; i < 5000 && lab_state().nr_vms; i++)
		usleep(1000);
	s = lab_state();
	is(s.nr_vms + s.nr_domains + s.store_pages + s.store_references, 0,
	   "at the end there are no VMs, no domains, no frames, no references");
	is(s.free_pages, lab.memory, "and all memory is back");
	is(lab_machine_audit(), 0, "audit of the machine");
	lab_machine_die();
}
