/* SPDX-License-Identifier: MIT */
/*
 * The swap area: the account against a naive model, bytes as they come back, and the thread that
 * reads and writes, with a disk that fails.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mmu/swap/swap.h"
#include "mmu/swap/swap_io.h"
#include "mmu/swap/zpack.h"
#include "tests/tap.h"

#define PAGES 1000u
#define NAME  "/var/tmp/quire-swap-test.XXXXXX"

static struct hash_secret secret;
static uint64_t rng, quota;

static bool take_quota(void *ctx, uint64_t pages)
{
	(void)ctx;
	if (pages > quota)
		return false;
	quota -= pages;
	return true;
}

static void put_quota(void *ctx, uint64_t pages)
{
	(void)ctx;
	quota += pages;
}

static bool disk_full; /* the last pages came back because the disk is */

static void give_quota(void *ctx, uint64_t pages)
{
	put_quota(ctx, pages);
	disk_full = true;
}

static const struct swap_quota hooks = { take_quota, put_quota, give_quota, NULL };

static struct swap *create(uint32_t unit)
{
	const struct swap_config config = { PAGES, unit, &hooks, &secret };
	struct swap *s;

	if (swap_create(&config, &s))
		tap_bail("swap_create");
	return s;
}

static void describe(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("%s", what);
}

static unsigned int faults_of(const struct swap *s)
{
	return swap_audit(s, describe, NULL);
}

/* Take units, and open chunks for that. */
static int take(struct swap *s, uint32_t nr, uint32_t *at)
{
	int err;

	while ((err = swap_take(s, nr, at)) == -EAGAIN)
		swap_opened(s, *at, true);
	return err;
}

static void close_all(struct swap *s)
{
	uint32_t chunk;

	while (swap_close(s, &chunk))
		swap_closed(s, chunk, true);
}

static struct swap_stats stats(const struct swap *s)
{
	struct swap_stats st;

	swap_stats(s, &st);
	return st;
}

/* ---- the account ---- */

static void test_account(void)
{
	struct swap *s = create(512);
	uint32_t at, other, chunk;

	quota = 0;
	is(swap_take(s, 8, &at), -ENOSPC, "without quota there is no space");
	quota = 2 * SPACE_CHUNK_PAGES;
	is(swap_take(s, 8, &at), -EAGAIN, "with quota a chunk is to be opened");
	is(quota, SPACE_CHUNK_PAGES, "... which is paid");
	swap_opened(s, at, false);
	is(quota, 2 * SPACE_CHUNK_PAGES, "if the host does not have it, the quota is put back");
	ok(disk_full, "... and of no use here");
	disk_full = false;
	is(take(s, 3, &at) ?: take(s, 8, &other), 0, "space is given out");
	is(other, at + 3, "... one behind the other");
	swap_gone(s, 5, at, 3, 77);
	swap_gone(s, 6, other, 8, 78);
	is(stats(s).needed_pages, 2, "two copies are needed");
	is(stats(s).copy_bytes, 11 * 512, "... in eleven units");
	swap_back(s, 5);
	is(stats(s).spare_pages, 1, "a page that is back has a spare");
	swap_gone(s, 5, 0, 0, 0);
	is(swap_copy_of(s, 5).at, at, "... which is needed where it was when the page goes again");
	ok(swap_copy_of(s, 5).needed && !stats(s).spare_pages, "... and is no spare any more");
	is(faults_of(s), 0, "the audit agrees");
	swap_drop(s, 5);
	swap_drop(s, 5);
	swap_drop(s, 6);
	is(stats(s).copy_bytes, 0, "copies are forgotten");
	ok(!swap_close(s, &chunk), "one empty chunk is kept");
	is(stats(s).file_pages, SPACE_CHUNK_PAGES, "... and paid");
	swap_destroy(s);
	is(quota, 2 * SPACE_CHUNK_PAGES, "in the end the quota is whole");
	ok(!disk_full, "... which was of use");
}

/* Spares go when space is short, and only they. */
static void test_spares(void)
{
	struct swap *s = create(4096);
	uint32_t at = 0, nr = 0;

	quota = SPACE_CHUNK_PAGES;
	for (; !take(s, 1, &at); nr++)
		swap_gone(s, nr, at, 1, nr);
	is(nr, SPACE_CHUNK_PAGES, "a chunk has 256 pages that do not compress");
	for (uint32_t n = 0; n < nr; n += 2)
		swap_back(s, n);
	for (nr = 0; !take(s, 1, &at); nr++)
		swap_gone(s, 500 + nr, at, 1, nr);
	is(nr, SPACE_CHUNK_PAGES / 2, "when it is full, as many more as there were spares");
	is(stats(s).needed_pages, SPACE_CHUNK_PAGES, "no copy that is needed went");
	is(faults_of(s), 0, "the audit agrees");
	for (uint32_t n = 0; n < PAGES; n++)
		swap_drop(s, n);
	swap_destroy(s);
	is(quota, SPACE_CHUNK_PAGES, "in the end the quota is whole");
}

