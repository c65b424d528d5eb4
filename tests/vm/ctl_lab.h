/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_VM_CTL_LAB_H
#define QUIRE_TESTS_VM_CTL_LAB_H

/*
 * A control socket with a made-up VM behind it, and clients, polite and rude.
 *
 * The server runs in a thread as the VMM's main loop would run it; the longest single call of
 * ctl_serve is kept, because that is how long a client held up the VM.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "vmm/look/ctl_client.h"
#include "vmm/vm/ctl.h"
#include "vmm/vm/vm.h"
#include "tests/tap.h"

#define RAM_END	 50000u
#define BUSY_GVA 0xb059000u /* the guest keeps changing its tables there */

/* The VM's name. */
extern char name[64];

/* The control socket under test. */
extern struct ctl *ctl;

/* Ends the main loop; makes vCPUs not stop. */
extern atomic_bool stop, stuck;

/* Whether the VM is paused. */
extern atomic_bool paused;

/* So many pages come from the swap file, each by itself; -1: no page is there.  And it has read. */
extern atomic_long disk_pages;
extern atomic_bool disk_news;

/* Passes of merging that were asked for. */
extern atomic_ulong merge_passes;

/* What main loop and VM were asked: how often, and how long one turn took at most. */
extern atomic_ulong turns, asked_vcpu, slowest_ms, waits, stops;

/* RAM of the VM. */
extern const struct gfn_range ram[];

/* The worst case for runs (every page differs), long runs, and a 2 MiB leaf. */
uint8_t fake_state(gfn_t gfn);

/* What is in memory there. */
uint8_t fake_byte(gpa_t gpa);

/* A new client. */
int connect_vm(void);

/* A request with these arguments. */
struct ctl_request request(unsigned int op, uint64_t arg0, uint64_t arg1, uint64_t arg2);

/* Send one packet and return the status of the answer; 1 if the server hung up. */
int status_of(int fd, const void *record, size_t bytes);

/* status_of() of a new client. */
int status_of_request(struct ctl_request req);

/* The proof that all is well: a fresh polite client is answered, soon. */
void still_serves(const char *after);

/* The state of the VM, as a client is told. */
unsigned int state_of_vm(void);

/* The status of a request without arguments. */
int command(unsigned int op);

/* Creates the socket and starts the main loop. */
void begin(const char *test);

/* Ends the main loop and destroys the socket. */
void end(void);

#endif
