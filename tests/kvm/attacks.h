/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_KVM_ATTACKS_H
#define QUIRE_TESTS_KVM_ATTACKS_H

/* What a VM tries that was taken over: see attack_test.c. */
#include "attack_scene.h"

struct attacker {
	struct scene *scene;
	struct scene_vm vm;
	struct puppet thread;
};

struct attack {
	const char *name;
	const char *thread; /* which is taken over */
	/* Returns what the attacker has won, as a phrase; NULL: nothing. */
	const char *(*run)(struct attacker *a);
	bool merge;	      /* it has merged its pages with the victim's */
	bool holes;	      /* ... and reads holes of the store, which not all hosts bound */
	unsigned int ram_mib; /* of the attacker; 0: 16 */
	const char *options;  /* of its quire run; NULL: none */
	const char *workload; /* of its guest; NULL: it holds a few pages */
};

extern const struct attack memory_attacks[], machine_attacks[], launcher_attacks[], disk_attacks[];
extern const unsigned int nr_memory_attacks, nr_machine_attacks, nr_launcher_attacks;
extern const unsigned int nr_disk_attacks;

/* Make and remove the image that disk_attacks need. */
void disk_attacks_begin(void);
void disk_attacks_end(void);

/* A descriptor of the attacker's (puppet_find); -1: it has none. */
int attacker_fd(const struct attacker *a, enum puppet_file what);

/* Blocks of that file, in pages; 0: it has none. */
uint64_t attacker_pages(const struct attacker *a, enum puppet_file what);

/* Has the attacker ended, now or within some of the machine's ticks? */
bool attacker_is_killed(struct attacker *a);

#endif
