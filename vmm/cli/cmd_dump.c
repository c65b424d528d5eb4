/* SPDX-License-Identifier: MIT */
/*
 * quire dump: a guest's memory and registers as a core file.
 *
 * The guest is paused meanwhile, so the file shows one moment.  The VM in its sandbox opens
 * nothing: memory comes over its control socket, and only pages that have bytes of their own.  All
 * others are holes in the file, and so are pages that have only zeroes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <quire/abi.h>
#include "args.h"
#include "cmd.h"
#include "core_file.h"
#include "mmu/base/clock.h"
#include "vmm/look/named.h"
#include "vmm/print/table.h"
#include "where.h"

const char dump_usage[] =
	"usage: quire dump [OPTION...] VM FILE\n"
	"\n"
	"Writes a guest's memory and its virtual processors' registers to FILE, an ELF core file\n"
	"as QEMU's dump-guest-memory makes it, for gdb and crash.  The guest is paused meanwhile,\n"
	"and no page of it is brought in.  Pages of zeroes are holes in the file.\n" USAGE_VM
	"\n" USAGE_SYMBOLS
	"           Here it finds what a Linux says of itself (VMCOREINFO), for crash.\n"
	"\n"
	"Exit status: 0; 2 wrong usage; 121 no such VM, it does not answer or does not stop, or\n"
	"FILE cannot be written.\n";

#define CHUNK_BYTES    MiB
#define MAX_VMCOREINFO (64 * KiB)

struct dump {
	const char *vm, *path, *symbols;
	int vm_fd, file;
	struct ctl_info info;
	uint8_t *states; /* of the pages of one range of RAM */
	uint8_t *chunk;	 /* CHUNK_BYTES */
	uint64_t written;
};

/* ---- interrupting it: the guest is not to stay paused ---- */

static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

static void hold_signals(sigset_t *before)
{
	sigset_t held;

	sigemptyset(&held);
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++)
		sigaddset(&held, ends[i]);
	sigprocmask(SIG_BLOCK, &held, before);
}

static bool is_interrupted(void)
{
	sigset_t pending;

	sigpending(&pending);
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++)
		if (sigismember(&pending, ends[i]) == 1)
			return true;
	return false;
}

/* ---- the file ---- */

static int cannot_write(const struct dump *d, int code, struct quire_error *err)
{
	return quire_fail(err, code, "cannot write %s: %s", d->path, strerror(-code));
}

static int write_at(struct dump *d, const void *bytes, size_t nr, uint64_t at,
		    struct quire_error *err)
{
	const char *from = bytes;

	while (nr) {
		ssize_t n = pwrite(d->file, from, nr, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return cannot_write(d, n ? -errno : -EIO, err);
		from += n;
		at += (uint64_t)n;
		nr -= (size_t)n;
		d->written += (uint64_t)n;
	}
	return 0;
}

static bool is_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, QUIRE_PAGE_SIZE - 1);
}

/* Write what is not zero of `bytes` bytes of the chunk, whole pages. */
static int write_chunk(struct dump *d, size_t bytes, uint64_t at, struct quire_error *err)
{
	for (size_t page = 0, end; page < bytes; page = end) {
		bool zero = is_zero(d->chunk + page);
		int code;

		for (end = page; end < bytes && is_zero(d->chunk + end) == zero;)
			end += QUIRE_PAGE_SIZE;
		code = zero ? 0 : write_at(d, d->chunk + page, end - page, at + page, err);
		if (code)
			return code;
	}
	return 0;
}

/* ---- memory ---- */

/* Has a page in this state bytes of its own?  All others read as zeroes. */
static bool has_bytes(uint8_t state)
{
	const struct page_state_info *info = &page_states[state & ~GMEM_STATE_LARGE];

	return state != PG_NR_STATES &&
	       (info->frame == NUMBER_FOLLOWS || info->payload != NUMBER_NONE);
}

