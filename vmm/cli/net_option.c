/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "net_option.h"

/* Six bytes in hexadecimal with colons between.  False: it is none. */
static bool parse_mac(const char *text, uint8_t mac[6])
{
	for (unsigned int i = 0; i < 6; i++, text += 3) {
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]) ||
		    text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)strtoul(text, NULL, 16);
	}
	return true;
}

static int set_mac(const char *text, struct vm_net *net, struct quire_error *err)
{
	static const uint8_t none[6];

	if (!parse_mac(text, net->mac))
		return quire_fail(err, -EINVAL,
				  "'%.40s' is no MAC address as in mac=02:00:00:00:00:01", text);
	if (net->mac[0] & 1 || !memcmp(net->mac, none, sizeof(none)))
		return quire_fail(err, -EINVAL, "%s is no card's address but a group's, or 0",
				  text);
	net->has_mac = true;
	return 0;
}

static int set_kind(const char *text, struct net_source *source, struct quire_error *err)
{
	const char *name = strncmp(text, "tap:", 4) ? NULL : text + 4;

	source->kind = name ? NET_TAP : NET_USER;
	if (!name && strcmp(text, "user"))
		return quire_fail(err, -EINVAL, "'%.40s' is not known, use tap:NAME or user", text);
	if (!name)
		return 0;
	if (!*name || strlen(name) >= sizeof(source->tap) || strchr(name, '/'))
		return quire_fail(err, -EINVAL, "'%.40s' is no name of an interface", name);
	memcpy(source->tap, name, strlen(name) + 1);
	return 0;
}

int parse_net(char *text, struct net_source *source, struct vm_net *net, struct quire_error *err)
{
	char *comma = strchr(text, ',');
	int ret;

	*source = (struct net_source){ .fd = -1 };
	*net = (struct vm_net){ .fd = -1 };
	if (comma)
		*comma++ = '\0';
	ret = set_kind(text, source, err);
	net->stream = source->kind == NET_USER;
	if (ret || !comma)
		return ret;
	if (strncmp(comma, "mac=", 4))
		return quire_fail(err, -EINVAL, "'%.40s' is not known, use mac=", comma);
	return set_mac(comma + 4, net, err);
}
