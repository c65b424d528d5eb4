/* SPDX-License-Identifier: MIT */
/* The options of quire run: what each of them sets in a struct run (run.h). */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/machine/oom.h"
#include "mmu/base/machine_protocol.h"
#include "args.h"
#include "disk_option.h"
#include "net_option.h"
#include "run_options.h"
#include "vmm/look/stats_shadow.h"
#include "vmm/vm/phrase.h"

#define MOST_REBOOTS 1000000

/* A machine takes names of MACHINE_NAME_MAX bytes; the number of a copy needs some of them. */
#define NAME_MAX_BYTES (MACHINE_NAME_MAX - (int)sizeof("-65535") + 1)

#define MERGE_RATE_MAX 1000000000
#define MAPPINGS_MAX   1000000000

enum option_id {
	OPT_APPEND = 256,
	OPT_HUGEPAGES,
	OPT_PAGING,
	OPT_INITRD,
	OPT_MAX_MAPPINGS,
	OPT_IRQCHIP,
	OPT_MODULE,
	OPT_NAME,
	OPT_SANDBOX,
	OPT_STATS,
	OPT_TIMEOUT,
	OPT_WAIT_FOR,
	OPT_EXIT_PORT,
	OPT_VGA_TEXT,
	OPT_CPU,
	OPT_NO_REBOOT,
	OPT_MAX_REBOOTS,
	OPT_MERGE,
	OPT_MERGE_RATE,
	OPT_DOMAIN,
	OPT_BALLOON,
	OPT_BALLOON_MIN,
	OPT_RECLAIM,
	OPT_TENDENCY,
	OPT_SWAPPINESS,
	OPT_CONSOLE,
	OPT_DISK,
	OPT_SWAP_DIR,
	OPT_SWAP_FAULTS,
	OPT_RNG,
	OPT_NET,
	OPT_SHARES,
	OPT_MACHINE,
	OPT_OOM_SCORE_ADJ,
	OPT_MACHINE_LOST,
	OPT_OWN, /* from here on: for a machine of our own */
	OPT_MACHINE_MEMORY = OPT_OWN,
	OPT_SWAP,
	OPT_OVERCOMMIT,
	OPT_OVERCOMMIT_RATIO,
	OPT_OVERCOMMIT_BYTES,
};

static const struct option options[] = {
	{ "append", required_argument, NULL, OPT_APPEND },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "hugepages", required_argument, NULL, OPT_HUGEPAGES },
	{ "paging", required_argument, NULL, OPT_PAGING },
	{ "max-mappings", required_argument, NULL, OPT_MAX_MAPPINGS },
	{ "irqchip", required_argument, NULL, OPT_IRQCHIP },
	{ "module", required_argument, NULL, OPT_MODULE },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "sandbox", required_argument, NULL, OPT_SANDBOX },
	{ "stats", required_argument, NULL, OPT_STATS },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "wait-for", required_argument, NULL, OPT_WAIT_FOR },
	{ "cpu", required_argument, NULL, OPT_CPU },
	{ "vga-text", required_argument, NULL, OPT_VGA_TEXT },
	{ "exit-port", required_argument, NULL, OPT_EXIT_PORT },
	{ "no-reboot", no_argument, NULL, OPT_NO_REBOOT },
	{ "max-reboots", required_argument, NULL, OPT_MAX_REBOOTS },
	{ "merge", required_argument, NULL, OPT_MERGE },
	{ "merge-rate", required_argument, NULL, OPT_MERGE_RATE },
	{ "domain", required_argument, NULL, OPT_DOMAIN },
	{ "balloon", required_argument, NULL, OPT_BALLOON },
	{ "balloon-min", required_argument, NULL, OPT_BALLOON_MIN },
	{ "reclaim", required_argument, NULL, OPT_RECLAIM },
	{ "reclaim-tendency", required_argument, NULL, OPT_TENDENCY },
	{ "swappiness", required_argument, NULL, OPT_SWAPPINESS },
	{ "rng", required_argument, NULL, OPT_RNG },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "console", required_argument, NULL, OPT_CONSOLE },
	{ "net", required_argument, NULL, OPT_NET },
	{ "shares", required_argument, NULL, OPT_SHARES },
	{ "machine", required_argument, NULL, OPT_MACHINE },
	{ "oom-score-adj", required_argument, NULL, OPT_OOM_SCORE_ADJ },
	{ "machine-lost", required_argument, NULL, OPT_MACHINE_LOST },
	{ "machine-memory", required_argument, NULL, OPT_MACHINE_MEMORY },
	{ "swap", required_argument, NULL, OPT_SWAP },
	{ "swap-dir", required_argument, NULL, OPT_SWAP_DIR },
	{ "swap-faults", required_argument, NULL, OPT_SWAP_FAULTS },
	{ "overcommit", required_argument, NULL, OPT_OVERCOMMIT },
	{ "overcommit-ratio", required_argument, NULL, OPT_OVERCOMMIT_RATIO },
	{ "overcommit-bytes", required_argument, NULL, OPT_OVERCOMMIT_BYTES },
	{ 0 },
};