/* Dump [gfn, end), which has bytes, to its place in the file. */
static int dump_run(struct dump *d, gfn_t gfn, gfn_t end, uint64_t at, struct quire_error *err)
{
	while (gfn < end) {
		size_t bytes = min_u64(CHUNK_BYTES, gfn_to_gpa(end - gfn));
		int code = ctl_read(d->vm_fd, gfn_to_gpa(gfn), d->chunk, bytes, err);

		if (!code)
			code = write_chunk(d, bytes, at, err);
		if (!code && is_interrupted())
			code = quire_fail(err, -EINTR, "interrupted");
		if (code)
			return code;
		gfn += bytes >> QUIRE_PAGE_SHIFT;
		at += bytes;
	}
	return 0;
}

/* Dump a range of RAM, which begins at `at` in the file. */
static int dump_range(struct dump *d, const struct gfn_range *range, uint64_t at,
		      struct quire_error *err)
{
	uint64_t nr = range->end - range->start;
	int code;

	d->states = malloc(nr);
	if (!d->states)
		return quire_fail(err, -ENOMEM, "no memory for %" PRIu64 " states", nr);
	code = ctl_get_map(d->vm_fd, range->start, nr, d->states, err);
	for (uint64_t i = 0, end; i < nr && !code; i = end) {
		bool bytes = has_bytes(d->states[i]);

		for (end = i; end < nr && has_bytes(d->states[end]) == bytes;)
			end++;
		if (bytes)
			code = dump_run(d, range->start + i, range->start + end, at + gfn_to_gpa(i),
					err);
	}
	free(d->states);
	return code;
}

static int dump_ram(struct dump *d, uint64_t at, struct quire_error *err)
{
	int code = 0;

	d->chunk = malloc(CHUNK_BYTES);
	if (!d->chunk)
		return quire_fail(err, -ENOMEM, "no memory");
	for (unsigned int i = 0; i < d->info.nr_ram && !code; i++) {
		code = dump_range(d, &d->info.ram[i], at, err);
		at += gfn_to_gpa(d->info.ram[i].end - d->info.ram[i].start);
	}
	free(d->chunk);
	if (!code && ftruncate(d->file, (off_t)at))
		code = cannot_write(d, -errno, err);
	return code;
}

/* ---- registers and notes ---- */

static int read_cpus(const struct dump *d, struct vcpu_state *cpu, struct quire_error *err)
{
	int code = 0;

	for (unsigned int i = 0; i < d->info.vm.nr_vcpus && !code; i++)
		code = ctl_get_cpu(d->vm_fd, i, &cpu[i], err);
	return code;
}

/* A variable of 64 bits.  False: there is no such symbol, or no memory there. */
static bool read_variable(const struct where *w, const char *name, uint64_t *value)
{
	size_t done;
	gva_t at;

	return !symbols_find(w->symbols, name, &at) &&
	       !where_read(w, at + w->slide, value, sizeof(*value), &done, NULL) &&
	       done == sizeof(*value);
}

/* Linux's VMCOREINFO: what vmcoreinfo_data points to.  *text is the caller's to free. */
static int read_vmcoreinfo(const struct dump *d, struct core_file *core, char **text,
			   struct quire_error *err)
{
	uint64_t data, bytes;
	struct where w;
	int code = where_begin(&w, d->vm_fd, 0, d->symbols, err);

	*text = NULL;
	if (code || !d->symbols)
		return code;
	if (read_variable(&w, "vmcoreinfo_data", &data) &&
	    read_variable(&w, "vmcoreinfo_size", &bytes) && bytes <= MAX_VMCOREINFO)
		*text = malloc(bytes + 1);
	if (*text) {
		code = where_read(&w, data, *text, bytes, &core->vmcoreinfo_bytes, err);
		core->vmcoreinfo = *text;
	}
	where_end(&w);
	return code;
}

