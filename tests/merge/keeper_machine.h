/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MERGE_KEEPER_MACHINE_H
#define QUIRE_TESTS_MERGE_KEEPER_MACHINE_H

/* A real machine in a thread of the test, under a mutex so that the test may look into it. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include "mmu/machine/client.h"
#include "mmu/machine/server.h"
#include "tests/tap.h"

/* Prints what an audit found. */
void lab_report(void *ctx, const char *what);

struct lab_machine {
	struct machine *m;	       /* [mutex] */
	struct machine_client *client; /* [asking] */
	pthread_mutex_t mutex, asking;
	pthread_t thread;
	int wake;
	atomic_bool stop;
	uint64_t memory;
	page_hasher *hash; /* of machine and keepers; NULL: the usual one */
};

/* The one machine. */
extern struct lab_machine lab;

/* A machine with so much memory that patiently waits for it: nobody is killed or denied. */
void lab_machine_open(uint64_t memory);

/* It dies, whoever lives. */
void lab_machine_die(void);

/* The machine's numbers now. */
struct machine_state lab_state(void);

/* The faults that the machine's audit finds now. */
unsigned int lab_machine_audit(void);

/* The end of a test: nothing is left. */
void lab_machine_close(void);

#endif
