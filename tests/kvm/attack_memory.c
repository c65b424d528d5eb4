/* SPDX-License-Identifier: MIT */
/* Attacks on memory: more than was granted, what is shared with others, and what is nobody's. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <quire/types.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "attacks.h"
#include "mmu/base/compat.h"
#include "mmu/base/sanitized.h"
#include "mmu/base/wire.h"

/* FUTEX_WAKE_OP: set the word to 1, and wake somebody if it was 0. */
#define SET_ONE ((uint64_t)(FUTEX_OP_SET << 28 | FUTEX_OP_CMP_EQ << 24 | 1 << 12))

/* More than a VM process of 16 MiB needs, and more than would be noticed by chance. */
#define TOO_MUCH (256 * MiB)

/* Of slack for what is under way. */
#define SLACK_PAGES (MiB / QUIRE_PAGE_SIZE)

/* ---- more than was granted ---- */

static const char *touch_anonymous_memory(struct attacker *a)
{
	int64_t at = puppet_call(&a->thread, SYS_mmap, 0, TOO_MUCH, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, UINT64_MAX, 0);

	if (at < 0 || !puppet_touch(&a->thread, (uint64_t)at, TOO_MUCH, true) ||
	    attacker_is_killed(a) || QUIRE_SANITIZED) /* nobody bounds a sanitizer's memory */
		return NULL;
	return "it has 256 MiB of memory that nobody granted";
}

static const char *grow_ram(struct attacker *a)
{
	int fd = attacker_fd(a, PUPPET_RAM), mine = puppet_dup(a->vm.pid, fd);
	struct stat before = { 0 }, after = { 0 };

	fstat(mine, &before);
	puppet_call(&a->thread, SYS_pwrite64, (uint64_t)fd, a->thread.scratch, QUIRE_PAGE_SIZE,
		    (uint64_t)before.st_size + GiB, 0, 0);
	fstat(mine, &after);
	close(mine);
	return after.st_size > before.st_size ? "its RAM file is larger than its RAM" : NULL;
}

/* Give all credits back, and fill RAM all the same. */
static const char *fill_ram_without_credits(struct attacker *a)
{
	int fd = attacker_fd(a, PUPPET_RAM), channel = attacker_fd(a, PUPPET_CHANNEL);
	struct machine_msg msg = wire_msg(MACHINE_RETURN, 0);
	struct machine_vm_record account = { 0 };

	scene_account(a->scene, &a->vm, &account);
	msg.pages = account.credit_pages;
	puppet_send(&a->thread, channel, &msg, sizeof(msg), -1);
	for (uint64_t at = 0; at < 64 * MiB; at += PUPPET_SCRATCH / 2)
		puppet_call(&a->thread, SYS_pwrite64, (uint64_t)fd, a->thread.scratch,
			    PUPPET_SCRATCH / 2, at, 0, 0);
	if (attacker_is_killed(a) || !scene_account(a->scene, &a->vm, &account))
		return NULL;
	return account.resident_pages > account.credit_pages + SLACK_PAGES ?
		       "it has pages for which it holds no credit" :
		       NULL;
}

/* ---- what is shared ---- */

/* Map the beginning of a segment, for reading; 0: it has none, or it may not. */
static uint64_t map_segment(struct attacker *a, uint64_t bytes)
{
	int fd = attacker_fd(a, PUPPET_SEGMENT);
	int64_t at = fd < 0 ? -EBADF :
			      puppet_call(&a->thread, SYS_mmap, 0, bytes, PROT_READ, MAP_SHARED,
					  (uint64_t)fd, 0);

	return at > 0 ? (uint64_t)at : 0;
}

static const char *write_frames(struct attacker *a)
{
	struct puppet *p = &a->thread;
	int fd = attacker_fd(a, PUPPET_SEGMENT);
	uint64_t at = map_segment(a, QUIRE_PAGE_SIZE);

	if (fd < 0)
		return "nothing yet: it has no segment to try";
	if (puppet_call(p, SYS_mmap, 0, QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			(uint64_t)fd, 0) >= 0)
		return "it has mapped frames of others to write them";
	if (at &&
	    !puppet_call(p, SYS_mprotect, at, QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE, 0, 0, 0))
		return "it has made a mapping of frames writable";
	if (puppet_call(p, SYS_pwrite64, (uint64_t)fd, p->scratch, 64, 0, 0, 0) >= 0)
		return "it has written to frames";
	if (!puppet_call(p, SYS_fallocate, (uint64_t)fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 0, QUIRE_PAGE_SIZE, 0, 0))
		return "it has punched holes into the store";
	return NULL;
}

