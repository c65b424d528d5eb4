/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "keeper_lab.h"

/* ---- a VM ---- */

static struct gfn_range lab_log_range(void *ctx, unsigned int region)
{
	struct lab_vm *vm = ctx;

	return (struct gfn_range){ region * vm->region_pages,
				   min_u64((region + 1) * vm->region_pages, vm->nr) };
}

static int lab_log_watch(void *ctx, unsigned int region, bool on)
{
	struct lab_vm *vm = ctx;
	struct gfn_range r = lab_log_range(ctx, region);

	pthread_mutex_lock(&vm->log_lock);
	if (on)
		memset(vm->dirty + r.start / 64, 0, (r.end - r.start + 63) / 64 * 8);
	vm->watched[region] = on;
	vm->watches += on;
	vm->unwatches += !on;
	pthread_mutex_unlock(&vm->log_lock);
	return 0;
}

static int lab_log_fetch(void *ctx, unsigned int region, uint64_t *bitmap)
{
	struct lab_vm *vm = ctx;
	struct gfn_range r = lab_log_range(ctx, region);

	if (vm->on_fetch)
		vm->on_fetch(vm);
	pthread_mutex_lock(&vm->log_lock);
	for (uint64_t i = r.start / 64, n = 0; i < (r.end + 63) / 64; i++, n++) {
		bitmap[n] = vm->dirty[i] | vm->always[i];
		vm->dirty[i] = 0;
	}
	pthread_mutex_unlock(&vm->log_lock);
	return 0;
}

void lab_log_write(struct lab_vm *vm, gfn_t gfn)
{
	if (!vm->logged)
		return;
	pthread_mutex_lock(&vm->log_lock);
	if (vm->watched[gfn / vm->region_pages])
		vm->dirty[gfn / 64] |= 1ULL << gfn % 64;
	pthread_mutex_unlock(&vm->log_lock);
}

void lab_always(struct lab_vm *vm, gfn_t gfn, uint64_t nr, bool on)
{
	pthread_mutex_lock(&vm->log_lock);
	for (; nr--; gfn++)
		if (on)
			vm->always[gfn / 64] |= 1ULL << gfn % 64;
		else
			vm->always[gfn / 64] &= ~(1ULL << gfn % 64);
	pthread_mutex_unlock(&vm->log_lock);
}

static bool lab_tables(void *ctx, void (*each)(void *arg, gfn_t gfn), void *arg)
{
	struct lab_vm *vm = ctx;

	if (vm->on_pass)
		vm->on_pass(vm);
	for (gfn_t g = 0; g < vm->nr; g++)
		if (__atomic_load_n(&vm->table[g], __ATOMIC_RELAXED))
			each(arg, g);
	return true;
}

static int lab_join(void *ctx)
{
	return credits_join(((struct lab_vm *)ctx)->credits);
}

static bool lab_take(void *ctx, uint64_t pages)
{
	return credits_take(((struct lab_vm *)ctx)->credits, pages);
}

static int lab_wait(void *ctx, uint64_t need, uint64_t want)
{
	return credits_wait(((struct lab_vm *)ctx)->credits, need, want);
}

static int lab_seek(void *ctx, uint64_t need, uint64_t want, void (*news)(void *arg), void *arg)
{
	return credits_seek(((struct lab_vm *)ctx)->credits, need, want, news, arg);
}

static void lab_stop_seeking(void *ctx)
{
	credits_stop_seeking(((struct lab_vm *)ctx)->credits);
}

static void lab_put(void *ctx, uint64_t pages)
{
	credits_put(((struct lab_vm *)ctx)->credits, pages);
}

static void lab_ask(void *ctx)
{
	credits_ask(((struct lab_vm *)ctx)->credits);
}

static void lab_no_memory(void *ctx, gpa_t gpa, int err)
{
	tap_bail("vm %u has no memory for gpa %#lx: %s", ((struct lab_vm *)ctx)->id, (long)gpa,
		 strerror(-err));
}

