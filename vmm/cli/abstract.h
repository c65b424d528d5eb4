/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_ABSTRACT_H
#define QUIRE_VMM_CLI_ABSTRACT_H

/*
 * Who listens on abstract unix sockets: how VMs and machines are found without a directory
 * that somebody would have to keep clean.
 */

/*
 * The names on which somebody listens that begin with prefix, without it, sorted; names with
 * characters other than letters, digits, '.', '_', '-' are not ours and left out.  malloc'd each
 * and in an array (*names); returns their number.
 */
unsigned int abstract_list(const char *prefix, char ***names);
void abstract_free(char **names, unsigned int nr);

#endif