static int write_all(struct dump *d, struct quire_error *err)
{
	struct vcpu_state *cpu = calloc(d->info.vm.nr_vcpus, sizeof(*cpu));
	struct core_file core = {
		.ram = d->info.ram,
		.nr_ram = (unsigned int)d->info.nr_ram,
		.cpu = cpu,
		.nr_cpus = d->info.vm.nr_vcpus,
	};
	char *vmcoreinfo = NULL;
	void *head = NULL;
	size_t bytes;
	int code;

	code = cpu ? read_cpus(d, cpu, err) : quire_fail(err, -ENOMEM, "no memory");
	if (!code)
		code = read_vmcoreinfo(d, &core, &vmcoreinfo, err);
	if (!code)
		head = core_file_head(&core, &bytes);
	if (!code)
		code = head ? write_at(d, head, bytes, 0, err) :
			      quire_fail(err, -ENOMEM, "no memory");
	if (!code)
		code = dump_ram(d, bytes, err);
	free(head);
	free(vmcoreinfo);
	free(cpu);
	return code;
}

/* ---- the whole ---- */

/* Pause the VM, dump it, and let it go on if it ran before. */
static int dump_paused(struct dump *d, struct quire_error *err)
{
	bool paused = d->info.vm.state == VM_PAUSED || d->info.vm.state == VM_PAUSING;
	sigset_t before;
	int code;

	hold_signals(&before);
	code = ctl_pause(d->vm_fd, err);
	if (!code)
		code = write_all(d, err);
	if (!paused && ctl_command(d->vm_fd, CTL_RESUME, NULL) && !code)
		code = quire_fail(err, -EIO, "the VM is paused and does not answer any more");
	if (code && d->file >= 0)
		unlink(d->path);
	sigprocmask(SIG_SETMASK, &before, NULL); /* a signal that came ends us here */
	return code;
}

/* Guest memory may hold secrets: nobody else may read a new file. */
static int open_file(struct dump *d, struct quire_error *err)
{
	struct stat st;

	d->file = open(d->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (d->file < 0)
		return cannot_write(d, -errno, err);
	if (fstat(d->file, &st) || !S_ISREG(st.st_mode)) {
		close(d->file);
		return quire_fail(err, -EINVAL, "%s is no regular file, and a dump has holes",
				  d->path);
	}
	return ftruncate(d->file, 0) ? cannot_write(d, -errno, err) : 0;
}

static int dump(struct dump *d, struct quire_error *err)
{
	int code;

	d->vm_fd = named_connect(d->vm, err);
	if (d->vm_fd < 0)
		return d->vm_fd;
	code = ctl_get_info(d->vm_fd, &d->info, err);
	if (!code)
		code = open_file(d, err);
	if (!code) {
		code = dump_paused(d, err);
		if (close(d->file) && !code)
			code = cannot_write(d, -errno, err);
	}
	close(d->vm_fd);
	return code;
}

static int parse_options(int argc, char **argv, struct dump *d, struct quire_error *err)
{
	const struct plain_option options[] = { { .name = "symbols", .word = &d->symbols } };
	int code = read_plain_options(argc, argv, options, ARRAY_SIZE(options), err);

	if (code)
		return code;
	if (argc - optind != 2)
		return quire_fail(err, -EINVAL,
				  "say which VM (name or pid) and which file; see quire help dump");
	d->vm = argv[optind];
	d->path = argv[optind + 1];
	return 0;
}

int cmd_dump(int argc, char **argv)
{
	uint64_t start = monotonic_ns();
	struct dump d = { .file = -1 };
	struct quire_error err = { "" };
	int code;

	if (parse_options(argc, argv, &d, &err)) {
		fprintf(stderr, "quire dump: %s\n", err.text);
		return QUIRE_STATUS_USAGE;
	}
	code = dump(&d, &err);
	if (code) {
		fprintf(stderr, "quire dump: %s\n", err.text);
		return code == -EINVAL ? QUIRE_STATUS_USAGE : QUIRE_STATUS_HOST;
	}
	printf("VM %s: %s of RAM", d.info.vm.name, size_text(d.info.vm.ram_bytes));
	printf(", %s written to %s in %.1f s\n", size_text(d.written), d.path,
	       (double)(monotonic_ns() - start) / 1e9);
	return 0;
}
