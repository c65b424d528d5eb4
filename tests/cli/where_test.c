/* SPDX-License-Identifier: MIT */
/*
 * Words that are addresses, and where a kernel is that moved itself.  Behind the addresses is a
 * made-up VM: a flat memory with an interrupt table.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests/tap.h"
#include "vmm/cli/where.h"

static char path[64]; /* of a file in memory */

static void put(const void *bytes, size_t nr)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("symbols", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (ftruncate(fd, 0) || pwrite(fd, bytes, nr, 0) != (ssize_t)nr)
		tap_bail("cannot write %s", path);
}

/* ---- a made-up VM: a memory in which gva == gpa + BASE ---- */

#define BASE   0xffffffff80000000ULL
#define MEMORY (64 * KiB)

static uint8_t memory[MEMORY];
static struct vcpu_state cpu;
static bool user_only; /* SMAP is on, and all pages are the user's */

int ctl_get_cpu(int fd, unsigned int nr, struct vcpu_state *state, struct quire_error *err)
{
	(void)fd, (void)err;
	*state = cpu;
	return nr ? -ENOENT : 0;
}

int ctl_get_walk(int fd, unsigned int nr, gva_t gva, struct walk_access access,
		 struct ctl_walked *out, struct quire_error *err)
{
	bool in = gva >= BASE && gva - BASE < MEMORY && (!user_only || access.user);

	(void)fd, (void)nr, (void)err;
	out->res = (struct walk_result){ .outcome = in ? WALK_OK : WALK_PAGE_FAULT,
					 .gpa = in ? gva - BASE : GPA_INVALID };
	out->state = in ? PG_PRIVATE : PG_NR_STATES;
	return 0;
}

int ctl_read(int fd, gpa_t gpa, void *buf, size_t bytes, struct quire_error *err)
{
	(void)fd, (void)err;
	memcpy(buf, memory + gpa, bytes);
	return 0;
}

/* A 64-bit interrupt gate. */
static void set_gate(unsigned int vector, gva_t handler)
{
	uint16_t gate[8] = { (uint16_t)handler,
			     0x10,
			     0x8e00,
			     (uint16_t)(handler >> 16),
			     (uint16_t)(handler >> 32),
			     (uint16_t)(handler >> 48) };

	memcpy(memory + 0x1000 + 16 * vector, gate, sizeof(gate));
	cpu.sregs.idt.base = BASE + 0x1000;
	cpu.sregs.idt.limit = 0xfff;
	cpu.sregs.efer = 1u << 10;
}

/* ---- the slide ---- */

#define LINKED_DE 0xffffffff81a00b40ULL
#define LINKED_PF 0xffffffff81a00b60ULL

static const char kernel[] = "ffffffff81000000 T _text\n"
			     "ffffffff81a00b40 T asm_exc_divide_error\n"
			     "ffffffff81a00b60 T asm_exc_page_fault\n"
			     "ffffffff82000180 D linux_banner\n";

static void check_slide(uint64_t slide)
{
	struct quire_error err = { "" };
	struct where w;
	gva_t at = 0;

	set_gate(0, LINKED_DE + slide);
	set_gate(14, LINKED_PF + slide);
	if (!ok(where_begin(&w, 0, 0, path, &err) == 0, "a kernel that moved by %#lx: %s",
		(unsigned long)slide, err.text))
		return;
	ok(!where_is(&w, "linux_banner+0x10", &at, &err) && at == 0xffffffff82000190 + slide,
	   "... its symbols are there");
	ok(!strcmp(where_name(&w, LINKED_PF + slide + 4), "asm_exc_page_fault+0x4"),
	   "... and have their names");
	ok(!where_name(&w, 0x1000), "... but not what is far from all");
	where_end(&w);
}

static void no_slide(const char *what)
{
	struct quire_error err = { "" };
	struct where w;

	is(where_begin(&w, 0, 0, path, &err), -ENODATA, "%s: %s", what, err.text);
}

static void test_slide(void)
{
	struct quire_error err = { "" };
	struct where w;

	put(kernel, sizeof(kernel) - 1);
	check_slide(0);
	check_slide(0x18e00000);
	check_slide(-0x200000ULL);
	user_only = true;
	check_slide(0x200000);
	user_only = false;
	set_gate(14, LINKED_PF + 0x400000);
	no_slide("two handlers that disagree");
	set_gate(0, LINKED_DE + 0x1000);
	set_gate(14, LINKED_PF + 0x1000);
	no_slide("no multiple of 2 MiB");
	cpu.sregs.idt.limit = 14 * 16 - 1;
	no_slide("a short table");
	set_gate(0, LINKED_DE);
	cpu.sregs.idt.base = 0x1000;
	no_slide("a table that is not there");
	ok(where_begin(&w, 0, 1, path, &err) == -ENOENT, "no such vCPU");
}

static void test_words(void)
{
	static const struct {
		const char *word;
		int code;
		gva_t at;
	} words[] = {
		{ "0x123", 0, 0x123 },	 { "4K", 0, 4096 },	{ "a", 0, 0x10 },
		{ "a.b+0x10", 0, 0x30 }, { "a-1", 0, 0xf },	{ "c", -EINVAL, 0 },
		{ "a+", -EINVAL, 0 },	 { "a+b", -EINVAL, 0 }, { "", -EINVAL, 0 },
		{ "0xg", -EINVAL, 0 },	 { "+1", -EINVAL, 0 },
	};
	struct quire_error err;
	char word[400];
	struct where w;
	gva_t at;

	put("10 T a\n20 T a.b\n", 16);
	if (where_begin(&w, 0, 0, path, &err))
		tap_bail("%s", err.text);
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		at = 0;
		err.text[0] = '\0';
		ok(where_is(&w, words[i].word, &at, &err) == words[i].code && at == words[i].at,
		   "\"%s\": %#lx %s", words[i].word, (unsigned long)at, err.text);
	}
	memset(word, 'a', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	ok(where_is(&w, word, &at, &err) == -EINVAL, "a very long word: %s", err.text);
	where_end(&w);
	ok(where_begin(&w, 0, 0, NULL, &err) == 0 && where_is(&w, "a", &at, &err) == -EINVAL &&
		   !where_name(&w, 0x10),
	   "without a file there are no names: %s", err.text);
}

static void test_read(void)
{
	struct where w = { .fd = 0 };
	struct quire_error err;
	uint8_t buf[8192];
	size_t done;

	memset(memory + MEMORY - 100, 'x', 100);
	ok(!where_read(&w, BASE + MEMORY - 6000, buf, sizeof(buf), &done, &err) && done == 6000 &&
		   buf[5999] == 'x' && buf[5900] == 'x',
	   "bytes are read across pages, as far as there are any");
	ok(!where_read(&w, 0, buf, 1, &done, &err) && done == 0, "nowhere there are none");
}

int main(void)
{
	tap_init();
	test_slide();
	test_words();
	test_read();
	return tap_done();
}