static void lab_on_lost(void *ctx)
{
	atomic_store(&((struct lab_vm *)ctx)->lost, true);
}

static struct machine_admitted lab_admit(struct lab_vm *vm, bool again)
{
	struct machine_admit admit = { .ram_pages = vm->nr, .readmit = again, .name = "lab" };
	struct machine_admitted got;
	struct quire_error err;

	snprintf(admit.domain, sizeof(admit.domain), "%s", vm->domain);
	admit.credit_pages = again ? credits_held(vm->credits) : 0;
	pthread_mutex_lock(&lab.asking);
	if (machine_client_admit(lab.client, &admit, &got, &err))
		tap_bail("not admitted: %s", err.text);
	pthread_mutex_unlock(&lab.asking);
	vm->id = got.vm;
	return got;
}

static void lab_vm_join_machine(struct lab_vm *vm)
{
	struct machine_admitted got = lab_admit(vm, false);
	struct credits_config config = { .channel = got.channel,
					 .held_pages = got.credit_pages,
					 .promise_pages = vm->nr,
					 .on_lost = lab_on_lost,
					 .ctx = vm };

	if (credits_create(&config, &vm->credits, NULL))
		tap_bail("no credits");
}

void lab_vm_readmit(struct lab_vm *vm)
{
	while (!atomic_load(&vm->lost))
		usleep(1000);
	atomic_store(&vm->lost, false);
	if (credits_replace_channel(vm->credits, lab_admit(vm, true).channel))
		tap_bail("the channel was not lost");
}

static void lab_vm_memory(struct lab_vm *vm)
{
	struct gfn_range ram = { 0, vm->nr };
	struct gmem_config config = { .ram = &ram,
				      .nr_ram = 1,
				      .hugepages = vm->hugepages,
				      .credits = &vm->hooks,
				      .on_host_failure = lab_no_memory,
				      .ctx = vm };
	struct quire_error err;
	int ram_fd;

	vm->hooks = (struct gmem_credits){
		.take = lab_take,
		.wait = lab_wait,
		.seek = lab_seek,
		.stop_seeking = lab_stop_seeking,
		.put = lab_put,
		.ask = lab_ask,
		.ctx = vm,
	};
	if (guest_create(&config, &vm->gm, &err)) {
		if (geteuid() != 0)
			tap_skip_all("%s", err.text);
		tap_bail("%s", err.text);
	}
	ram_fd = gmem_open_ram(vm->gm);
	if (ram_fd < 0 || credits_attach(vm->credits, ram_fd))
		tap_bail("the RAM file cannot be shown");
	close(ram_fd);
}

static void lab_vm_keeper(struct lab_vm *vm)
{
	struct keeper_config config = { .gm = vm->gm,
					.mode = vm->mode,
					.join = lab_join,
					.log = vm->logged ? &vm->log : NULL,
					.ctx = vm,
					.page_tables = lab_tables,
					.hash = lab.hash,
					.look_ns = vm->look_ns };
	struct quire_error err;

	vm->log = (struct keeper_log){ (unsigned int)((vm->nr + vm->region_pages - 1) /
						      vm->region_pages),
				       lab_log_range, lab_log_watch, lab_log_fetch, vm };
	vm->watched = calloc(vm->log.nr_regions, sizeof(bool));
	if (keeper_create(&config, &vm->k, &err) || keeper_start(vm->k, &err))
		tap_bail("%s", err.text);
}

