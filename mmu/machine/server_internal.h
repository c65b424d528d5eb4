/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_SERVER_INTERNAL_H
#define QUIRE_MMU_MACHINE_SERVER_INTERNAL_H

/*
 * What the files of the machine share.
 *
 *   server.c           the loop: descriptors, deadlines, beginning and end of the machine
 *   server_control.c   control connections: who may ask, and every request
 *   server_tenant.c    the life of a VM here, and what it says on its channel
 *   server_merge.c     domains, and what VMs say about equal pages
 *   server_balloon.c   balloons: the policy's ticks, and what operators want
 *   server_reclaim.c   what VMs free themselves
 *   server_load.c      fewer VMs at a time, when all do little but wait for pages
 *   server_swap.c      the quota of the swap area
 *   server_pressure.c  requests that must wait: recall, the choice of a victim, denial
 *   server_events.c    the log of events, and who follows it
 *   server_measure.c   what VMs occupy, against what they were charged
 *   server_state.c     numbers for others, and the audit
 *
 * A *tenant* is a VM as the machine sees it: a promise, an account, a channel and a process.
 *
 * A client or a tenant may end while the machine serves another.  So nothing is freed before the
 * end of a round: what has ended moves to a graveyard.
 */
#include <sys/queue.h>
#include <sys/types.h>
#include "mmu/base/clock.h"
#include "balloon_policy.h"
#include "budget.h"
#include "mmu/machine/store/domain.h"
#include "listen.h"
#include "server.h"

/* The machine reads at most so many packets from one peer before it turns to the next. */
#define PACKETS_PER_ROUND 16

/* What a descriptor in the epoll set is for. */
enum server_source {
	SERVER_SOURCE_LISTENER,
	SERVER_SOURCE_CLIENT,
	SERVER_SOURCE_CHANNEL,
	SERVER_SOURCE_PROCESS,
	SERVER_SOURCE_MERGE,
	SERVER_SOURCE_NEWS
};

struct source {
	enum server_source kind;
	int fd;	     /* -1: none */
	void *owner; /* a client or a tenant; NULL: the machine */
};

enum client_state {
	CLIENT_NEW,	/* it has not said HELLO, and may until hello_deadline_ns */
	CLIENT_CONTROL, /* it may ask anything */
	CLIENT_CLOSED,	/* it is in the graveyard */
};

struct client {
	TAILQ_ENTRY(client) link;
	struct source socket;
	enum client_state state;
	uint64_t hello_deadline_ns;
	uint64_t promised_pages;    /* to its living VMs: ledger_client.total_pages */
	bool privileged;	    /* it is root, and may use the admin reserve */
	uint64_t waits_for_event;   /* its EVENTS waits for this sequence number; 0: none waits */
	uint64_t event_deadline_ns; /* ... and is answered then */
	bool asks_again;	    /* its last ADMIT was answered with -EAGAIN */
	pid_t pid;
};

enum tenant_state {
	TENANT_ADMITTED, /* memory was promised; it ends when its channel hangs up */
	TENANT_STARTED,	 /* its process is known; it ends when that process does */
	TENANT_DYING,	 /* SIGKILL was sent; it keeps its account until the process has ended */
	TENANT_GONE,	 /* it is in the graveyard */
	TENANT_NR_STATES,
};

struct tenant_balloon;

/* Load control's view of a VM (server_load.c). */
struct tenant_load {
	uint64_t said_ns, full_ns; /* when it last said how long it was stalled, and what */
	uint32_t full_permille;	   /* of the time before that it was */
	unsigned int suspensions;
	bool asked;	       /* for credits since the last look, or got some */
	uint64_t since_ns;     /* it is suspended, or goes on again, since then */
	uint64_t suspended_ns; /* for so long altogether, but for the suspension in force */
	uint64_t room_pages;   /* of memory that it used when it was suspended */
	bool suspended;
	bool takes_turns; /* it was stalled while the machine thrashed */
};