static int add_module(struct run *run, char *arg, struct quire_error *err)
{
	char *comma = strchr(arg, ',');

	if (run->nr_modules == RUN_MAX_MODULES)
		return quire_fail(err, -EINVAL, "at most %d modules", RUN_MAX_MODULES);
	if (comma)
		*comma++ = '\0';
	if (!*arg)
		return quire_fail(err, -EINVAL, "no file name");
	run->module_path[run->nr_modules] = arg;
	run->module[run->nr_modules++].args = comma ? comma : "";
	return 0;
}

static int add_initrd(struct run *run, const char *path, struct quire_error *err)
{
	if (run->nr_initrds == RUN_MAX_MODULES)
		return quire_fail(err, -EINVAL, "at most %d files", RUN_MAX_MODULES);
	if (!*path)
		return quire_fail(err, -EINVAL, "no file name");
	run->initrd_path[run->nr_initrds++] = path;
	return 0;
}

static int set_rng(struct run *run, const char *value, struct quire_error *err)
{
	static const char *const rngs[] = { "auto", "on", "off" };
	unsigned int choice = 0;
	int ret = parse_choice(value, rngs, ARRAY_SIZE(rngs), &choice, err);

	run->rng = (enum rng_choice)choice;
	run->vm_config.rng = run->rng == RNG_ON;
	return ret;
}

static int add_disk(struct run *run, char *value, struct quire_error *err)
{
	struct disk_spec *disk = &run->vm_config.disk[run->vm_config.nr_disks];
	int ret;

	if (run->vm_config.nr_disks == DISK_MOST)
		return quire_fail(err, -EINVAL, "at most %u disks", DISK_MOST);
	ret = parse_disk(value, disk, err);
	run->vm_config.nr_disks++;
	return ret;
}

/* A name of a VM or a domain, into buf of at least NAME_MAX_BYTES + 1. */
static int take_name(const char *name, char *buf, struct quire_error *err)
{
	if (!*name || strlen(name) > NAME_MAX_BYTES)
		return quire_fail(err, -EINVAL, "a name has 1 to %d bytes", NAME_MAX_BYTES);
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			return quire_fail(err, -EINVAL,
					  "a name has only letters, digits, '.', '_' and '-'");
	memcpy(buf, name, strlen(name) + 1);
	return 0;
}

/* Other commands take a number for a pid. */
static int set_name(struct run *run, const char *name, struct quire_error *err)
{
	if (*name && strspn(name, "0123456789") == strlen(name))
		return quire_fail(err, -EINVAL, "'%.48s' would be taken for a pid, add a letter",
				  name);
	return take_name(name, run->name, err);
}

static int set_domain(struct run *run, const char *name, struct quire_error *err)
{
	run->domain_none = !strcmp(name, "none");
	run->domain[0] = '\0';
	return run->domain_none ? 0 : take_name(name, run->domain, err);
}

static int set_wait_for(struct run *run, const char *text, struct quire_error *err)
{
	run->launch.wait_for = text;
	if (!*text || strlen(text) > PHRASE_MAX)
		return quire_fail(err, -EINVAL, "a text has 1 to %d bytes", PHRASE_MAX);
	return 0;
}

static int set_merge_rate(struct run *run, const char *text, struct quire_error *err)
{
	uint64_t *rate = &run->vm_config.merge_pages_per_s;

	*rate = 0;
	if (!strcmp(text, "auto"))
		return 0;
	if (parse_count(text, 1, MERGE_RATE_MAX, rate, NULL))
		return quire_fail(err, -EINVAL,
				  "'%s' is not a number of pages a second from 1 to %d, "
				  "nor auto",
				  text, MERGE_RATE_MAX);
	return 0;
}

