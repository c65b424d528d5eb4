/* SPDX-License-Identifier: MIT */
/*
 * The command line: which workload, with what arguments.
 *
 * Arguments are words: NAME=VALUE, or bare.  Bare words are positional, taken in their order; the
 * others may stand anywhere.  A workload asks for each argument that it knows.  A word that nobody
 * asked for, or a number that is none, makes the run a usage error.
 */
#include "workload.h"
#include "memory.h"

struct workload {
	const char *name, *usage;
	int (*run)(struct args *a);
};

#define FILL_USAGE \
	"SEED PAGES [dup=K] [zero=K] [own=K] [packs=K] [order=seq|shuffle|scatter] [salt=K] " \
	"[seconds=N] [writes=N]"

static const struct workload workloads[] = {
	{ "hello", "", hello_run },
	{ "selftest", "[pages=N]", selftest_run },
	{ "fill", FILL_USAGE, fill_run },
	{ "hold", FILL_USAGE, hold_run },
	{ "churn", "SEED PAGES [rate=R] [seconds=N] [read=K] [own=0|1] [salt=K] [settle=N]",
	  churn_run },
	{ "peek", "PAGES [write=PERCENT] [seconds=N] [seed=N]", peek_run },
	{ "touch", "PAGES|all [order=seq|random|shuffle] [write|read] [seed=N]", touch_run },
	{ "visit", "SEED PAGES [of=K] [seconds=N]", visit_run },
	{ "zipf", "SEED PAGES SECONDS|ops=N [s=1.0]", zipf_run },
	{ "stress",
	  "SECONDS|rounds=N [pattern=random|zipf|scan|phases] [seed=N] [pages=N] "
	  "[writes=PERCENT] [packs=PERCENT] [alike=N] [fill=1] [balloon=1] [every=SECONDS] "
	  "[spoil=N]",
	  stress_run },
	{ "locked", "SECONDS [pages=N] [seed=N]", locked_run },
	{ "remap", "SECONDS [pages=N] [seed=N]", remap_run },
	{ "tables", "compute|switch|edit|churn|batch|fork [ops=N] [pages=N]", tables_run },
	{ "mmutest", "[seed=N] [steps=N] [seconds=N] [balloon=1]", mmutest_run },
	{ "balloon",
	  "[seconds=N] [steps=N] [touch=PAGES] [dirty=PAGES] [oom=PAGES] [reuse=1] "
	  "[delay=MS] [features=MASK] [poison=N]",
	  balloon_run },
	{ "report", "PAGES [features=MASK] [poison=N]", report_run },
	{ "evil-balloon",
	  "dup|range|queue|deflate|report|loop|outside|length|jump|setup|reset|storm|all "
	  "[touch=PAGES] [seed=N]",
	  evil_balloon_run },
	{ "disk",
	  "fill|check|reset|fail|wild SEED, or storm SEED ROUNDS [pages=N] [from=N] [safe=N] "
	  "[features=MASK]",
	  disk_run },
	{ "idle", "SECONDS", idle_run },
	{ "echo", "", echo_run },
	{ "hvc", "", hvc_run },
	{ "net", "[arp=ADDRESS]", net_run },
	{ "exit", "N", exit_run },
	{ "crash", "triple|ud|null|jump|read|write|stack|loop|flood|vmcall|scribble|int3|hlt",
	  crash_run },
};

static bool is_key(const char *word, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(word, name, n) && word[n] == '=';
}

static uint64_t to_number(struct args *a, const char *text)
{
	char *end;
	uint64_t value = strtoul(text, &end, 0);

	if (end == text || *end)
		a->bad = true;
	return value;
}

const char *args_word(struct args *a)
{
	while (a->positional < a->n &&
	       (a->used >> a->positional & 1 || strchr(a->word[a->positional], '=')))
		a->positional++;
	if (a->positional == a->n)
		return NULL;
	a->used |= 1U << a->positional;
	return a->word[a->positional++];
}

uint64_t args_number(struct args *a)
{
	const char *word = args_word(a);

	if (word)
		return to_number(a, word);
	a->bad = true;
	return 0;
}

const char *args_text(struct args *a, const char *name, const char *otherwise)
{
	for (unsigned int i = 0; i < a->n; i++)
		if (is_key(a->word[i], name)) {
			a->used |= 1U << i;
			return a->word[i] + strlen(name) + 1;
		}
	return otherwise;
}

uint64_t args_key(struct args *a, const char *name, uint64_t otherwise)
{
	const char *text = args_text(a, name, NULL);

	return text ? to_number(a, text) : otherwise;
}