struct tenant {
	TAILQ_ENTRY(tenant) link;	   /* in order of id */
	TAILQ_ENTRY(tenant) in_queue;	   /* while need_pages != 0 */
	TAILQ_ENTRY(tenant) in_merges;	   /* while merge_waits */
	TAILQ_ENTRY(tenant) in_swap_queue; /* while swap_asked_pages != 0 */
	struct source channel;
	struct source process;		/* its pidfd */
	struct source merge;		/* its connection about equal pages, after JOIN */
	struct member *member;		/* of a domain, from JOIN to the tenant's end; or NULL */
	struct tenant_balloon *balloon; /* NULL: it has sent no BALLOON yet */
	struct client *launcher;	/* NULL: it hung up */
	struct budget_vm account;
	struct machine_admit promise;
	struct machine_gone gone; /* what the launcher is told at its end */
	uint64_t need_pages;	  /* of the CREDIT that waits; 0: none waits */
	uint64_t want_pages;
	uint64_t swap_pages;	       /* of the swap area that it holds */
	uint64_t swap_asked_pages;     /* of the SWAP_CREDIT that waits; 0: none waits */
	struct reclaim_record reclaim; /* its last RECLAIMED, cut down to what is possible */
	struct tenant_load load;
	uint64_t asked_pages;	   /* to free: what has not come back of its last RECLAIM */
	uint64_t reclaim_due_ns;   /* if asked: it ignores us if nothing comes before */
	uint64_t made_good_pages;  /* what has come back since that was last looked at */
	uint64_t reclaimed_pages;  /* that came back because it was asked, ever */
	uint64_t kill_deadline_ns; /* DYING: nobody else is killed before */
	uint64_t next_pass_ns;	   /* no pass of its keeper is noted before */
	uint64_t recalled_ns;	   /* if recalled: when the RECALL was sent */
	unsigned int strikes;	   /* for looks at it that found too much (server_measure.c) */
	enum tenant_state state;
	uint32_t id;
	pid_t pid;
	int ram;	   /* its RAM file, read-only; -1 before ATTACH */
	int statm;	   /* the kernel's count of its process's memory; -1: not to be seen */
	bool told_to_free; /* its last RECLAIM was for pages */
	bool reclaim_said; /* it has said something since then */
	bool ignores;	   /* it frees nothing, although it says it could */
	bool recalled;	   /* it has not answered a RECALL */
	bool merge_waits;  /* there is something to read from `merge` */
	bool immortal;	   /* the kernel did not let us kill it */
};

TAILQ_HEAD(client_list, client);
TAILQ_HEAD(tenant_list, tenant);

struct machine {
	struct machine_config config;
	struct ledger ledger;
	struct budget budget;
	struct listener listener;
	struct source listening;
	struct source news; /* of the observer */
	int epoll;
	int proc; /* the directory /proc; -1: there is none */
	struct client_list clients, dead_clients;
	struct tenant_list tenants, dead_tenants;
	struct tenant_list queue;      /* tenants whose CREDIT waits, in order of arrival */
	struct tenant_list merges;     /* tenants with merge_waits, in order of arrival */
	struct tenant_list swap_queue; /* tenants that wait for swap, in order of arrival */
	uint64_t swap_held_pages;      /* by all tenants, used or not */
	struct shelf shelf;	       /* where the stores of all domains lie */
	TAILQ_HEAD(domain_list, domain) domains;
	TAILQ_HEAD(member_list, member) leaving; /* members of dead VMs that still hold frames */
	struct machine_event *event;		 /* a ring: sequence number modulo its size */
	uint64_t next_event;			 /* sequence number */
	unsigned int nr_followers;		 /* clients whose EVENTS waits */
	unsigned int nr_clients, nr_tenants, nr_domains;
	uint32_t last_id, last_domain_id;
	unsigned int strangers;	       /* clients of other users in this while ... */
	unsigned int strangers_unsaid; /* ... and those that the log left out */
	bool had_clients;
	bool stopping;
	/* Deadlines, in ns of the machine's clock; 0: none. */
	uint64_t accept_again_ns;     /* no connection is accepted before */
	uint64_t strangers_ns;	      /* then the log says how many strangers it left out */
	uint64_t queue_deadline_ns;   /* then a VM is killed for the head of the queue */
	uint64_t next_balloon_ns;     /* the policy's next tick */
	uint64_t next_reclaim_ns;     /* the next tick of reclaim */
	uint64_t next_load_ns;	      /* load control looks again */
	uint64_t next_reclaim_log_ns; /* the log has no line about reclaim before */
	uint64_t next_measure_ns;     /* then VMs are measured */
	uint64_t next_sweep_ns;	      /* then stores are swept; 0: no VM has a segment */
	uint64_t next_level_note_ns;  /* no beginning of reclaim is noted before */
	uint64_t next_recall_note_ns; /* no recall is noted before */
	uint64_t next_recall_ns;      /* no general recall is sent before */
	uint64_t stop_deadline_ns;    /* then VMs that have not stopped are killed */
	/* Moments, in ns of the machine's clock. */
	uint64_t queue_since_ns;  /* the head of the queue waits since then; 0: nobody waits */
	uint64_t returned_ns;	  /* pages came back last */
	uint64_t last_balloon_ns; /* the policy's last tick */
	uint64_t last_reclaim_ns;
	uint64_t reclaim_need_pages;			  /* as balloon_need_pages, for reclaim */
	uint64_t granted_pages;				  /* since the last tick of reclaim */
	uint64_t reclaimed_pages, logged_reclaimed_pages; /* came back for it; in the log */
	unsigned int nr_reclaimers;			  /* VMs that may be asked to reclaim */
	bool reclaims;	     /* memory fell below low and has not been at high since */
	bool noted_reclaims; /* what the log of events says of that */
	unsigned int thrash_looks, calm_looks; /* of load control, in a row */
	unsigned int nr_suspended;
	uint32_t stall_permille; /* mean of busy VMs, at the last look */
	uint64_t suspensions;
	uint64_t balloon_need_pages; /* the next tick wants so many, besides what waits */
	struct balloon_policy balloon_policy;
	uint64_t admissions, refusals, oom_kills;
	struct merge_msg merge_ask, merge_answer; /* the packet that is served now */
};