static int set_merge_option(struct run *run, int option, char *value, struct quire_error *err)
{
	static const char *const modes[KEEPER_NR_MODES] = {
		[KEEPER_OFF] = "off",
		[KEEPER_ZERO] = "zero",
		[KEEPER_ON] = "on",
	};
	unsigned int choice = 0;
	int ret;

	if (option == OPT_MERGE_RATE)
		return set_merge_rate(run, value, err);
	if (option == OPT_DOMAIN)
		return set_domain(run, value, err);
	ret = parse_choice(value, modes, ARRAY_SIZE(modes), &choice, err);
	run->vm_config.merge = (enum keeper_mode)choice;
	return ret;
}

static int set_oom_score_adj(struct run *run, const char *text, struct quire_error *err)
{
	bool negative = *text == '-';
	uint64_t value = 0;

	if (parse_count(text + negative, 0, OOM_SCORE_ADJ_MAX, &value, NULL))
		return quire_fail(err, -EINVAL, "'%s' is not a number from %d to %d", text,
				  OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX);
	run->launch.oom_score_adj = negative ? -(int)value : (int)value;
	return 0;
}

static int set_overcommit(struct run *run, const char *text, struct quire_error *err)
{
	static const char *const modes[] = { "0", "0:estimate", "1", "2" };
	struct ledger_config *ledger = &run->launch.ledger;
	unsigned int choice = 0;
	int ret = parse_choice(text, modes, ARRAY_SIZE(modes), &choice, err);

	ledger->mode = choice < 2  ? OVERCOMMIT_GUESS :
		       choice == 2 ? OVERCOMMIT_ALWAYS :
				     OVERCOMMIT_NEVER;
	ledger->guess = choice == 1 ? GUESS_ESTIMATE : GUESS_TOTAL;
	return ret;
}

/* An option for a machine of our own. */
static int set_own_option(struct run *run, int option, char *value, struct quire_error *err)
{
	uint64_t count = 0;
	int ret;

	switch (option) {
	case OPT_MACHINE_MEMORY: return parse_machine_size(value, &run->machine_bytes, err);
	case OPT_SWAP: return parse_size(value, &run->swap_bytes, err);
	case OPT_OVERCOMMIT: return set_overcommit(run, value, err);
	case OPT_OVERCOMMIT_RATIO:
		ret = parse_count(value, 0, 1000000, &count, err);
		run->ratio = (int)count;
		return ret;
	default:
		ret = parse_size(value, &count, err);
		run->launch.ledger.limit_in_pages = true;
		run->launch.ledger.limit_pages = count / QUIRE_PAGE_SIZE;
		return ret;
	}
}

static int set_machine_option(struct run *run, int option, char *value, struct quire_error *err)
{
	static const char *const lost[] = { "continue", "stop" };
	unsigned int choice = 0;
	int ret;

	switch (option) {
	case OPT_MACHINE:
		run->launch.machine = value;
		return *value ? 0 : quire_fail(err, -EINVAL, "no address");
	case OPT_OOM_SCORE_ADJ: return set_oom_score_adj(run, value, err);
	default:
		ret = parse_choice(value, lost, ARRAY_SIZE(lost), &choice, err);
		run->launch.stop_when_lost = choice;
		return ret;
	}
}

/* A number of the VM. */
static int set_count(char *value, unsigned int max, unsigned int *field, struct quire_error *err)
{
	uint64_t count = 0;
	int ret = parse_count(value, 1, max, &count, err);

	*field = (unsigned int)count;
	return ret;
}

static int set_max_reboots(struct run *run, char *value, struct quire_error *err)
{
	uint64_t count = 0;
	int ret = parse_count(value, 0, MOST_REBOOTS, &count, err);

	run->launch.max_reboots = (unsigned int)count;
	return ret;
}

