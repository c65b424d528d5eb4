/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_SERVER_INTERNAL_H
#define QUIRE_MMU_MACHINE_SERVER_INTERNAL_H

/*
 * Inside the machine.
 *
 *   server.c           the loop: descriptors, deadlines, life and death of the whole
 *   server_control.c   control connections: who may ask, and every request
 *   server_tenant.c    a VM's life here, and what it says on its channel
 *   server_merge.c     domains, and what a VM says about equal pages
 *   server_balloon.c   balloons: the policy's ticks, and what operators want
 *   server_pressure.c  requests that must wait: recall, the choice of a victim, denial
 *   server_state.c     numbers for others, and the audit
 *
 * A *tenant* is a VM as the machine sees it: a promise, an account, a channel, a process.
 *
 * Whatever ends, ends in the middle of serving something else, so nothing is freed before the
 * end of a round: clients and tenants that are gone move to a graveyard.
 */
#include <sys/queue.h>
#include <sys/types.h>
#include "mmu/base/clock.h"
#include "balloon_policy.h"
#include "budget.h"
#include "mmu/machine/store/domain.h"
#include "listen.h"
#include "server.h"

/* Records read from one peer before the next has its turn. */
#define PACKETS_PER_ROUND 16

/* A descriptor in the epoll set; fd -1 is none. */
enum server_source {
	SERVER_SOURCE_LISTENER,
	SERVER_SOURCE_CLIENT,
	SERVER_SOURCE_CHANNEL,
	SERVER_SOURCE_PROCESS,
	SERVER_SOURCE_MERGE
};

struct source {
	enum server_source kind;
	int fd;
	void *owner;
};

enum client_state {
	CLIENT_NEW,	/* has not said HELLO, until hello_deadline_ns */
	CLIENT_CONTROL, /* may ask anything */
	CLIENT_CLOSED,	/* in the graveyard */
};

struct client {
	TAILQ_ENTRY(client) link;
	struct source socket;
	enum client_state state;
	uint64_t hello_deadline_ns;
	uint64_t promised_pages; /* to its VMs alive: total_vm in the ledger's terms */
	bool privileged;	 /* root: may use the admin reserve */
	bool asks_again;	 /* its last ADMIT was answered with -EAGAIN */
	pid_t pid;
};

enum tenant_state {
	TENANT_ADMITTED, /* promised; its end is its channel's hang-up */
	TENANT_STARTED,	 /* its process is known, and its end is that process's end */
	TENANT_DYING,	 /* SIGKILL sent; holds its account until the process has ended */
	TENANT_GONE,	 /* in the graveyard */
	TENANT_NR_STATES,
};

struct tenant_balloon;

struct tenant {
	TAILQ_ENTRY(tenant) link;      /* in order of id */
	TAILQ_ENTRY(tenant) in_queue;  /* while need_pages != 0 */
	TAILQ_ENTRY(tenant) in_merges; /* while merge_waits */
	struct source channel;
	struct source process;		/* pidfd */
	struct source merge;		/* after JOIN */
	struct member *member;		/* of a domain, from JOIN to its end; or NULL */
	struct tenant_balloon *balloon; /* NULL: it has said nothing of one yet */
	struct client *launcher;	/* NULL: it hung up */
	struct budget_vm account;
	struct machine_admit promise;
	struct machine_gone gone; /* to be told at its end */
	uint64_t need_pages;	  /* of the CREDIT that waits; 0: none does */
	uint64_t want_pages;
	uint64_t kill_deadline_ns; /* DYING: till then nobody else is killed */
	enum tenant_state state;
	uint32_t id;
	pid_t pid;
	int ram;	  /* its RAM file, read-only; -1 before ATTACH */
	bool recalled;	  /* a RECALL is unanswered */
	bool merge_waits; /* something is to be read from `merge` */
	bool immortal;	  /* the kernel would not let us kill it */
};

TAILQ_HEAD(client_list, client);
TAILQ_HEAD(tenant_list, tenant);

