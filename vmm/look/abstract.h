/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_ABSTRACT_H
#define QUIRE_VMM_LOOK_ABSTRACT_H

/*
 * Who listens on abstract unix sockets.  So VMs and machines are found without a directory, which
 * somebody would have to keep clean.
 */

/*
 * List the names that begin with prefix and on which somebody listens: without the prefix, sorted.
 * Names with characters other than letters, digits, '.', '_', '-' are not ours, and are left out.
 * *names becomes a malloc'd array of malloc'd names.  Returns their number.
 */
unsigned int abstract_list(const char *prefix, char ***names);
void abstract_free(char **names, unsigned int nr);

#endif
