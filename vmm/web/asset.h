/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_ASSET_H
#define QUIRE_VMM_WEB_ASSET_H

/* Files of vmm/web/page, which the build puts into the program as they are. */
#include <stddef.h>

struct web_asset {
	const char *start, *end;
};

extern const struct web_asset web_page_html, web_page_css, web_page_js;

#endif