void lab_vm_start(struct lab_vm *vm)
{
	vm->region_pages = vm->region_pages ? vm->region_pages : align_up(vm->nr, 64);
	vm->content = calloc(vm->nr, sizeof(*vm->content));
	vm->table = calloc(vm->nr, sizeof(*vm->table));
	vm->dirty = calloc(vm->nr / 64 + 1, sizeof(*vm->dirty));
	vm->always = calloc(vm->nr / 64 + 1, sizeof(*vm->always));
	vm->right = true;
	vm->watches = vm->unwatches = 0;
	atomic_store(&vm->lost, false);
	pthread_mutex_init(&vm->log_lock, NULL);
	lab_vm_join_machine(vm);
	lab_vm_memory(vm);
	lab_vm_keeper(vm);
}

void lab_vm_end(struct lab_vm *vm)
{
	keeper_destroy(vm->k);
	guest_destroy(vm->gm);
	credits_destroy(vm->credits);
	pthread_mutex_destroy(&vm->log_lock);
	free(vm->content);
	free(vm->table);
	free(vm->dirty);
	free(vm->always);
	free(vm->watched);
	vm->k = NULL;
	vm->gm = NULL;
}

/* ---- its guest ---- */

void lab_fill(uint64_t *page, uint32_t content)
{
	for (unsigned int i = 0; i < LAB_WORDS; i++)
		page[i] = content ? content * 0x9e3779b97f4a7c15ULL + i / 4 : 0;
}

static bool lab_is(const void *page, uint32_t content)
{
	uint64_t want[LAB_WORDS];

	lab_fill(want, content);
	return !memcmp(page, want, sizeof(want));
}

void *lab_hva(const struct lab_vm *vm, gfn_t gfn)
{
	return guest_hva(vm->gm, gfn_to_gpa(gfn));
}

_Thread_local struct lab_vm *lab_inside;

static void lab_on_segv(int sig, siginfo_t *info, void *context)
{
	struct lab_vm *vm = lab_inside;
	uint8_t *at = info->si_addr;

	(void)context;
	if (!vm || at < (uint8_t *)lab_hva(vm, 0) ||
	    at >= (uint8_t *)lab_hva(vm, 0) + gfn_to_gpa(vm->nr)) {
		signal(sig, SIG_DFL);
		return;
	}
	gmem_repair(vm->gm);
}

void lab_catch_segv(void)
{
	struct sigaction action = { .sa_sigaction = lab_on_segv, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, NULL);
}

LAB_GUEST static void lab_copy(volatile uint64_t *to, const volatile uint64_t *from)
{
	for (unsigned int i = 0; i < LAB_WORDS; i++)
		to[i] = from[i];
}

LAB_GUEST uint64_t lab_get(const volatile uint64_t *word)
{
	return *word;
}

LAB_GUEST void lab_set(volatile uint64_t *word, uint64_t value)
{
	*word = value;
}

void lab_write(struct lab_vm *vm, gfn_t gfn, uint32_t content, bool by_window)
{
	uint64_t page[LAB_WORDS];

	lab_fill(page, content);
	if (by_window) {
		lab_log_write(vm, gfn);
		lab_inside = vm;
		lab_copy(lab_hva(vm, gfn), page);
		lab_inside = NULL;
		lab_log_write(vm, gfn);
	} else {
		vm->right &= !guest_write(vm->gm, gfn_to_gpa(gfn), page, sizeof(page));
	}
	vm->content[gfn] = content;
}

bool lab_reads_right(struct lab_vm *vm, gfn_t gfn, bool by_window)
{
	uint64_t page[LAB_WORDS];

	lab_inside = vm;
	if (by_window)
		lab_copy(page, lab_hva(vm, gfn));
	else if (guest_read(vm->gm, gfn_to_gpa(gfn), page, sizeof(page)))
		return false;
	if (lab_is(page, vm->content[gfn]))
		return true;
	tap_note("vm %u: gfn %#lx is not what was written (%s)", vm->id, (long)gfn,
		 by_window ? "window" : "accessor");
	return false;
}

bool lab_all_right(struct lab_vm *vm, bool by_window)
{
	for (gfn_t g = 0; g < vm->nr; g++)
		if (!lab_reads_right(vm, g, by_window))
			return false;
	return vm->right;
}

