/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_SANITIZED_H
#define QUIRE_MMU_BASE_SANITIZED_H

/*
 * Is this built with AddressSanitizer?  Its run time has memory, mappings and system calls of its
 * own.  It is 0 or 1, so `#if` finds no name that is missing: -Wundef tells of one.
 */
#if defined(__SANITIZE_ADDRESS__)
#define QUIRE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QUIRE_SANITIZED 1
#else
#define QUIRE_SANITIZED 0
#endif
#else
#define QUIRE_SANITIZED 0
#endif

#endif
