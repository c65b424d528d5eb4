/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_COMPAT_H
#define QUIRE_MMU_BASE_COMPAT_H

/*
 * Kernel interfaces that the headers of the oldest distribution we build on (Linux 6.1) lack.
 * Whoever uses one copes with a kernel that does not know it.
 */
#include <linux/ioctl.h>
#include <linux/types.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE /* Linux 5.14 */
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

#ifndef UFFD_FEATURE_WP_UNPOPULATED /* Linux 6.4 */
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif

#ifndef PAGEMAP_SCAN /* Linux 6.7, fs/proc/task_mmu.c */
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_HUGE (1 << 6)

struct page_region {
	__u64 start, end, categories;
};

struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#endif

#endif
