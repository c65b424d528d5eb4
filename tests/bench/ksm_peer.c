/* SPDX-License-Identifier: MIT */
/*
 * ksm_peer: a guest whose memory the kernel's KSM may merge, and nobody else looks after.
 *
 *   ksm_peer SEED PAGES [dup=K] [zero=K] [order=seq|shuffle] [salt=K] [common=K] [thp=1]
 *
 * The other side of `make bench`'s merging: the smallest VM (one memslot of private anonymous
 * memory, one vCPU that starts in long mode at CPL 3), with PAGES pages of data after LOW_BYTES of
 * its own.  Only the data is MADV_MERGEABLE, so that counts come out exact.
 *
 * Contents are those of quill's fill and hold (guest/workload_fill.c), by the same generator.
 * salt=K makes the contents differ from those of guests with another salt; common=K leaves every
 * K-th page unsalted, so that one page in K is also in the other guests, and none beside it.  The
 * data is written from the host's side, which is quicker, and then read by the guest, so that KVM
 * has it mapped, and has to take those mappings away, as it would for a guest that did the writing.
 *
 * Then the guest idles: its vCPU is out of KVM_RUN and takes no time.  Commands come on standard
 * input, each answered by one line:
 *
 *   write COUNT seq|shuffle new|same guest|host
 *           one word to each of COUNT pages, each timed; next time the pages after them.  `same`
 *           leaves the word as it is; what `new` writes depends on the seed and the number of the
 *           write, so two guests told the same stay equal
 *   churn RATE SECONDS new|same
 *           RATE pages a second, scattered, timed likewise
 *   at NUMBER
 *           the number that the next write has
 *   merged COUNT
 *           how many of the last COUNT pages written are merged, by their page flags: KSM's own
 *           counters do not notice that a page was written before it is scanned again
 *
 * End of input: exit status 0.  It also ends when its parent does.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <linux/kvm.h>
#include <quire/types.h>

/*
 * Guest physical memory; gva = gpa, through 2 MiB pages that CPL 3 may use.
 *
 *   LOW_BYTES  data
 *   1 MiB      operations
 *   0x10000    what to do: struct orders
 *   0x8000     code
 *   0x2000     page directories, one a GiB
 *   0x1000     page directory pointers
 *   0          top level
 */
#define PML4_GPA   0
#define PDPT_GPA   0x1000
#define PD_GPA	   0x2000
#define CODE_GPA   0x8000
#define ORDERS_GPA 0x10000
#define OPS_GPA	   0x100000
#define LOW_BYTES  (4 * MiB)
#define MAX_BYTES  (4 * GiB)
#define BATCH	   65536UL
#define PORT	   0x4f4

#define PAGE_WORDS   (QUIRE_PAGE_SIZE / 8)
#define CONTENT_ZERO UINT64_MAX
#define GAMMA	     0x9e3779b97f4a7c15

struct orders {
	uint64_t nr, ops, reading;
};

struct op {
	uint64_t gva, value, cycles;
};

_Static_assert(OPS_GPA + BATCH * sizeof(struct op) <= LOW_BYTES, "operations fit");
_Static_assert(PD_GPA + MAX_BYTES / GiB * 0x1000 + 0x1000 <= CODE_GPA, "page directories fit");

