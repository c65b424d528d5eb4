/* SPDX-License-Identifier: MIT */
/*
 * No write is lost while the window changes under a running guest.
 *
 * The guest writes a round number to each of a range of pages, adds it to a sum beside it,
 * then checks the numbers, round after round.  Meanwhile a thread of this process takes the
 * window's pages away (read-only, and none at all) and gives them back.  KVM_RUN then fails
 * with -EFAULT, or hands the access over as MMIO; vmm/vm/exit.c must make both invisible.
 *
 * The same bytes run as 64-bit user code (native on every host) and as 32-bit supervisor code
 * (which some hosts emulate).
 */
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <quire/abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "vmm/vm/vm_impl.h"
#include "tests/tap.h"

#define CODE	 0x10000u
#define TABLES	 0x20000u /* PML4, PDPT, PD */
#define DATA	 0x400000u
#define NR_PAGES 64u

#define ENOUGH 2000u

/* Offsets of the numbers in the code below. */
#define AT_ROUNDS 55

/* clang-format off */
static const uint8_t code[] = {
	0xbb, 0x01, 0x00, 0x00, 0x00,		/*  0     mov  ebx, 1		round */
	0xbe, 0x00, 0x00, 0x40, 0x00,		/*  5  1: mov  esi, DATA */
	0xb9, NR_PAGES, 0x00, 0x00, 0x00,	/* 10     mov  ecx, NR_PAGES */
	0x89, 0x1e,				/* 15  2: mov  [rsi], ebx */
	0x01, 0x5e, 0x04,			/* 17     add  [rsi + 4], ebx */
	0x81, 0xc6, 0x00, 0x10, 0x00, 0x00,	/* 20     add  esi, 4096 */
	0xff, 0xc9,				/* 26     dec  ecx */
	0x75, 0xf1,				/* 28     jnz  2b */
	0xbe, 0x00, 0x00, 0x40, 0x00,		/* 30     mov  esi, DATA */
	0xb1, NR_PAGES,				/* 35     mov  cl, NR_PAGES */
	0x39, 0x1e,				/* 37  3: cmp  [rsi], ebx */
	0x75, 0x1b,				/* 39     jne  fail */
	0x81, 0xc6, 0x00, 0x10, 0x00, 0x00,	/* 41     add  esi, 4096 */
	0xff, 0xc9,				/* 47     dec  ecx */
	0x75, 0xf2,				/* 49     jnz  3b */
	0xff, 0xc3,				/* 51     inc  ebx */
	0x81, 0xfb, 0x00, 0x00, 0x00, 0x00,	/* 53     cmp  ebx, rounds + 1 */
	0x75, 0xc8,				/* 59     jne  1b */
	0xb0, 0x00,				/* 61     mov  al, 0 */
	0xe6, QUIRE_EXIT_PORT,			/* 63     out  exit, al */
	0xeb, 0xfe,				/* 65     jmp  . */
	0x90,					/* 67 */
	0xb0, 0x01,				/* 68  fail: mov al, 1 */
	0xe6, QUIRE_EXIT_PORT,			/* 70     out  exit, al */
	0xeb, 0xfe,				/* 72     jmp  . */
};
/* clang-format on */

struct disturber {
	struct vm *vm;
	int prot; /* what a page has while it is taken away */
	atomic_bool stop;
	unsigned long nr;
};

static void put(struct vm *vm, gpa_t gpa, const void *data, size_t bytes)
{
	if (guest_write(vm->gm, gpa, data, bytes))
		tap_bail("guest_write at %#lx failed", (unsigned long)gpa);
}

static void put64(struct vm *vm, gpa_t gpa, uint64_t value)
{
	put(vm, gpa, &value, sizeof(value));
}

/* Identity for the first GiB, user pages. */
static void make_tables(struct vm *vm)
{
	put64(vm, TABLES, (TABLES + 0x1000) | 7);
	put64(vm, TABLES + 0x1000, (TABLES + 0x2000) | 7);
	for (unsigned int i = 0; i < 512; i++)
		put64(vm, TABLES + 0x2000 + i * 8, (uint64_t)i << 21 | 0x87);
}

