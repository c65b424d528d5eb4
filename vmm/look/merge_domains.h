/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_MERGE_DOMAINS_H
#define QUIRE_VMM_LOOK_MERGE_DOMAINS_H

/* The domains of a roster's machines, one by one: what each saves, and what it costs. */
#include "roster.h"

struct json;
struct machine_client;

struct merge_domain {
	unsigned int machine; /* index in the roster */
	uint32_t id;	      /* its number in that machine */
	struct machine_domain_record record;
};

struct merge_domains {
	struct merge_domain *domain; /* in order of machine and id */
	unsigned int nr;
	unsigned int machine; /* the one that is asked now */
	bool failed;	      /* there was no memory for all of them */
};

/* Ask this machine for its domains and append them.  A machine that does not answer adds none. */
void merge_domains_ask(struct merge_domains *d, unsigned int machine,
		       struct machine_client *client);
void merge_domains_finish(struct merge_domains *d);

/* Print a table of the domains, if there are any.  Returns 0 or -ENOMEM. */
int merge_domains_text(FILE *f, const struct merge_domains *d, const struct roster *r);

/* Write the array "domains". */
void merge_domains_json(struct json *json, const struct merge_domains *d, const struct roster *r);

#endif
