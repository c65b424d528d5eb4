/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "store_view.h"

#define SEALS (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

void store_view_init(struct store_view *v)
{
	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++)
		v->segment[i] = (struct segment_view){ .fd = -1 };
	v->tell = NULL;
}

static int tell(struct store_view *v, const struct segment_view *s)
{
	return v->tell ? v->tell(v->ctx, (unsigned int)(s - v->segment), s->bytes) : 0;
}

static void release(struct store_view *v, struct segment_view *s)
{
	void *bytes = (void *)s->bytes;

	if (s->fd < 0)
		return;
	s->bytes = NULL;
	tell(v, s);
	munmap(bytes, STORE_SEGMENT_BYTES);
	close(s->fd);
	*s = (struct segment_view){ .fd = -1 };
}

void store_view_finish(struct store_view *v)
{
	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++)
		release(v, &v->segment[i]);
}

static struct segment_view *free_place(struct store_view *v)
{
	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++)
		if (v->segment[i].fd < 0)
			return &v->segment[i];
	return NULL;
}

/* Can nobody write the file who has no better descriptor than this one? */
static bool is_sealed(int fd, const struct stat *st)
{
	struct statfs fs;
	int seals;

	if (fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC ||
	    (fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH)) != O_RDONLY)
		return false;
	if (fs.f_flags & ST_RDONLY)
		return true;
	seals = fcntl(fd, F_GET_SEALS);
	return seals >= 0 && (seals & SEALS) == SEALS && !(st->st_mode & 0222);
}

static int map_segment(struct segment_view *s, uint32_t number, int fd)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st))
		return -errno;
	if (!is_sealed(fd, &st))
		return -EPERM;
	if ((uint64_t)st.st_size < STORE_SEGMENT_BYTES)
		return -EINVAL;
	p = mmap(NULL, STORE_SEGMENT_BYTES, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/* What we read is there; but khugepaged is not to fill an orphan's holes. */
	madvise(p, STORE_SEGMENT_BYTES, MADV_NOHUGEPAGE);
	*s = (struct segment_view){
		.fd = fd,
		.bytes = p,
		.name = (uint64_t)st.st_dev << 32 ^ st.st_ino,
		.number = number,
	};
	return 0;
}

int store_view_add(struct store_view *v, uint32_t number, int fd)
{
	struct segment_view *s = free_place(v);
	int err = s && number < MERGE_MAX_SEGMENTS ? map_segment(s, number, fd) : -EMFILE;

	if (err) {
		close(fd);
		return err;
	}
	err = tell(v, s);
	if (err)
		release(v, s);
	return err;
}

static unsigned int place_of(pfn_t pfn)
{
	assert(pfn >= STAGE2_STORE_PFN && pfn < STAGE2_STORE_PFN + MERGE_MAX_FRAMES);
	return (pfn - STAGE2_STORE_PFN) >> MERGE_SEGMENT_SHIFT;
}

static uint32_t index_of(pfn_t pfn)
{
	return (pfn - STAGE2_STORE_PFN) % MERGE_SEGMENT_FRAMES;
}

pfn_t store_view_pfn(const struct store_view *v, uint32_t frame)
{
	uint32_t number = frame >> MERGE_SEGMENT_SHIFT;

	for (uint64_t i = 0; i < MERGE_MAX_SEGMENTS; i++) {
		const struct segment_view *s = &v->segment[i];

		if (s->fd >= 0 && !s->orphan && s->number == number)
			return STAGE2_STORE_PFN + (i << MERGE_SEGMENT_SHIFT) +
			       frame % MERGE_SEGMENT_FRAMES;
	}
	return 0;
}

bool store_view_frame(const struct store_view *v, pfn_t pfn, uint32_t *frame)
{
	const struct segment_view *s = &v->segment[place_of(pfn)];

	*frame = (s->number << MERGE_SEGMENT_SHIFT) + index_of(pfn);
	return !s->orphan;
}

struct segment_view *store_view_segment(struct store_view *v, pfn_t pfn)
{
	return &v->segment[place_of(pfn)];
}

uint64_t store_view_offset(pfn_t pfn)
{
	return (uint64_t)index_of(pfn) << QUIRE_PAGE_SHIFT;
}

const uint8_t *store_view_bytes(const struct store_view *v, pfn_t pfn)
{
	return v->segment[place_of(pfn)].bytes + store_view_offset(pfn);
}

void store_view_count(struct store_view *v, pfn_t pfn, int64_t nr)
{
	struct segment_view *s = &v->segment[place_of(pfn)];

	assert(nr >= 0 || s->pages >= (uint64_t)-nr);
	s->pages += (uint64_t)nr;
}

void store_view_orphan(struct store_view *v)
{
	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++)
		v->segment[i].orphan = true;
}

void store_view_sweep(struct store_view *v)
{
	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++)
		if (v->segment[i].orphan && !v->segment[i].pages)
			release(v, &v->segment[i]);
}

uint64_t store_view_orphan_pages(const struct store_view *v)
{
	uint64_t pages = 0;

	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++)
		if (v->segment[i].orphan)
			pages += v->segment[i].pages;
	return pages;
}
