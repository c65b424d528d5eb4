/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_NET_OPTION_H
#define QUIRE_VMM_CLI_NET_OPTION_H

#include "vmm/launch/net_source.h"
#include "vmm/vm/vm.h"

/*
 * The value of --net: tap:NAME or user, then ",mac=XX:XX:XX:XX:XX:XX" or nothing.  *source is not
 * open.  Writes to text.  0 or -EINVAL with *err.
 */
int parse_net(char *text, struct net_source *source, struct vm_net *net, struct quire_error *err);

#endif
