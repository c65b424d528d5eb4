/* SPDX-License-Identifier: MIT */
/*
 * Formatted output.  A conversion is parsed into struct field, turned into text and padded;
 * everything goes to console_putc().
 */
#include "runtime.h"
#include "kernel.h"

struct field {
	unsigned int width;
	bool left, zero;
	unsigned int longs; /* number of l before the letter */
};

static void pad(const struct field *f, size_t used, char c)
{
	for (; used < f->width; used++)
		console_putc(c);
}

static void put_text(const struct field *f, const char *s, size_t n)
{
	if (!f->left)
		pad(f, n, ' ');
	for (size_t i = 0; i < n; i++)
		console_putc(s[i]);
	if (f->left)
		pad(f, n, ' ');
}

static void put_number(const struct field *f, uint64_t value, unsigned int base, bool minus)
{
	char text[24];
	size_t at = sizeof(text), n;

	do
		text[--at] = "0123456789abcdef"[value % base];
	while (value /= base);
	if (f->zero)
		while (sizeof(text) - at + minus < f->width && at > 1)
			text[--at] = '0';
	if (minus)
		text[--at] = '-';
	n = sizeof(text) - at;
	put_text(f, text + at, n);
}

static const char *parse_field(const char *fmt, struct field *f)
{
	*f = (struct field){ 0 };
	for (; *fmt == '-' || *fmt == '0'; fmt++) {
		f->left |= *fmt == '-';
		f->zero |= *fmt == '0';
	}
	for (; *fmt >= '0' && *fmt <= '9'; fmt++)
		f->width = f->width * 10 + (unsigned int)(*fmt - '0');
	for (; *fmt == 'l'; fmt++)
		f->longs++;
	return fmt;
}

/* long and long long are both 64 bits here. */
static void put_field(const struct field *f, char letter, va_list *ap)
{
	uint64_t value;
	const char *s;
	char c;

	switch (letter) {
	case 'c':
		c = (char)va_arg(*ap, int);
		put_text(f, &c, 1);
		break;
	case 's':
		s = va_arg(*ap, const char *);
		put_text(f, s, strlen(s));
		break;
	case 'd':
		value = f->longs ? va_arg(*ap, uint64_t) : (uint64_t)va_arg(*ap, int);
		put_number(f, (int64_t)value < 0 ? -value : value, 10, (int64_t)value < 0);
		break;
	case 'u':
	case 'x':
		value = f->longs ? va_arg(*ap, uint64_t) : va_arg(*ap, unsigned int);
		put_number(f, value, letter == 'x' ? 16 : 10, false);
		break;
	default: console_putc(letter);
	}
}

void vprint(const char *fmt, va_list ap)
{
	struct field f;
	va_list args;

	va_copy(args, ap);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			console_putc(*fmt);
			continue;
		}
		fmt = parse_field(fmt + 1, &f);
		if (!*fmt)
			break;
		put_field(&f, *fmt, &args);
	}
	va_end(args);
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
}
