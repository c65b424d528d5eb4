/* SPDX-License-Identifier: MIT */
/* quire merge --who: who shares a page (owners.h). */
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "merge_who.h"
#include "vmm/look/owners.h"

static int find_frame(const char *vm, gfn_t gfn, struct gmem_frame *frame, struct quire_error *err)
{
	struct quire_error why;
	int fd = named_connect(vm, err), code;
	uint8_t state = PG_NR_STATES;

	if (fd < 0)
		return fd == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
	code = owners_find_frame(fd, gfn, frame, &state, &why);
	close(fd);
	if (code == -ENOENT) {
		quire_fail(err, 0, "page %#" PRIx64 " of VM %s is %s, nobody shares it", gfn, vm,
			   state < PG_NR_STATES ? page_states[state].name : "no RAM");
		return 1;
	}
	if (code)
		quire_fail(err, code, "%s: %s", vm, why.text);
	return !code ? 0 : code == -EFAULT ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
}

/* Somebody who does not answer is said to be missing. */
static void print_owner(void *ctx, const struct roster_vm *vm, const struct ctl_frame_users *users)
{
	uint64_t listed = users ? min_u64(users->nr, CTL_MAX_USERS) : 0;

	(void)ctx;
	if (!users) {
		fprintf(stderr, "quire merge: %s does not answer; its pages are missing here\n",
			vm->name);
		return;
	}
	printf("%s", vm->name);
	for (uint64_t i = 0; i < listed; i++)
		printf(" %#" PRIx64, users->gfn[i]);
	if (listed < users->nr)
		printf(" and %" PRIu64 " more", users->nr - listed);
	putchar('\n');
}

static int ask_everybody(const struct gmem_frame *frame, struct quire_error *err)
{
	struct roster r = { .warn = NULL };
	int code = roster_find_vms(&r, false, false, err);

	if (!code && owners_ask(&r, frame, print_owner, NULL))
		code = quire_fail(err, -ENOMEM, "no memory");
	roster_finish(&r);
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
