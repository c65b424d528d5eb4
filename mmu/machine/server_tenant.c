/* SPDX-License-Identifier: MIT */
/*
 * A tenant: a VM as the machine sees it.  It is admitted as a whole or not at all, and charged for
 * what it holds.  At its end everything it was charged comes back.
 *
 *   admitted --STARTED--> started --SIGKILL--> dying
 *       |                    |                   |
 *   channel hangs up     its process ends    its process ends
 *       +--------------------+-------------------+---------> gone
 *
 * The account is released when nothing of the VM can use a page any more.  If the process is known,
 * that is the end of the process and not of the channel.  A VM that closed its channel still has
 * its pages, and killing takes a while.  A channel that breaks the rules is closed at once, and the
 * VM is killed if its process is known.
 *
 * A VM begins with a batch of credits, or with none if memory is short: a grant for a need of 0.
 * So the first touches of the boot find credits at hand, and no VM is refused for want of them.  No
 * VM ever holds more credits than its RAM has pages.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "oom.h"
#include "server_internal.h"
#include "mmu/base/mib.h"
#include "mmu/base/wire.h"

static const bool legal_moves[TENANT_NR_STATES][TENANT_NR_STATES] = {
	[TENANT_ADMITTED] = { [TENANT_STARTED] = true, [TENANT_GONE] = true },
	[TENANT_STARTED] = { [TENANT_DYING] = true, [TENANT_GONE] = true },
	[TENANT_DYING] = { [TENANT_GONE] = true },
};

static void move(struct tenant *t, enum tenant_state state)
{
	assert(legal_moves[t->state][state]);
	t->state = state;
}

static bool name_is_fine(const char *name)
{
	size_t n = strnlen(name, MACHINE_NAME_MAX + 1);

	if (n > MACHINE_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return true;
}

static bool balloon_is_fine(const struct machine_admit *a)
{
	if (a->balloon == BALLOON_MODE_OFF)
		return true;
	return a->balloon < BALLOON_NR_MODES && a->shares && a->shares <= MACHINE_SHARES_MAX &&
	       a->balloon_min_pages <= a->ram_pages;
}

static int check(const struct machine *m, const struct machine_admit *a, struct quire_error *err)
{
	uint64_t most = a->readmit ? a->ram_pages : 0; /* that it may have brought */

	if (!a->ram_pages || a->ram_pages > MACHINE_PAGES_MAX ||
	    a->overhead_pages > MACHINE_PAGES_MAX)
		return quire_fail(err, -EINVAL, "refused: a VM needs RAM, less than 2^64 bytes");
	if (a->oom_score_adj < OOM_SCORE_ADJ_MIN || a->oom_score_adj > OOM_SCORE_ADJ_MAX)
		return quire_fail(err, -EINVAL, "refused: oom_score_adj is -1000 to 1000");
	if (!name_is_fine(a->name))
		return quire_fail(err, -EINVAL,
				  "refused: a name is printable ASCII without blanks");
	if (!name_is_fine(a->domain))
		return quire_fail(err, -EINVAL,
				  "refused: a domain's name is printable ASCII without "
				  "blanks");
	if (a->readmit > 1 || a->credit_pages > most || a->swap_pages > most)
		return quire_fail(err, -EINVAL,
				  "refused: more credits or swap claimed than RAM promised");
	if (!balloon_is_fine(a))
		return quire_fail(err, -EINVAL,
				  "refused: a balloon has 1 to %u shares, and leaves at "
				  "most all of RAM",
				  MACHINE_SHARES_MAX);
	if (m->stopping)
		return quire_fail(err, -ESHUTDOWN, "refused: the machine is stopping");
	if (m->nr_tenants >= m->config.max_vms || m->last_id == UINT32_MAX)
		return quire_fail(err, -EUSERS, "refused: %u VMs are the most this machine serves",
				  m->config.max_vms);
	return 0;
}

static int charge_overhead(struct machine *m, struct tenant *t, struct machine_refusal *refusal,
			   struct quire_error *err)
{
	const struct budget *b = &m->budget;
	int code = budget_charge_overhead(&m->budget, &t->account, t->promise.overhead_pages);