/* ---- server.c ---- */

/* The time on the machine's clock, in ns. */
uint64_t machine_now(const struct machine *m);

/* Give one line to the log.  What has a record of its own has event_note() instead. */
__attribute__((format(printf, 2, 3))) void machine_log(struct machine *m, const char *fmt, ...);

/* Begin to listen to s->fd.  Returns 0 or -errno.  It stays the caller's to close. */
int source_add(struct machine *m, struct source *s);

/* Stop listening, and close s->fd.  It becomes -1; -1 is fine. */
void source_close(struct machine *m, struct source *s);

/* ---- server_control.c ---- */

/* The while in which strangers are counted is over: say how many the log left out. */
void strangers_expire(struct machine *m);

/* Somebody wants to connect. */
void listener_ready(struct machine *m);

/* A client has said something, or hung up. */
void client_ready(struct machine *m, struct client *c);

/* Send an answer.  A client that does not read is dropped. */
void client_send(struct machine *m, struct client *c, const struct machine_msg *msg, int attach);

/* End a control connection, and log why unless that is NULL. */
void client_drop(struct machine *m, struct client *c, const char *why);

/* Send REFUSED with an -errno and one line. */
void client_refuse(struct machine *m, struct client *c, int error, const char *text);

/* Does the ledger's configuration make sense?  Returns 0, or -EINVAL with *err. */
int ledger_config_check(const struct ledger_config *c, struct quire_error *err);

/* ---- server_tenant.c ---- */

/*
 * Admit a VM for client c.  *out becomes the tenant and *channel the other end of its channel,
 * which is the caller's.  Returns 0, or -errno with *refusal and *err, as machine_client_admit()
 * tells it.
 */
int tenant_admit(struct machine *m, struct client *c, const struct machine_admit *admit,
		 struct tenant **out, int *channel, struct machine_refusal *refusal,
		 struct quire_error *err);

/* The tenant's process is known.  Takes pidfd over. */
void tenant_started(struct machine *m, struct tenant *t, int pidfd, pid_t pid);

/* Grant credits as budget_grant() does, but no more than `want` or than the promise leaves. */
uint64_t tenant_grant(struct machine *m, struct tenant *t, uint64_t need, uint64_t want);

/* The tenant has said something on its channel, or hung up. */
void channel_ready(struct machine *m, struct tenant *t);

/* Send a packet with a number of pages.  A tenant that does not read is killed.  0 or -errno. */
int channel_send(struct machine *m, struct tenant *t, enum machine_type type, uint64_t pages);