/* Empty chunks are given back, and no two copies ever have one unit. */
static void test_model(uint32_t unit, uint32_t chunks)
{
	static uint16_t owner[8 * SPACE_CHUNK_BYTES / 512]; /* of each unit: number + 1 */
	static struct swap_copy model[PAGES];
	struct swap *s = create(unit);
	uint32_t most = QUIRE_PAGE_SIZE / unit, bad = 0, full = 0, audits = 0;
	uint64_t most_quota = quota = chunks * SPACE_CHUNK_PAGES;

	memset(owner, 0, sizeof(owner));
	memset(model, 0, sizeof(model));
	for (unsigned int step = 0; step < 20000; step++) {
		uint64_t n = tap_random(&rng) % PAGES;
		struct swap_copy *m = &model[n], c;
		uint8_t units = (uint8_t)(1 + tap_random(&rng) % most);
		bool grow = step / 2000 % 2 == 0;
		uint32_t at;

		/* The area may have dropped a spare. */
		c = swap_copy_of(s, n);
		if (!m->needed && !c.units && m->units) {
			memset(&owner[m->at], 0, m->units * sizeof(*owner));
			*m = (struct swap_copy){ .units = 0 };
		}
		bad += c.at != m->at || c.units != m->units || c.needed != m->needed;
		if (m->needed && tap_random(&rng) % 2) {
			swap_back(s, n);
			m->needed = false;
		} else if (m->units && !m->needed && tap_random(&rng) % 3 == 0) {
			swap_gone(s, n, 0, 0, 0);
			m->needed = true;
		} else if (m->units && (!grow || tap_random(&rng) % 2)) {
			memset(&owner[m->at], 0, m->units * sizeof(*owner));
			swap_drop(s, n);
			*m = (struct swap_copy){ .units = 0 };
		} else if (grow && !m->units && !take(s, units, &at)) {
			for (uint64_t o = 0; o < PAGES; o++)
				if (model[o].units && !swap_copy_of(s, o).units) {
					memset(&owner[model[o].at], 0,
					       model[o].units * sizeof(*owner));
					bad += model[o].needed;
					model[o] = (struct swap_copy){ .units = 0 };
				}
			for (uint32_t i = at; i < at + units; i++) {
				bad += owner[i] != 0;
				owner[i] = (uint16_t)(n + 1);
			}
			bad += at * unit / SPACE_CHUNK_BYTES !=
			       (at + units - 1) * unit / SPACE_CHUNK_BYTES;
			swap_gone(s, n, at, units, n);
			*m = (struct swap_copy){ n, at, units, true };
		} else {
			full += grow && !m->units;
		}
		close_all(s);
		bad += quota + stats(s).file_pages != most_quota;
		if (step % 500 == 0)
			audits += faults_of(s);
	}
	is(bad, 0, "units of %u bytes: the area is what the model says", unit);
	is(audits, 0, "... the audits agree");
	for (uint32_t n = 0; n < PAGES; n++)
		swap_drop(s, n);
	close_all(s);
	is(stats(s).file_pages, SPACE_CHUNK_PAGES, "... in the end one chunk is left");
	swap_destroy(s);
	is(quota, most_quota, "... and the quota is whole");
	tap_note("%u times there was no space, for %u chunks", full, chunks);
}

/* ---- bytes ---- */

static void test_bytes(void)
{
	struct swap *s = create(512), *large = create(4096);
	uint8_t page[QUIRE_PAGE_SIZE], to[QUIRE_PAGE_SIZE], back[QUIRE_PAGE_SIZE];
	struct swap_copy copy = { .units = 0 };
	unsigned int bad = 0, packed = 0;
	struct zpack *z;

	zpack_create(&z);
	for (unsigned int random = 0; random <= QUIRE_PAGE_SIZE; random += 64) {
		for (unsigned int i = 0; i < sizeof(page); i++)
			page[i] = i < random ? (uint8_t)tap_random(&rng) : (uint8_t)(i / 99);
		copy.hash = swap_hash(s, page);
		copy.units = swap_pack(s, z, page, to);
		packed += copy.units < 8;
		bad += !swap_unpack(s, z, &copy, to, back) || memcmp(page, back, sizeof(page));
		copy.units = swap_pack(large, z, page, to);
		bad += copy.units != 1;
		bad += !swap_unpack(large, z, &copy, to, back) || memcmp(page, back, sizeof(page));
	}
	is(bad, 0, "pages of all kinds come back");
	ok(packed > 40 && packed < 60, "... and %u of 65 take fewer units than a page", packed);
	memset(page, 7, sizeof(page));
	copy.hash = swap_hash(s, page);
	copy.units = swap_pack(s, z, page, to);
	is(copy.units, 1, "a simple page takes one unit");
	for (unsigned int i = bad = 0; i < 2000; i++) {
		uint8_t broken[QUIRE_PAGE_SIZE];
		uint64_t bit = tap_random(&rng) % 512 * 8;

		memcpy(broken, to, sizeof(broken));
		broken[bit / 8] ^= (uint8_t)(1u << tap_random(&rng) % 8);
		bad += swap_unpack(s, z, &copy, broken, back) && memcmp(page, back, sizeof(page));
	}
	is(bad, 0, "what was corrupted is never taken for a page");
	zpack_destroy(z);
	swap_destroy(s);
	swap_destroy(large);
}