static int set_balloon_option(struct run *run, int option, char *value, struct quire_error *err)
{
	static const char *const modes[BALLOON_NR_MODES] = {
		[BALLOON_MODE_OFF] = "off",
		[BALLOON_MODE_MANUAL] = "manual",
		[BALLOON_MODE_AUTO] = "auto",
	};
	unsigned int choice = 0;
	int ret;

	if (option == OPT_BALLOON_MIN)
		return parse_size(value, &run->balloon_min_bytes, err);
	if (option == OPT_SHARES)
		return set_count(value, MACHINE_SHARES_MAX, &run->launch.shares, err);
	ret = parse_choice(value, modes, ARRAY_SIZE(modes), &choice, err);
	run->launch.balloon = run->vm_config.balloon = (enum balloon_mode)choice;
	return ret;
}

static int set_reclaim(struct run *run, char *value, struct quire_error *err)
{
	const char *words[RECLAIM_NR_POLICIES + 1] = { [VM_RECLAIM_OFF] = "off" };

	for (unsigned int i = 0; i < RECLAIM_NR_POLICIES; i++)
		words[i] = reclaim_policies[i]->name;
	return parse_choice(value, words, ARRAY_SIZE(words), &run->vm_config.reclaim, err);
}

static int set_tendency(struct run *run, char *value, struct quire_error *err)
{
	unsigned int rule = 0;
	int ret = parse_choice(value, tendency_rule_name, TENDENCY_NR_RULES, &rule, err);

	run->vm_config.tendency = (enum tendency_rule)rule;
	return ret;
}

static int set_swappiness(struct run *run, char *value, struct quire_error *err)
{
	uint64_t count = 0;
	int ret = parse_count(value, 0, SWAPPINESS_MOST, &count, err);

	run->vm_config.swappiness = (unsigned int)count;
	return ret;
}

static int set_exit_port(struct run *run, const char *text, struct quire_error *err)
{
	uint64_t port = 0;

	if (parse_address(text, &port, NULL) || !port || port > UINT16_MAX)
		return quire_fail(err, -EINVAL, "'%.40s' is not a port from 0x1 to 0xffff", text);
	run->vm_config.exit_port = (uint16_t)port;
	return 0;
}

static int add_net(struct run *run, char *value, struct quire_error *err)
{
	struct launch_config *launch = &run->launch;
	struct vm_config *config = &run->vm_config;
	int ret;

	static_assert(LAUNCH_MAX_NETS == VM_MAX_NETS, "a VM has all networks of its launch");
	if (launch->nr_nets == LAUNCH_MAX_NETS)
		return quire_fail(err, -EINVAL, "at most %u networks", LAUNCH_MAX_NETS);
	ret = parse_net(value, &launch->net[launch->nr_nets], &config->net[config->nr_nets], err);
	launch->nr_nets += !ret;
	config->nr_nets += !ret;
	return ret;
}

/* What says which device, or which keys; both with a comma between. */
static int set_console(struct run *run, char *value, struct quire_error *err)
{
	static const char *const words[] = { "serial", "virtio", "raw", "signals" };
	unsigned int choice = 0;

	for (char *word = value, *next; word; word = next) {
		next = strchr(word, ',');
		if (next)
			*next++ = '\0';
		if (parse_choice(word, words, ARRAY_SIZE(words), &choice, err))
			return -EINVAL;
		if (choice < 2)
			run->vm_config.virtio_console = choice == 1;
		else
			run->keys = choice == 2 ? KEYS_RAW : KEYS_SIGNALS;
	}
	return 0;
}

static int set_paging(struct run *run, const char *value, struct quire_error *err)
{
	static const char *const choices[] = { "ept", "shadow", "both" };
	unsigned int choice = 0;
	int ret = parse_choice(value, choices, ARRAY_SIZE(choices), &choice, err);

	run->both = choice == VM_NR_PAGINGS;
	run->vm_config.paging = run->both ? VM_PAGING_EPT : (enum vm_paging)choice;
	return ret;
}