	if (code)
		pressure_recall(m, NULL, t->promise.overhead_pages);
	/* It was recalled from others: to try again may help, unless it never fits. */
	if (code && t->promise.overhead_pages + b->min_pages <= b->memory_pages)
		code = -EAGAIN;
	if (!code)
		return 0;
	*refusal = (struct machine_refusal){
		.book = MACHINE_BUDGET,
		.request_pages = t->promise.overhead_pages,
		.free_pages = budget_free(b),
		.min_pages = b->min_pages,
	};
	return quire_fail(err, code,
			  "refused: overhead of %s would leave less than min: "
			  "%s free, min is %s",
			  mib_text(t->promise.overhead_pages), mib_text(budget_free(b)),
			  mib_text(b->min_pages));
}

uint64_t tenant_grant(struct machine *m, struct tenant *t, uint64_t need, uint64_t want)
{
	uint64_t room = t->promise.ram_pages - t->account.credit_pages;
	uint64_t got = budget_grant(&m->budget, &t->account, need);
	uint64_t keep = min_u64(got, min_u64(max_u64(need, want), room));

	budget_return(&m->budget, &t->account, got - keep);
	m->granted_pages += keep;
	t->load.asked |= keep != 0;
	return keep;
}

static struct machine_refusal refused_by_ledger(const struct ledger_sum *sum)
{
	return (struct machine_refusal){
		.book = MACHINE_LEDGER,
		.mode = sum->mode,
		.request_pages = sum->request_pages,
		.committed_pages = sum->committed_pages,
		.allowed_pages = sum->allowed_pages,
		.limit_pages = sum->limit_pages,
		.admin_reserve_pages = sum->admin_reserve_pages,
		.user_reserve_pages = sum->user_reserve_pages,
	};
}

/*
 * Charge the ledger, then the budget: both or none.  *err becomes a line for the log, or why not.
 */
static int charge(struct machine *m, struct tenant *t, const struct client *c,
		  struct machine_refusal *refusal, struct quire_error *err)
{
	struct ledger_client who = { .privileged = c->privileged,
				     .total_pages = c->promised_pages };
	struct ledger_free free_now = { budget_free(&m->budget), m->budget.high_pages };
	struct ledger_sum sum;
	int code;

	code = ledger_commit(&m->ledger, who, free_now, tenant_promised_pages(t), &sum);
	ledger_describe(&sum, err->text, sizeof(err->text));
	if (code) {
		*refusal = refused_by_ledger(&sum);
		return code;
	}
	code = charge_overhead(m, t, refusal, err);
	if (code) {
		ledger_uncommit(&m->ledger, tenant_promised_pages(t));
		return code;
	}
	tenant_grant(m, t, 0, UINT64_MAX);
	return 0;
}

/* Charge a VM that outlived its machine with what it holds, whatever the limits say. */
static void recharge(struct machine *m, struct tenant *t, struct quire_error *err)
{
	const struct machine_admit *p = &t->promise;

	ledger_readmit(&m->ledger, tenant_promised_pages(t));
	budget_readmit(&m->budget, &t->account, p->credit_pages, p->overhead_pages);
	swap_readmit(m, t);
	quire_fail(err, 0, "readmitted: %s promised, %s of credits and %s of swap held",
		   mib_text(tenant_promised_pages(t)), mib_text(p->credit_pages),
		   mib_text(p->swap_pages));
}

struct tenant *tenant_find(struct machine *m, uint32_t id)
{
	struct tenant *t;

	TAILQ_FOREACH(t, &m->tenants, link)
	if (t->id == id)
		return t;
	return NULL;
}

static struct tenant *tenant_create(struct machine *m, struct client *c,
				    const struct machine_admit *admit, int channel)
{
	struct tenant *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->channel = (struct source){ .kind = SERVER_SOURCE_CHANNEL, .fd = channel, .owner = t };
	t->process = (struct source){ .kind = SERVER_SOURCE_PROCESS, .fd = -1, .owner = t };
	t->merge = (struct source){ .kind = SERVER_SOURCE_MERGE, .fd = -1, .owner = t };
	t->ram = t->statm = -1;
	t->launcher = c;
	t->promise = *admit;
	if (!source_add(m, &t->channel))
		return t;
	free(t);
	return NULL;
}

