/* SPDX-License-Identifier: MIT */
/*
 * Turns the table of vmm/vm/sandbox_rules.c into C: one seccomp program for each role.  Runs while
 * quire is built, so that a VM's start pays neither for libseccomp's compiler (0.15 ms a
 * role) nor for loading the library.
 *
 *   sandbox_gen		the header vmm/vm/sandbox_bpf.h
 *   sandbox_gen --list		the table as text: "role<TAB>call [condition]<TAB>why"
 */
#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/vm/sandbox_rules.h"

/*
 * The kernel tries each system call that there is when it takes a filter, to know which need not be
 * looked at later.  Compared one by one, that is most of what a filter costs a start.
 */
#define BINARY_TREE 2 /* libseccomp has no name for it */

static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "sandbox_gen: %s: %s\n", what, strerror(error));
	exit(1);
}

static void add_rule(scmp_filter_ctx ctx, const struct sandbox_rule *rule)
{
	uint32_t action = rule->verdict == SANDBOX_ALLOW ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM);
	struct scmp_arg_cmp cmp[2];
	unsigned int nr = 0;
	int ret;

	for (; nr < 2 && rule->when[nr].mask; nr++) {
		const struct sandbox_condition *w = &rule->when[nr];

		cmp[nr] = (struct scmp_arg_cmp){ w->arg, SCMP_CMP_MASKED_EQ, w->mask, w->value };
	}
	ret = seccomp_rule_add_array(ctx, action, rule->nr, nr, cmp);
	if (ret)
		die(rule->name, -ret);
}

static scmp_filter_ctx make_filter(enum sandbox_role role)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (!ctx || seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) ||
	    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, BINARY_TREE))
		die("libseccomp", ENOMEM);
	for (unsigned int i = 0; i < sandbox_nr_rules; i++)
		if (sandbox_rules[i].roles & 1u << role)
			add_rule(ctx, &sandbox_rules[i]);
	return ctx;
}

static void print_program(enum sandbox_role role)
{
	scmp_filter_ctx ctx = make_filter(role);
	struct sock_filter insn;
	int ret, fd = memfd_create("bpf", MFD_CLOEXEC);

	ret = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
	if (ret || lseek(fd, 0, SEEK_SET))
		die("cannot export a program", ret ? -ret : errno);
	printf("static struct sock_filter bpf_%s[] = {\n", sandbox_role_name[role]);
	while (read(fd, &insn, sizeof(insn)) == sizeof(insn))
		printf("\t{ 0x%02x, %u, %u, 0x%08x },\n", insn.code, insn.jt, insn.jf, insn.k);
	printf("};\n\n");
	close(fd);
	seccomp_release(ctx);
}

static void print_header(void)
{
	printf("/* SPDX-License-Identifier: MIT */\n"
	       "/* Made by tools/sandbox_gen.c from vmm/vm/sandbox_rules.c. */\n"
	       "#include <linux/filter.h>\n\n");
	for (int role = 0; role < SANDBOX_NR_ROLES; role++)
		print_program((enum sandbox_role)role);
	printf("static const struct sock_fprog bpf_programs[SANDBOX_NR_ROLES] = {\n");
	for (int role = 0; role < SANDBOX_NR_ROLES; role++)
		printf("\t{ sizeof(bpf_%s) / sizeof(bpf_%s[0]), bpf_%s },\n",
		       sandbox_role_name[role], sandbox_role_name[role], sandbox_role_name[role]);
	printf("};\n");
}

static void print_list(void)
{
	for (unsigned int i = 0; i < sandbox_nr_rules; i++)
		for (int role = 0; role < SANDBOX_NR_ROLES; role++)
			if (sandbox_rules[i].roles & 1u << role)
				printf("%s\t%s\t%s\n", sandbox_role_name[role],
				       sandbox_rules[i].name, sandbox_rules[i].why);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--list"))
		print_list();
	else
		print_header();
	return fflush(stdout) || ferror(stdout);
}
