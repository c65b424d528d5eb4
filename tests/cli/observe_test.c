/* SPDX-License-Identifier: MIT */
/*
 * quire ps, stat, kill, pause and resume, on VMs whose counters are made up and therefore known:
 * that each number gets to its place, that VMs and machines find each other, that what does
 * not answer does not hold up the rest, and that docs/stats.md names exactly what is printed.
 */
#include "vmm/vm/sandbox.h"
#include "observe_names.h"

static bool isolated;
static char a[64], b[64], c[64]; /* names of VMs; a and b are on the machine's books */
static pid_t pid_a, pid_b, pid_c;
static char address[64];

/* ---- the tests ---- */

static void test_nothing(void)
{
	if (!isolated) {
		tap_skip("nothing at all is shown as such: no namespace without others' VMs");
		return;
	}
	ok(lab_quire("ps") == 0 && !strcmp(lab_out, "no VM is running\n"), "ps of nothing says so");
	ok(lab_quire("ps --json") == 0 && strstr(lab_out, "\"vms\": []"), "... also in JSON");
	ok(lab_quire("stat") == 0 && !strcmp(lab_out, "no machine and no VM is running\n"),
	   "stat of nothing says so");
	ok(lab_quire("stat --json") == 0 && strstr(lab_out, "\"vms\": []") &&
		   strstr(lab_out, "host_cpus"),
	   "... but the host is always there");
	ok(lab_quire("stat --meminfo") == 121 && lab_lines() == 1, "no machine has no meminfo");
	tap_note("%s", lab_said());
}