static int set_option(struct run *run, int option, char *value, struct quire_error *err)
{
	static const char *const hugepages[] = { "auto", "never" };
	static const char *const irqchips[] = { "auto", "on", "off" };
	static const char *const sandboxes[] = { "on", "strict", "off" };
	static const char *const off_on[] = { "off", "on" };
	unsigned int choice = 0;
	int ret;

	switch (option) {
	case 'm': return parse_ram_size(value, &run->vm_config.ram_bytes, err);
	case 'c': return set_count(value, VM_MAX_VCPUS, &run->vm_config.nr_vcpus, err);
	case 'v': run->verbose = true; return 0;
	case OPT_APPEND: run->append = value; return 0;
	case 'n': return set_count(value, LAUNCH_MAX_COPIES, &run->launch.copies, err);
	case OPT_HUGEPAGES:
		ret = parse_choice(value, hugepages, ARRAY_SIZE(hugepages), &choice, err);
		run->vm_config.hugepages = choice ? GMEM_HUGE_NEVER : GMEM_HUGE_AUTO;
		return ret;
	case OPT_PAGING: return set_paging(run, value, err);
	case OPT_MAX_MAPPINGS:
		return set_count(value, MAPPINGS_MAX, &run->vm_config.max_mappings, err);
	case OPT_IRQCHIP:
		ret = parse_choice(value, irqchips, ARRAY_SIZE(irqchips), &choice, err);
		run->irqchip = (enum irqchip_choice)choice;
		return ret;
	case OPT_MODULE: return add_module(run, value, err);
	case OPT_INITRD: return add_initrd(run, value, err);
	case OPT_NAME: return set_name(run, value, err);
	case OPT_SANDBOX:
		ret = parse_choice(value, sandboxes, ARRAY_SIZE(sandboxes), &choice, err);
		run->sandbox = (enum sandbox_mode)choice;
		return ret;
	case OPT_NET: return add_net(run, value, err);
	case OPT_CONSOLE: return set_console(run, value, err);
	case OPT_DISK: return add_disk(run, value, err);
	case OPT_SWAP_DIR: run->launch.swap_dir = value; return 0;
	case OPT_SWAP_FAULTS: return swap_faults_parse(value, &run->vm_config.swap.faults, err);
	case OPT_RNG: return set_rng(run, value, err);
	case OPT_STATS:
		run->stats_path = value;
		return *value ? 0 : quire_fail(err, -EINVAL, "no file name");
	case OPT_WAIT_FOR: return set_wait_for(run, value, err);
	case OPT_CPU: return cpu_features_parse(value, &run->vm_config.features, err);
	case OPT_VGA_TEXT:
		ret = parse_choice(value, off_on, ARRAY_SIZE(off_on), &choice, err);
		run->vm_config.vga_text = choice;
		return ret;
	case OPT_EXIT_PORT: return set_exit_port(run, value, err);
	case OPT_NO_REBOOT: run->launch.no_reboot = true; return 0;
	case OPT_MAX_REBOOTS: return set_max_reboots(run, value, err);
	case OPT_TIMEOUT: return parse_seconds(value, &run->vm_config.timeout_ns, err);
	case OPT_MERGE:
	case OPT_MERGE_RATE:
	case OPT_DOMAIN: return set_merge_option(run, option, value, err);
	case OPT_BALLOON:
	case OPT_BALLOON_MIN:
	case OPT_SHARES: return set_balloon_option(run, option, value, err);
	case OPT_RECLAIM: return set_reclaim(run, value, err);
	case OPT_TENDENCY: return set_tendency(run, value, err);
	case OPT_SWAPPINESS: return set_swappiness(run, value, err);
	}
	return option >= OPT_OWN ? set_own_option(run, option, value, err) :
				   set_machine_option(run, option, value, err);
}

/* An option's name in a static buffer, for a message that the launcher may print later. */
static const char *own_option_name(int option)
{
	static char name[32];

	return option_name(options, option, name, sizeof(name));
}

int run_read_options(struct run *run, int argc, char **argv, struct quire_error *err)
{
	const char *paging = getenv("QUIRE_PAGING");
	int option;

	if (paging && *paging && set_paging(run, paging, err))
		return quire_fail(err, -EINVAL, "QUIRE_PAGING: '%.40s' is not ept, shadow or both",
				  paging);
	opterr = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, "+:m:c:n:v", options, NULL)) != -1) {
		if (option == ':')
			return quire_fail(err, -EINVAL, "%s needs a value, see quire help run",
					  argv[optind - 1]);
		if (option == '?' && optopt && optopt < 256)
			return quire_fail(err, -EINVAL, "no option -%c, see quire help run",
					  optopt);
		if (option == '?')
			return quire_fail(err, -EINVAL, "no option %.100s, see quire help run",
					  argv[optind - 1]);
		if (set_option(run, option, optarg, err))
			return refused_value(options, option, err);
		if (option >= OPT_OWN)
			run->launch.own_option = own_option_name(option);
	}
	return 0;
}
