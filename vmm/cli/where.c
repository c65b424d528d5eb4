/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "args.h"
#include "mmu/base/clock.h"
#include "where.h"

#define STOPPED_S 2

#define EFER_LMA (1u << 10)

/* ---- through the vCPU's tables ---- */

int where_walk(const struct where *w, gva_t gva, struct walk_access access, struct ctl_walked *out,
	       struct quire_error *err)
{
	uint64_t deadline_ns = monotonic_ns() + STOPPED_S * NS_PER_S;
	int code;

	while ((code = ctl_get_walk(w->fd, w->cpu, gva, access, out, err)) == -ETIMEDOUT &&
	       monotonic_ns() < deadline_ns)
		usleep(100000);
	return code;
}

/* Where a read of gva ends up.  SMAP keeps the supervisor from pages of the user: so ask twice. */
static int walk_to_read(const struct where *w, gva_t gva, struct ctl_walked *out,
			struct quire_error *err)
{
	struct walk_access access = { .user = false };
	int code = where_walk(w, gva, access, out, err);

	if (code || out->res.outcome != WALK_PAGE_FAULT)
		return code;
	access.user = true;
	return where_walk(w, gva, access, out, err);
}

int where_read(const struct where *w, gva_t gva, void *buf, size_t bytes, size_t *done,
	       struct quire_error *err)
{
	struct ctl_walked walked;
	const struct walk_result *res = &walked.res;
	int code;

	for (*done = 0; *done < bytes;) {
		gva_t at = gva + *done;
		size_t n = min_u64(bytes - *done, QUIRE_PAGE_SIZE - at % QUIRE_PAGE_SIZE);

		code = walk_to_read(w, at, &walked, err);
		if (code)
			return code;
		if (walked.state == PG_NR_STATES || res->gpa == GPA_INVALID ||
		    (res->outcome != WALK_OK && res->outcome != WALK_VIOLATION))
			break;
		code = ctl_read(w->fd, res->gpa, (char *)buf + *done, n, err);
		if (code)
			return code;
		*done += n;
	}
	return 0;
}

/* ---- the slide ---- */

/* The handler that gate `vector` of the vCPU's IDT names (SDM 3A, 6.11 and 6.14.1). */
static int read_gate(const struct where *w, const struct vcpu_state *cpu, unsigned int vector,
		     gva_t *handler, struct quire_error *err)
{
	bool wide = cpu->sregs.efer & EFER_LMA;
	size_t bytes = wide ? 16 : 8, done;
	uint16_t gate[8] = { 0 };
	int code;

	if ((vector + 1) * bytes > cpu->sregs.idt.limit + 1u)
		return -ENODATA;
	code = where_read(w, cpu->sregs.idt.base + vector * bytes, gate, bytes, &done, err);
	if (code)
		return code;
	*handler = gate[0] | (uint64_t)gate[3] << 16 | (uint64_t)gate[4] << 32 |
		   (uint64_t)gate[5] << 48;
	return done == bytes ? 0 : -ENODATA;
}

/* How far from where it was linked a handler is. */
static int slide_of(const struct where *w, const struct vcpu_state *cpu, unsigned int vector,
		    gva_t linked, uint64_t *slide, struct quire_error *err)
{
	gva_t handler;
	int code = read_gate(w, cpu, vector, &handler, err);

	*slide = handler - linked;
	return code;
}

static int find_slide(struct where *w, const char *file, struct quire_error *err)
{
	struct vcpu_state cpu;
	uint64_t by_de, by_pf;
	gva_t de, pf;
	int code;

	/* The names since Linux 5.8, and those before. */
	if (symbols_find(w->symbols, "asm_exc_divide_error", &de) &&
	    symbols_find(w->symbols, "divide_error", &de))
		return 0;
	if (symbols_find(w->symbols, "asm_exc_page_fault", &pf) &&
	    symbols_find(w->symbols, "page_fault", &pf))
		return 0;
	code = ctl_get_cpu(w->fd, w->cpu, &cpu, err);
	if (!code)
		code = slide_of(w, &cpu, 0, de, &by_de, err);
	if (!code)
		code = slide_of(w, &cpu, 14, pf, &by_pf, err);
	if (code && code != -ENODATA)
		return code;
	if (code || by_de != by_pf || by_de % (2 * MiB))
		return quire_fail(err, -ENODATA,
				  "vCPU %u does not run the kernel of %s, or not yet: its "
				  "interrupt table has other handlers",
				  w->cpu, file);
	w->slide = by_de;
	return 0;
}

int where_begin(struct where *w, int fd, unsigned int cpu, const char *symbols_file,
		struct quire_error *err)
{
	int code;

	*w = (struct where){ .fd = fd, .cpu = cpu };
	if (!symbols_file)
		return 0;
	code = symbols_read(symbols_file, &w->symbols, err);
	if (!code)
		code = find_slide(w, symbols_file, err);
	if (code)
		where_end(w);
	return code;
}

void where_end(struct where *w)
{
	symbols_free(w->symbols);
	w->symbols = NULL;
}

/* ---- words and names ---- */

/* NAME, NAME+OFFSET or NAME-OFFSET: no name of a symbol has such a sign. */
static int parse_symbol(const struct where *w, const char *word, gva_t *gva,
			struct quire_error *err)
{
	size_t bytes = strcspn(word, "+-");
	uint64_t offset = 0;
	char name[256];

	if (bytes >= sizeof(name))
		return quire_fail(err, -EINVAL, "\"%.40s...\" is too long for a symbol", word);
	memcpy(name, word, bytes);
	name[bytes] = '\0';
	if (word[bytes] && parse_address(word + bytes + 1, &offset, err))
		return -EINVAL;
	if (symbols_find(w->symbols, name, gva))
		return quire_fail(err, -EINVAL, "there is no symbol %.80s in that file", name);
	*gva += w->slide + (word[bytes] == '-' ? -offset : offset);
	return 0;
}

int where_is(const struct where *w, const char *word, gva_t *gva, struct quire_error *err)
{
	if (isdigit((unsigned char)word[0]))
		return parse_address(word, gva, err);
	if (w->symbols)
		return parse_symbol(w, word, gva, err);
	return quire_fail(err, -EINVAL,
			  "\"%.80s\" is no address: 0xHEX or a number, or a name with "
			  "--symbols=FILE",
			  word);
}

const char *where_name(const struct where *w, gva_t gva)
{
	static char text[192];
	uint64_t offset;
	const char *name = w->symbols ? symbols_name(w->symbols, gva - w->slide, &offset) : NULL;

	/* What is that far from a symbol does not belong to it. */
	if (!name || offset >= 16 * MiB)
		return NULL;
	if (offset)
		snprintf(text, sizeof(text), "%s+%#" PRIx64, name, offset);
	else
		snprintf(text, sizeof(text), "%s", name);
	return text;
}