/* ---- passes ---- */

static void lab_await(struct lab_vm *vm, uint64_t ticket)
{
	while (keeper_passes_done(vm->k) < ticket)
		usleep(200);
}

void lab_pass(struct lab_vm *vm, unsigned int passes)
{
	while (passes--)
		lab_await(vm, keeper_request_pass(vm->k));
}

void lab_rounds(struct lab_vm *vm, unsigned int nr, unsigned int rounds)
{
	while (rounds--)
		for (unsigned int i = 0; i < nr; i++)
			if (vm[i].k)
				lab_pass(&vm[i], 1);
}

/* ---- numbers ---- */

struct gmem_stats lab_stats(struct lab_vm *vm)
{
	struct gmem_stats s;

	gmem_stats(vm->gm, &s);
	return s;
}

uint64_t lab_pages(struct lab_vm *vm, enum page_state state)
{
	return lab_stats(vm).s2.pages[state];
}

struct keeper_stats lab_keeper(struct lab_vm *vm)
{
	struct keeper_stats s;

	keeper_stats(vm->k, &s);
	return s;
}

uint64_t lab_reason(struct lab_vm *vm, enum note_reason reason)
{
	return lab_keeper(vm).reason_pages[reason];
}

enum page_state lab_page_state(struct lab_vm *vm, gfn_t gfn)
{
	struct stage2_page page;

	gmem_lookup(vm->gm, gfn, &page);
	return page.state;
}

uint64_t lab_orphans(struct lab_vm *vm)
{
	return lab_stats(vm).orphan_pages;
}

bool lab_adds_up(struct lab_vm *vm)
{
	uint64_t reasons = 0, spent, reserve;
	struct keeper_stats k = lab_keeper(vm);
	struct gmem_stats s = lab_stats(vm);

	for (unsigned int r = 0; r < NOTE_NR_REASONS; r++)
		reasons += k.reason_pages[r];
	gmem_lock(vm->gm, GMEM_LOOK);
	reserve = vm->gm->share.reserve;
	spent = credits_held(vm->credits) - credits_spare(vm->credits);
	gmem_unlock(vm->gm);
	if (reasons == s.s2.pages[PG_PRIVATE] && spent == s.s2.pages[PG_PRIVATE] + reserve)
		return true;
	tap_note("vm %u: %lu private pages, %lu with a reason, %lu credits spent, %lu in reserve",
		 vm->id, (long)s.s2.pages[PG_PRIVATE], (long)reasons, (long)spent, (long)reserve);
	return false;
}

bool lab_eventually(bool (*holds)(struct lab_vm *vm, unsigned int nr), struct lab_vm *vm,
		    unsigned int nr)
{
	for (unsigned int i = 0; i < 1000; i++) {
		if (holds(vm, nr))
			return true;
		usleep(2000);
	}
	return false;
}

static void lab_find_refs(void *ctx, uint32_t id, const struct machine_vm_record *r)
{
	uint64_t *refs = ctx;

	if (id == refs[0])
		refs[1] = r->shared_refs;
}

bool lab_references_agree(struct lab_vm *vm, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t refs[2] = { vm[i].id, 0 };

		if (!vm[i].k)
			continue;
		pthread_mutex_lock(&lab.asking);
		machine_client_list(lab.client, lab_find_refs, refs, NULL);
		pthread_mutex_unlock(&lab.asking);
		if (refs[1] != lab_pages(&vm[i], PG_SHARED) + lab_pages(&vm[i], PG_ARCHIVED) -
				       lab_orphans(&vm[i]))
			return false;
	}
	return true;
}

bool lab_credits_agree(struct lab_vm *vm, unsigned int nr)
{
	uint64_t held = 0;

	for (unsigned int i = 0; i < nr; i++)
		held += vm[i].k ? credits_held(vm[i].credits) : 0;
	return lab_state().credit_pages == held;
}
