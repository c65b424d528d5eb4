/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_MERGE_DOMAINS_H
#define QUIRE_VMM_CLI_MERGE_DOMAINS_H

/* The domains of the machines of a roster, one by one: what each gains, and what it costs. */
#include "roster.h"

struct json;
struct machine_client;

struct merge_domain {
	unsigned int machine; /* index in the roster */
	uint32_t id;	      /* the machine's */
	struct machine_domain_record record;
};

struct merge_domains {
	struct merge_domain *domain; /* by machine and id */
	unsigned int nr;
	unsigned int machine; /* the one being asked */
	bool failed;	      /* no memory for all of them */
};

/* Ask this machine, and append; nothing if it does not answer. */
void merge_domains_ask(struct merge_domains *d, unsigned int machine,
		       struct machine_client *client);
void merge_domains_finish(struct merge_domains *d);

/* A table, if there are any; and the array "domains". */
int merge_domains_text(FILE *f, const struct merge_domains *d, const struct roster *r);
void merge_domains_json(struct json *json, const struct merge_domains *d, const struct roster *r);

#endif