/* The guest: wait for orders (an exit), carry them out, time each. */
extern const char guest_code[];
extern const uint32_t guest_code_bytes;
__asm__(".pushsection .rodata\n"
	"guest_code:\n"
	"1:	mov $0x4f4, %edx\n"
	"	outb %al, %dx\n"
	"	mov $0x10000, %ebx\n"
	"	mov (%rbx), %rcx\n"
	"	mov 8(%rbx), %rsi\n"
	"	mov 16(%rbx), %rdi\n"
	"2:	test %rcx, %rcx\n"
	"	jz 1b\n"
	"	mov (%rsi), %r8\n"
	"	mov 8(%rsi), %r9\n"
	"	mfence\n"
	"	lfence\n"
	"	rdtsc\n"
	"	lfence\n"
	"	shl $32, %rdx\n"
	"	lea (%rdx, %rax), %r10\n"
	"	test %rdi, %rdi\n"
	"	jnz 3f\n"
	"	mov %r9, (%r8)\n"
	"	jmp 4f\n"
	"3:	mov (%r8), %r9\n"
	"4:	mfence\n"
	"	lfence\n"
	"	rdtsc\n"
	"	shl $32, %rdx\n"
	"	or %rdx, %rax\n"
	"	sub %r10, %rax\n"
	"	mov %rax, 16(%rsi)\n"
	"	add $24, %rsi\n"
	"	dec %rcx\n"
	"	jmp 2b\n"
	"5:	.balign 4\n"
	"guest_code_bytes:\n"
	"	.long 5b - guest_code\n"
	".popsection\n");

/* ---- Content, as guest/runtime.c and guest/workload.c make it ---- */

struct shuffle {
	uint64_t n, step, offset;
};

