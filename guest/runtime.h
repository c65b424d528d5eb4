/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_RUNTIME_H
#define QUIRE_GUEST_RUNTIME_H

/*
 * What a C program expects to find, in a kernel that has no C library: memory and string
 * functions, formatted output, numbers from text, random numbers, time.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KiB	      1024UL
#define MiB	      (1024UL * KiB)
#define GiB	      (1024UL * MiB)
#define PAGE_SHIFT    12
#define PAGE_SIZE     4096UL
#define BLOCK_SIZE    (2 * MiB)
#define BLOCK_PAGES   512UL
#define PAGE_WORDS    (PAGE_SIZE / sizeof(uint64_t))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int byte, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
unsigned long strtoul(const char *s, char **end, int base);

/*
 * Formatted output, to a console buffer of 4 KiB.  The buffer is sent when it is full, at exit and
 * by console_flush().  Conversions: %c %s %d %u %x with l and ll, a width, - and 0, and %%.
 */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vprint(const char *fmt, va_list ap);

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

static inline void cpuid(uint32_t leaf, uint32_t reg[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(reg[0]), "=b"(reg[1]), "=c"(reg[2]), "=d"(reg[3])
			 : "a"(leaf), "c"(0));
}

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

/* The value may be an address: all stores to what it points at come first. */
static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* A bijection of 64-bit numbers that scatters well: the last step of splitmix64. */
static inline uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* splitmix64: the next number of the sequence that starts at *state. */
static inline uint64_t random_next(uint64_t *state)
{
	return mix(*state += 0x9e3779b97f4a7c15);
}

/* A number in [0, n), n > 0, close enough to uniform for n far below 2^64. */
static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
	return (uint64_t)((unsigned __int128)random_next(state) * n >> 64);
}

/* Of `chosen` things spread evenly over `of` places, how many are before place i; below 2^32. */
static inline uint64_t spread(uint64_t i, uint64_t of, uint64_t chosen)
{
	return i * chosen / of;
}

/*
 * A permutation of [0, n) that needs no memory: i -> (i * step + offset) mod n, step and n
 * having no common factor.  n is below 2^32.
 */
struct shuffle {
	uint64_t n, step, offset;
};
void shuffle_init(struct shuffle *s, uint64_t n, uint64_t seed);

static inline uint64_t shuffle_at(const struct shuffle *s, uint64_t i)
{
	return (i * s->step + s->offset) % s->n;
}

#endif
