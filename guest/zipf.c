/* SPDX-License-Identifier: MIT */
#include "paging.h"
#include "zipf.h"

/* k ^ -s */
static double weight(double k, double s)
{
	long double exponent, whole, power;

	__asm__("fyl2x" : "=t"(exponent) : "0"((long double)k), "u"((long double)-s) : "st(1)");
	__asm__("frndint" : "=t"(whole) : "0"(exponent));
	__asm__("f2xm1" : "=t"(power) : "0"(exponent - whole));
	__asm__("fscale" : "=t"(power) : "0"(power + 1.0L), "u"(whole));
	return (double)power;
}

bool zipf_init(struct zipf *z, uint64_t nr, uint64_t s)
{
	double sum = 0;

	*z = (struct zipf){ .nr = nr };
	z->cumulated = window_create((nr * sizeof(*z->cumulated) + PAGE_SIZE - 1) / PAGE_SIZE);
	if (!z->cumulated)
		return false;
	__asm__ volatile("fninit");
	for (uint64_t i = 0; i < nr; i++) {
		sum += weight((double)(i + 1), (double)s / 1000);
		z->cumulated[i] = sum;
	}
	return true;
}

uint64_t zipf_draw(const struct zipf *z, uint64_t *state)
{
	double unit = (double)(random_next(state) >> 11) / 9007199254740992.0;
	double x = unit * z->cumulated[z->nr - 1];
	uint64_t low = 0, high = z->nr - 1;

	while (low < high) {
		uint64_t middle = (low + high) / 2;

		if (z->cumulated[middle] > x)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}