/* From 32-bit supervisor to 64-bit user mode. */
static void make_user64(struct vm *vm)
{
	struct kvm_sregs *s = &vm->vcpu[0].run->s.regs.sregs;

	make_tables(vm);
	s->cr0 |= 1ULL << 31;
	s->cr3 = TABLES;
	s->cr4 = 1u << 5;
	s->efer = 1u << 8 | 1u << 10;
	s->cs.l = 1;
	s->cs.db = 0;
	s->cs.dpl = s->ss.dpl = 3;
	s->cs.selector |= 3;
	s->ss.selector |= 3;
	s->ds.dpl = s->es.dpl = s->fs.dpl = s->gs.dpl = 3;
	s->ds.selector = s->es.selector = s->fs.selector = s->gs.selector = s->ss.selector;
	vm->vcpu[0].run->s.regs.regs.rflags |= 3u << 12; /* IOPL 3 */
}

static struct vm *make_vm(uint32_t rounds, bool user64)
{
	struct vm_config config = {
		.name = "efault",
		.ram_bytes = 16 * MiB,
		.nr_vcpus = 1,
		.hugepages = GMEM_HUGE_NEVER,
		.timeout_ns = 600000000000ULL,
	};
	struct image_plan plan = { .kind = IMAGE_PVH64, .entry = CODE };
	struct quire_error err = { "" };
	struct vm *vm;

	if (vm_create(&config, &vm, &err))
		tap_skip_all("%s", err.text);
	if (vm_set_start(vm, &plan, &err))
		tap_bail("%s", err.text);
	put(vm, CODE, code, sizeof(code));
	rounds++;
	put(vm, CODE + AT_ROUNDS, &rounds, sizeof(rounds));
	if (user64)
		make_user64(vm);
	/* The pager need not cope with a window that others cut up. */
	if (gmem_hold(vm->gm, DATA, NR_PAGES * QUIRE_PAGE_SIZE))
		tap_bail("no memory for the pages");
	return vm;
}

static uint64_t collisions(struct vm *vm)
{
	struct gmem_stats stats;

	gmem_stats(vm->gm, &stats);
	return stats.efaults + vm->vcpu[0].mmio_on_ram;
}

/*
 * The first page is away when the guest begins, so that it meets that however fast it is.  After
 * ENOUGH collisions the guest runs undisturbed: where each costs much it would not come to an end.
 */
static void *disturb(void *arg)
{
	struct disturber *d = arg;
	uint64_t seed = 1;

	for (int i = 0; i < 500 && !collisions(d->vm) && !atomic_load(&d->stop); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	mprotect(gmem_hva(d->vm->gm, DATA), QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE);

	while (!atomic_load(&d->stop) && collisions(d->vm) < ENOUGH) {
		uint64_t r = tap_random(&seed);
		gpa_t gpa = DATA + r % NR_PAGES * QUIRE_PAGE_SIZE;
		struct timespec pause = { .tv_nsec = (long)(r >> 32) % 200000 };

		mprotect(gmem_hva(d->vm->gm, gpa), QUIRE_PAGE_SIZE, d->prot);
		nanosleep(&pause, NULL);
		mprotect(gmem_hva(d->vm->gm, gpa), QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE);
		d->nr++;
	}
	return NULL;
}

static unsigned int wrong_pages(struct vm *vm, uint32_t rounds)
{
	uint32_t want[2] = { rounds, rounds * (rounds + 1) / 2 }, got[2];
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < NR_PAGES; i++) {
		guest_read(vm->gm, DATA + i * QUIRE_PAGE_SIZE, got, sizeof(got));
		if (memcmp(got, want, sizeof(want))) {
			tap_note("page %u: round %u sum %u, want %u and %u", i, got[0], got[1],
				 want[0], want[1]);
			wrong++;
		}
	}
	return wrong;
}

static void race(const char *name, uint32_t rounds, bool user64, int prot)
{
	struct vm *vm = make_vm(rounds, user64);
	struct disturber d = { .vm = vm, .prot = prot };
	struct gmem_stats stats;
	pthread_t thread;
	int status;

	mprotect(gmem_hva(vm->gm, DATA), QUIRE_PAGE_SIZE, prot);
	pthread_create(&thread, NULL, disturb, &d);
	status = vm_run(vm, NULL);
	atomic_store(&d.stop, true);
	pthread_join(thread, NULL);
	if (vm_is_stuck(vm))
		tap_bail("%s: a vCPU is stuck", name);
	gmem_stats(vm->gm, &stats);
	tap_note("%s: %lu disturbances, %lu -EFAULT, %lu MMIO exits on RAM", name, d.nr,
		 (unsigned long)stats.efaults, (unsigned long)vm->vcpu[0].mmio_on_ram);
	ok(status == 0, "%s: the guest finds its numbers in every round (status %d)", name, status);
	ok(!wrong_pages(vm, rounds), "%s: no page lost a write", name);
	ok(collisions(vm) > 0, "%s: and there were collisions", name);
	vm_destroy(vm);
}

