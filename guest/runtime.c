/* SPDX-License-Identifier: MIT */
/*
 * The little of a C library that quill and libfdt use.
 *
 * memcpy and memset are string instructions, which at CPL 3 run natively and are as fast as
 * anything.  Debian's libfdt is compiled with -fstack-protector-strong, and other systems may add
 * _FORTIFY_SOURCE.  So it needs __stack_chk_fail and the checked variants of the memory functions.
 * The canary is in boot.S.
 */
#include "runtime.h"
#include "kernel.h"

void __stack_chk_fail(void) __attribute__((noreturn));
void *__memcpy_chk(void *dst, const void *src, size_t n, size_t room);
void *__memmove_chk(void *dst, const void *src, size_t n, size_t room);
void *__memset_chk(void *dst, int byte, size_t n, size_t room);

void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n)::"memory");
	return dst;
}

void *memset(void *dst, int byte, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	unsigned char *d = dst;
	const unsigned char *s = src;

	if (d <= s || d >= s + n)
		return memcpy(dst, src, n);
	while (n--)
		d[n] = s[n];
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

void *memchr(const void *s, int byte, size_t n)
{
	const unsigned char *p = s;

	for (; n; n--, p++)
		if (*p == (unsigned char)byte)
			return (void *)(uintptr_t)p;
	return NULL;
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n])
		n++;
	return n;
}

size_t strlen(const char *s)
{
	return strnlen(s, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++)
		if (*a != *b || !*a)
			return (unsigned char)*a - (unsigned char)*b;
	return 0;
}

int strcmp(const char *a, const char *b)
{
	return strncmp(a, b, SIZE_MAX);
}

char *strchr(const char *s, int c)
{
	return memchr(s, c, strlen(s) + 1);
}

char *strrchr(const char *s, int c)
{
	size_t n = strlen(s) + 1;

	while (n--)
		if (s[n] == (char)c)
			return (char *)(uintptr_t)s + n;
	return NULL;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	return 99;
}

/* Takes no sign and no white space.  An overflow wraps. */
unsigned long strtoul(const char *s, char **end, int base)
{
	unsigned long value = 0;
	bool hex = s[0] == '0' && (s[1] | 0x20) == 'x' && digit_value(s[2]) < 16;

	if (hex && (base == 0 || base == 16)) {
		s += 2;
		base = 16;
	} else if (base == 0) {
		base = 10;
	}
	for (; digit_value(*s) < base; s++)
		value = value * (unsigned long)base + (unsigned long)digit_value(*s);
	if (end)
		*end = (char *)(uintptr_t)s;
	return value;
}

void __stack_chk_fail(void)
{
	panic("stack smashed");
}

void *__memcpy_chk(void *dst, const void *src, size_t n, size_t room)
{
	if (n > room)
		panic("memcpy of %lu bytes into %lu", n, room);
	return memcpy(dst, src, n);
}

void *__memmove_chk(void *dst, const void *src, size_t n, size_t room)
{
	if (n > room)
		panic("memmove of %lu bytes into %lu", n, room);
	return memmove(dst, src, n);
}

void *__memset_chk(void *dst, int byte, size_t n, size_t room)
{
	if (n > room)
		panic("memset of %lu bytes into %lu", n, room);
	return memset(dst, byte, n);
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

void shuffle_init(struct shuffle *s, uint64_t n, uint64_t seed)
{
	s->n = n;
	s->offset = random_below(&seed, n);
	do
		s->step = 1 + random_below(&seed, n);
	while (common_factor(s->step, n) != 1);
}
