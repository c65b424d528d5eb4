/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <string.h>
#include "ctl_protocol.h"

bool ctl_name_is_good(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > CTL_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

const struct pt_format *ctl_paging_format(unsigned int paging)
{
	static const struct pt_format *const format[CTL_NR_PAGING] = {
		[CTL_PAGING_32] = &x86_32_format,
		[CTL_PAGING_PAE] = &x86_pae_format,
		[CTL_PAGING_4LEVEL] = &x86_4level_format,
		[CTL_PAGING_5LEVEL] = &x86_5level_format,
	};

	return paging < CTL_NR_PAGING ? format[paging] : NULL;
}
