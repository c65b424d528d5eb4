/* SPDX-License-Identifier: MIT */
#include "answers.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <quire/types.h>
#include "vmm/look/act.h"
#include "vmm/look/look.h"
#include "vmm/look/owners.h"
#include "vmm/print/json.h"
#include "vmm/print/parse.h"

#define OK	    200
#define BAD	    400
#define NOT_FOUND   404
#define CONFLICT    409
#define UNAVAILABLE 503

static unsigned int refuse(FILE *f, unsigned int status, const struct quire_error *err)
{
	fprintf(f, "%s\n", err->text);
	return status;
}

unsigned int answer_stats(const struct web_question *q, FILE *f)
{
	struct quire_error err;
	struct look look;
	int code = look_take(&look, q->machine, NULL, &err);

	if (code)
		return refuse(f, UNAVAILABLE, &err);
	code = look_document(f, &look.roster, look.machine);
	look_finish(&look);
	return code ? UNAVAILABLE : OK;
}

unsigned int answer_metrics(const struct web_question *q, FILE *f)
{
	struct quire_error err;
	struct look look;
	int code = look_take(&look, q->machine, NULL, &err);

	if (code)
		return refuse(f, UNAVAILABLE, &err);
	code = metrics_write(f, q->form, &look, &err);
	look_finish(&look);
	return code ? UNAVAILABLE : OK;
}

/* ---- one VM ---- */

/* What is done with the VM that ?vm=NAME means.  Returns a status. */
typedef unsigned int vm_answer(const struct web_question *q, FILE *f, const struct roster *r,
			       const struct roster_vm *vm);

static const struct roster_vm *find(const struct roster *r, const struct web_question *q)
{
	const char *name = web_question_get(q, "vm");

	for (unsigned int i = 0; name && i < r->nr_vms; i++)
		if (!strcmp(r->vm[i].name, name))
			return &r->vm[i];
	return NULL;
}

static unsigned int with_vm(const struct web_question *q, FILE *f, vm_answer *answer)
{
	const struct roster_vm *vm;
	struct quire_error err;
	unsigned int status = NOT_FOUND;
	struct look look;

	if (look_take(&look, q->machine, NULL, &err))
		return refuse(f, UNAVAILABLE, &err);
	vm = find(&look.roster, q);
	if (vm)
		status = answer(q, f, &look.roster, vm);
	else
		fputs("no such VM is on this machine\n", f);
	look_finish(&look);
	return status;
}

/* ---- who shares a page ---- */

static void put_owner(void *ctx, const struct roster_vm *vm, const struct ctl_frame_users *users)
{
	struct json *json = ctx;

	json_begin_object(json, NULL);
	json_text(json, "name", vm->name);
	if (users)
		json_number(json, "pages", users->nr);
	json_end_object(json);
}

/* frame is NULL if the page has none that others could share. */
static unsigned int put_owners(FILE *f, const struct roster *r, uint8_t state,
			       const struct gmem_frame *frame)
{
	struct json json;

	json_init(&json, f);
	json_begin_object(&json, NULL);
	json_text(&json, "state", state < PG_NR_STATES ? page_states[state].name : "no RAM");
	if (frame) {
		json_begin_array(&json, "owners");
		owners_ask(r, frame, put_owner, &json);
		json_end_array(&json);
	}
	json_end_object(&json);
	return OK;
}

static unsigned int owners(const struct web_question *q, FILE *f, const struct roster *r,
			   const struct roster_vm *vm)
{
	const char *text = web_question_get(q, "gfn");
	struct gmem_frame frame;
	struct quire_error err;
	uint8_t state = PG_SHARED;
	gfn_t gfn;
	int fd, code = parse_gfn(text ? text : "", &gfn, &err);

	if (code)
		return refuse(f, BAD, &err);
	fd = ctl_open(vm->name, CTL_PATIENCE_S);
	if (fd < 0) {
		quire_fail(&err, fd, "VM %s does not answer", vm->name);
		return refuse(f, UNAVAILABLE, &err);
	}
	code = owners_find_frame(fd, gfn, &frame, &state, &err);
	close(fd);
	if (code && code != -ENOENT)
		return refuse(f, code == -EFAULT ? BAD : UNAVAILABLE, &err);
	return put_owners(f, r, state, code ? NULL : &frame);
}

unsigned int answer_owners(const struct web_question *q, FILE *f)
{
	return with_vm(q, f, owners);
}

/* ---- actions ---- */

static int find_act(const char *name, struct act *act, struct quire_error *err)
{
	for (unsigned int i = 0; name && i < ACT_NR_KINDS; i++) {
		act->kind = (enum act_kind)i;
		if (!strcmp(name, act_names[i]))
			return 0;
	}
	return quire_fail(err, -EINVAL, "do=%.40s: no such action", name ? name : "");
}

static int read_act(const struct web_question *q, struct act *act, struct quire_error *err)
{
	const char *size = web_question_get(q, "size");
	int code = find_act(web_question_get(q, "do"), act, err);

	if (code || act->kind != ACT_BALLOON)
		return code;
	act->bytes = ACT_BY_POLICY;
	if (size && !strcmp(size, "auto"))
		return 0;
	return parse_size(size ? size : "", &act->bytes, err);
}

/* A name may be another VM's since the page was drawn. */
static bool is_meant(const struct web_question *q, const struct roster_vm *vm)
{
	const char *pid = web_question_get(q, "pid");
	char text[16];

	snprintf(text, sizeof(text), "%u", vm->pid);
	return pid && !strcmp(pid, text);
}

/* The observer's sandbox knows no signals to others. */
static int do_act(const struct roster *r, const struct roster_vm *vm, const struct act *todo,
		  struct quire_error *err)
{
	return todo->kind == ACT_KILL ? act_kill_by_machine(r, vm, err) : act_on(r, vm, todo, err);
}

static unsigned int act(const struct web_question *q, FILE *f, const struct roster *r,
			const struct roster_vm *vm)
{
	struct quire_error err;
	struct act todo;

	if (read_act(q, &todo, &err))
		return refuse(f, BAD, &err);
	if (!is_meant(q, vm)) {
		quire_fail(&err, 0, "VM %s is another process now: pid %u", vm->name, vm->pid);
		return refuse(f, CONFLICT, &err);
	}
	if (do_act(r, vm, &todo, &err))
		return refuse(f, CONFLICT, &err);
	fputs("{}\n", f);
	return OK;
}

unsigned int answer_act(const struct web_question *q, FILE *f)
{
	return with_vm(q, f, act);
}