/* Operations on a futex that write to it, with numbers that would change it. */
static const char *futex_on_frames(struct attacker *a)
{
	static const int ops[] = { FUTEX_WAKE,	    FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI,
				   FUTEX_UNLOCK_PI, FUTEX_WAKE_OP, FUTEX_CMP_REQUEUE,
				   FUTEX_LOCK_PI2 };
	int mine = puppet_dup(a->vm.pid, attacker_fd(a, PUPPET_SEGMENT));
	uint8_t before[QUIRE_PAGE_SIZE] = { 0 }, after[QUIRE_PAGE_SIZE] = { 0 };
	struct timespec soon = { .tv_nsec = 1000 };
	uint64_t at = map_segment(a, QUIRE_PAGE_SIZE);

	if (!at || pread(mine, before, sizeof(before), 0) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		for (uint64_t word = 0; word < 64; word += 4)
			puppet_call(&a->thread, SYS_futex, at + word, (uint64_t)ops[i], 1,
				    puppet_push(&a->thread, &soon, sizeof(soon)), at + word,
				    SET_ONE);
	if (pread(mine, after, sizeof(after), 0) < 0)
		return "the frame is gone";
	close(mine);
	return memcmp(before, after, sizeof(before)) ? "it has changed a frame by a futex" : NULL;
}

/* A page that a userfaultfd gives to a shared mapping comes into the file. */
static const char *userfault_on_frames(struct attacker *a)
{
	struct puppet *p = &a->thread;
	uint64_t at = map_segment(a, MiB);
	struct uffdio_register reg = {
		.range = { at, MiB },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};
	uint64_t arg = at ? puppet_push(p, &reg, sizeof(reg)) : 0;

	for (uint64_t fd = 3; at && fd < 64; fd++)
		if (!puppet_call(p, SYS_ioctl, fd, UFFDIO_REGISTER, arg, 0, 0, 0))
			return "it has frames of others under its own userfaultfd";
	return NULL;
}

/* ---- what is nobody's ---- */

static uint64_t store_blocks(const struct attacker *a)
{
	return attacker_pages(a, PUPPET_SEGMENT);
}

static const char *store_has_grown(const struct attacker *a, uint64_t before)
{
	struct machine_state m = scene_books(a->scene);
	uint64_t now = store_blocks(a);

	if (now <= before + SLACK_PAGES || now <= m.store_pages + SLACK_PAGES)
		return NULL;
	return "the store has pages that nobody counts";
}

static const char *read_holes_of_store(struct attacker *a)
{
	uint64_t before = store_blocks(a), at = map_segment(a, 64 * MiB);

	if (!at || !puppet_touch(&a->thread, at, 64 * MiB, false))
		return NULL;
	return store_has_grown(a, before);
}

static const char *populate_store(struct attacker *a)
{
	uint64_t before = store_blocks(a), at = map_segment(a, 64 * MiB);

	if (!at || puppet_call(&a->thread, SYS_madvise, at, 64 * MiB, MADV_POPULATE_READ, 0, 0, 0))
		return NULL;
	return store_has_grown(a, before);
}

static const char *collapse_store(struct attacker *a)
{
	uint64_t before = store_blocks(a), at = map_segment(a, 66 * MiB);

	at = (at + 2 * MiB - 1) & ~(2 * MiB - 1);
	if (at)
		puppet_call(&a->thread, SYS_madvise, at, 64 * MiB, MADV_COLLAPSE, 0, 0, 0);
	return a->thread.dead ? NULL : store_has_grown(a, before);
}

#define PLAIN(name_, thread_, run_) \
	{ \
		.name = (name_), .thread = (thread_), .run = (run_) \
	}
#define MERGED(name_, run_, ...) \
	{ \
		.name = (name_), .thread = "keeper", .run = (run_), .merge = true, .ram_mib = 48, \
		.workload = "hold 1 6000 own=3000 zero=500 dup=2 seconds=90", __VA_ARGS__ \
	}

const struct attack memory_attacks[] = {
	PLAIN("touch 256 MiB of anonymous memory", "vcpu 0", touch_anonymous_memory),
	PLAIN("grow the RAM file", "vcpu 0", grow_ram),
	{ .name = "fill RAM without credits",
	  .thread = "vcpu 0",
	  .run = fill_ram_without_credits,
	  .ram_mib = 64 },
	MERGED("write frames of the store", write_frames),
	MERGED("futexes in frames of the store", futex_on_frames),
	MERGED("a userfaultfd over frames of the store", userfault_on_frames),
	MERGED("read holes of the store", read_holes_of_store, .holes = true),
	MERGED("populate holes of the store", populate_store, .holes = true),
	MERGED("collapse holes of the store", collapse_store, .holes = true),
};

const unsigned int nr_memory_attacks = ARRAY_SIZE(memory_attacks);
