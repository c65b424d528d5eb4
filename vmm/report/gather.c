/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <quire/types.h>
#include "gather.h"
#include "picture.h"
#include "vmm/play/result.h"
#include "vmm/print/table.h"

#define RESULT_FILE "result.json"

/* ---- files ---- */

/* A row for this path; NULL: no memory. */
static struct gathered_result *add_row(struct gathered *all, const char *path)
{
	if (all->nr == all->room) {
		unsigned int room = all->room ? 2 * all->room : 16;
		struct gathered_result *more = realloc(all->result, room * sizeof(*more));

		if (!more)
			return NULL;
		all->result = more;
		all->room = room;
	}
	all->result[all->nr] = (struct gathered_result){ .path = strdup(path) };
	return all->result[all->nr].path ? &all->result[all->nr++] : NULL;
}

/* Only a regular file is read: anything else may never end. */
static int open_result(const char *path, struct quire_error *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return quire_fail(why, -errno, "cannot be read: %m");
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= (off_t)GATHER_MAX_BYTES)
		return fd;
	close(fd);
	return S_ISREG(st.st_mode) ?
		       quire_fail(why, -EFBIG, "is larger than %u MiB", GATHER_MAX_BYTES >> 20) :
		       quire_fail(why, -EINVAL, "is no regular file");
}

static bool is_verdict(const char *word)
{
	for (unsigned int i = 0; i < RESULT_NR_VERDICTS; i++)
		if (!strcmp(word, result_verdicts[i]))
			return true;
	return false;
}

/* What must be there in every result. */
static int check_shape(const json_t *result, struct quire_error *why)
{
	const char *schema = picture_text(result, "schema");

	if (strcmp(schema, "quire.play/1"))
		return quire_fail(why, -EINVAL, "is no result of quire play: its schema is not %s",
				  "quire.play/1");
	if (!is_verdict(picture_text(result, "verdict")))
		return quire_fail(why, -EINVAL, "has no verdict; did its scenario end?");
	if (!json_is_array(json_object_get(result, "checks")) ||
	    !json_is_array(json_object_get(result, "samples")))
		return quire_fail(why, -EINVAL, "is incomplete: no checks, or no samples");
	return 0;
}

static void load(struct gathered_result *row)
{
	int fd = open_result(row->path, &row->why);
	json_error_t error;

	if (fd < 0)
		return;
	row->result = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
	close(fd);
	if (!row->result)
		quire_fail(&row->why, -EINVAL, "is no JSON: line %d, column %d: %s", error.line,
			   error.column, error.text);
	else if (check_shape(row->result, &row->why)) {
		json_decref(row->result);
		row->result = NULL;
	}
}

static int add_file(struct gathered *all, const char *path, struct quire_error *err)
{
	struct gathered_result *row = add_row(all, path);

	if (!row)
		return quire_fail(err, -ENOMEM, "no memory for the results");
	load(row);
	return 0;
}

/* Say something of a path without a result. */
static int add_trouble(struct gathered *all, const char *path, const char *what, int error,
		       struct quire_error *err)
{
	struct gathered_result *row = add_row(all, path);

	if (!row)
		return quire_fail(err, -ENOMEM, "no memory for the results");
	quire_fail(&row->why, -EINVAL, "%s%s%s", what, error ? ": " : "",
		   error ? strerror(error) : "");
	return 0;
}

static int add_folder(struct gathered *all, const char *path, unsigned int depth,
		      struct quire_error *err);

static int add_entry(struct gathered *all, const char *path, const char *name, unsigned int depth,
		     struct quire_error *err)
{
	struct stat st;
	char *child;
	int code = 0;

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	if (asprintf(&child, "%s/%s", path, name) < 0)
		return quire_fail(err, -ENOMEM, "no memory for the results");
	if (!strcmp(name, RESULT_FILE))
		code = add_file(all, child, err);
	else if (!lstat(child, &st) && S_ISDIR(st.st_mode))
		code = add_folder(all, child, depth + 1, err);
	free(child);
	return code;
}

