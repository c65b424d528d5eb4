/* SPDX-License-Identifier: MIT */
#include "guard.h"
#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define SCHEME	   "http://"
#define BEARER	   "Bearer "
#define HOST_BYTES 64 /* longer than any address with its port */

bool web_token_make(char token[WEB_TOKEN_BYTES])
{
	unsigned char random[(WEB_TOKEN_BYTES - 1) / 2];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return false;
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(token + 2 * i, 3, "%02x", random[i]);
	return true;
}

bool web_token_is(const char *authorization, const char *token)
{
	size_t len = strlen(BEARER);
	unsigned char differ = 0;

	if (!authorization || strncasecmp(authorization, BEARER, len) ||
	    strlen(authorization + len) != WEB_TOKEN_BYTES - 1)
		return false;
	for (size_t i = 0; i < WEB_TOKEN_BYTES - 1; i++)
		differ |= (unsigned char)(authorization[len + i] ^ token[i]);
	return !differ;
}

/* Cut off ":PORT".  False: what is behind the colon is no number. */
static bool cut_port(char *host)
{
	char *end = strrchr(host, ']'), *colon = strrchr(end ? end : host, ':');

	if (!colon)
		return true;
	*colon = '\0';
	return colon[1] && !colon[1 + strspn(colon + 1, "0123456789")];
}

bool web_host_is_plain(const char *host)
{
	char text[HOST_BYTES];
	struct in6_addr six;
	struct in_addr four;
	size_t len;

	if (!host || strlen(host) >= sizeof(text))
		return false;
	strcpy(text, host);
	if (!cut_port(text))
		return false;
	len = strlen(text);
	if (len > 1 && text[0] == '[' && text[len - 1] == ']') {
		text[len - 1] = '\0';
		return inet_pton(AF_INET6, text + 1, &six) == 1;
	}
	return !strcasecmp(text, "localhost") || inet_pton(AF_INET, text, &four) == 1;
}

bool web_origin_is_own(const char *origin, const char *host)
{
	size_t len = strlen(SCHEME);

	if (!origin)
		return true;
	return host && !strncasecmp(origin, SCHEME, len) && !strcasecmp(origin + len, host);
}
