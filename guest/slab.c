/* SPDX-License-Identifier: MIT */
/*
 * Slab: small objects in pages of one size each.
 *
 * A slab is a page: a header, then objects of 16, 32 ... 2048 bytes.  Free objects are linked
 * through their first word.  A slab with a free object is on the list of its class.  A full one is
 * on no list, and comes back with its first kfree().  An empty one is given back at once.  kfree()
 * finds the header by rounding the object's address down to its page.
 */
#include "kernel.h"
#include "memory.h"
#include "paging.h"

#define SLAB_MAGIC	   0x71756c6c
#define NR_CLASSES	   8
#define CLASS_BYTES(class) (16UL << (class))

struct object {
	struct object *next;
};

struct slab {
	struct slab *next, *prev;
	struct object *free;
	uint32_t magic;
	uint16_t class, used;
};

static struct slab *partial[NR_CLASSES];
static uint64_t pages;

static void list_add(struct slab *s)
{
	struct slab *head = partial[s->class];

	s->prev = NULL;
	s->next = head;
	if (head)
		head->prev = s;
	partial[s->class] = s;
}

static void list_remove(struct slab *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		partial[s->class] = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

static struct slab *slab_create(unsigned int class)
{
	uint64_t gpa = alloc_pages(0), bytes = CLASS_BYTES(class);
	struct slab *s = direct(gpa);

	if (!gpa)
		return NULL;
	*s = (struct slab){ .magic = SLAB_MAGIC, .class = (uint16_t) class };
	for (uint64_t at = PAGE_SIZE - bytes; at >= sizeof(*s) && at < PAGE_SIZE; at -= bytes) {
		struct object *o = (struct object *)((char *)s + at);

		o->next = s->free;
		s->free = o;
	}
	list_add(s);
	pages++;
	return s;
}

static unsigned int class_of(size_t bytes)
{
	unsigned int class = 0;

	while (class < NR_CLASSES && CLASS_BYTES(class) < bytes)
		class ++;
	return class;
}

void *kmalloc(size_t bytes)
{
	unsigned int class = class_of(bytes);
	struct object *o;
	struct slab *s;

	if (class == NR_CLASSES)
		panic("kmalloc of %lu bytes: more than a slab's largest object", bytes);
	s = partial[class] ? partial[class] : slab_create(class);
	if (!s)
		return NULL;
	o = s->free;
	s->free = o->next;
	s->used++;
	if (!s->free)
		list_remove(s);
	return memset(o, 0, CLASS_BYTES(class));
}

void kfree(void *object)
{
	struct slab *s = (struct slab *)((uint64_t)object & -PAGE_SIZE);
	struct object *o = object;

	if (!object)
		return;
	if (s->magic != SLAB_MAGIC || (uint64_t)object % CLASS_BYTES(s->class))
		panic("kfree of 0x%lx, which kmalloc did not return", (uint64_t)object);
	if (!s->free)
		list_add(s);
	o->next = s->free;
	s->free = o;
	if (--s->used)
		return;
	list_remove(s);
	s->magic = 0;
	pages--;
	free_pages(direct_gpa(s), 0);
}

uint64_t slab_pages(void)
{
	return pages;
}
