/* SPDX-License-Identifier: MIT */
/*
 * Reading a trace.
 *
 * Page numbers may be anything with 64 bits.  A hash table leads from each to its place in the
 * order of first accesses.  A trace is the user's own, so the hash is no secret.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/base/digits.h"
#include "reclaim.h"
#include "trace.h"

/* ---- which number a page has ---- */

struct name {
	uint64_t name;
	uint32_t number; /* plus one; 0: the entry is empty */
};

struct names {
	struct name *entry;
	uint64_t capacity; /* a power of two, at most three quarters full */
	uint32_t used;
};

static struct name *find(const struct names *n, uint64_t name)
{
	uint64_t at = (name ^ name >> 32) * 0x9e3779b97f4a7c15;

	for (at ^= at >> 29;; at++) {
		struct name *e = &n->entry[at & (n->capacity - 1)];

		if (!e->number || e->name == name)
			return e;
	}
}

static int grow(struct names *n)
{
	struct names larger = { .capacity = n->capacity ? 2 * n->capacity : 1024 };

	larger.entry = calloc(larger.capacity, sizeof(*larger.entry));
	if (!larger.entry)
		return -ENOMEM;
	for (uint64_t i = 0; i < n->capacity; i++)
		if (n->entry[i].number)
			*find(&larger, n->entry[i].name) = n->entry[i];
	larger.used = n->used;
	free(n->entry);
	*n = larger;
	return 0;
}

static int number_of(struct names *n, uint64_t name, uint32_t *number)
{
	struct name *e;

	if (4ULL * n->used >= 3 * n->capacity && grow(n))
		return -ENOMEM;
	e = find(n, name);
	if (!e->number) {
		if (n->used == RECLAIM_MAX_PAGES)
			return -E2BIG;
		*e = (struct name){ .name = name, .number = ++n->used };
	}
	*number = e->number - 1;
	return 0;
}

/* ---- a line ---- */

enum line {
	LINE_EMPTY,
	LINE_ACCESS,
	LINE_BAD,
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static const char *skip_blanks(const char *p)
{
	while (is_blank(*p))
		p++;
	return p;
}

/* The number at p; returns its end, or NULL: there is none, or it has more than 64 bits. */
static const char *read_number(const char *p, uint64_t *value)
{
	bool hex = digits_are_hex(p);

	p += hex ? 2 : 0;
	return digits_read(&p, hex ? 16 : 10, value) ? NULL : p;
}

/* What a line says; text ends with a NUL. */
static enum line read_access(const char *text, uint64_t *page, bool *write)
{
	const char *p = skip_blanks(text), *end;

	*write = false;
	if (!*p || *p == '#')
		return LINE_EMPTY;
	end = read_number(p, page);
	if (!end)
		return LINE_BAD;
	p = skip_blanks(end);
	if (p > end && (*p == 'r' || *p == 'w')) {
		*write = *p == 'w';
		p = skip_blanks(++p);
	}
	return !*p || *p == '#' ? LINE_ACCESS : LINE_BAD;
}

/* ---- the whole ---- */

struct reader {
	struct trace *t;
	FILE *f;
	const char *name;
	struct quire_error *err;
	struct names names;
	uint64_t line;
	char text[TRACE_MAX_LINE];
};

/* Of the line only what can be printed, and of that the beginning. */
static int refuse(struct reader *r)
{
	char shown[48];
	size_t n = strcspn(r->text, "\r");

	snprintf(shown, sizeof(shown), "%.*s", (int)min_u64(n, sizeof(shown) - 1), r->text);
	for (char *p = shown; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return quire_fail(r->err, -EINVAL,
			  "%.160s:%llu: '%s' is no access; a line is a page number, decimal or 0x, "
			  "and r or w or nothing",
			  r->name, (unsigned long long)r->line, shown);
}

/* Read a line without its newline into r->text.  1; 0: there are no more; -errno. */
static int next_line(struct reader *r)
{
	size_t n = 0;
	int c;

	r->line++;
	while ((c = getc_unlocked(r->f)) != EOF && c != '\n') {
		if (n == sizeof(r->text) - 1)
			return quire_fail(
				r->err, -EINVAL,
				"%.160s:%llu: the line is longer than %zu bytes; is this a "
				"trace?",
				r->name, (unsigned long long)r->line, sizeof(r->text) - 1);
		r->text[n++] = c ? (char)c : '\1'; /* which no line has */
	}
	r->text[n] = '\0';
	if (ferror(r->f))
		return quire_fail(r->err, errno ? -errno : -EIO, "%.160s: cannot read: %s", r->name,
				  strerror(errno ? errno : EIO));
	return n || c != EOF;
}

static int add_access(struct reader *r, uint64_t page, bool write)
{
	uint32_t number = 0;
	int code = 0;

	if (trace_length(r->t) == TRACE_MAX_ACCESSES)
		code = -E2BIG;
	if (!code)
		code = number_of(&r->names, page, &number);
	if (code)
		return quire_fail(r->err, code, "%.160s:%llu: %s", r->name,
				  (unsigned long long)r->line,
				  code == -E2BIG ?
					  "there are more than 2^32 accesses, or 2^31 pages" :
					  "no memory for so many pages");
	r->t->nr_writes += write;
	return spool_add(&r->t->access, number << 1 | write, r->err);
}

static int read_lines(struct reader *r)
{
	uint64_t page;
	bool write;
	int code;

	while ((code = next_line(r)) > 0) {
		enum line line = read_access(r->text, &page, &write);

		if (line == LINE_BAD)
			return refuse(r);
		if (line == LINE_ACCESS && (code = add_access(r, page, write)))
			return code;
	}
	if (!code && !trace_length(r->t))
		return quire_fail(r->err, -EINVAL, "%.160s: there are no accesses in it", r->name);
	return code;
}

int trace_read(struct trace *t, FILE *f, const char *name, struct quire_error *err)
{
	struct reader r = { .t = t, .f = f, .name = name, .err = err };
	int code;

	*t = (struct trace){ 0 };
	code = spool_init(&t->access, err);
	errno = 0;
	if (!code)
		code = read_lines(&r);
	if (!code)
		code = spool_seal(&t->access, err);
	t->nr_pages = r.names.used;
	free(r.names.entry);
	if (code)
		trace_finish(t);
	return code;
}

void trace_finish(struct trace *t)
{
	spool_finish(&t->access);
}