struct content {
	uint64_t seed, pages, dup, zero, salt, common, distinct;
	bool shuffled;
	struct shuffle order;
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t random_next(uint64_t *state)
{
	return mix(*state += GAMMA);
}

static uint64_t random_below(uint64_t *state, uint64_t n)
{
	return (uint64_t)((unsigned __int128)random_next(state) * n >> 64);
}

static uint64_t common_factor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static void shuffle_init(struct shuffle *s, uint64_t n, uint64_t seed)
{
	s->n = n;
	s->offset = random_below(&seed, n);
	do
		s->step = 1 + random_below(&seed, n);
	while (common_factor(s->step, n) != 1);
}

static uint64_t shuffle_at(const struct shuffle *s, uint64_t i)
{
	return (i * s->step + s->offset) % s->n;
}

static uint64_t content_of(const struct content *c, uint64_t i)
{
	if (c->shuffled)
		i = shuffle_at(&c->order, i);
	return i < c->zero ? CONTENT_ZERO : (i - c->zero) % c->distinct;
}

static void content_write(const struct content *c, uint64_t i, uint64_t *page)
{
	bool salted = c->salt && !(c->common && i % c->common == 0);
	uint64_t index = content_of(c, i);
	uint64_t state = mix(c->seed ^ (salted ? mix(c->salt) : 0)) + index * PAGE_WORDS * GAMMA;

	if (index == CONTENT_ZERO) {
		memset(page, 0, QUIRE_PAGE_SIZE);
		return;
	}
	for (unsigned int w = 0; w < PAGE_WORDS; w++)
		page[w] = random_next(&state);
}

/* ---- The VM ---- */

struct peer {
	struct content content;
	struct shuffle order; /* of writes */
	uint64_t writes;      /* number of the next */
	bool shuffled;	      /* the last ones were */
	uint8_t *ram;
	uint64_t bytes;
	uint64_t (*data)[PAGE_WORDS];
	struct orders *orders;
	struct op *ops;
	double ns_per_cycle;
	int vcpu;
	struct kvm_run *run;
};

static int xioctl(int fd, unsigned long request, void *arg, const char *name)
{
	int r = ioctl(fd, request, arg);

	if (r < 0)
		err(121, "%s", name);
	return r;
}

static void make_ram(struct peer *p, bool thp)
{
	uint8_t *at;

	p->bytes = align_up(LOW_BYTES + p->content.pages * QUIRE_PAGE_SIZE, QUIRE_BLOCK_SIZE);
	if (p->bytes > MAX_BYTES)
		errx(2, "at most %lu pages", (MAX_BYTES - LOW_BYTES) / QUIRE_PAGE_SIZE);
	at = mmap(NULL, p->bytes + QUIRE_BLOCK_SIZE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		err(121, "mmap of guest RAM");
	p->ram = (uint8_t *)align_up((uintptr_t)at, QUIRE_BLOCK_SIZE);
	p->data = (void *)(p->ram + LOW_BYTES);
	p->orders = (void *)(p->ram + ORDERS_GPA);
	p->ops = (void *)(p->ram + OPS_GPA);
	if (madvise(p->ram, p->bytes, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		err(121, "madvise");
	if (madvise(p->data, p->content.pages * QUIRE_PAGE_SIZE, MADV_MERGEABLE))
		err(121, "MADV_MERGEABLE");
}

static void make_tables(struct peer *p)
{
	uint64_t *pml4 = (void *)(p->ram + PML4_GPA), *pdpt = (void *)(p->ram + PDPT_GPA);
	uint64_t *pd = (void *)(p->ram + PD_GPA);

	pml4[0] = PDPT_GPA | 7;
	for (uint64_t g = 0; g < MAX_BYTES / GiB; g++)
		pdpt[g] = (PD_GPA + g * QUIRE_PAGE_SIZE) | 7;
	for (uint64_t b = 0; b < p->bytes / QUIRE_BLOCK_SIZE; b++)
		pd[b] = b * QUIRE_BLOCK_SIZE | 0x87;
	memcpy(p->ram + CODE_GPA, guest_code, guest_code_bytes);
}

static void set_cpuid(int kvm, int vcpu)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));

	if (!cpuid)
		err(121, "calloc");
	cpuid->nent = 256;
	xioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID");
	xioctl(vcpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
	free(cpuid);
}

/* Long mode at CPL 3, ports allowed (IOPL 3).  No descriptor tables: nothing there may fault. */
static void set_registers(int vcpu)
{
	struct kvm_segment code = { .limit = UINT32_MAX,
				    .selector = 0x1b,
				    .type = 11,
				    .present = 1,
				    .dpl = 3,
				    .s = 1,
				    .l = 1,
				    .g = 1 };
	struct kvm_segment data = { .limit = UINT32_MAX,
				    .selector = 0x23,
				    .type = 3,
				    .present = 1,
				    .dpl = 3,
				    .s = 1,
				    .db = 1,
				    .g = 1 };
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 0x3002 };
	struct kvm_sregs s;

	xioctl(vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS");
	s.cr0 = 0x80010033; /* PG WP NE ET MP PE */
	s.cr3 = PML4_GPA;
	s.cr4 = 0x620;	/* OSXMMEXCPT OSFXSR PAE */
	s.efer = 0xd00; /* NXE LMA LME */
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	xioctl(vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS");
	xioctl(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

static void make_vm(struct peer *p)
{
	struct kvm_userspace_memory_region slot = { .memory_size = p->bytes,
						    .userspace_addr = (uintptr_t)p->ram };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	if (kvm < 0)
		err(121, "/dev/kvm");
	vm = xioctl(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
	xioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot, "memory region");
	p->vcpu = xioctl(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
	p->run = mmap(NULL, (size_t)xioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "vcpu mmap size"),
		      PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	if (p->run == MAP_FAILED)
		err(121, "mmap of the vCPU");
	set_cpuid(kvm, p->vcpu);
	set_registers(p->vcpu);
	p->ns_per_cycle = 1e6 / xioctl(p->vcpu, KVM_GET_TSC_KHZ, 0, "KVM_GET_TSC_KHZ");
}

/* Run the guest until it wants orders. */
static void run(struct peer *p)
{
	while (ioctl(p->vcpu, KVM_RUN, 0))
		if (errno != EINTR && errno != EAGAIN)
			err(121, "KVM_RUN");
	if (p->run->exit_reason != KVM_EXIT_IO || p->run->io.port != PORT)
		errx(122, "exit reason %u", p->run->exit_reason);
}

/* Have the guest carry out ops[0, nr), all of them reads or all of them writes. */
static void carry_out(struct peer *p, uint64_t nr, bool reading)
{
	*p->orders = (struct orders){ .nr = nr, .ops = OPS_GPA, .reading = reading };
	run(p);
}

static void read_all(struct peer *p)
{
	for (uint64_t done = 0, nr; done < p->content.pages; done += nr) {
		nr = min_u64(p->content.pages - done, BATCH);
		for (uint64_t i = 0; i < nr; i++)
			p->ops[i].gva = LOW_BYTES + (done + i) * QUIRE_PAGE_SIZE;
		carry_out(p, nr, true);
	}
}

/* ---- Commands ---- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_times(const char *what, double *ns, uint64_t nr)
{
	qsort(ns, nr, sizeof(*ns), compare);
	printf("%s: pages=%lu", what, nr);
	if (nr)
		printf(" median_ns=%.0f p90_ns=%.0f p99_ns=%.0f max_ns=%.0f", ns[nr / 2],
		       ns[nr * 9 / 10], ns[nr * 99 / 100], ns[nr - 1]);
}

static void write_from_host(struct peer *p, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++) {
		struct op *op = &p->ops[i];
		uint64_t start = now_ns();

		*(volatile uint64_t *)(p->ram + op->gva) = op->value;
		op->cycles = (uint64_t)((double)(now_ns() - start) / p->ns_per_cycle);
	}
}

/* The page of write number k. */
static uint64_t page_of(const struct peer *p, uint64_t k)
{
	return p->shuffled ? shuffle_at(&p->order, k) : k % p->content.pages;
}

/* Write to the next nr pages, at most BATCH; their times to ns[]. */
static void write_pages(struct peer *p, uint64_t nr, bool shuffled, bool change, bool host,
			double *ns)
{
	p->shuffled = shuffled;
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t k = p->writes++, page = page_of(p, k);
		uint64_t value = change ? mix(p->content.seed + k * GAMMA) : p->data[page][0];

		p->ops[i].gva = LOW_BYTES + page * QUIRE_PAGE_SIZE;
		p->ops[i].value = value;
	}
	if (host)
		write_from_host(p, nr);
	else
		carry_out(p, nr, false);
	for (uint64_t i = 0; i < nr; i++) {
		ns[i] = (double)p->ops[i].cycles * p->ns_per_cycle;
		if (*(uint64_t *)(p->ram + p->ops[i].gva) != p->ops[i].value)
			errx(122, "gpa 0x%lx does not have what was written", p->ops[i].gva);
	}
}

static double *times(uint64_t nr)
{
	double *ns = malloc((nr + 1) * sizeof(*ns));

	if (!ns)
		err(121, "malloc");
	return ns;
}

static void command_write(struct peer *p, uint64_t count, bool shuffled, bool change, bool host)
{
	double *ns = times(count);

	for (uint64_t done = 0, nr; done < count; done += nr) {
		nr = min_u64(count - done, BATCH);
		write_pages(p, nr, shuffled, change, host, ns + done);
	}
	print_times("write", ns, count);
	puts("");
	free(ns);
}

/* Fifty times a second, as many as are due. */
static void command_churn(struct peer *p, uint64_t rate, uint64_t seconds, bool change)
{
	uint64_t total = rate * seconds, start = now_ns(), done = 0;
	double *ns = times(total);

	while (done < total) {
		uint64_t due =
			min_u64((uint64_t)((double)(now_ns() - start) * (double)rate / 1e9), total);
		uint64_t nr = min_u64(due - done, BATCH);

		if (nr)
			write_pages(p, nr, true, change, false, ns + done);
		done += nr;
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	print_times("churn", ns, total);
	printf(" seconds=%.2f\n", (double)(now_ns() - start) / 1e9);
	free(ns);
}

static int open_proc(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(121, "%s", path);
	return fd;
}

static uint64_t entry(int fd, uint64_t i)
{
	uint64_t value;

	if (pread(fd, &value, sizeof(value), (off_t)(i * sizeof(value))) != sizeof(value))
		err(121, "page flags");
	return value;
}

#define PAGEMAP_PFN ((1ULL << 55) - 1)
#define KPF_KSM_BIT 21

static void command_merged(struct peer *p, uint64_t count)
{
	int pagemap = open_proc("/proc/self/pagemap"), flags = open_proc("/proc/kpageflags");
	uint64_t nr = 0;

	for (uint64_t k = p->writes - count; k < p->writes; k++) {
		uint64_t hva = (uintptr_t)p->data[page_of(p, k)];
		uint64_t pfn = entry(pagemap, hva >> QUIRE_PAGE_SHIFT) & PAGEMAP_PFN;

		nr += entry(flags, pfn) >> KPF_KSM_BIT & 1;
	}
	close(pagemap);
	close(flags);
	printf("merged: %lu\n", nr);
}

static void obey(struct peer *p, const char *line)
{
	char word[3][16] = { "", "", "" };
	uint64_t a, b;

	if (sscanf(line, "write %lu %15s %15s %15s", &a, word[0], word[1], word[2]) == 4)
		command_write(p, a, !strcmp(word[0], "shuffle"), !strcmp(word[1], "new"),
			      !strcmp(word[2], "host"));
	else if (sscanf(line, "churn %lu %lu %15s", &a, &b, word[0]) == 3)
		command_churn(p, a, b, !strcmp(word[0], "new"));
	else if (sscanf(line, "at %lu", &a) == 1)
		printf("at: %lu\n", p->writes = a);
	else if (sscanf(line, "merged %lu", &a) == 1 && a <= p->writes)
		command_merged(p, a);
	else
		errx(2, "what is this: %s", line);
}

/* ---- Arguments ---- */

static bool key(const char *arg, const char *name, uint64_t *value)
{
	size_t n = strlen(name);
	char *end;

	if (strncmp(arg, name, n) || arg[n] != '=')
		return false;
	*value = strtoull(arg + n + 1, &end, 0);
	return arg[n + 1] && !*end;
}

static void parse(struct content *c, bool *thp, int argc, char **argv)
{
	uint64_t huge = 0;

	if (argc < 3)
		errx(2, "usage: ksm_peer SEED PAGES [dup=K] [zero=K] [order=seq|shuffle] "
			"[salt=K] [common=K] [thp=1]");
	*c = (struct content){ .seed = strtoull(argv[1], NULL, 0),
			       .pages = strtoull(argv[2], NULL, 0),
			       .dup = 1 };
	for (int i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "order=shuffle"))
			c->shuffled = true;
		else if (strcmp(argv[i], "order=seq") && !key(argv[i], "dup", &c->dup) &&
			 !key(argv[i], "zero", &c->zero) && !key(argv[i], "salt", &c->salt) &&
			 !key(argv[i], "common", &c->common) && !key(argv[i], "thp", &huge))
			errx(2, "what is this: %s", argv[i]);
	}
	if (!c->pages || !c->dup || c->zero > c->pages)
		errx(2, "no such content");
	*thp = huge;
	c->distinct = (c->pages - c->zero + c->dup - 1) / c->dup;
	shuffle_init(&c->order, c->pages, c->seed);
}

int main(int argc, char **argv)
{
	struct peer p = { .vcpu = -1 };
	char line[128];
	bool thp;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	parse(&p.content, &thp, argc, argv);
	shuffle_init(&p.order, p.content.pages, mix(p.content.seed));
	make_ram(&p, thp);
	make_tables(&p);
	make_vm(&p);
	for (uint64_t i = 0; i < p.content.pages; i++)
		content_write(&p.content, i, p.data[i]);
	run(&p);
	read_all(&p);
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (fgets(line, sizeof(line), stdin))
		obey(&p, line);
	return 0;
}