static int add_folder(struct gathered *all, const char *path, unsigned int depth,
		      struct quire_error *err)
{
	struct dirent *entry;
	int code = 0;
	DIR *dir;

	if (depth > GATHER_MAX_DEPTH)
		return add_trouble(all, path, "is too deep", 0, err);
	dir = opendir(path);
	if (!dir)
		return add_trouble(all, path, "cannot be read", errno, err);
	while (!code && (entry = readdir(dir)))
		code = add_entry(all, path, entry->d_name, depth, err);
	closedir(dir);
	return code;
}

int gather_add(struct gathered *all, const char *path, struct quire_error *err)
{
	unsigned int before = all->nr;
	struct stat st;
	int code;

	if (stat(path, &st))
		return add_trouble(all, path, "cannot be read", errno, err);
	if (!S_ISDIR(st.st_mode))
		return add_file(all, path, err);
	code = add_folder(all, path, 0, err);
	if (!code && all->nr == before)
		code = add_trouble(all, path, "has no " RESULT_FILE "; did its scenario end?", 0,
				   err);
	return code;
}

static int compare(const void *a, const void *b)
{
	const struct gathered_result *x = a, *y = b;

	return strverscmp(x->path, y->path);
}

void gather_sort(struct gathered *all)
{
	if (all->nr)
		qsort(all->result, all->nr, sizeof(*all->result), compare);
}

void gather_finish(struct gathered *all)
{
	for (unsigned int i = 0; i < all->nr; i++) {
		free(all->result[i].path);
		json_decref(all->result[i].result);
	}
	free(all->result);
}

/* ---- what is in them ---- */

static bool passed(const struct gathered_result *row)
{
	return row->result &&
	       !strcmp(picture_text(row->result, "verdict"), result_verdicts[RESULT_PASS]) &&
	       !result_failures(row->result);
}

bool gather_passed(const struct gathered *all)
{
	for (unsigned int i = 0; i < all->nr; i++)
		if (!passed(&all->result[i]))
			return false;
	return true;
}

static void sum_up(struct gathered_summary *s, const json_t *sample)
{
	const json_t *machine = json_object_get(sample, "machine"),
		     *vms = json_object_get(sample, "vms");
	double memory = picture_number(machine, "memory_bytes");
	double used = memory - picture_number(machine, "free_bytes");
	double saved = -picture_number(machine, "store_bytes");

	for (size_t i = 0; i < json_array_size(vms); i++) {
		const json_t *vm = json_array_get(vms, i);

		saved += QUIRE_PAGE_SIZE * (picture_number(vm, "state_shared_pages") +
					    picture_number(vm, "state_zero_pages"));
	}
	s->memory = memory > s->memory ? memory : s->memory;
	s->most_used = used > s->most_used ? used : s->most_used;
	s->most_saved = saved > s->most_saved ? saved : s->most_saved;
}

struct gathered_summary gather_summary(const json_t *result)
{
	const json_t *samples = json_object_get(result, "samples");
	struct gathered_summary s = {
		.checks = json_array_size(json_object_get(result, "checks")),
		.failed = result_failures(result),
		.guests = json_array_size(json_object_get(result, "guests")),
		.seconds = picture_number(result, "seconds"),
	};

	for (size_t i = 0; i < json_array_size(samples); i++)
		sum_up(&s, json_array_get(samples, i));
	return s;
}

/* ---- for people ---- */