struct machine {
	struct machine_config config;
	struct ledger ledger;
	struct budget budget;
	struct listener listener;
	struct source listening;
	int epoll;
	struct client_list clients, dead_clients;
	struct tenant_list tenants, dead_tenants;
	struct tenant_list queue;  /* CREDITs that wait, in order of arrival */
	struct tenant_list merges; /* merge connections to be read, in order of arrival */
	TAILQ_HEAD(domain_list, domain) domains;
	TAILQ_HEAD(member_list, member) leaving; /* of dead VMs, with something to give back */
	unsigned int nr_clients, nr_tenants, nr_domains;
	uint32_t last_id, last_domain_id;
	bool had_clients;
	bool stopping;
	/* Deadlines in ns of the clock, 0: none. */
	uint64_t accept_again_ns;   /* listening was suspended until then */
	uint64_t queue_deadline_ns; /* then somebody dies for the head of the queue */
	uint64_t next_balloon_ns;   /* the policy's next tick */
	uint64_t next_recall_ns;    /* no general recall before */
	uint64_t stop_deadline_ns;
	uint64_t queue_since_ns; /* since when the head waits; 0: nobody does */
	uint64_t returned_ns;	 /* when pages last came back */
	uint64_t last_balloon_ns;
	uint64_t balloon_need_pages; /* wanted besides what waits, in the next tick */
	struct balloon_policy balloon_policy;
	uint64_t admissions, refusals, oom_kills;
	struct merge_msg merge_ask, merge_answer; /* the packet being served */
};

/* server.c */
uint64_t machine_now(const struct machine *m);
__attribute__((format(printf, 2, 3))) void machine_log(struct machine *m, const char *fmt, ...);
int source_add(struct machine *m, struct source *s); /* 0 or -errno; s->fd stays the caller's */
void source_close(struct machine *m, struct source *s);

/* server_control.c */
void listener_ready(struct machine *m);
void client_ready(struct machine *m, struct client *c);
void client_send(struct machine *m, struct client *c, const struct machine_msg *msg, int attach);
void client_drop(struct machine *m, struct client *c, const char *why);
void client_refuse(struct machine *m, struct client *c, int error, const char *text);
int ledger_config_check(const struct ledger_config *c, struct quire_error *err);

/* server_tenant.c */
int tenant_admit(struct machine *m, struct client *c, const struct machine_admit *admit,
		 struct tenant **out, int *channel, struct quire_error *err);
void tenant_started(struct machine *m, struct tenant *t, int pidfd, pid_t pid);
uint64_t tenant_grant(struct machine *m, struct tenant *t, uint64_t need, uint64_t want);
void channel_ready(struct machine *m, struct tenant *t);
int channel_send(struct machine *m, struct tenant *t, enum machine_type type, uint64_t pages);
/* The same, but -EAGAIN is no offence: it was not sent. */
int channel_post(struct machine *m, struct tenant *t, const struct machine_msg *msg);
struct tenant *tenant_find(struct machine *m, uint32_t id); /* NULL: there is none */
void tenant_end(struct machine *m, struct tenant *t);
bool tenant_kill(struct machine *m, struct tenant *t, enum machine_reason reason);
bool tenant_can_be_killed(const struct tenant *t);
void tenant_misbehaved(struct machine *m, struct tenant *t, const char *why);

/* server_merge.c */
const char *merge_join(struct machine *m, struct tenant *t,
		       int *fd); /* NULL, or which rule broke */
void merge_ready(struct machine *m, struct tenant *t);
void merge_serve(struct machine *m);
void merge_hang_up(struct machine *m, struct tenant *t); /* it keeps its references */
void merge_end(struct machine *m, struct tenant *t);	 /* it is dead */
void merge_give_back(struct machine *m);		 /* some of what the dead have held */
uint64_t merge_elsewhere(const struct machine *m, const struct tenant *t);

/* server_balloon.c */
const char *balloon_said(struct machine *m, struct tenant *t, const struct machine_msg *msg);
void balloon_hurry(struct machine *m, uint64_t need); /* tick soon; so much is wanted besides */
void balloon_expire(struct machine *m, uint64_t now);
/* Is memory for the head of the queue on its way out of balloons? */
bool balloon_may_help(const struct machine *m, uint64_t now);
bool balloon_on_get(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd);
bool balloon_on_set(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd);
bool balloon_on_why(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd);

/* server_pressure.c */
void pressure_request(struct machine *m, struct tenant *t, uint64_t need, uint64_t want);
void pressure_forget(struct machine *m, struct tenant *t);
void pressure_serve(struct machine *m);
void pressure_expire(struct machine *m, uint64_t now);
void pressure_recall(struct machine *m, const struct tenant *except, uint64_t need);

/* server_state.c */
uint64_t tenant_resident_pages(const struct tenant *t);
uint64_t tenant_promised_pages(const struct tenant *t);
void tenant_record(const struct tenant *t, struct machine_vm_record *record);

#endif
