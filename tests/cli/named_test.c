/* SPDX-License-Identifier: MIT */
/*
 * How VMs are named on command lines: by name, by pid, as the copies of a group, by the pid of the
 * process that started them, and all of them; and what a mistyped name is told.
 */
#include "observe_lab.h"

static char group[40], lone[48], copy[2][48];
static pid_t pid_copy[2], pid_lone;
static bool isolated;

/* The states of the two copies and of the lone VM. */
static bool states_are(const char *copies, const char *other)
{
	char row[3][512];

	if (lab_quire("ps %s %s %s", copy[0], copy[1], lone))
		return false;
	for (unsigned int i = 0; i < 3; i++)
		snprintf(row[i], sizeof(row[i]), "%s", lab_line(i < 2 ? copy[i] : lone));
	tap_note("%s", row[0]);
	return strstr(row[0], copies) && strstr(row[1], copies) && strstr(row[2], other);
}

static void test_group(void)
{
	ok(lab_quire("pause %s", group) == 0 && states_are("paused", "running"),
	   "the name of a group means its copies, and no VM that only has such a name");
	ok(lab_quire("resume %d %s", (int)pid_copy[0], copy[1]) == 0 &&
		   states_are("running", "running"),
	   "a VM's pid and name mean it alone");
	ok(lab_quire("pause %d", (int)getpid()) == 0 && states_are("paused", "paused"),
	   "the launcher's pid means all that it started");
	ok(lab_quire("resume %s %d %s", group, (int)getpid(), copy[0]) == 0 &&
		   states_are("running", "running"),
	   "VMs may be named twice");
	ok(lab_quire("stat %s", group) == 0 && strstr(lab_out, copy[0]) && strstr(lab_out, copy[1]),
	   "stat of a group shows each copy");
	ok(lab_quire("stat --json %d", (int)getpid()) == 0 && strstr(lab_out, copy[0]) &&
		   strstr(lab_out, lone),
	   "... also by the launcher's pid, as JSON");
	ok(lab_quire("balloon %s", group) == 0 && strstr(lab_out, copy[0]) &&
		   strstr(lab_out, copy[1]),
	   "balloon, too");
	ok(lab_quire("merge now %s", group) == 0 && strstr(lab_out, "of 2 VMs"), "merge, too");
	ok(lab_quire("ps %s", group) == 0 && lab_lines() == 3, "ps, too");
}

static void test_one(void)
{
	static const char *const command[] = { "map %s", "walk %s 0", "merge --who %s 5" };
	char words[80];

	for (unsigned int i = 0; i < ARRAY_SIZE(command); i++) {
		snprintf(words, sizeof(words), command[i], group);
		ok(lab_quire("%s", words) == 2 && lab_lines() == 1 && strstr(lab_out, copy[0]) &&
			   strstr(lab_out, copy[1]) && !strstr(lab_out, lone),
		   "%s: %s", words, lab_said());
	}
	ok(lab_quire("map %d", (int)pid_lone) == 0, "a pid names one VM for map");
	ok(lab_quire("merge --who %d 5", (int)pid_copy[1]) == 0, "... and for merge --who");
}

static void test_nobody(void)
{
	char word[64];

	ok(lab_quire("pause %.*s", (int)strlen(lone) - 2, lone) == 121,
	   "a VM whose name only looks like a copy's is not in a group: %s", lab_said());
	snprintf(word, sizeof(word), "%s", copy[0]);
	word[1] = 'X';
	ok(lab_quire("stat %s", word) == 121 && strstr(lab_out, "did you mean ") &&
		   strstr(lab_out, copy[0]),
	   "a name that is near is suggested: %s", lab_said());
	snprintf(word, sizeof(word), "%s", group);
	word[1] = 'X';
	ok(lab_quire("stat %s", word) == 121 && strstr(lab_out, copy[0]) &&
		   strstr(lab_out, copy[1]),
	   "... also to the mistyped name of a group: %s", lab_said());
	ok(lab_quire("map qwertz") == 121 && !strstr(lab_out, copy[0]) && lab_lines() == 1,
	   "one that is not near is not: %s", lab_said());
	ok(lab_quire("pause 0") == 121 && lab_quire("pause 1") == 121,
	   "numbers that are nobody's pid");
	ok(lab_quire("run --name=123 build/guest/quill.elf") == 2 && strstr(lab_out, "pid") &&
		   lab_lines() == 1,
	   "a name of digits is refused: %s", lab_said());
}

/* With others' VMs around, nothing may be done to all. */
static void test_all(void)
{
	if (!isolated) {
		tap_skip("--all: no namespace without others' VMs");
		return;
	}
	ok(lab_quire("pause --all") == 0 && !*lab_out && states_are("paused", "paused"),
	   "pause --all");
	ok(lab_quire("resume --all") == 0 && states_are("running", "running"), "resume --all");
	ok(lab_quire("merge --all now") == 0 && strstr(lab_out, "of 3 VMs"), "merge --all");
	ok(lab_quire("merge --domain=lab now") == 0 && strstr(lab_out, "of 3 VMs"),
	   "merge --domain");
	ok(lab_quire("merge --domain=lob now") == 121 && lab_lines() == 1 &&
		   strstr(lab_out, "no VM merges in domain 'lob'"),
	   "... that is nobody's: %s", lab_said());
	ok(lab_quire("balloon --all 10M") == 121 && lab_lines() == 3 && *lab_line(lone),
	   "balloon --all tries each: %s", lab_said());
}

static void test_many(void)
{
	char name[64], *p;
	pid_t pid[5];
	unsigned int commas = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(pid); i++) {
		snprintf(name, sizeof(name), "%s-z%u", group, i);
		pid[i] = lab_start_vm(name, VM_RUNNING);
	}
	lab_quire("stat %s-zz", group);
	for (p = lab_out; (p = strstr(p, "-z")); p++)
		commas++;
	ok(commas == 4, "at most three near names: %s", lab_said());
	for (unsigned int i = 0; i < ARRAY_SIZE(pid); i++)
		lab_end(pid[i], SIGKILL);
}

static void test_kill(void)
{
	ok(lab_quire("kill %d %s", (int)pid_copy[0], copy[1]) == 0 && !*lab_out,
	   "kill of one copy and another");
	ok(lab_end(pid_copy[0], 0) == 143 << 8 && lab_end(pid_copy[1], 0) == 143 << 8,
	   "both have ended, and not whoever started them");
	ok(lab_quire("kill %d", (int)getpid()) == 0 && lab_end(pid_lone, 0) == 143 << 8,
	   "kill by the launcher's pid");
	ok(lab_quire("kill %s", group) == 121 && lab_lines() == 1, "then there is nobody: %s",
	   lab_said());
	if (isolated)
		ok(lab_quire("kill --all") == 0 && !*lab_out, "kill --all of nobody");
}

int main(void)
{
	tap_init();
	isolated = lab_isolate();
	snprintf(group, sizeof(group), "named_test.%d", (int)getpid());
	snprintf(lone, sizeof(lone), "%s-x-3", group);
	lab_vm.is_copy = true;
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(copy[i], sizeof(copy[i]), "%s-%u", group, i + 1);
		pid_copy[i] = lab_start_vm(copy[i], VM_RUNNING);
	}
	lab_vm.is_copy = false;
	pid_lone = lab_start_vm(lone, VM_RUNNING);
	test_group();
	test_one();
	test_nobody();
	test_all();
	test_many();
	test_kill();
	return tap_done();
}
