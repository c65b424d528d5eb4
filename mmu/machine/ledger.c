/* SPDX-License-Identifier: MIT */
/*
 * What Linux's __vm_enough_memory() does, for a machine.  A request is admitted if:
 *
 *   mode 1   always
 *   mode 0   request <= memory + swap; each request is looked at alone
 *   mode 2   committed + request < allowed (strictly, as in Linux), where
 *            allowed = CommitLimit - min(client's total / 32, user reserve)
 *            and, for a client that is not privileged, also less the admin reserve
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include "ledger.h"

#define PAGES_PER_MIB (MiB / QUIRE_PAGE_SIZE)

static uint64_t add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t subtract(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void ledger_defaults(struct ledger_config *config, uint64_t memory_pages, uint64_t swap_pages)
{
	*config = (struct ledger_config){
		.memory_pages = memory_pages,
		.swap_pages = swap_pages,
		.mode = OVERCOMMIT_GUESS,
		.ratio = 50,
		.admin_reserve_pages = min_u64(memory_pages / 32, 8 * PAGES_PER_MIB),
		.user_reserve_pages = min_u64(memory_pages / 32, 128 * PAGES_PER_MIB),
	};
}

uint64_t ledger_commit_limit(const struct ledger_config *config)
{
	uint64_t base = subtract(config->memory_pages, config->reserved_huge_pages);
	__uint128_t share = (__uint128_t)base * config->ratio / 100;

	if (config->limit_in_pages)
		share = config->limit_pages;
	return share > UINT64_MAX ? UINT64_MAX : add(share, config->swap_pages);
}

/* What Linux before 5.2 summed up: what is free, or could be freed, for this client. */
static uint64_t estimate(const struct ledger *ledger, struct ledger_client client,
			 struct ledger_free free)
{
	const struct ledger_config *c = &ledger->config;
	uint64_t pages = subtract(add(free.free_pages, c->swap_pages), free.reserve_pages);

	return client.privileged ? pages : subtract(pages, c->admin_reserve_pages);
}

static bool enough(const struct ledger *ledger, struct ledger_client client,
		   struct ledger_free free, struct ledger_sum *sum)
{
	const struct ledger_config *c = &ledger->config;

	switch (c->mode) {
	case OVERCOMMIT_ALWAYS: sum->limit_pages = sum->allowed_pages = UINT64_MAX; return true;
	case OVERCOMMIT_GUESS:
		sum->limit_pages = c->guess == GUESS_ESTIMATE ? estimate(ledger, client, free) :
								add(c->memory_pages, c->swap_pages);
		sum->allowed_pages = sum->limit_pages;
		return c->guess == GUESS_ESTIMATE ? sum->request_pages < sum->limit_pages :
						    sum->request_pages <= sum->limit_pages;
	case OVERCOMMIT_NEVER: break;
	}
	sum->limit_pages = ledger_commit_limit(c);
	sum->admin_reserve_pages = client.privileged ? 0 : c->admin_reserve_pages;
	sum->user_reserve_pages = min_u64(client.total_pages / 32, c->user_reserve_pages);
	sum->allowed_pages = subtract(subtract(sum->limit_pages, sum->admin_reserve_pages),
				      sum->user_reserve_pages);
	return add(sum->committed_pages, sum->request_pages) < sum->allowed_pages;
}

int ledger_commit(struct ledger *ledger, struct ledger_client client, struct ledger_free free,
		  uint64_t request, struct ledger_sum *sum)
{
	struct ledger_sum ignored;

	if (!sum)
		sum = &ignored;
	*sum = (struct ledger_sum){
		.mode = ledger->config.mode,
		.request_pages = request,
		.committed_pages = ledger->committed_pages,
	};
	/* Not even mode 1 can count beyond 64 bits. */
	sum->admitted = add(ledger->committed_pages, request) != UINT64_MAX &&
			enough(ledger, client, free, sum);
	if (!sum->admitted)
		return -ENOMEM;
	ledger->committed_pages += request;
	return 0;
}

void ledger_uncommit(struct ledger *ledger, uint64_t pages)
{
	assert(ledger->committed_pages >= pages);
	ledger->committed_pages -= pages;
}

void ledger_readmit(struct ledger *ledger, uint64_t pages)
{
	ledger->committed_pages = add(ledger->committed_pages, pages);
}

static double mib(uint64_t pages)
{
	return (double)pages / PAGES_PER_MIB;
}

int ledger_describe(const struct ledger_sum *sum, char *buf, size_t len)
{
	const char *verb = sum->admitted ? "admitted" : "refused";

	switch (sum->mode) {
	case OVERCOMMIT_ALWAYS:
		return snprintf(buf, len, "%s: mode 1: %.1f MiB on top of %.1f MiB committed", verb,
				mib(sum->request_pages), mib(sum->committed_pages));
	case OVERCOMMIT_GUESS:
		return snprintf(buf, len, "%s: mode 0: %.1f MiB asked, memory + swap is %.1f MiB",
				verb, mib(sum->request_pages), mib(sum->limit_pages));
	case OVERCOMMIT_NEVER: break;
	}
	return snprintf(buf, len,
			"%s: mode 2: %.1f MiB committed + %.1f MiB asked %s %.1f MiB allowed = "
			"CommitLimit %.1f - admin reserve %.1f - user reserve %.1f",
			verb, mib(sum->committed_pages), mib(sum->request_pages),
			sum->admitted ? "<" : ">=", mib(sum->allowed_pages), mib(sum->limit_pages),
			mib(sum->admin_reserve_pages), mib(sum->user_reserve_pages));
}
