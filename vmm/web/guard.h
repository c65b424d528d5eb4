/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_GUARD_H
#define QUIRE_VMM_WEB_GUARD_H

/*
 * Who may ask.  A browser on this host can reach the observer whatever page it shows, so that the
 * address alone proves nothing:
 *
 *   - A page of another site may have its name point at 127.0.0.1 (DNS rebinding), and then reads
 *     what we answer.  Its requests have that name in Host.  We answer to numbers and to
 *     `localhost`, never to names.
 *   - A page of another site may send requests blindly.  It cannot read the answers, and has
 *     itself in Origin.  Whatever changes something needs the token, which no page knows.
 */
#include <stdbool.h>

#define WEB_TOKEN_BYTES (32 + 1) /* 128 bits in hexadecimal digits, and a NUL */

/* Fill in a new token.  False: the kernel has no random numbers. */
bool web_token_make(char token[WEB_TOKEN_BYTES]);

/*
 * Does a value of Authorization have the token?  NULL is none.  The time it takes tells nothing
 * about where they differ.
 */
bool web_token_is(const char *authorization, const char *token);

/* Is the value of Host an address, or `localhost`, with or without a port?  NULL is not. */
bool web_host_is_plain(const char *host);

/* Does the value of Origin mean this host itself?  NULL does: no other page has sent this. */
bool web_origin_is_own(const char *origin, const char *host);

#endif