/* Send a packet.  Returns 0 or -errno.  -EAGAIN is no offence here: the packet was not sent. */
int channel_post(struct machine *m, struct tenant *t, const struct machine_msg *msg, int attach);

/* The living tenant with this id; NULL: there is none. */
struct tenant *tenant_find(struct machine *m, uint32_t id);

/* The tenant has ended: take back what it held, and tell its launcher. */
void tenant_end(struct machine *m, struct tenant *t);

/*
 * Kill the tenant for this reason.  Returns true if it is dying now: its channel is closed, and
 * what it said last is void.  False: its process is not known, or the kernel does not let us kill
 * it.
 */
bool tenant_kill(struct machine *m, struct tenant *t, enum machine_reason reason);

/* Is there a process to kill, and did the kernel not refuse before? */
bool tenant_can_be_killed(const struct tenant *t);

/* The tenant broke a rule: log it, and kill the tenant. */
void tenant_misbehaved(struct machine *m, struct tenant *t, const char *why);

/* ---- server_merge.c ---- */

/*
 * Answer a JOIN.  Returns NULL, or a phrase that says which rule was broken.
 */
const char *merge_join(struct machine *m, struct tenant *t);

/* There is something to read from t->merge: queue the tenant for merge_serve(). */
void merge_ready(struct machine *m, struct tenant *t);

/* Serve one packet of the first tenant in the queue. */
void merge_serve(struct machine *m);

/* The connection about equal pages is over.  The tenant lives on and keeps its references. */
void merge_hang_up(struct machine *m, struct tenant *t);

/* The tenant has ended.  What it held of its domain is given back by merge_give_back(). */
void merge_end(struct machine *m, struct tenant *t);

/* Give back some of the frames that ended tenants have held. */
void merge_give_back(struct machine *m);

/* Take stray pages out of the stores if it is time, and kill who brought them in. */
void merge_expire(struct machine *m, uint64_t now);

/* About how many of t's hints another domain has too: a sample of them is read. */
uint64_t merge_elsewhere(const struct machine *m, const struct tenant *t);

/* ---- server_balloon.c ---- */

/* A BALLOON.  Returns NULL, or a phrase that says which rule was broken. */
const char *balloon_said(struct machine *m, struct tenant *t, const struct machine_msg *msg);

/* Have the next tick soon, and let it want `need` pages besides what waits. */
void balloon_hurry(struct machine *m, uint64_t need);

/* Tick if it is time. */
void balloon_expire(struct machine *m, uint64_t now);

/* What a guest that answers is still to put into its balloon; and all of them. */
uint64_t balloon_owed_by(const struct tenant *t);
uint64_t balloon_owed(const struct machine *m);

/* Is memory for the head of the queue on its way out of balloons? */
bool balloon_may_help(const struct machine *m, uint64_t now);

/* BALLOON_GET, BALLOON_SET and BALLOON_WHY: as every request in server_control.c's table. */
bool balloon_on_get(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd);
bool balloon_on_set(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd);
bool balloon_on_why(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd);

/* ---- server_reclaim.c ---- */

/* A RECLAIMED. */
void reclaim_said(struct machine *m, struct tenant *t, const struct reclaim_record *said);

/* t has returned credits. */
void reclaim_returned(struct machine *m, struct tenant *t, uint64_t pages);

/* t's channel is about to be closed. */
void reclaim_forget(struct machine *m, struct tenant *t);

/* Have the next tick soon, and let it want `need` pages besides what waits. */
void reclaim_hurry(struct machine *m, uint64_t need);

/* At the end of a round: is memory short? */
void reclaim_look(struct machine *m);

/* Tick if it is time. */
void reclaim_expire(struct machine *m, uint64_t now);

/* Is memory for the head of the queue being freed? */
bool reclaim_may_help(const struct machine *m, uint64_t now);

/* ---- server_load.c ---- */

/* A RECLAIMED: its stalls. */
void load_said(struct machine *m, struct tenant *t, const struct reclaim_record *said);

/* t's channel is about to be closed. */
void load_forget(struct machine *m, struct tenant *t);

/* Memory is short: look from now on. */
void load_start(struct machine *m);

/* If it is time, suspend a VM or have one go on. */
void load_expire(struct machine *m, uint64_t now);

/* ---- server_swap.c ---- */