bool args_flag(struct args *a, const char *name)
{
	for (unsigned int i = 0; i < a->n; i++)
		if (!strcmp(a->word[i], name)) {
			a->used |= 1U << i;
			return true;
		}
	return false;
}

bool args_done(const struct args *a)
{
	return !a->bad && a->used == (a->n < 32 ? (1U << a->n) - 1 : UINT32_MAX);
}

/*
 * Cut text into words, in place.  Words that say where QEMU's microvm has its devices are left out;
 * they are not for the workload.
 */
static void args_split(struct args *a, char *text)
{
	while (a->n < MAX_ARGS) {
		while (*text == ' ')
			*text++ = 0;
		if (!*text)
			return;
		if (!is_key(text, "virtio_mmio.device"))
			a->word[a->n++] = text;
		while (*text && *text != ' ')
			text++;
	}
	a->bad = true;
}

static int usage_of(const struct workload *w, const char *cmdline)
{
	print("quill: cannot run \"%s\"; usage: %s %s\n", cmdline, w->name, w->usage);
	return STATUS_USAGE;
}

static int usage(const char *cmdline)
{
	print("quill: cannot run \"%s\"; workloads:", cmdline);
	for (unsigned int i = 0; i < ARRAY_SIZE(workloads); i++)
		print(" %s", workloads[i].name);
	print("\n");
	return STATUS_USAGE;
}

int workload_run(const char *cmdline)
{
	static char text[CMDLINE_BYTES];
	struct args a = { 0 };
	const char *name;

	memcpy(text, cmdline, strlen(cmdline));
	args_split(&a, text);
	name = args_word(&a);
	for (unsigned int i = 0; name && i < ARRAY_SIZE(workloads); i++) {
		const struct workload *w = &workloads[i];

		if (!strcmp(name, w->name)) {
			int status = w->run(&a);

			return args_done(&a) ? status : usage_of(w, cmdline);
		}
	}
	return usage(cmdline);
}

int no_room(uint64_t pages)
{
	print("quill: no room for %lu pages in blocks of 2 MiB: %lu pages are free; give the guest "
	      "more memory\n",
	      pages, free_blocks(9) * BLOCK_PAGES);
	return STATUS_NO_ROOM;
}

void report_wrong(const char *name, const volatile uint64_t *at, uint64_t want, uint64_t got)
{
	print("%s: wrong: gva=0x%lx want=0x%lx got=0x%lx\n", name, (uint64_t)at, want, got);
}

/* The numbers of page `index` of a seed follow this one, a step apart. */
#define CONTENT_STEP 0x9e3779b97f4a7c15

static uint64_t content_start(uint64_t seed, uint64_t index)
{
	return mix(seed) + index * PAGE_WORDS * CONTENT_STEP;
}

/* Is this word of a page the first that has its number? */
static bool is_new(uint64_t index, uint64_t word)
{
	return !(index & CONTENT_PACKS) || word % 4 == 0;
}

uint64_t content_word(uint64_t seed, uint64_t index, uint64_t word)
{
	if (index == CONTENT_ZERO)
		return 0;
	if (index & CONTENT_PACKS)
		word /= 4;
	return mix(content_start(seed, index) + (word + 1) * CONTENT_STEP);
}

void content_write(uint64_t *page, uint64_t seed, uint64_t index)
{
	uint64_t state = content_start(seed, index);

	if (index == CONTENT_ZERO) {
		memset(page, 0, PAGE_SIZE);
		return;
	}
	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		page[i] = is_new(index, i) ? random_next(&state) : page[i - 1];
}

bool content_check_but(const char *name, const uint64_t *page, uint64_t seed, uint64_t index,
		       uint64_t word)
{
	uint64_t state = content_start(seed, index), want = 0;

	for (unsigned int i = 0; i < PAGE_WORDS; i++) {
		uint64_t got = *(const volatile uint64_t *)&page[i];

		if (index != CONTENT_ZERO && is_new(index, i))
			want = random_next(&state);
		if (got != want && i != word) {
			report_wrong(name, &page[i], want, got);
			return false;
		}
	}
	return true;
}

bool content_check(const char *name, const uint64_t *page, uint64_t seed, uint64_t index)
{
	return content_check_but(name, page, seed, index, PAGE_WORDS);
}

void pause_until(uint64_t deadline)
{
	console_flush();
	while (rdtsc() < deadline)
		clock_wait(deadline);
}

void pause_for_input(uint64_t deadline)
{
	console_flush();
	while (rdtsc() < deadline) {
		if (boot.wait_port && console_has_input()) {
			(void)console_getc();
			return;
		}
		clock_wait(deadline);
	}
}