static void test_usage(void)
{
	static const struct {
		const char *args;
		int status;
	} bad[] = {
		{ "ps no-such-vm", 121 },
		{ "ps --json --wide", 2 },
		{ "ps --colour", 2 },
		{ "stat x y", 2 },
		{ "stat --colour", 2 },
		{ "stat --meminfo x", 2 },
		{ "stat --meminfo --json", 2 },
		{ "stat --machine= ", 2 },
		{ "kill", 2 },
		{ "kill -9 x", 2 },
		{ "pause", 2 },
		{ "resume --all x", 2 },
		{ "stat no-such-vm", 121 },
		{ "kill no-such-vm", 121 },
		{ "pause no-such-vm", 121 },
		{ "resume -- -vm-", 121 },
		{ "stat --machine=@quire/machine/no-such", 121 },
		{ "stat --machine=/nonexistent/machine", 121 },
		{ "merge sometimes", 2 },
		{ "merge --colour", 2 },
		{ "merge --json now", 2 },
		{ "merge now", 2 },
		{ "merge on", 2 },
		{ "merge zero", 2 },
		{ "merge off", 2 },
		{ "merge --all", 2 },
		{ "merge --domain=d", 2 },
		{ "merge --all now x", 2 },
		{ "merge --all --domain=d now", 2 },
		{ "merge --who", 2 },
		{ "merge --who x", 2 },
		{ "merge --who x 1 2", 2 },
		{ "merge --who x 0xg", 2 },
		{ "merge --who x 1K", 2 },
		{ "merge --who x -1", 2 },
		{ "balloon --colour", 2 },
		{ "balloon --why", 2 },
		{ "balloon x 1M y", 2 },
		{ "balloon --why x 1M", 2 },
		{ "balloon --all", 2 },
		{ "balloon --all x 1M", 2 },
		{ "balloon --all --why", 2 },
		{ "balloon --wait", 2 },
		{ "balloon x --wait", 2 },
		{ "balloon x auto --wait", 2 },
		{ "balloon x 1M --wait=soon", 2 },
		{ "balloon no-such-vm", 121 },
		{ "balloon no-such-vm 1M", 121 },
		{ "balloon --why no-such-vm", 121 },
		{ "balloon --machine=@quire/machine/no-such", 121 },
		{ "merge --who no-such-vm 1", 121 },
		{ "trace", 2 },
		{ "why", 2 },
		{ "why no-such-vm 1", 121 },
		{ "why --json x", 2 },
		{ "why x 1 2", 2 },
		{ "why x 0xg", 2 },
		{ "why --gpa=1M x 1", 2 },
		{ "why --gpa=x x", 2 },
		{ "why --symbols=f x 1", 2 },
		{ "trace no-such-vm", 121 },
		{ "merge on no-such-vm", 121 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		int status = lab_quire("%s", bad[i].args);

		ok(status == bad[i].status && lab_lines() == 1, "quire %s: status %d, %s",
		   bad[i].args, status, lab_said());
	}
}

static void test_ps(void)
{
	unsigned int id;
	char row[512], want[128];

	ok(lab_quire("ps --wide") == 0, "ps --wide");
	snprintf(row, sizeof(row), "%s", lab_line(a));
	ok(strstr(row, "running") && strstr(row, "39.1 MiB") && strstr(row, "4 MiB") &&
		   strstr(row, "34.9 MiB") && strstr(row, "40 MiB") && strstr(row, " 25.0 "),
	   "a row has state, RAM, resident, states, commitment and share: %s", row);
	ok(sscanf(row, "%u", &id) == 1 && id == 1, "it begins with the machine's id");
	snprintf(want, sizeof(want), " %d", (int)pid_a);
	ok(strcmp(row + strlen(row) - strlen(want), want) == 0, "and ends with the pid");
	snprintf(row, sizeof(row), "%s", lab_line(c));
	ok(strspn(row, " -") > 1 && strstr(row, "ended") && strstr(row, " -  "),
	   "without a machine there is no id and no commitment: %s", row);
	ok(strstr(lab_out, a) < strstr(lab_out, b) && strstr(lab_out, b) < strstr(lab_out, c),
	   "VMs of a machine come first, by id");
	if (isolated)
		ok(lab_lines() == 4, "a head and three rows");
	ok(lab_quire("ps") == 0 && lab_width() <= 80,
	   "without it no line has more than 80 columns");
	ok(lab_quire("ps %s %d", a, (int)pid_c) == 0 && lab_lines() == 3 && *lab_line(a) &&
		   !*lab_line(b),
	   "only the VMs that are named");
}

static void test_ps_json(void)
{
	struct names doc = documented("vms"), printed, extra = documented("vms in quire.ps/1");
	unsigned int rate = 0, missing = 0;
	const char *p;

	ok(lab_quire("ps --json") == 0 && strstr(lab_out, "\"schema\": \"quire.ps/1\""),
	   "ps --json");
	p = strstr(lab_out, "\"faults_per_second\": ");
	ok(p && sscanf(strchr(p, ':'), ": %u", &rate) == 1 && rate >= LAB_FAULTS_PER_S - 20 &&
		   rate <= LAB_FAULTS_PER_S + 20,
	   "the rate of faults is that of now: %u", rate);
	ok(strstr(lab_out, "\"cpu_percent\": 25.0"), "the share of a processor has a decimal");
	printed = members(6);
	for (unsigned int i = 0; i < printed.nr; i++)
		if (!has_name(&doc, printed.name[i]) && !has_name(&extra, printed.name[i]))
			tap_note("not documented: %s (%u)", printed.name[i], ++missing);
	ok(!missing, "its members are in docs/stats.md");
	for (unsigned int i = 0; i < extra.nr; i++)
		missing += !has_name(&printed, extra.name[i]);
	ok(!missing && extra.nr > 0, "... and all that are its own");
}

static void test_stat_json(void)
{
	struct names doc = documented("machine"), printed;
	unsigned int missing = 0;
	char name[80];

	ok(lab_quire("stat --json --machine=%s", address) == 0 &&
		   strstr(lab_out, "\"schema\": \"quire.stats/1\""),
	   "stat --json");
	printed = members(4);
	same_names(&doc, &printed, "members of machine");
	ok(strstr(lab_out, "\"committed_bytes\": 83886080") && strstr(lab_out, "\"vms\": 2"),
	   "two VMs of 40 MiB are committed");
	snprintf(name, sizeof(name), "\"%s\"", c);
	ok(!strstr(lab_out, name), "a VM of no machine is not among those of one");
	ok(strstr(lab_out, "\"oom_score_adj\": -17"), "a negative number is one");
	ok(lab_quire("stat --json") == 0, "stat --json of everything");
	printed = members(6);
	doc = documented("vms");
	same_names(&doc, &printed, "members of vms");
	printed = members(8);
	ok(has_name(&printed, "io_exits") && has_name(&printed, "reason_63_exits"),
	   "exits are counted by reason, known and not");
	ok(has_name(&printed, "below_8") && has_name(&printed, "below_512"),
	   "... and refaults by distance");
	doc = documented("shadow");
	for (unsigned int i = 0; i < doc.nr; i++)
		missing += !has_name(&printed, doc.name[i]);
	ok(!missing && printed.nr == 4 + SANDBOX_NR_PIECES + doc.nr,
	   "members of shadow are those in docs/stats.md");
	ok(has_name(&printed, "seccomp"), "and the pieces of the sandbox are listed");
	ok(lab_quire("stat --json %s", b) == 0 && strstr(lab_out, "\"id\": 2") &&
		   !strstr(lab_out, a),
	   "stat --json VM has one VM");
	ok(strstr(lab_out, "\"memory_bytes\": 1073741824") != NULL, "... and its machine");
	ok(lab_quire("stat --json %d", (int)pid_c) == 0 && strstr(lab_out, c) &&
		   !strstr(lab_out, "memory_bytes\": 1073741824") &&
		   strstr(lab_out, "\"exit_status\": 7"),
	   "a pid names a VM, and one without a machine has none");
}

/* The value of a member in lab_out. */
static uint64_t member(const char *name)
{
	unsigned long long value = UINT64_MAX;
	char line[80];

	snprintf(line, sizeof(line), "\"%s\":", name);
	sscanf(lab_line(line), " %*s %llu", &value);
	return value;
}

/* The reasons of lab_out, as far as they have this indentation. */
static uint64_t sum_reasons(unsigned int indent)
{
	struct names set = members(indent);
	uint64_t sum = 0;

	for (unsigned int i = 0; i < set.nr; i++)
		if (!strncmp(set.name[i], "reason_", 7))
			sum += member(set.name[i]);
	return sum;
}

/* The machine knows of no balloon of these VMs, whatever they say. */
static void test_balloon(void)
{
	char row[512];

	ok(lab_quire("balloon --machine=%s", address) == 0 && lab_lines() == 3,
	   "balloon: a head and a row for each VM of this machine");
	snprintf(row, sizeof(row), "%s", lab_line(a));
	ok(strstr(row, " auto ") && strstr(row, "38.7 MiB") && strstr(row, "38.3 MiB") &&
		   strstr(row, "400 KiB") && strstr(row, " 6 MiB ") && strstr(row, "ready"),
	   "... with mode, sizes, and what is available: %s", row);
	ok(lab_quire("balloon %s 1G", a) == 2 && lab_lines() == 1, "more than RAM: %s", lab_said());
	ok(lab_quire("balloon %s 1X", a) == 2 && lab_lines() == 1, "no size: %s", lab_said());
	ok(lab_quire("balloon %s 10M", a) == 121 && lab_lines() == 1, "a VM without a balloon: %s",
	   lab_said());
	ok(lab_quire("balloon %s 10M", c) == 121 && lab_lines() == 1, "one without a machine: %s",
	   lab_said());
	ok(lab_quire("balloon %s", c) == 0 && strstr(lab_out, "available memory"),
	   "... whose own account is there all the same");
	ok(lab_quire("stat %s", a) == 0 && strstr(lab_out, "\nballoon\n") &&
		   strstr(lab_out, "\nguest, by its own account"),
	   "stat has a group for it, and one for the guest");
}

static void test_merge_totals(void)
{
	struct names doc = documented("quire merge --json"), printed;

	ok(lab_quire("merge --json") == 0 && strstr(lab_out, "\"schema\": \"quire.merge/1\""),
	   "merge --json");
	printed = members(2);
	same_names(&doc, &printed, "its members");
	if (isolated)
		is(member("vms_elsewhere"), 1, "one merges with a machine that is not here");
	if (isolated) {
		is(member("private_pages"), 3 * LAB_PRIVATE, "private pages of three VMs");
		is(member("reason_volatile_pages"), 3 * NOTE_VOLATILE, "their reasons are added");
		is(member("vms_on"), 3, "all three merge");
		is(member("orphan_pages"), 9, "pages in frames of no machine are added");
	}
	is(sum_reasons(2), member("private_pages"), "the reasons add up to the private pages");
	ok(strstr(lab_out, "\"general_profit_bytes\": -"), "what gains nothing costs something");
	ok(lab_quire("stat --json %s", a) == 0 && sum_reasons(6) == LAB_PRIVATE,
	   "so do those of one VM");
	ok(strstr(lab_out, "\"domain\": \"lab\"") && strstr(lab_out, "\"merge_mode\": \"on\""),
	   "which has its mode and domain");
	ok(lab_quire("merge") == 0 && strstr(lab_line("backing off"), "pages") &&
		   strstr(lab_line("other domain"), " 0 pages") &&
		   strstr(lab_line("private  "), "pages"),
	   "the text has them, too");
	ok(lab_quire("stat %s", a) == 0 && strstr(lab_line("  mode  "), "on") &&
		   strstr(lab_line("unique"), "1 pages"),
	   "and stat of a VM");
	ok(strstr(lab_line("of a dead machine"), " 3 pages"), "... with its orphans");
	ok(lab_quire("stat --machine=%s", address) == 0 &&
		   strstr(lab_line("of a dead machine"), " 6 pages"),
	   "which are added up for a machine's VMs");
}

static void test_merge_steering(void)
{
	ok(lab_quire("merge now %s %s", a, c) == 0 &&
		   strstr(lab_out, "merged 220 pages and found 14 of zeroes, in 3 passes of 2 VMs\n"
				   "0 pages now share 0 frames: 0 KiB saved; "),
	   "merge now goes on until nothing is gained");
	tap_note("%s", lab_said());
	ok(lab_quire("merge now %s", b) == 0 && strstr(lab_out, "3 passes of 1 VM\n"),
	   "each VM by itself");
	ok(lab_quire("merge off %s", b) == 0 && strstr(lab_out, "made 0 pages"), "merge off");
	ok(lab_quire("merge now %s", b) == 0 && lab_lines() == 1 &&
		   strstr(lab_out, "is left out: merging is off"),
	   "then it is left out of now: %s", lab_said());
	lab_quire("merge --json");
	ok(member("vms_off") == 1 && member("reason_off_pages") == LAB_PRIVATE &&
		   sum_reasons(2) == member("private_pages"),
	   "its pages are private because it is off");
	ok(lab_quire("merge zero %s", b) == 0 && !*lab_out, "merge zero says nothing");
	lab_quire("stat --json %s", b);
	ok(strstr(lab_out, "\"merge_mode\": \"zero\""), "... and does it");
	ok(lab_quire("merge on %s no-such-vm %d", a, (int)pid_b) == 121 && lab_lines() == 1,
	   "a wrong name is one line");
	lab_quire("stat --json %s", b);
	ok(strstr(lab_out, "\"merge_mode\": \"on\""),
	   "... and the others are done, by pid as well");
	if (isolated)
		ok(lab_quire("merge now --all") == 0 && strstr(lab_out, "of 3 VMs"),
		   "--all: all VMs");
}

static void test_merge_who(void)
{
	char line[256];

	ok(lab_quire("merge --who %s 5", a) == 0, "merge --who");
	snprintf(line, sizeof(line), "%s 0x5 0x6\n", a);
	ok(strstr(lab_out, line), "the VM itself is there, with all its pages");
	snprintf(line, sizeof(line), "%s 0x5 0x6\n", c);
	ok(strstr(lab_out, line) && strstr(lab_out, b), "and so are the others");
	if (isolated)
		ok(lab_lines() == 3, "a line each");
	ok(lab_quire("merge --who=%s 0x6", b) == 0, "a number may be hexadecimal");
	ok(lab_quire("merge --who %s 7", a) == 1 &&
		   strstr(lab_said(), "is absent, nobody shares it"),
	   "a page that is not shared: %s", lab_said());
	ok(lab_quire("merge --who %s 10000", a) == 2 && lab_lines() == 1, "no RAM: %s", lab_said());
}

/* The sum of a member of lab_out over all VMs, in kB. */
static uint64_t sum_kb(const char *name)
{
	char text[80];
	uint64_t sum = 0;

	snprintf(text, sizeof(text), "\"%s\": ", name);
	for (const char *p = lab_out; (p = strstr(p, text)); p++)
		sum += strtoull(p + strlen(text), NULL, 10);
	return sum / KiB;
}

static uint64_t meminfo(const char *name)
{
	unsigned long long kb = 0;
	char line[64];

	snprintf(line, sizeof(line), "%s:", name);
	sscanf(lab_line(line) + strlen(line), "%llu kB", &kb);
	return kb;
}

static void test_meminfo(void)
{
	struct names doc = documented("quire stat --meminfo"), printed = { .nr = 0 };
	uint64_t pool, packed, cached;

	lab_quire("stat --json --machine=%s", address);
	pool = sum_kb("zswap_bytes");
	packed = sum_kb("zswapped_bytes");
	cached = sum_kb("swap_cached_bytes");
	is(pool, 2 * LAB_POOL * 4, "stat --json has the pools of both VMs");
	ok(lab_quire("stat --meminfo --machine=%s", address) == 0, "stat --meminfo");
	for (const char *p = lab_out; p && *p; p = strchr(p, '\n'), p += p != NULL)
		add_name(&printed, p, strcspn(p, ":"));
	same_names(&doc, &printed, "lines");
	is(meminfo("MemTotal"), 1048576, "MemTotal is the machine's memory");
	is(meminfo("Committed_AS"), 81920, "Committed_AS is what is promised");
	is(meminfo("CommitLimit"), 524288 + 65536, "CommitLimit is the size set, and swap");
	is(meminfo("SwapTotal"), 65536, "SwapTotal");
	is(meminfo("SwapFree"), 65536 - 2 * LAB_SWAP * 4, "SwapFree is what no VM holds");
	is(meminfo("Zswap"), pool, "Zswap is what it takes by stat");
	is(meminfo("Zswapped"), packed, "Zswapped is what it would take otherwise");
	is(meminfo("SwapCached"), cached, "SwapCached are copies of what came home");
	is(packed + cached, 2 * (LAB_COMPRESSED + LAB_CACHED) * 4, "... which are not 0");
	is(meminfo("AnonPages"), 2 * LAB_PRIVATE * 4, "AnonPages are the private pages of all");
	is(meminfo("AnonHugePages"), 4096, "AnonHugePages are 2 MiB leaves");
	is(meminfo("GuestTotal"), 2 * LAB_PAGES * 4, "GuestTotal is all of their RAM");
	ok(meminfo("MemFree") <= meminfo("MemTotal") && meminfo("MemAvailable") > 0 &&
		   meminfo("MemAvailable") <= meminfo("MemTotal"),
	   "free and available are possible");
}

static void test_stat_text(void)
{
	ok(lab_quire("stat --machine=%s", address) == 0 && strstr(lab_line("machine "), address),
	   "stat of a machine names it");
	ok(strstr(lab_line("overcommit mode"), "2,") &&
		   strstr(lab_line("commit limit"), "576 MiB") &&
		   strstr(lab_line("committed"), "80 MiB") && strstr(lab_line("  free "), "MiB"),
	   "it has ledger and budget");
	ok(strstr(lab_out, "\n2 VMs\n") && strstr(lab_line("private"), "2048 pages"),
	   "and the sums of its VMs");
	ok(lab_quire("stat") == 0 && strstr(lab_out, "guests whose machine is not found here"),
	   "stat of everything has those of no machine that is found, too");
	ok(lab_quire("stat %s", a) == 0 && strstr(lab_said(), "running, 3 vCPUs; number 1 of"),
	   "stat of a VM says what it is");
	tap_note("%s", lab_said());
	ok(strstr(lab_line("private"), "1024 pages") && strstr(lab_line("  io "), " 5") &&
		   strstr(lab_line("processor time"), "2.000 s"),
	   "it has memory, exits and times");
	ok(strstr(lab_line("    compressed  "), "40 pages") &&
		   strstr(lab_line("  came back"), " 9 pages") &&
		   strstr(lab_line("    half of them"), " after <512 others "),
	   "... and what was reclaimed, what of that came back, and how soon");
}

static void test_steering(void)
{
	ok(lab_quire("pause %s %s", a, b) == 0 && !*lab_out, "pause of two says nothing");
	lab_quire("ps");
	ok(strstr(lab_line(a), "paused") && strstr(lab_line(b), "paused"), "both are paused");
	ok(lab_quire("resume %s no-such-vm %s", a, b) == 121 && lab_lines() == 1 &&
		   strstr(lab_out, "no VM named no-such-vm"),
	   "a wrong name is one line");
	tap_note("%s", lab_said());
	lab_quire("ps");
	ok(strstr(lab_line(a), "running") && strstr(lab_line(b), "running"),
	   "... and does not keep the others from resuming");
}

static void test_walk_vcpu(void)
{
	ok(lab_quire("walk --cpu=3 %s 0", a) == 2 && lab_lines() == 1 &&
		   strstr(lab_out, "no vCPU 3, only vCPUs 0 to 2"),
	   "walk: no such vCPU is wrong usage");
	tap_note("%s", lab_said());
	ok(lab_quire("walk --cpu=2 %s 0", a) == 121 && strstr(lab_out, "stuck in one instruction"),
	   "... and one that cannot be looked at is not");
}

static void test_silent(void)
{
	kill(pid_b, SIGSTOP);
	ok(lab_quire("ps --wide") == 0 && strstr(lab_line(b), "silent") &&
		   strstr(lab_line(b), "40 MiB"),
	   "a VM that does not answer is in the list with what its machine knows");
	tap_note("%s", lab_line(b));
	ok(lab_took_s < 4, "and holds it up only so long (%.1f s)", lab_took_s);
	ok(strstr(lab_line(a), "running"), "the others are as ever");
	ok(lab_quire("stat --machine=%s", address) == 0 && strstr(lab_line("2 VMs"), "1 does not"),
	   "stat says that one is missing in the sums");
	ok(lab_quire("stat %s", b) == 121 && strstr(lab_out, "does not answer"),
	   "stat of it fails");
	tap_note("%s", lab_said());
	kill(pid_b, SIGCONT);
	ok(lab_quire("stat %s", b) == 0, "when it goes on it answers");
}

/* Names that are not VMs' do not get to the terminal. */
static void test_hostile_name(void)
{
	static const char evil[] = "\0" CTL_PREFIX "evil\33[2J";
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, evil, sizeof(evil) - 1);
	ok(bind(fd, (struct sockaddr *)&addr,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(evil) - 1)) == 0 &&
		   listen(fd, 1) == 0,
	   "somebody listens under a name that is none");
	ok(lab_quire("ps") == 0 && !strstr(lab_out, "evil"), "ps does not print it");
	ok(lab_quire("stat no-such-vm") == 121 && !strchr(lab_out, '\33'), "nor does stat");
	close(fd);
}