static void enroll(struct machine *m, struct tenant *t)
{
	t->id = ++m->last_id;
	t->launcher->promised_pages += tenant_promised_pages(t);
	TAILQ_INSERT_TAIL(&m->tenants, t, link);
	m->nr_tenants++;
	m->admissions++;
}

static void note_admission(struct machine *m, const struct tenant *t, const char *text)
{
	event_note(m, EVENT_ADMISSION, t, t->promise.readmit ? "readmitted" : NULL,
		   NUMBERS(event_bytes(tenant_promised_pages(t)),
			   event_bytes(t->account.overhead_pages),
			   event_bytes(t->account.credit_pages),
			   event_bytes(m->ledger.committed_pages),
			   event_bytes(ledger_commit_limit(&m->ledger.config)),
			   event_bytes(budget_free(&m->budget))),
		   "%s", text);
}

int tenant_admit(struct machine *m, struct client *c, const struct machine_admit *admit,
		 struct tenant **out, int *channel, struct machine_refusal *refusal,
		 struct quire_error *err)
{
	int pair[2], code = check(m, admit, err);
	struct tenant *t;

	*refusal = (struct machine_refusal){ .book = MACHINE_NO_BOOK };
	if (code)
		return code;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return quire_fail(err, -errno,
				  "refused: no channel: %s; raise the machine's limit "
				  "of descriptors (ulimit -n)",
				  strerror(errno));
	t = tenant_create(m, c, admit, pair[0]);
	code = !t	      ? quire_fail(err, -ENOMEM, "refused: the host has no memory") :
	       admit->readmit ? 0 :
				charge(m, t, c, refusal, err);
	if (code) {
		if (t)
			source_close(m, &t->channel);
		else
			close(pair[0]);
		close(pair[1]);
		free(t);
		return code;
	}
	if (admit->readmit)
		recharge(m, t, err);
	enroll(m, t);
	note_admission(m, t, err->text);
	*out = t;
	*channel = pair[1];
	return 0;
}

void tenant_started(struct machine *m, struct tenant *t, int pidfd, pid_t pid)
{
	move(t, TENANT_STARTED);
	t->pid = pid;
	t->process.fd = pidfd;
	measure_begin(m, t);
	event_note(m, EVENT_START, t, NULL, NULL, "started, pid %d", (int)pid);
	if (!source_add(m, &t->process))
		return;
	/* We could not learn of its end later, so it ends now. */
	tenant_kill(m, t, MACHINE_ENDED);
	tenant_end(m, t);
}

static void say_gone(struct machine *m, struct tenant *t)
{
	struct machine_msg msg = wire_msg(MACHINE_GONE, t->id);

	msg.gone = t->gone;
	if (t->launcher)
		client_send(m, t->launcher, &msg, -1);
}

static void note_end(struct machine *m, const struct tenant *t)
{
	static const char *const why[] = {
		[MACHINE_ENDED] = "ended",
		[MACHINE_OOM] = "out of memory",
		[MACHINE_MISBEHAVED] = "broke the rules",
		[MACHINE_EXCEEDED] = "exceeded its charge",
	};

	event_note(m, EVENT_STOP, t, why[t->gone.reason],
		   NUMBERS(event_bytes(tenant_promised_pages(t)),
			   event_bytes(t->account.credit_pages),
			   event_bytes(t->account.overhead_pages), event_bytes(t->swap_pages),
			   event_bytes(t->gone.last.resident_pages),
			   event_bytes(t->reclaimed_pages), (int64_t)t->load.suspensions),
		   "gone, its promise of %s, credits of %s, overhead of %s and swap of %s are back",
		   mib_text(tenant_promised_pages(t)), mib_text(t->account.credit_pages),
		   mib_text(t->account.overhead_pages), mib_text(t->swap_pages));
}

