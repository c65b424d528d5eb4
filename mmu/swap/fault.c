/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "mmu/base/digits.h"
#include "fault.h"

#define ON(type) (1u << (type))
#define SECTOR	 512

static uint64_t fail(struct file_op *op)
{
	op->result = -EIO;
	return 0;
}

static uint64_t fill_up(struct file_op *op)
{
	op->result = -ENOSPC;
	return 0;
}

/* The rest was transferred, but nobody knows.  Disks never do less than a sector. */
static uint64_t cut(struct file_op *op)
{
	if (op->result >= 2 * SECTOR)
		op->result = (int64_t)align_down((uint64_t)op->result / 2, SECTOR);
	return 0;
}

static uint64_t corrupt(struct file_op *op)
{
	if (op->result > 0)
		((uint8_t *)op->buf)[op->result / 3] ^= 0x10;
	return 0;
}

static uint64_t stall(struct file_op *op)
{
	(void)op;
	return SWAP_STALL_NS;
}

static uint64_t die(struct file_op *op)
{
	(void)op;
	return SWAP_DEAD_NS;
}

static const struct {
	const char *name;
	uint32_t types; /* that it can befall */
	uint64_t (*befall)(struct file_op *op);
} table[SWAP_NR_FAULTS] = {
	[SWAP_FAULT_READ_ERROR] = { "read-error", ON(FILE_READ), fail },
	[SWAP_FAULT_WRITE_ERROR] = { "write-error", ON(FILE_WRITE), fail },
	[SWAP_FAULT_FULL] = { "full", ON(FILE_WRITE) | ON(FILE_ALLOCATE), fill_up },
	[SWAP_FAULT_READ_SHORT] = { "read-short", ON(FILE_READ), cut },
	[SWAP_FAULT_WRITE_SHORT] = { "write-short", ON(FILE_WRITE), cut },
	[SWAP_FAULT_CORRUPT] = { "corrupt", ON(FILE_READ), corrupt },
	[SWAP_FAULT_STALL] = { "stall", ON(FILE_READ) | ON(FILE_WRITE), stall },
	[SWAP_FAULT_DEAD] = { "dead", ON(FILE_READ), die },
};

static int refuse(const char *text, size_t len, struct quire_error *err)
{
	char names[160] = "";

	for (unsigned int i = 0, used = 0; i < SWAP_NR_FAULTS; i++)
		used += (unsigned int)snprintf(names + used, sizeof(names) - used, "%s%s",
					       i ? ", " : "", table[i].name);
	return quire_fail(err, -EINVAL,
			  "'%.*s' is no fault of a disk; those are NAME=N, for every N-th "
			  "operation, and names are %s",
			  (int)min_u64(len, 40), text, names);
}

static int parse_one(const char *text, size_t len, struct swap_faults *f, struct quire_error *err)
{
	for (unsigned int i = 0; i < SWAP_NR_FAULTS; i++) {
		size_t name = strlen(table[i].name);
		const char *number = text + name + 1;
		uint64_t every = 0;

		if (len < name + 2 || strncmp(text, table[i].name, name) || text[name] != '=')
			continue;
		if (digits_read(&number, 10, &every) || number != text + len || !every ||
		    every > UINT32_MAX)
			break;
		f->every[i] = (uint32_t)every;
		return 0;
	}
	return refuse(text, len, err);
}

int swap_faults_parse(const char *text, struct swap_faults *f, struct quire_error *err)
{
	int code = 0;

	*f = (struct swap_faults){ .every = { 0 } };
	while (*text && !code) {
		size_t len = strcspn(text, ",");

		code = parse_one(text, len, f, err);
		text += len + (text[len] == ',');
	}
	return code;
}

bool swap_faults_any(const struct swap_faults *f)
{
	for (unsigned int i = 0; i < SWAP_NR_FAULTS; i++)
		if (f->every[i])
			return true;
	return false;
}

uint64_t swap_faults_apply(struct swap_faults *f, struct file_op *op)
{
	uint64_t ns = 0;

	for (unsigned int i = 0; i < SWAP_NR_FAULTS; i++) {
		if (!f->every[i] || !(table[i].types & ON(op->type)) || ++f->seen[i] < f->every[i])
			continue;
		f->seen[i] = 0;
		ns = max_u64(ns, table[i].befall(op));
	}
	return ns;
}