/* SWAP_CREDIT and SWAP_RETURN.  Return NULL, or a phrase that says which rule was broken. */
const char *swap_request(struct machine *m, struct tenant *t, uint64_t pages);
const char *swap_return(struct machine *m, struct tenant *t, uint64_t pages);

/* Grant what can be granted to those that wait. */
void swap_serve(struct machine *m);

/* The tenant waits no longer: it has hung up. */
void swap_forget(struct machine *m, struct tenant *t);

/* A readmitted tenant holds what it brought.  An ended one holds nothing. */
void swap_readmit(struct machine *m, struct tenant *t);
void swap_release(struct machine *m, struct tenant *t);

/* ---- server_pressure.c ---- */

/* A CREDIT: grant it, or queue it. */
void pressure_request(struct machine *m, struct tenant *t, uint64_t need, uint64_t want);

/* The tenant waits no longer: it has ended, or hung up. */
void pressure_forget(struct machine *m, struct tenant *t);

/* While t is suspended, its CREDIT waits, and others are served before it. */
void pressure_hold(struct machine *m, struct tenant *t, bool hold);

/* t needs nothing any more: if it waits in the queue, it leaves with a GRANT of 0 pages. */
void pressure_call_off(struct machine *m, struct tenant *t);

/* Grant as many waiting requests as memory allows, in order. */
void pressure_serve(struct machine *m);

/* Kill or deny if the head of the queue has waited too long. */
void pressure_expire(struct machine *m, uint64_t now);

/* Recall unspent credits of all tenants but `except`, which may be NULL: `need` pages are short. */
void pressure_recall(struct machine *m, const struct tenant *except, uint64_t need);

/* ---- server_events.c ---- */

/* The numbers of an event, in the order of its row. */
#define NUMBERS(...) ((const int64_t[EVENT_NUMBERS_MAX]){ __VA_ARGS__ })

/* A count, and an amount of memory as bytes. */
static inline int64_t event_count(uint64_t count)
{
	return (int64_t)min_u64(count, INT64_MAX);
}

static inline int64_t event_bytes(uint64_t pages)
{
	return (int64_t)(min_u64(pages, MACHINE_PAGES_MAX / 2 - 1) * QUIRE_PAGE_SIZE);
}

/* 0 or -ENOMEM. */
int events_init(struct machine *m);
void events_finish(struct machine *m);

/*
 * Something has happened, to t unless that is NULL: record it, and log its line if the log has one.
 * The line of the log begins with the VM, unless the row says that the text does.  reason and
 * numbers may be NULL.  Returns the record, to be completed at once.
 */
__attribute__((format(printf, 6, 7))) struct machine_event *
event_note(struct machine *m, enum event_kind kind, const struct tenant *t, const char *reason,
	   const int64_t *number, const char *fmt, ...);

/* The VM's keeper has told of a pass. */
void events_passed(struct machine *m, struct tenant *t, const struct merge_pass *pass);

/* There is something to read from m->news, or its end. */
void events_take_news(struct machine *m);

/* EVENTS: as every request in server_control.c's table. */
bool events_on_ask(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd);

/* If an EVENTS of this client waits, answer it now; or forget it, because the client is gone. */
void events_answer(struct machine *m, struct client *c);
void events_forget(struct machine *m, struct client *c);

/* At the end of a round: answer those who have waited for what there is now, or for long enough. */
void events_serve(struct machine *m);

/* ---- server_measure.c ---- */

/* The tenant's process is known now: be able to measure it. */
void measure_begin(struct machine *m, struct tenant *t);

/* The tenant has ended. */
void measure_end(struct tenant *t);

/*
 * What t has now, by the kernel's count and by its account.  Of the store it is credited with every
 * frame that it refers to (alone_pages), which is the most that its end can win.
 */
struct machine_holding measure(const struct tenant *t);

/* If it is time, kill those that occupy more than they were charged. */
void measure_expire(struct machine *m, uint64_t now);

/* ---- server_state.c ---- */

/* Blocks of the tenant's RAM file, by the kernel's count; 0 before ATTACH. */
uint64_t tenant_resident_pages(const struct tenant *t);

/* RAM and overhead that were promised. */
uint64_t tenant_promised_pages(const struct tenant *t);

/* Copy what is known of a tenant to *record. */
void tenant_record(const struct tenant *t, struct machine_vm_record *record);

#endif