void tenant_end(struct machine *m, struct tenant *t)
{
	pressure_forget(m, t);
	tenant_record(t, &t->gone.last);
	note_end(m, t);
	reclaim_forget(m, t);
	merge_end(m, t);
	swap_release(m, t);
	ledger_uncommit(&m->ledger, tenant_promised_pages(t));
	budget_release(&m->budget, &t->account);
	if (t->launcher)
		t->launcher->promised_pages -= tenant_promised_pages(t);
	source_close(m, &t->channel);
	source_close(m, &t->process);
	if (t->ram >= 0)
		close(t->ram);
	t->ram = -1;
	measure_end(t);
	if (t->state == TENANT_DYING)
		m->queue_deadline_ns = 0; /* what it frees may be enough; if not, recall again */
	move(t, TENANT_GONE);
	TAILQ_REMOVE(&m->tenants, t, link);
	TAILQ_INSERT_TAIL(&m->dead_tenants, t, link);
	m->nr_tenants--;
	say_gone(m, t);
}

/* Nothing is heard of it any more, and it waits for nothing. */
static void close_channel(struct machine *m, struct tenant *t)
{
	pressure_forget(m, t);
	swap_forget(m, t);
	reclaim_forget(m, t);
	source_close(m, &t->channel);
}

bool tenant_can_be_killed(const struct tenant *t)
{
	return t->state == TENANT_STARTED && !t->immortal;
}

bool tenant_kill(struct machine *m, struct tenant *t, enum machine_reason reason)
{
	if (t->state == TENANT_DYING)
		return true;
	if (!tenant_can_be_killed(t))
		return false;
	if (syscall(SYS_pidfd_send_signal, t->process.fd, SIGKILL, NULL, 0) && errno != ESRCH) {
		machine_log(m, "vm %u '%s': cannot kill pid %d: %s", t->id, t->promise.name,
			    (int)t->pid, strerror(errno));
		t->immortal = true;
		return false;
	}
	move(t, TENANT_DYING);
	t->kill_deadline_ns = machine_now(m) + m->config.victim_ms * NS_PER_MS;
	t->gone.reason = reason;
	close_channel(m, t);
	merge_hang_up(m, t);
	return true;
}

void tenant_misbehaved(struct machine *m, struct tenant *t, const char *why)
{
	event_note(m, EVENT_OFFENCE, t, why, NULL, "its channel broke the rules: %s", why);
	t->gone.reason = MACHINE_MISBEHAVED;
	close_channel(m, t);
	merge_hang_up(m, t);
	if (!tenant_kill(m, t, MACHINE_MISBEHAVED) && t->state == TENANT_ADMITTED)
		tenant_end(m, t);
}

static void hung_up(struct machine *m, struct tenant *t)
{
	close_channel(m, t);
	if (t->state == TENANT_ADMITTED)
		tenant_end(m, t);
}

int channel_post(struct machine *m, struct tenant *t, const struct machine_msg *msg, int attach)
{
	int code;

	if (t->channel.fd < 0)
		return -ENOTCONN;
	code = wire_send(t->channel.fd, msg, attach);
	if (code && code != -EAGAIN)
		hung_up(m, t);
	return code;
}

int channel_send(struct machine *m, struct tenant *t, enum machine_type type, uint64_t pages)
{
	struct machine_msg msg = wire_msg(type, 0);
	int code;

	msg.pages = pages;
	code = channel_post(m, t, &msg, -1);
	if (code == -EAGAIN)
		tenant_misbehaved(m, t, "it does not read its answers");
	return code;
}

/*
 * What is wrong with a RAM file: it must be on tmpfs, read-only and large enough.  NULL: nothing.
 */
static const char *ram_fault(const struct tenant *t, int fd)
{
	struct statfs fs;
	struct stat st;

	if (t->ram >= 0)
		return "a second RAM file";
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC)
		return "a RAM file that is not on tmpfs";
	if ((fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH)) != O_RDONLY)
		return "a RAM file that is not read-only";
	if ((uint64_t)st.st_size / QUIRE_PAGE_SIZE < t->promise.ram_pages)
		return "a RAM file smaller than the RAM promised";
	return NULL;
}

static const char *on_attach(struct machine *m, struct tenant *t, const struct machine_msg *msg,
			     int *fd)
{
	const char *fault = ram_fault(t, *fd);

	(void)m, (void)msg;
	if (fault)
		return fault;
	t->ram = *fd;
	*fd = -1;
	return NULL;
}

