/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_WHY_PAGE_H
#define QUIRE_VMM_CLI_WHY_PAGE_H

/*
 * quire why VM GFN: one page's story, in sentences or as quire.why/1 (docs/stats.md).
 */
#include <stdio.h>
#include "vmm/vm/ctl_protocol.h"

void why_page_text(FILE *f, const struct vm_info *vm, const struct ctl_story *story);
void why_page_json(FILE *f, const struct vm_info *vm, const struct ctl_story *story);

#endif
