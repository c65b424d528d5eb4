/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "owners.h"

#define PATIENCE_S 1

int owners_find_frame(int fd, gfn_t gfn, struct gmem_frame *frame, uint8_t *state,
		      struct quire_error *err)
{
	struct ctl_frame_users *users = calloc(1, sizeof(*users));
	int code;

	if (!users)
		return quire_fail(err, -ENOMEM, "no memory");
	code = ctl_get_sharers(fd, gfn, users, err);
	*frame = users->frame;
	free(users);
	if (code != -ENOENT)
		return code;
	code = ctl_get_map(fd, gfn, 1, state, err);
	if (*state != PG_NR_STATES)
		*state &= (uint8_t)~GMEM_STATE_LARGE;
	return code ? code : -ENOENT;
}

static int ask(const struct roster_vm *vm, const struct gmem_frame *frame,
	       struct ctl_frame_users *users)
{
	int fd = vm->answers ? ctl_open(vm->name, PATIENCE_S) : -EAGAIN, code = fd;

	if (fd < 0)
		return code;
	code = ctl_get_users(fd, frame, users, NULL);
	close(fd);
	return code;
}

int owners_ask(const struct roster *r, const struct gmem_frame *frame,
	       void (*each)(void *ctx, const struct roster_vm *vm,
			    const struct ctl_frame_users *users),
	       void *ctx)
{
	struct ctl_frame_users *users = malloc(sizeof(*users));
	int code;

	if (!users)
		return -ENOMEM;
	for (unsigned int i = 0; i < r->nr_vms; i++) {
		code = ask(&r->vm[i], frame, users);
		if (!code && users->nr)
			each(ctx, &r->vm[i], users);
		else if (code && code != -ECONNREFUSED && code != -ECONNRESET)
			each(ctx, &r->vm[i], NULL);
	}
	free(users);
	return 0;
}
