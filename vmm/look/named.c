/* SPDX-License-Identifier: MIT */
/* From words to VMs; named.h has the rules. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "abstract.h"
#include "mmu/base/vm_uid.h"
#include "ctl_client.h"
#include "named.h"
#include "near.h"
#include "process.h"

/* ---- the list ---- */

static int add(struct named *list, const struct named_vm *new, struct quire_error *err)
{
	struct named_vm *vm;

	for (unsigned int i = 0; i < list->nr; i++) {
		vm = &list->vm[i];
		if (strcmp(vm->name, new->name) != 0)
			continue;
		vm->alone |= new->alone;
		if (new->run)
			vm->run = new->run;
		return 0;
	}
	vm = reallocarray(list->vm, list->nr + 1, sizeof(*vm));
	if (!vm)
		return quire_fail(err, -ENOMEM, "no memory for the list of VMs");
	list->vm = vm;
	vm[list->nr++] = *new;
	return 0;
}

static int add_name(struct named *list, const char *name, bool alone, pid_t run,
		    struct quire_error *err)
{
	struct named_vm vm = { .alone = alone, .run = run };

	snprintf(vm.name, sizeof(vm.name), "%s", name);
	return add(list, &vm, err);
}

static int add_list(struct named *list, const struct named *other, struct quire_error *err)
{
	int code = 0;

	for (unsigned int i = 0; i < other->nr && !code; i++)
		code = add(list, &other->vm[i], err);
	return code;
}

void named_finish(struct named *list)
{
	free(list->vm);
	*list = (struct named){ 0 };
}

/* ---- one word ---- */

/* Is `name` the word, a dash and a number, as the names of copies are? */
static bool looks_like_copy(const char *name, const char *word)
{
	size_t stem = strlen(word);
	const char *number = name + stem + 1;

	return !strncmp(name, word, stem) && name[stem] == '-' && *number > '0' &&
	       strspn(number, "0123456789") == strlen(number);
}

/* A VM that does not answer may be one: whoever asks it for something will say so. */
static bool is_copy(const char *name)
{
	int fd = ctl_open(name, CTL_PATIENCE_S), code;
	struct ctl_info info;

	if (fd < 0)
		return fd == -EAGAIN;
	code = ctl_get_info(fd, &info, NULL);
	close(fd);
	return code == -ETIMEDOUT || (!code && info.vm.is_copy);
}

static pid_t run_of(const char *name)
{
	struct ucred cred;

	return ctl_owner(name, &cred) ? 0 : process_parent(cred.pid);
}

static int add_copies(struct named *list, const char *word, char **names, unsigned int nr,
		      struct quire_error *err)
{
	int code = 0;

	for (unsigned int i = 0; i < nr && !code; i++)
		if (looks_like_copy(names[i], word) && is_copy(names[i]))
			code = add_name(list, names[i], false, run_of(names[i]), err);
	return code;
}

/* A VM's own pid, or else its launcher's. */
static int add_pid(struct named *list, pid_t pid, char **names, unsigned int nr,
		   struct quire_error *err)
{
	struct named children = { 0 };
	struct ucred cred;
	int code = 0;

	for (unsigned int i = 0; i < nr && !code; i++) {
		if (ctl_owner(names[i], &cred) || !ctl_is_ours(&cred))
			continue;
		if (cred.pid == pid) {
			named_finish(&children);
			return add_name(list, names[i], true, 0, err);
		}
		if (process_parent(cred.pid) == pid)
			code = add_name(&children, names[i], false, pid, err);
	}
	if (children.nr == 1 && !is_copy(children.vm[0].name)) {
		children.vm[0].alone = true;
		children.vm[0].run = 0;
	}
	if (!code)
		code = add_list(list, &children, err);
	named_finish(&children);
	return code;
}

/* -1: no pid. */
static pid_t parse_pid(const char *word)
{
	size_t digits = strspn(word, "0123456789");

	return digits && digits < 10 && !word[digits] && atoi(word) > 0 ? atoi(word) : -1;
}

static int no_such_vm(const char *word, char **names, unsigned int nr, struct quire_error *err)
{
	char near[NEAR_BYTES];

	if (!nr)
		return quire_fail(err, -ENOENT, "no VM named %.80s; none is running", word);
	if (!near_names(word, names, nr, near))
		return quire_fail(err, -ENOENT, "no VM named %.80s; quire ps lists those that run",
				  word);
	return quire_fail(err, -ENOENT, "no VM named %.80s; did you mean %s?", word, near);
}

static bool is_listed(const char *word, char **names, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (!strcmp(names[i], word))
			return true;
	return false;
}

int named_add(struct named *list, const char *word, struct quire_error *err)
{
	struct named found = { 0 };
	char **names;
	unsigned int nr = abstract_list(CTL_PREFIX, &names);
	int code = 0;

	if (parse_pid(word) > 0)
		code = add_pid(&found, parse_pid(word), names, nr, err);
	else if (is_listed(word, names, nr))
		code = add_name(&found, word, true, 0, err);
	else
		code = add_copies(&found, word, names, nr, err);
	if (!code && !found.nr)
		code = no_such_vm(word, names, nr, err);
	if (!code)
		code = add_list(list, &found, err);
	named_finish(&found);
	abstract_free(names, nr);
	return code;
}

int named_add_all(struct named *list, struct quire_error *err)
{
	struct ucred cred;
	char **names;
	unsigned int nr = abstract_list(CTL_PREFIX, &names);
	int code = 0;

	for (unsigned int i = 0; i < nr && !code; i++)
		if (!ctl_owner(names[i], &cred) && ctl_is_ours(&cred))
			code = add_name(list, names[i], false, 0, err);
	abstract_free(names, nr);
	return code;
}

/* ---- connecting ---- */

static int fail_of_stranger(const char *name, struct quire_error *err)
{
	struct ucred cred;

	if (ctl_owner(name, &cred))
		return quire_fail(err, -EPERM, "VM %s is not yours", name);
	return quire_fail(err, -EPERM, "%s is the name of process %d of user %u, and not yours",
			  name, (int)cred.pid, (unsigned int)uid_owner(cred.uid));
}

int named_open(const struct named_vm *vm, struct quire_error *err)
{
	int fd = ctl_open(vm->name, CTL_PATIENCE_S);

	if (fd == -ECONNREFUSED)
		return quire_fail(err, fd, "VM %s has just ended", vm->name);
	if (fd == -EAGAIN)
		return quire_fail(err, fd, "VM %s does not answer", vm->name);
	if (fd == -EPERM)
		return fail_of_stranger(vm->name, err);
	if (fd < 0)
		return quire_fail(err, fd, "cannot reach VM %s: %s", vm->name, strerror(-fd));
	return fd;
}

/* As many names as fit on the line. */
static int say_which(const char *word, const struct named *list, struct quire_error *err)
{
	char names[200] = "";
	unsigned int i;

	for (i = 0; i < list->nr; i++) {
		size_t used = strlen(names);

		if (used + strlen(list->vm[i].name) + sizeof(", ... and 4096 more") > sizeof(names))
			break;
		snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "",
			 list->vm[i].name);
	}
	if (i < list->nr)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), " and %u more",
			 list->nr - i);
	return quire_fail(err, -EINVAL, "%.64s is %u VMs, say which one: %s", word, list->nr,
			  names);
}

int named_connect(const char *word, struct quire_error *err)
{
	struct named list = { 0 };
	int code = named_add(&list, word, err);

	if (!code)
		code = list.nr > 1 ? say_which(word, &list, err) : named_open(&list.vm[0], err);
	named_finish(&list);
	return code;
}
