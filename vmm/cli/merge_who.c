/* SPDX-License-Identifier: MIT */
/*
 * Who shares a page.
 *
 * No one process knows: a VM knows its own pages, and the machine only how many references a VM
 * holds.  So the VM that was named says which frame its page is, by a name that all VMs agree on,
 * and then each VM is asked for its pages of that frame.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "merge_who.h"
#include "vmm/look/roster.h"

#define PATIENCE_S 1

/* A VM's pages of the frame. */
struct owner {
	const char *name;
	struct ctl_frame_users users;
};

/* Not shared, but what? */
static int not_shared(int fd, const char *vm, gfn_t gfn, struct quire_error *err)
{
	uint8_t state;
	int code = ctl_get_map(fd, gfn, 1, &state, err);

	if (code)
		return QUIRE_STATUS_HOST;
	state &= (uint8_t)~GMEM_STATE_LARGE;
	quire_fail(err, 0, "page %#" PRIx64 " of VM %s is %s, nobody shares it", gfn, vm,
		   state < PG_NR_STATES ? page_states[state].name : "no RAM");
	return 1;
}

static int find_frame(const char *vm, gfn_t gfn, struct gmem_frame *frame, struct quire_error *err)
{
	struct ctl_frame_users *users = calloc(1, sizeof(*users));
	struct quire_error why;
	int fd = named_connect(vm, err), code, status = 0;

	if (fd < 0 || !users) {
		free(users);
		return fd == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
	}
	code = ctl_get_sharers(fd, gfn, users, &why);
	if (code == -ENOENT) {
		status = not_shared(fd, vm, gfn, err);
	} else if (code) {
		status = code == -EFAULT ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
		quire_fail(err, code, "%s: %s", vm, why.text);
	}
	*frame = users->frame;
	close(fd);
	free(users);
	return status;
}

/* Somebody who does not answer is said to be missing; whoever has ended has no pages. */
static void ask(const struct roster_vm *vm, const struct gmem_frame *frame, struct owner *out)
{
	int fd = vm->answers ? ctl_open(vm->name, PATIENCE_S) : -EAGAIN, code = fd;

	if (fd >= 0) {
		code = ctl_get_users(fd, frame, &out->users, NULL);
		close(fd);
	}
	if (!code)
		out->name = vm->name;
	else if (code != -ECONNREFUSED && code != -ECONNRESET)
		fprintf(stderr, "quire merge: %s does not answer; its pages are missing here\n",
			vm->name);
}

static void print_owner(const struct owner *o)
{
	uint64_t listed = min_u64(o->users.nr, CTL_MAX_USERS);

	printf("%s", o->name);
	for (uint64_t i = 0; i < listed; i++)
		printf(" %#" PRIx64, o->users.gfn[i]);
	if (listed < o->users.nr)
		printf(" and %" PRIu64 " more", o->users.nr - listed);
	putchar('\n');
}

static int ask_everybody(const struct gmem_frame *frame, struct quire_error *err)
{
	struct roster r = { .warn = NULL };
	struct owner *o = malloc(sizeof(*o));
	int code = roster_find_vms(&r, false, false, err);

	if (!code && !o)
		code = quire_fail(err, -ENOMEM, "no memory");
	for (unsigned int i = 0; i < r.nr_vms && !code; i++) {
		*o = (struct owner){ .name = NULL };
		ask(&r.vm[i], frame, o);
		if (o->name && o->users.nr)
			print_owner(o);
	}
	roster_finish(&r);
	free(o);
	return code ? QUIRE_STATUS_HOST : 0;
}

int merge_who(const char *vm, const char *text, struct quire_error *err)
{
	struct gmem_frame frame;
	gfn_t gfn = 0;
	int status;

	if (parse_gfn(text, &gfn, err))
		return QUIRE_STATUS_USAGE;
	status = find_frame(vm, gfn, &frame, err);
	return status ? status : ask_everybody(&frame, err);
}