/* ---- input and output ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static unsigned int nr_done;

static void count_done(struct swap_op *op)
{
	(void)op;
	pthread_mutex_lock(&mutex);
	nr_done++;
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&mutex);
}

#define OPS 100u
static struct swap_op op[OPS];
static uint8_t *buffers;

/* Do OPS operations of 8 KiB at once.  Returns how many failed, each with `err`. */
static unsigned int perform(struct swap_io *io, enum file_op_type type, int err)
{
	unsigned int failed = 0;

	nr_done = 0;
	for (uint32_t i = 0; i < OPS; i++) {
		op[i] = (struct swap_op){ .done = count_done };
		op[i].file.type = type;
		op[i].file.buf = buffers + i * 8192;
		op[i].file.offset = i * 8192;
		op[i].file.len = 8192;
		swap_io_submit(io, &op[i]);
	}
	pthread_mutex_lock(&mutex);
	while (nr_done < OPS)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	for (unsigned int i = 0; i < OPS; i++)
		failed += op[i].file.result == err ? 1 : op[i].file.result ? OPS : 0;
	return err ? failed : OPS - failed;
}

static void fill(uint32_t salt)
{
	uint64_t seed = salt;

	for (unsigned int i = 0; i < OPS * 8192; i++)
		buffers[i] = salt ? (uint8_t)tap_random(&seed) : 0;
}

static unsigned int wrong(uint32_t salt)
{
	uint64_t seed = salt;
	unsigned int bad = 0;

	for (unsigned int i = 0; i < OPS * 8192; i++)
		bad += buffers[i] != (uint8_t)tap_random(&seed);
	return bad;
}

static struct swap_io *open_io(int fd, const char *faults)
{
	struct swap_faults f;
	struct swap_io *io;

	if (swap_faults_parse(faults, &f, NULL) || swap_io_create(fd, 512, &f, &io) ||
	    swap_io_start(io, NULL, NULL))
		tap_bail("swap_io");
	return io;
}

static unsigned int once(int fd, const char *faults, enum file_op_type type, int err)
{
	struct swap_io *io = open_io(fd, faults);
	unsigned int failed = perform(io, type, err);

	swap_io_destroy(io);
	return failed;
}

static void test_io(void)
{
	char name[] = NAME;
	int fd = mkstemp(name);
	struct swap_faults f;

	if (fd < 0 || unlink(name) || ftruncate(fd, OPS * 8192))
		tap_bail("no file");
	buffers = aligned_alloc(4096, OPS * 8192);
	is(once(fd, "", FILE_ALLOCATE, 0), 0, "the file gets its blocks");
	fill(1);
	is(once(fd, "", FILE_WRITE, 0), 0, "all is written");
	fill(0);
	is(once(fd, "read-short=1", FILE_READ, 0), 0, "reads that are always short go on");
	is(wrong(1), 0, "... until all bytes are there");
	fill(2);
	is(once(fd, "write-short=2", FILE_WRITE, 0), 0, "short writes go on");
	fill(0);
	is(once(fd, "", FILE_READ, 0), 0, "... and what is read then");
	is(wrong(2), 0, "... is right");
	is(once(fd, "read-error=10", FILE_READ, -EIO), 10, "every tenth read fails");
	is(once(fd, "write-error=4", FILE_WRITE, -EIO), 25, "every fourth write fails");
	is(once(fd, "full=50", FILE_WRITE, -ENOSPC), 2, "the disk is full");
	is(once(fd, "corrupt=3", FILE_READ, 0), 0, "corrupt bytes are no error");
	is(wrong(2), 33, "... but every third read has a wrong byte");
	fill(0);
	is(once(fd, "stall=40", FILE_READ, 0), 0, "a disk that stalls goes on");
	is(wrong(2), 0, "... with the right bytes");
	is(swap_faults_parse("stall=3,flood=2", &f, NULL), -EINVAL, "there are no other faults");
	is(swap_faults_parse("stall=0", &f, NULL), -EINVAL, "... nor such numbers");
	is(swap_faults_parse("stall=-1", &f, NULL), -EINVAL, "... nor those");
	is(swap_faults_parse("stall=4294967296", &f, NULL), -EINVAL, "... nor so large ones");
	is(swap_faults_parse("stall=3x,full=1", &f, NULL), -EINVAL, "... nor what follows them");
	free(buffers);
	close(fd);
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	for (unsigned int i = 0; i < HASH_SECRET_BYTES; i++)
		secret.byte[i] = (uint8_t)tap_random(&rng);
	test_account();
	test_spares();
	test_model(512, 1);
	test_model(1024, 4);
	test_model(4096, 3);
	test_bytes();
	test_io();
	return tap_done();
}