/* What KVM says of the access that failed, where it says anything: flags, gpa, bytes. */
static void memory_fault(struct vm *vm)
{
	const struct kvm_run *run = vm->vcpu[0].run;

	if (run->exit_reason != KVM_EXIT_MEMORY_FAULT_39) {
		tap_skip("this KVM gives no address with -EFAULT");
		return;
	}
	is(vm->crash.nr_data, 3, "the report has KVM's data");
	is_hex(vm->crash.data[1] & ~(QUIRE_PAGE_SIZE - 1), DATA, "... which names the page");
}

/* clang-format off */
static const uint8_t tight_code[] = {
	0xbe, 0x00, 0x00, 0x40, 0x00,		/*  0     mov  esi, DATA */
	0xbf, 0x00, 0x10, 0x40, 0x00,		/*  5     mov  edi, DATA + 4096 */
	0x89, 0x36,				/* 10  1: mov  [rsi], esi */
	0x39, 0x07,				/* 12     cmp  [rdi], eax	eax is 0 */
	0x74, 0xfa,				/* 14     je   1b */
	0xe6, QUIRE_EXIT_PORT,			/* 16     out  exit, al */
	0xeb, 0xfe,				/* 18     jmp  . */
};
/* clang-format on */

#define COLLISIONS 1500u /* more than are a crash if nothing changes between them */
#define COUNTED	   (DATA + 1024 * QUIRE_PAGE_SIZE)

static uint64_t efaults(struct vm *vm)
{
	struct gmem_stats stats;

	gmem_stats(vm->gm, &stats);
	return stats.efaults;
}

/* Take the page away and give it back.  Guest memory learns that its window has changed. */
static void *disturb_one(void *arg)
{
	struct disturber *d = arg;
	void *page = gmem_hva(d->vm->gm, DATA);

	while (efaults(d->vm) < COLLISIONS && !atomic_load(&d->stop)) {
		uint64_t before = efaults(d->vm);

		mprotect(page, QUIRE_PAGE_SIZE, PROT_NONE);
		for (unsigned int i = 0; i < 1000 && efaults(d->vm) == before; i++)
			nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
		put64(d->vm, COUNTED, 1);
		gmem_drop(d->vm->gm, gpa_to_gfn(COUNTED), 1, NULL);
		mprotect(page, QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE);
		nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
		d->nr++;
	}
	put64(d->vm, DATA + QUIRE_PAGE_SIZE, 1);
	return NULL;
}

/* A guest that comes to the same place with the same registers, and not out of it in between. */
static void tight_loop(void)
{
	struct vm *vm = make_vm(1, true);
	struct disturber d = { .vm = vm };
	pthread_t thread;
	int status;

	put(vm, CODE, tight_code, sizeof(tight_code));
	put64(vm, DATA + QUIRE_PAGE_SIZE, 0);
	vm->vcpu[0].run->s.regs.regs.rax = 0;
	pthread_create(&thread, NULL, disturb_one, &d);
	status = vm_run(vm, NULL);
	atomic_store(&d.stop, true);
	pthread_join(thread, NULL);
	ok(status == 0, "a tight loop goes on after %lu changes and %lu -EFAULTs (status %d: %s)",
	   d.nr, (unsigned long)efaults(vm), status, vm->crash.what);
	vm_destroy(vm);
}

/* Memory that never comes back must not hang the VM. */
static void no_progress(void)
{
	struct vm *vm = make_vm(1, true);
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY), status;

	mprotect(gmem_hva(vm->gm, DATA), QUIRE_PAGE_SIZE, PROT_NONE);
	dup2(null, STDERR_FILENO); /* the crash report */
	status = vm_run(vm, NULL);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(null);
	ok(status == QUIRE_STATUS_CRASH, "a page that stays away ends as a crash (status %d)",
	   status);
	ok(strstr(vm->crash.what, "EFAULT"), "that says so: %s", vm->crash.what);
	memory_fault(vm);
	vm_destroy(vm);
}

int main(void)
{
	static_assert(DATA == 0x400000 && NR_PAGES < 256, "as in the code");

	tap_init();
	race("user, read-only", 10000, true, PROT_READ);
	race("user, gone", 10000, true, PROT_NONE);
	race("supervisor, read-only", 1500, false, PROT_READ);
	race("supervisor, gone", 1500, false, PROT_NONE);
	tight_loop();
	no_progress();
	return tap_done();
}