static const char *on_credit(struct machine *m, struct tenant *t, const struct machine_msg *msg,
			     int *fd)
{
	uint64_t need = msg->credit.need_pages;

	(void)fd;
	if (t->need_pages)
		return "a CREDIT while another waits";
	if (need > MACHINE_NEED_MAX)
		return "a CREDIT for more than an access can use";
	if (need > t->promise.ram_pages - t->account.credit_pages)
		return "a CREDIT beyond its promise";
	pressure_request(m, t, need, msg->credit.want_pages);
	return NULL;
}

static const char *on_return(struct machine *m, struct tenant *t, const struct machine_msg *msg,
			     int *fd)
{
	(void)fd;
	if (msg->pages > t->account.credit_pages)
		return "a RETURN of more than it holds";
	budget_return(&m->budget, &t->account, msg->pages);
	if (msg->pages)
		m->returned_ns = machine_now(m);
	reclaim_returned(m, t, msg->pages);
	t->recalled = false;
	return NULL;
}

static const char *on_join(struct machine *m, struct tenant *t, const struct machine_msg *msg,
			   int *fd)
{
	(void)msg, (void)fd;
	return merge_join(m, t);
}

static const char *on_balloon(struct machine *m, struct tenant *t, const struct machine_msg *msg,
			      int *fd)
{
	(void)fd;
	return balloon_said(m, t, msg);
}

static const char *on_call_off(struct machine *m, struct tenant *t, const struct machine_msg *msg,
			       int *fd)
{
	(void)msg, (void)fd;
	pressure_call_off(m, t);
	return NULL;
}

static const char *on_reclaimed(struct machine *m, struct tenant *t, const struct machine_msg *msg,
				int *fd)
{
	(void)fd;
	reclaim_said(m, t, &msg->reclaim);
	return NULL;
}

static const char *on_swap_credit(struct machine *m, struct tenant *t,
				  const struct machine_msg *msg, int *fd)
{
	(void)fd;
	return swap_request(m, t, msg->pages);
}

static const char *on_swap_return(struct machine *m, struct tenant *t,
				  const struct machine_msg *msg, int *fd)
{
	(void)fd;
	return swap_return(m, t, msg->pages);
}

static const struct channel_rule {
	bool descriptor; /* it carries one */
	/* Returns NULL, or a phrase that says which rule broke.  It may take *fd over: -1 then. */
	const char *(*handle)(struct machine *m, struct tenant *t, const struct machine_msg *msg,
			      int *fd);
} channel_rules[MACHINE_NR_TYPES] = {
	[MACHINE_ATTACH] = { true, on_attach },
	[MACHINE_CREDIT] = { false, on_credit },
	[MACHINE_RETURN] = { false, on_return },
	[MACHINE_JOIN] = { false, on_join },
	[MACHINE_BALLOON] = { false, on_balloon },
	[MACHINE_CALL_OFF] = { false, on_call_off },
	[MACHINE_RECLAIMED] = { false, on_reclaimed },
	[MACHINE_SWAP_CREDIT] = { false, on_swap_credit },
	[MACHINE_SWAP_RETURN] = { false, on_swap_return },
};

static const char *channel_message(struct machine *m, struct tenant *t,
				   const struct machine_msg *msg, int *fd)
{
	const struct channel_rule *rule;

	if (msg->type >= MACHINE_NR_TYPES || !channel_rules[msg->type].handle)
		return "a type that is none of a channel";
	rule = &channel_rules[msg->type];
	if (rule->descriptor != (*fd >= 0))
		return rule->descriptor ? "a descriptor is missing" : "a descriptor too many";
	return rule->handle(m, t, msg, fd);
}

void channel_ready(struct machine *m, struct tenant *t)
{
	for (unsigned int i = 0; i < PACKETS_PER_ROUND && t->channel.fd >= 0; i++) {
		const char *fault;
		struct machine_msg msg;
		int fd, code = wire_recv(t->channel.fd, &msg, &fd);

		if (!code)
			return;
		if (code < 0) {
			if (code == -ECONNRESET)
				hung_up(m, t);
			else
				tenant_misbehaved(m, t, "not a packet of ours");
			return;
		}
		fault = channel_message(m, t, &msg, &fd);
		if (fd >= 0)
			close(fd);
		if (fault)
			tenant_misbehaved(m, t, fault);
	}
}