static void test_kill(void)
{
	ok(lab_quire("kill %s %d", a, (int)pid_c) == 0 && !*lab_out, "kill by name and by pid");
	ok(lab_end(pid_a, 0) == 143 << 8 && lab_end(pid_c, 0) == 143 << 8, "both ended in order");
	lab_quire("ps");
	ok(!*lab_line(a) && !*lab_line(c) && *lab_line(b), "and are not listed any more");
	lab_end(pid_b, SIGKILL);
	lab_quire("ps");
	ok(!*lab_line(b), "nor is one that was killed by others");
	ok(lab_quire("stat --json --machine=%s", address) == 0 &&
		   strstr(lab_out, "\"committed_bytes\": 0,"),
	   "the machine has its promises back");
}

static void name_vm(char *name, const char *suffix)
{
	snprintf(name, 64, "observe_test.%d-%s", (int)getpid(), suffix);
}

/* 1 GiB, a limit given as a size, and two of the three VMs. */
static pid_t start_all(struct machine_client **client)
{
	struct machine_config config = { .max_clients = 8 };
	struct quire_error err;
	pid_t machine;

	ledger_defaults(&config.ledger, GiB / QUIRE_PAGE_SIZE, 64 * MiB / QUIRE_PAGE_SIZE);
	config.ledger.mode = OVERCOMMIT_NEVER;
	config.ledger.limit_in_pages = true;
	config.ledger.limit_pages = 512 * MiB / QUIRE_PAGE_SIZE;
	snprintf(address, sizeof(address), "@quire/machine/observe_test.%d", (int)getpid());
	machine = lab_start_machine(&config, address);
	name_vm(a, "a");
	name_vm(b, "b");
	name_vm(c, "0-first-by-name");
	pid_a = lab_start_vm(a, VM_RUNNING);
	pid_b = lab_start_vm(b, VM_RUNNING);
	pid_c = lab_start_vm(c, VM_ENDED);
	if (machine_client_connect(address, client, &err))
		tap_bail("%s", err.text);
	if (lab_admit(*client, a, pid_a) != 1 || lab_admit(*client, b, pid_b) != 2)
		tap_bail("a fresh machine numbers from 1");
	return machine;
}

int main(void)
{
	struct machine_client *client;
	pid_t machine;

	tap_init();
	isolated = lab_isolate();
	test_nothing();
	test_usage();
	machine = start_all(&client);
	test_ps();
	test_ps_json();
	test_stat_json();
	test_meminfo();
	test_stat_text();
	test_balloon();
	test_merge_totals();
	test_merge_steering();
	test_merge_who();
	test_steering();
	test_walk_vcpu();
	test_silent();
	test_hostile_name();
	test_kill();
	machine_client_destroy(client);
	lab_end(machine, SIGKILL);
	return tap_done();
}