/* A file from elsewhere must not command the terminal. */
static const char *harmless(const char *text, char *buf, size_t size)
{
	size_t i = 0;

	for (; text[i] && i + 1 < size; i++)
		buf[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	buf[i] = '\0';
	return buf;
}

static void show_row(struct table *t, const struct gathered_result *row)
{
	struct gathered_summary s = gather_summary(row->result);
	char name[TABLE_CELL], verdict[16], host[32];

	table_cell(t, "%s", harmless(picture_text(row->result, "name"), name, sizeof(name)));
	table_cell(t, "%s",
		   harmless(picture_text(row->result, "verdict"), verdict, sizeof(verdict)));
	table_cell(t, "%zu/%zu", s.checks - s.failed, s.checks);
	table_cell(t, "%.1f s", s.seconds);
	table_cell(t, "%zu", s.guests);
	table_cell(t, "%s", size_text((uint64_t)s.memory));
	table_cell(t, "%s", size_text((uint64_t)s.most_used));
	table_cell(t, "%s", size_text((uint64_t)s.most_saved));
	table_cell(t, "%s", harmless(picture_text(row->result, "host"), host, sizeof(host)));
}

static int show_table(FILE *f, const struct gathered *all)
{
	static const struct {
		const char *head;
		bool right;
	} columns[] = { { "SCENARIO", false }, { "VERDICT", false }, { "CHECKS", true },
			{ "TIME", true },      { "GUESTS", true },   { "MEMORY", true },
			{ "USED", true },      { "SAVED", true },    { "HOST", false } };
	struct table t = { 0 };
	int code;

	for (unsigned int i = 0; i < ARRAY_SIZE(columns); i++)
		table_column(&t, columns[i].head, columns[i].right);
	for (unsigned int i = 0; i < all->nr; i++)
		if (all->result[i].result)
			show_row(&t, &all->result[i]);
	code = table_print(&t, f);
	table_finish(&t);
	return code;
}

int gather_show(FILE *f, const struct gathered *all)
{
	unsigned int nr_passed = 0;
	char text[320];
	int code = show_table(f, all);

	for (unsigned int i = 0; i < all->nr && !code; i++) {
		const struct gathered_result *row = &all->result[i];

		nr_passed += passed(row);
		if (passed(row))
			continue;
		fprintf(f, "%s: ", harmless(row->path, text, sizeof(text)));
		fprintf(f, "%s\n",
			harmless(row->result ? picture_text(row->result, "reason") : row->why.text,
				 text, sizeof(text)));
	}
	fprintf(f, "%u of %u passed\n", nr_passed, all->nr);
	return code;
}

/* ---- quire.report/1 ---- */

static json_t *object_of(const struct gathered_result *row)
{
	struct gathered_summary s;

	if (!row->result)
		return json_pack("{s:s%, s:s}", "path", row->path, strlen(row->path), "error",
				 row->why.text);
	s = gather_summary(row->result);
	return json_pack("{s:s%, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:I}", "path",
			 row->path, strlen(row->path), "name", picture_text(row->result, "name"),
			 "verdict", picture_text(row->result, "verdict"), "reason",
			 picture_text(row->result, "reason"), "host",
			 picture_text(row->result, "host"), "checks", (json_int_t)s.checks,
			 "failed_checks", (json_int_t)s.failed, "seconds", s.seconds, "guests",
			 (json_int_t)s.guests, "memory_bytes", (json_int_t)s.memory,
			 "most_used_bytes", (json_int_t)s.most_used, "most_saved_bytes",
			 (json_int_t)s.most_saved);
}

int gather_json(FILE *f, const struct gathered *all)
{
	json_t *list = json_array(), *report;
	int code = 0;

	for (unsigned int i = 0; i < all->nr && !code; i++)
		code = json_array_append_new(list, object_of(&all->result[i]));
	report = json_pack("{s:s, s:s, s:o}", "schema", "quire.report/1", "verdict",
			   result_verdicts[gather_passed(all) ? RESULT_PASS : RESULT_FAIL],
			   "results", list);
	if (code || !report || json_dumpf(report, f, JSON_INDENT(1)) || putc('\n', f) == EOF)
		code = -ENOMEM;
	json_decref(report);
	return code;
}
